"""How well `nerfkit fit many` learns a start: new instances after 3, 10, 100 steps, and pixels that were not seen.

python scripts/workbench_many.py [--cases faces glyphs photographs shapes] [--seeds 1] [--json FILE]

Faces are the first hundred of scikit-image's lfw_subset (25x25), glyphs are letters of matplotlib's DejaVu fonts drawn
at 24 pixels on 32x32, photographs are crops of 64x64 of scikit-image's; shapes are sixteen variants of the armadillo of
NERFKIT_TEST_DATA/meshes, stretched, twisted and bent by chance. All are instances of one kind.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarking import Row, publish
from numpy.typing import NDArray

import nerfkit
from nerfkit.scenes.readers.surface import read_surface
from nerfkit.scenes.surfaces import Mesh
from nerfkit.surface_files import write_mesh
from nerfkit.workbench.shapes.frame import Frame

__all__ = ["CASES", "measure"]

# wall seconds that a run may take: another process may hold the core
LIMIT = 3600.0
LETTERS = "ABCDEFGHJKLMNPQRSTUVXYZabcdefghknopqrstuvxyz23456789"
# figures, of which pictures have no overlap
KEYS = ("psnr", "psnr_3", "psnr_10", "psnr_100", "unseen", "iou", "iou_3", "iou_10", "iou_100")
N_VARIANTS = 16
# factors of the sides; radians about y and shift towards x over one unit of a frame 1.8 long
STRETCH, TWIST, BEND = (0.8, 1.25), 0.8, 0.3
PHOTOGRAPHS = ("camera", "astronaut", "coffee", "chelsea", "rocket", "brick", "grass", "gravel")


def faces() -> NDArray[np.float32]:
    """Faces [100, 25, 25]."""
    from skimage.data import lfw_subset

    return np.asarray(lfw_subset()[:100], np.float32)


def glyphs() -> NDArray[np.uint8]:
    """Letters of all DejaVu styles [n, 32, 32]."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    found = []
    for path in sorted(Path(matplotlib.get_data_path(), "fonts/ttf").glob("DejaVu*.ttf")):
        if "Display" in path.name:
            continue
        font = ImageFont.truetype(str(path), 24)
        for letter in LETTERS:
            image = Image.new("L", (32, 32))
            ImageDraw.Draw(image).text((16, 16), letter, font=font, fill=255, anchor="mm")
            found.append(np.asarray(image))
    return np.stack(found)


def photographs() -> NDArray[np.float32]:
    """Crops [n, 64, 64] of grey photographs, side by side at half their size."""
    from skimage import color, data
    from skimage.transform import rescale

    found = []
    for name in PHOTOGRAPHS:
        picture = np.asarray(getattr(data, name)())
        grey = color.rgb2gray(picture) if picture.ndim == 3 else picture / 255.0
        small = rescale(grey, 0.5, anti_aliasing=True)
        rows, columns = (side // 64 for side in small.shape)
        found += [small[64 * y : 64 * y + 64, 64 * x : 64 * x + 64] for y in range(rows) for x in range(columns)]
    return np.stack(found).astype(np.float32).clip(0, 1)


def shapes() -> list[Mesh]:
    """Variants of one mesh, stretched, twisted about y and bent towards x."""
    if "NERFKIT_TEST_DATA" not in os.environ:
        raise SystemExit("NERFKIT_TEST_DATA is not set: the folder with meshes/armadillo.obj")
    mesh = read_surface(Path(os.environ["NERFKIT_TEST_DATA"], "meshes/armadillo.obj"))
    assert isinstance(mesh, Mesh)
    frame, rng = Frame.around(mesh.bounds), np.random.default_rng(0)
    return [Mesh(_deformed(frame.inward(mesh.vertices), rng), mesh.faces) for _ in range(N_VARIANTS)]


def _deformed(points: NDArray, rng: np.random.Generator) -> NDArray:
    twist, bend = rng.uniform(-1, 1, 2) * (TWIST, BEND)
    x, y, z = (points * rng.uniform(*STRETCH, 3)).T
    cosine, sine = np.cos(twist * y), np.sin(twist * y)
    return np.stack([cosine * x + sine * z + bend * y * y, y, cosine * z - sine * x], -1)


# name -> instances, and what is wanted after 3 steps
CASES: dict[str, tuple[Callable[[], NDArray | list[Mesh]], str]] = {
    "faces": (faces, ">= 37"), "glyphs": (glyphs, ">= 36"), "photographs": (photographs, "above pca"),
    "shapes": (shapes, "above pca"),
}  # fmt: skip


def measure(cases: Sequence[str] = tuple(CASES), seeds: Sequence[int] = (0,), **settings: Any) -> list[Row]:
    """PSNR of both methods and of the baselines, and CPU seconds of learning, a row each; printed as they come."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            for seed in seeds:
                for row in _rows(case, seed, Path(folder), settings):
                    print(row, flush=True)
                    rows.append(row)
    return rows


def _rows(case: str, seed: int, folder: Path, settings: dict[str, Any]) -> Iterator[Row]:
    make, wanted = CASES[case]
    # beside the output, whose run folder has the case's name
    source = _written(make(), folder / f"{case}_given")
    began, spent = time.process_time(), dict[str, float]()

    def say(text: str) -> None:
        # what comes before the first line is reading
        spent[text] = time.process_time() - began

    found = nerfkit.fit(
        "many", source, folder / f"{case}.png", seed=seed, overwrite=True, say=say, **{"seconds": LIMIT, **settings}
    ).figures
    command = f"nerfkit fit many {source.name} --seed {seed} -o out.png"
    name, fresh = f"{case}, seed {seed}", found["baselines"]["fresh"]["unseen"]
    is_asked = case in ("faces", "glyphs")
    goals = {"psnr_3": wanted, "unseen": f">= {fresh + 2:.1f}, 2 dB above a fresh net" if is_asked else ""}
    for key in KEYS:
        if key in found["metrics"]:
            title = f"{name}: {found['chosen']['method']} {key}"
            yield Row(title, found["metrics"][key], _unit(key), goals.get(key, ""), command)
    for other, figures in found["baselines"].items():
        for key in KEYS:
            if key in figures:
                yield Row(f"{name}: {other} {key}", figures[key], _unit(key), figures["how"], command)
    times = list(spent.items())
    for (text, start), (_, end) in itertools.pairwise(times):
        if text.startswith("learning"):
            yield Row(f"{name}: CPU, {text}", end - start, "s", "<= 60 for both of a method, idle", command)


def _unit(key: str) -> str:
    return "" if key.startswith("iou") else "dB"


def _written(made: NDArray | list[Mesh], path: Path) -> Path:
    if isinstance(made, list):
        path.mkdir()
        for index, mesh in enumerate(made):
            write_mesh(path / f"{index:02d}.ply", mesh)
        return path
    np.savez(path.with_suffix(".npz"), images=made)
    return path.with_suffix(".npz")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    publish(measure(given.cases, range(given.seeds)), given.json)


if __name__ == "__main__":
    main()
