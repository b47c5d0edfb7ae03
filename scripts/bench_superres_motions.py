"""Super-resolution where much moves: made sequences with a truth, and real ones by frames that nothing else touches.

    python scripts/bench_superres_motions.py [--motions zoom,turn] [--sequences text] [--seconds 60] [--data FOLDER]
        [--json FILE]

nerfkit runs as a user runs it, without --shifts, and once more with the true motions. PSNR is interior; the error of
the registration is that of where the pixels look that lie within the reference, rms over all of them. The square that
crosses the scene of `object` is left out of the truth. scripts/superres_motions.py makes the sequences,
scripts/superres_sequences.py judges the real ones.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarking import machine, nerfkit
from numpy.typing import NDArray
from superres_baselines import View, aligned_mean
from superres_motions import MOTIONS, SCALE, SIDE, MovingProblem, make_moving
from superres_sequences import SEQUENCES, Sequence

from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.motion import Motion
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.scenes.readers.frames import read_frames
from nerfkit.scenes.readers.shifts import read_shifts, write_shifts

# classics that real sequences are compared with
RIVALS = ("bicubic", "aligned mean", "drizzle", "BTV-L1")
BORDER = 2 * SCALE


def bench_motion(name: str, work: Path, seconds: float) -> dict[str, Any]:
    """A made sequence: PSNR by the motions that are found and by the true ones, and how far off those are."""
    problem = make_moving(name)
    np.savez(work / "frames.npz", frames=problem.frames)
    found = _superres(work, "found.png", seconds)
    reference = int(found["reference"])
    row = {
        "motion": name, "register": found["register"], "reference": reference, "seconds": found["seconds"],
        "cut": found["cut"], "unexplained": found["unexplained"],
        "psnr": _psnr(read_frames(work / "found.png").images[0], problem, reference),
    }  # fmt: skip
    if problem.matrices is None:
        return row
    true = problem.motion(reference)
    listed = read_shifts(work / "found" / "registered.csv", read_frames(work / "frames.npz"))
    write_shifts(work / "true.csv", [str(index) for index in range(len(true))], true, "homography")
    given = ["--shifts", str(work / "true.csv"), "--exact-shifts", "--reference", str(reference)]
    _superres(work, "true.png", seconds, *given)
    view = LowresView(Motion(torch.from_numpy(true), "homography"), (SIDE, SIDE))
    stack = FrameStack.of(torch.from_numpy(problem.frames))
    mean = View(stack, view, SCALE, reference=reference)
    return row | {
        "registration": _registration_error(listed.matrices(), true),
        "psnr_true_motion": _psnr(read_frames(work / "true.png").images[0], problem, reference),
        "psnr_aligned_mean": _psnr(mean.grid.crop(aligned_mean(mean)).numpy(), problem, reference),
    }


def _superres(work: Path, out: str, seconds: float, *options: str) -> dict[str, Any]:
    known = ["--scale", str(SCALE), "--seconds", str(seconds), "--overwrite"]
    return nerfkit("superres", str(work / "frames.npz"), "-o", str(work / out), *known, *options)


def _psnr(image: NDArray[np.float32], problem: MovingProblem, reference: int) -> float:
    truth, is_scene = problem.truth(reference)
    squares = np.square(image - truth)[BORDER:-BORDER, BORDER:-BORDER]
    return float(-10 * np.log10(squares[is_scene[BORDER:-BORDER, BORDER:-BORDER]].mean()))


def _registration_error(found: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    looks = [torch.stack(Motion(torch.from_numpy(m), "homography").looks_at((SIDE, SIDE))) for m in (found, true)]
    is_within = ((looks[1] > 0) & (looks[1] < SIDE)).all(0)
    return float((looks[0] - looks[1]).square().sum(0)[is_within].mean().sqrt())


def bench_sequence(name: str, data: Path, work: Path, seconds: float) -> dict[str, Any]:
    """A real sequence: PSNR of the held-out frames by nerfkit and by each rival at its best weight."""
    sequence = Sequence(name, data)
    image, took = sequence.with_nerfkit(work, seconds)
    row: dict[str, Any] = {"sequence": name, "seconds": took, "nerfkit": sequence.judge(image)}
    return row | {rival: max(map(sequence.judge, sequence.with_peer(rival))) for rival in RIVALS}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a table of their own columns."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        cells = [row.get(column, "") for column in columns]
        texts = [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells]
        lines.append("| " + " | ".join(texts) + " |")
    return "\n".join(lines)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def main() -> None:
    """Measure, print two tables, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--motions", default=",".join(MOTIONS), help="of " + ", ".join(MOTIONS))
    parser.add_argument("--sequences", default=",".join(SEQUENCES), help="of " + ", ".join(SEQUENCES))
    parser.add_argument("--seconds", type=float, default=60, help="budget of nerfkit (default: 60)")
    parser.add_argument("--data", type=Path, default=os.environ.get("NERFKIT_TEST_DATA") or None)
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args()
    motions, sequences = [], []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in _names(options.motions):
            motions.append(bench_motion(name, work, options.seconds))
            print(motions[-1], flush=True)
        data = None if options.data is None else Path(options.data)
        for name in _names(options.sequences) if data is not None else []:
            assert data is not None
            sequences.append(bench_sequence(name, data, work, options.seconds))
            print(sequences[-1], flush=True)
    for rows in (motions, sequences):
        if rows:
            print(table(rows))
    if options.json is not None:
        content = {"machine": machine(), "motions": motions, "sequences": sequences}
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
