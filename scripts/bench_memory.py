"""Peak memory of every command at two or three sizes of its input, and how much more a larger input takes.

    python scripts/bench_memory.py [--only train superres image ...] [--sizes 3] [--json FILE]

Each command runs in a process of its own on data made for it; the system tells the greatest resident memory that it
had. Fits are cut after some seconds: their memory is that of a step, whatever their number. What a unit of input takes
is the slope between the smallest and the largest; what an empty one would take, mostly libraries, is the rest.
`process` is left out: its memory is that of COLMAP.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarking import Row, publish
from PIL import Image

__all__ = ["CASES", "Case", "measure", "peak_of"]

# wall seconds after which a fit is cut
SECONDS = 20
# run in a process of its own, so that what it waits for is the one command: RUSAGE_CHILDREN is of all of them
_ASK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
# kilobytes, but bytes on macOS
print(peak if sys.platform == "darwin" else peak * 1024)
sys.exit(code)
"""


@dataclass(frozen=True)
class Case:
    """A command.

    Parameters
    ----------
    sizes : tuple of int
        Of its input, from small to large.
    unit : str
        In which the input's size is counted.
    prepare : callable
        Makes the data of a size in a folder: the words after ``nerfkit``, and how many units they are.
    """

    sizes: tuple[int, ...]
    unit: str
    prepare: Callable[[Path, int], tuple[Sequence[object], float]]


def peak_of(*words: object) -> float:
    """Greatest resident memory in MB of ``nerfkit`` with these words."""
    command = [sys.executable, "-c", _ASK, sys.executable, "-m", "nerfkit", *map(str, words), "--quiet"]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout) / 1e6


def measure(case: Case, folder: Path, n_sizes: int = 3) -> Iterator[tuple[float, float, str]]:
    """Units of input, peak in MB, and the command, at the smallest sizes of a case."""
    # compiling the loops, which is done once, takes memory of its own
    (folder / "first").mkdir()
    peak_of(*case.prepare(folder / "first", case.sizes[0])[0])
    for size in case.sizes[:n_sizes]:
        place = folder / str(size)
        place.mkdir()
        words, units = case.prepare(place, size)
        told = " ".join(str(word).replace(str(place), "DATA") for word in words)
        yield units, peak_of(*words), f"nerfkit {told}"


def _scene(folder: Path, side: int, n: int = 16) -> float:
    """Posed photos; returns their megapixels."""
    from nerfkit.scenes.synthetic import write_posed_scene

    write_posed_scene(folder / "scene", n_train=n, n_val=1, n_test=1, size=(side, side), supersample=1)
    return (n + 2) * side**2 / 1e6


