"""Kill commands at random moments, let them go on, and compare, bit by bit, what they leave with what unharmed ones do.

    python scripts/kill_test.py [--kills 50] [--tasks train superres image ...] [--seed 0] [--json FILE]

Each command makes its own small data. It runs once unharmed. Then, until so many kills have hit it, it begins in a new
folder, is ended by SIGKILL at a random moment, half of them while a file is being written, goes on with --resume, is
killed again, and so on; a command that has no --resume is given again. After each kill what has its final name must be
whole. Where it was let go on to its end, its files are compared: every bit of weights, pictures, meshes and figures but
those of time; nothing half written may be left. One row a task: kills, how many fell on a write, and how many ends
differed from the unharmed one.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from benchmarking import Row, publish

from nerfkit.checkpoints import CheckpointFolder
from nerfkit.scenes.unfinished import is_unfinished

__all__ = ["TASKS", "Outcome", "endure"]

# kills in a row after which a command is let go on to its end
MOST_IN_A_ROW = 3
# seconds that no command takes here, and that a write is waited for
PATIENCE, PATIENCE_FOR_WRITE = 900.0, 5.0


@dataclass(frozen=True)
class Task:
    """A command that is killed.

    Parameters
    ----------
    make : callable
        Makes its data in a folder.
    command : callable
        From the data's and the output's folder to the words after ``nerfkit``.
    resume : callable, optional
        From the output's folder to the words that go on; None: it is given again.
    results : tuple of str
        Globs below the output's folder of what must be the same.
    whole : tuple of str
        Globs of what must be the same as soon as it is there, whenever the command is killed.
    weights : tuple of str
        Folders of checkpoints, of which the newest must be the same.
    """

    make: Callable[[Path], None]
    command: Callable[[Path, Path], Sequence[str]]
    resume: Callable[[Path], Sequence[str]] | None
    results: tuple[str, ...]
    whole: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What kills did to a command."""

    kills: int = 0
    on_write: int = 0
    ends: int = 0
    # what differed, or would not go on
    faults: list[str] = field(default_factory=list)


def scene(data: Path) -> None:
    """Posed photos of 40 x 40 pixels."""
    from nerfkit.scenes.synthetic import write_posed_scene

    write_posed_scene(data / "scene", n_train=8, n_val=1, n_test=1, size=(40, 40), supersample=1)


