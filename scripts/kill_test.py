"""Kill commands at random moments, let them go on, and compare, bit by bit, what they leave with what unharmed ones do.

    python scripts/kill_test.py [--kills 50] [--tasks train superres image ...] [--seed 0] [--json FILE]

Each command makes its own small data. It runs once unharmed. Then, until so many kills have hit it, it begins in a new
folder, is ended by SIGKILL at a random moment, half of them while a file is being written, goes on with --resume, is
killed again, and so on; a command that has no --resume is given again. Where it was let go on to its end, its files
are compared: every bit of weights, pictures, meshes and figures but those of time. One row a task: kills, how many fell
on a write, and how many ends differed from the unharmed one.
"""

from __future__ import annotations

import argparse
import hashlib
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
from pathlib import Path
from typing import Any

import numpy as np
from benchmarking import Row, publish

from nerfkit.checkpoints import CheckpointFolder

__all__ = ["TASKS", "Outcome", "endure"]

# kills in a row after which a command is let go on to its end
MOST_IN_A_ROW = 3
# seconds that no command takes here
PATIENCE = 900.0


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
    weights : tuple of str
        Folders of checkpoints, of which the newest must be the same.
    """

    make: Callable[[Path], None]
    command: Callable[[Path, Path], Sequence[str]]
    resume: Callable[[Path], Sequence[str]] | None
    results: tuple[str, ...]
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
    """Twelve shifted frames of 40 x 40 pixels."""
    from nerfkit.scenes.synthetic.page import write_lowres_sequence

    write_lowres_sequence(data, n_frames=12, side=40)


def picture(data: Path) -> None:
    """A picture of 64 x 64 pixels."""
    y, x = np.mgrid[:64, :64] / 64
    values = 0.5 + 0.3 * np.sin(20 * x * x + 9 * y) + 0.2 * (np.hypot(x - 0.5, y - 0.4) < 0.2)
    np.save(data / "picture.npy", values.astype(np.float32))


def fit(task: str, *words: str) -> Task:
    """A task of `nerfkit fit` on the picture."""
    return Task(
        picture,
        lambda data, out: ["fit", task, str(data / "picture.npy"), "-o", str(out / "a.npy"), *words],
        lambda out: ["fit", "--resume", str(out / "a")], ("a.npy", "a/checkpoints/**/*.safetensors"),
    )  # fmt: skip


TASKS: dict[str, Task] = {
    "train": Task(
        scene,
        lambda data, out: [
            "train", str(data / "scene"), "--out", str(out / "run"), "--steps", "300",
            "--set", "checkpoint_seconds=0.2",
        ],
        lambda out: ["train", "--resume", str(out / "run")], (), ("run/checkpoints",),
    ),
    "superres": Task(
        frames, lambda data, out: ["superres", str(data / "frames"), "-o", str(out / "a.png"), "--seconds", "600"],
        lambda out: ["superres", "--resume", str(out / "a")], ("a.png",), ("a/checkpoints",),
    ),
    "image": fit("image", "--field", "siren", "--scale", "20", "--params", "4000", "--steps", "400"),
    "denoise": fit("denoise", "--simulate", "noise=0.1", "--seconds", "600"),
    "ct": fit("ct", "--simulate", "angles=20,noise=0.01", "--seconds", "600"),
    "render": Task(
        trained, lambda data, out: ["render", str(data / "run"), "--out", str(out / "film.mp4"), "--frames", "12"],
        None, ("film.mp4",),
    ),
    "export": Task(
        trained, lambda data, out: ["export", str(data / "run"), "-o", str(out / "mesh.ply")], None, ("mesh.ply",),
    ),
}  # fmt: skip


def endure(name: str, kills: int, seed: int, work: Path) -> Outcome:
    """Kill a task so many times."""
    task, outcome, rng = TASKS[name], Outcome(), random.Random(f"{name} {seed}")
    data, whole = work / "data", work / "whole"
    data.mkdir(parents=True)
    task.make(data)
    whole.mkdir()
    _end(task.command(data, whole))
    began = time.monotonic()
    shutil.rmtree(whole)
    whole.mkdir()
    # a second time: the first may have compiled
    _end(task.command(data, whole))
    took, expected = time.monotonic() - began, _fingerprints(task, whole)
    while outcome.kills < kills:
        out = work / f"out_{outcome.ends:03d}"
        out.mkdir()
        _harm(task, data, out, took, min(MOST_IN_A_ROW, kills - outcome.kills), rng, outcome)
        found = _fingerprints(task, out)
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
    task: Task, data: Path, out: Path, took: float, most: int, rng: random.Random, outcome: Outcome
) -> None:  # fmt: skip
    """Kill a command some times in a row, then let it go on to its end."""
    words = list(task.command(data, out))
    for _ in range(rng.randint(1, most)):
        moment, waits_for_write = rng.uniform(0, took), rng.random() < 0.5
        on_write = _kill(words, out, moment, waits_for_write=waits_for_write)
        if on_write is None:
            # it had ended
            break
        outcome.kills, outcome.on_write = outcome.kills + 1, outcome.on_write + on_write
        words = _next(task, data, out)
    try:
        _end(words)
    except subprocess.CalledProcessError as error:
        outcome.faults.append(f"{out.name}: nerfkit {' '.join(words)} ended with {error.returncode}: {error.stderr}")


def _next(task: Task, data: Path, out: Path) -> list[str]:
    """What a user would type: go on where there is a run, else begin anew."""
    if task.resume is not None:
        words = list(task.resume(out))
        done = subprocess.run(
            [sys.executable, "-c", _CAN_RESUME, words[-1]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if done.returncode == 0:
            return words
    return [*task.command(data, out), *(["--overwrite"] if task.resume is not None else [])]


# a run that was killed before its config.yml was there, or before its first checkpoint, begins anew
_CAN_RESUME = """
import sys
from pathlib import Path
folder = Path(sys.argv[1])
is_begun = (folder / "config.yml").is_file()
is_trained = not (folder / "scene.json").is_file() or any((folder / "checkpoints").glob("step_*.json"))
sys.exit(0 if is_begun and is_trained else 1)
"""


def _kill(words: Sequence[str], out: Path, moment: float, *, waits_for_write: bool) -> bool | None:
    """SIGKILL after some seconds, or at the next write from then on; None where the command ended before."""
    child = subprocess.Popen(
        [sys.executable, "-m", "nerfkit", *words, "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + moment
    while time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.01)
    on_write = False
    if waits_for_write:
        until = time.monotonic() + 5.0
        while child.poll() is None and time.monotonic() < until and not (on_write := any(_unfinished(out))):
            pass
    if child.poll() is not None:
        return None
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    return on_write


def _unfinished(out: Path) -> Iterator[Path]:
    """Files that are being written: nerfkit writes under a name that begins with a dot."""
    for folder, folders, files in os.walk(out):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in files if name.startswith(".") and name != ".lock")


def _left_over(out: Path) -> list[Path]:
    return [path.relative_to(out) for path in _unfinished(out) if "checkpoints" in path.parts]


def _end(words: Sequence[str]) -> None:
    subprocess.run(
        [sys.executable, "-m", "nerfkit", *words, "--quiet"], check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, timeout=PATIENCE,
    )  # fmt: skip


def _fingerprints(task: Task, out: Path) -> dict[str, str]:
    """Of each result, by its name."""
    found = {}
    for pattern in task.results:
        for path in sorted(out.glob(pattern)):
            found[str(path.relative_to(out))] = hashlib.sha256(path.read_bytes()).hexdigest()
    for folder in task.weights:
        state = CheckpointFolder(out / folder).load_newest()
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