def _trained(folder: Path) -> Path:
    _scene(folder, 64, 8)
    words = ["train", folder / "scene", "--out", folder / "run", "--steps", 20, "--quiet"]
    subprocess.run([sys.executable, "-m", "nerfkit", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    return folder / "run"


def _train(folder: Path, side: int) -> tuple[Sequence[object], float]:
    units = _scene(folder, side)
    return ["train", folder / "scene", "--out", folder / "out", "--steps", 30], units


def _eval(folder: Path, side: int) -> tuple[Sequence[object], float]:
    units = _scene(folder, side) / 18
    words = ["train", folder / "scene", "--out", folder / "run", "--steps", 20, "--quiet"]
    subprocess.run([sys.executable, "-m", "nerfkit", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    return ["eval", folder / "run"], units


def _render(folder: Path, side: int) -> tuple[Sequence[object], float]:
    return [
        "render",
        _trained(folder),
        "--size",
        f"{side}x{side}",
        "--frames",
        2,
        "--out",
        folder / "f.mp4",
    ], side**2 / 1e6


def _export(folder: Path, side: int) -> tuple[Sequence[object], float]:
    return ["export", _trained(folder), "--size", side, "-o", folder / "a.ply"], side**3 / 1e6


def _convert(folder: Path, side: int) -> tuple[Sequence[object], float]:
    units = _scene(folder, side)
    return ["convert", folder / "scene", "-o", folder / "out", "--to", "transforms"], units


def _superres(folder: Path, side: int) -> tuple[Sequence[object], float]:
    from nerfkit.scenes.synthetic.page import write_lowres_sequence

    write_lowres_sequence(folder, n_frames=12, side=side)
    return ["superres", folder / "frames", "-o", folder / "a.png", "--seconds", SECONDS], 12 * side**2 / 1e6


def _picture(folder: Path, side: int) -> Path:
    y, x = np.mgrid[:side, :side] / side
    values = 0.5 + 0.3 * np.sin(40 * x * x + 9 * y) + 0.2 * (np.hypot(x - 0.5, y - 0.4) < 0.2)
    Image.fromarray(np.rint(255 * values.clip(0, 1)).astype(np.uint8)).save(folder / "a.png")
    return folder / "a.png"


def _of_picture(task: str, suffix: str, *words: object) -> Case:
    def prepare(folder: Path, side: int) -> tuple[Sequence[object], float]:
        out = folder / f"out{suffix}"
        return ["fit", task, _picture(folder, side), "-o", out, "--seconds", SECONDS, *words], side**2 / 1e6

    return Case((128, 256, 512), "Mpx", prepare)


def _wave(folder: Path, side: int) -> tuple[Sequence[object], float]:
    np.save(folder / "speeds.npy", np.ones((side, side), np.float32))
    return ["fit", "wave", folder / "speeds.npy", "-o", folder / "u.npy", "--seconds", SECONDS], side**2 / 1e6


def _solve(folder: Path, n_params: int) -> tuple[Sequence[object], float]:
    words = ["--params", n_params, "--seconds", SECONDS, "--solver", "adam"]
    return ["fit", "solve", "poisson", "-o", folder / "u.npy", *words], n_params / 1e3


def _volume(folder: Path, side: int) -> tuple[Sequence[object], float]:
    z, y, x = np.mgrid[:side, :side, :side] / side
    np.savez(folder / "a.npz", volume=np.sin(9 * x + 5 * y * z).astype(np.float32), spacing=[1.0, 1.0, 1.0])
    words = ["--simulate", "thickness=4,stacks=2", "--seconds", SECONDS]
    return ["fit", "volume", folder / "a.npz", "-o", folder / "out.nii.gz", *words], side**3 / 1e6


def _many(folder: Path, n: int) -> tuple[Sequence[object], float]:
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:24, :24] / 24
    waves = [np.sin(a * x + b * y + c) for a, b, c in rng.uniform(1, 6, (n, 3))]
    np.save(folder / "a.npy", (0.5 + 0.4 * np.stack(waves)).astype(np.float32))
    words = ["--seconds", SECONDS, "--method", "modulation"]
    return ["fit", "many", folder / "a.npy", "-o", folder / "out.png", *words], n * 24**2 / 1e6


def _shape(folder: Path, n: int) -> tuple[Sequence[object], float]:
    points = np.random.default_rng(0).normal(size=(n, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    np.savez(folder / "a.npz", points=points, normals=points)
    return ["fit", "shape", folder / "a.npz", "-o", folder / "out.ply", "--seconds", SECONDS], n / 1e3


CASES: dict[str, Case] = {
    "train": Case((100, 400, 800), "Mpx of photos", _train),
    "eval": Case((100, 400, 800), "Mpx of a photo", _eval),
    "render": Case((128, 512, 1024), "Mpx of a frame", _render),
    "export": Case((32, 64, 128), "M cells", _export),
    "convert": Case((100, 400, 800), "Mpx of photos", _convert),
    "superres": Case((48, 96, 160), "Mpx of frames", _superres),
    "image": _of_picture("image", ".npy"),
    "compare": _of_picture("compare", ".png", "--set", "fields=[hash, siren]"),
    "compress": _of_picture("compress", ".nkc"),
    "denoise": _of_picture("denoise", ".npy", "--simulate", "noise=0.1"),
    "inpaint": _of_picture("inpaint", ".npy", "--simulate", "keep=0.2"),
    "gradient": _of_picture("gradient", ".npy"),
    "register": _of_picture("register", ".npy", "--simulate", "warp=5"),
    "ct": _of_picture("ct", ".npy", "--simulate", "angles=60,noise=0.01"),
    "mri": _of_picture("mri", ".npy", "--simulate", "acceleration=4,coils=4,noise=0.01"),
    "solve": Case((2000, 20000, 80000), "k parameters", _solve),
    "wave": Case((64, 128, 256), "Mpx", _wave),
    "volume": Case((24, 48, 72), "M voxels", _volume),
    "many": Case((16, 64, 128), "Mpx", _many),
    "shape": Case((2000, 20000, 80000), "k points", _shape),
}


def _rows(name: str, case: Case, n_sizes: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        found = list(measure(case, Path(folder), n_sizes))
    for units, peak, command in found:
        yield Row(f"{name}: peak of {units:.3g} {case.unit}", peak, "MB", "", command)
    if len(found) < 2:
        return
    (first, low, command), (last, high, _) = found[0], found[-1]
    slope = (high - low) / (last - first)
    yield Row(f"{name}: a unit more", slope, f"MB / {case.unit}", "", command)
    yield Row(f"{name}: without input", low - slope * first, "MB", "", command)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--sizes", type=int, default=3, choices=(1, 2, 3), help="how many, from the smallest on")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows: list[Row] = []
    for name in given.only:
        for row in _rows(name, CASES[name], given.sizes):
            print(row, file=sys.stderr, flush=True)
            rows.append(row)
    publish(rows, given.json)


if __name__ == "__main__":
    main()