def trained(data: Path) -> None:
    """Those, and a scene of a few steps."""
    scene(data)
    words = ["train", data / "scene", "--out", data / "run", "--steps", "60", "--quiet"]
    subprocess.run([sys.executable, "-m", "nerfkit", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def frames(data: Path) -> None:
    """Eight shifted frames of 24 x 24 pixels."""
    from nerfkit.scenes.synthetic.page import write_lowres_sequence

    write_lowres_sequence(data, n_frames=8, side=24)


def picture(data: Path) -> None:
    """A picture of 32 x 32 pixels."""
    y, x = np.mgrid[:32, :32] / 32
    values = 0.5 + 0.3 * np.sin(20 * x * x + 9 * y) + 0.2 * (np.hypot(x - 0.5, y - 0.4) < 0.2)
    np.save(data / "picture.npy", values.astype(np.float32))


def photos(data: Path) -> None:
    """Eight photos of a corner of a room, 320 x 240 pixels, whose poses can be found."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from PIL import Image
    from textured_room import photograph, room_poses, textures  # pyright: ignore[reportMissingImports]

    walls = textures()
    (data / "photos").mkdir()
    for index, c2w in enumerate(room_poses()):
        Image.fromarray(photograph(c2w, walls)).save(data / "photos" / f"{index}.png")


def ring(data: Path) -> None:
    """A torus of 900 vertices."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from closed_surfaces import torus  # pyright: ignore[reportMissingImports]

    from nerfkit.surface_files import write_mesh

    write_mesh(data / "ring.ply", torus(30))


def small_pictures(data: Path) -> None:
    """Twelve pictures of 8 x 8 pixels."""
    np.savez(data / "pictures.npz", pictures=np.random.default_rng(0).random((12, 8, 8)))


def fit(
    task: str, *words: str, make: Callable[[Path], None] = picture, source: str = "picture.npy", out_name: str = "a.npy"
) -> Task:  # fmt: skip
    """A task of `nerfkit fit`, on the picture where nothing else is said."""
    return Task(
        make,
        lambda data, out: ["fit", task, str(data / source), "-o", str(out / out_name), *words],
        lambda out: ["fit", "--resume", str(out / "a")], (out_name, "a/checkpoints/**/*.safetensors"), (out_name,),
    )  # fmt: skip


TASKS: dict[str, Task] = {
    "train": Task(
        scene,
        lambda data, out: [
            "train", str(data / "scene"), "--out", str(out / "run"), "--steps", "100",
            "--set", "checkpoint_seconds=0.1", "--set", "field.log2_table_size=12",
        ],
        lambda out: ["train", "--resume", str(out / "run")], (), weights=("run/checkpoints",),
    ),
    "superres": Task(
        frames, lambda data, out: ["superres", str(data / "frames"), "-o", str(out / "a.png"), "--seconds", "600",
            "--scale", "2", "--shifts", str(data / "frames" / "shifts.csv"), "--set", "width=8",
        ],
        lambda out: ["superres", "--resume", str(out / "a")], ("a.png",), ("a.png",), ("a/checkpoints",),
    ),
    "image": fit("image", "--field", "siren", "--scale", "20", "--params", "2000", "--steps", "150"),
    "denoise": fit("denoise", "--simulate", "noise=0.1", "--seconds", "600"),
    "ct": fit("ct", "--simulate", "angles=20,noise=0.01", "--seconds", "600"),
    "mri": fit("mri", "--simulate", "acceleration=2,coils=1", "--seconds", "600", "--set", "baselines=false"),
    "register": fit("register", "--simulate", "warp=1", "--set", "baselines=false", "--set", "similarity=ssd"),
    "shape": fit(
        "shape", "--steps", "100", "--size", "32", "--params", "60000", "--set", "n_samples=2000",
        make=ring, source="ring.ply", out_name="a.ply",
    ),
    "many": fit(
        "many", "--method", "meta", "--set", "steps=20", make=small_pictures, source="pictures.npz", out_name="a.png"
    ),
    "render": Task(
        trained, lambda data, out: ["render", str(data / "run"), "--out", str(out / "film.mp4"), "--frames", "12"],
        None, ("film.mp4",), ("film.mp4",),
    ),
    "render-frames": Task(
        trained, lambda data, out: ["render", str(data / "run"), "--out", str(out / "film"), "--frames", "12"],
        None, ("film/*",), ("film/*",),
    ),
    "export": Task(
        trained, lambda data, out: ["export", str(data / "run"), "-o", str(out / "mesh.ply")],
        None, ("mesh.ply",), ("mesh.ply",),
    ),
    # given again it goes on with what is done
    "process": Task(
        photos, lambda data, out: ["process", str(data / "photos"), "-o", str(out / "posed"), "--max-side", "320",
            "--max-features", "1000",
        ],
        None, ("posed/transforms.json", "posed/images/*", "posed/sparse/0/*"),
        ("posed/transforms.json", "posed/sparse/0/*"),
    ),
}  # fmt: skip


def endure(name: str, kills: int, seed: int, work: Path) -> Outcome:
    """Kill a task so many times."""
    task, outcome, rng = TASKS[name], Outcome(), random.Random(f"{name} {seed}")
    data, whole = work / "data", work / "whole"
    data.mkdir(parents=True)
    task.make(data)
    took, unharmed = 0.0, []
    # twice: the first may compile, and the same command gives the same bits
    for _ in range(2):
        shutil.rmtree(whole, ignore_errors=True)
        whole.mkdir()
        began = time.monotonic()
        if said := _end(task.command(data, whole), whole):
            raise RuntimeError(said)
        took = time.monotonic() - began
        unharmed.append(_fingerprints(whole, task.results, task.weights))
    expected = unharmed[1]
    outcome.faults += [f"unharmed: {key} differs" for key in expected if unharmed[0].get(key) != expected[key]]
    while outcome.kills < kills:
        out = work / f"out_{outcome.ends:03d}"
        out.mkdir()
        _harm(task, data, out, took, min(MOST_IN_A_ROW, kills - outcome.kills), rng, outcome, expected)
        found = _fingerprints(out, task.results, task.weights)
        outcome.ends += 1
        outcome.faults += [f"{out.name}: {key} differs" for key in expected if found.get(key) != expected[key]]
        outcome.faults += [f"{out.name}: {path} is left" for path in _left_over(out)]
        print(
            f"{name}: {outcome.kills} kills, {outcome.on_write} on a write, {outcome.ends} ends, "
            f"{len(outcome.faults)} faults", file=sys.stderr, flush=True,
        )  # fmt: skip
        if not any(fault.startswith(out.name) for fault in outcome.faults):
            shutil.rmtree(out)
    return outcome


def _harm(
    task: Task, data: Path, out: Path, took: float, most: int, rng: random.Random, outcome: Outcome,
    expected: dict[str, str],
) -> None:  # fmt: skip
    """Kill a command some times in a row, unless it ends before, then let it go on to its end."""
    words = list(task.command(data, out))
    for _ in range(rng.randint(1, most)):
        moment, waits_for_write = rng.uniform(0, took), rng.random() < 0.5
        on_write = _kill(words, out, moment, waits_for_write=waits_for_write)
        if on_write is None:
            # it had ended by itself; what it left is looked at
            return
        outcome.kills, outcome.on_write = outcome.kills + 1, outcome.on_write + on_write
        found = _fingerprints(out, task.whole)
        outcome.faults += [f"{out.name}: {key} is half there" for key in found if found[key] != expected.get(key)]
        words = _next(task, data, out)
    if said := _end(words, out):
        outcome.faults.append(f"{out.name}: {said}")


def _next(task: Task, data: Path, out: Path) -> list[str]:
    """What a user would type: go on where there is a run, else begin anew."""
    if task.resume is not None and _can_resume(out):
        return list(task.resume(out))
    return [*task.command(data, out), *(["--overwrite"] if task.resume is not None else [])]


def _can_resume(out: Path) -> bool:
    """Whether there is a run to go on with: it was not killed before its settings, or its first state, were there."""
    runs = [path.parent for path in out.glob("*/config.yml")]
    return any(
        not (run / "scene.json").is_file() or any((run / "checkpoints").glob("step_*.json")) for run in runs
    )  # fmt: skip


def _kill(words: Sequence[str], out: Path, moment: float, *, waits_for_write: bool) -> bool | None:
    """SIGKILL after some seconds, or at the next write from then on; None where the command ended before."""
    # what kills before left is no write of this one's
    before = set(_unfinished(out))
    child = _begin(words, out)
    deadline = time.monotonic() + moment
    while time.monotonic() < deadline and child.is_alive():
        time.sleep(0.01)
    on_write = False
    if waits_for_write:
        until = time.monotonic() + PATIENCE_FOR_WRITE
        while child.is_alive() and time.monotonic() < until and not on_write:
            on_write = not before.issuperset(_unfinished(out))
    child.kill()
    child.join()
    return on_write if child.exitcode == -signal.SIGKILL else None


def _begin(words: Sequence[str], out: Path) -> BaseProcess:
    """The command in a process of its own, forked from one that has loaded the libraries and done nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nerfkit.cli", "nerfkit.training", "nerfkit.superresolution.running"])
    child = context.Process(target=_run, args=([*words, "--quiet"], str(out.with_name(f"{out.name}.log"))))
    child.start()
    return child


def _run(words: list[str], log: str) -> None:
    from nerfkit.cli import main as command

    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os._exit(command(words))


def _unfinished(out: Path) -> Iterator[Path]:
    """Files, and folders of files, that are being written, or were when a process was killed."""
    for folder, folders, files in os.walk(out):
        yield from (Path(folder, name) for name in (*folders, *files) if is_unfinished(name))
        folders[:] = [name for name in folders if not is_unfinished(name)]


def _left_over(out: Path) -> list[Path]:
    return [path.relative_to(out) for path in _unfinished(out)]


def _end(words: Sequence[str], out: Path) -> str:
    """Let a command come to its end; what it said where that was a failure."""
    child = _begin(words, out)
    child.join(PATIENCE)
    if child.exitcode == 0:
        return ""
    child.kill()
    said = out.with_name(f"{out.name}.log").read_text()
    return f"nerfkit {' '.join(words)} ended with {child.exitcode}: {said}"


def _fingerprints(out: Path, files: Sequence[str], weights: Sequence[str] = ()) -> dict[str, str]:
    """Of each of the files and the newest weights, by its name."""
    found = {}
    for pattern in files:
        for path in sorted(out.glob(pattern)):
            found[str(path.relative_to(out))] = hashlib.sha256(path.read_bytes()).hexdigest()
    for folder in weights:
        checkpoints = CheckpointFolder(out / folder)
        if not checkpoints.steps():
            continue
        state = checkpoints.load_newest()
        digest = hashlib.sha256()
        _update(digest, state)
        found[folder] = digest.hexdigest()
    return found


def _update(digest: Any, value: Any) -> None:
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            digest.update(str(key).encode())
            _update(digest, value[key])
    elif isinstance(value, list):
        for item in value:
            _update(digest, item)
    elif hasattr(value, "numpy"):
        digest.update(np.ascontiguousarray(value.numpy()).tobytes())
    else:
        digest.update(repr(value).encode())


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows, n_faults = [], 0
    for name in given.tasks:
        with tempfile.TemporaryDirectory() as folder:
            outcome = endure(name, given.kills, given.seed, Path(folder))
        n_faults += len(outcome.faults)
        for fault in outcome.faults:
            print(f"{name}: {fault}")
        command = f"python scripts/kill_test.py --kills {given.kills} --tasks {name} --seed {given.seed}"
        rows += [
            Row(f"{name}: kills", outcome.kills, f"({outcome.on_write} on a write)", str(given.kills), command),
            Row(f"{name}: ends that differ, of {outcome.ends}", len(outcome.faults), "", "0", command),
        ]
    publish(rows, given.json)
    return 1 if n_faults else 0


if __name__ == "__main__":
    sys.exit(main())
