"""Super-resolution beside the classics: sequences with a truth, and real ones judged by frames that were held out.

    python scripts/bench_superres.py [--columns 4x64,page] [--sequences text] [--methods nerfkit,BTV-L1] [--seeds 3]
        [--first-seed 0] [--seconds 60] [--data FOLDER] [--json FILE] [--plot FILE]

scripts/superres_problems.py makes the columns, scripts/superres_baselines.py holds the peers. nerfkit runs as a user
runs it; nothing of it is chosen on the truth, while the weights of Tikhonov and BTV-L1 are. Where shifts are not given,
the peers have those of phase correlation, or the true ones where a camera made files of the frames
(scripts/superres_cameras.py). Two columns are "no shifts" once more for nerfkit alone: beside a busy
process for each core, and in 20 seconds. Figures are interior PSNR (2 low-res pixels at each side left out), the
median of the seeds; scores that --json holds already are kept, so that columns can be measured one at a time.

Real sequences are the folders sr/* of --data, or of the folder named by NERFKIT_TEST_DATA: all frames are registered,
every eighth is held out of a second run, and predicted from its picture at the registered position; peers likewise, at
the same positions and with the same PSF, which the first run chooses. carta_with_gt has a truth instead.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfkit.cpu import wait_briefly

wait_briefly()

import numpy as np
import torch
from benchmarking import machine, nerfkit
from numpy.typing import NDArray
from superres_baselines import PEERS, View
from superres_cameras import why_not
from superres_problems import COLUMNS, Problem, make_problem

from nerfkit.scenes.fields.grid import Grid
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.motion import Motion
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.scenes.observations.psf import Psf
from nerfkit.scenes.readers.frames import read_frames
from nerfkit.scenes.readers.shifts import Shifts, read_shifts, write_shifts
from nerfkit.superresolution.registration import phase_correlation
from nerfkit.superresolution.scoring import score

OURS, BTV, OURS_CLEAN = "nerfkit", "BTV-L1", "nerfkit, outliers taken out by hand"


@dataclass(frozen=True)
class Capture:
    """A real sequence: its frames below sr/, and what is known of it."""

    frames: str
    scale: int
    # a file below sr/
    truth: str | None = None
    # side of the box that a pixel is the mean of, low-res pixels; None: as the frames tell
    psf_width: float | None = None
    # where the truth sees the centre of a pixel of the first frame, beside (j + 0.5, i + 0.5), low-res pixels
    displacement: float = 0.0


SEQUENCES = {
    "text": Capture("text/frames", 4),
    "eia": Capture("eia/frames", 3),
    "alpaca": Capture("alpaca/frames", 4),
    "bookcase_color": Capture("bookcase_color/frames", 4),
    # a linear fit of the first frame to the truth gives means of 3 x 3 pixels round every second one, 0.0094 of noise
    "carta": Capture("carta_with_gt/carta_*.png", 2, "carta_with_gt/cartaOriginal.png", 1.5, -0.25),
}
# every so many-th frame of a real sequence is held out
HELD_OUT_EVERY = 8
# cells along a pixel of a picture, a square of one value, that a PSF of any width is integrated over
FINER = 4
# what nerfkit must be better by than the best peer, dB, where the goal is relative
MARGINS = {"camera": 0.7, "astronaut": 0.7, "coffee": 0.7, "carta": 0.5}
# the most that frames of something else may cost against the same solution without them, dB
OUTLIERS_COST = 0.3


@dataclass(frozen=True)
class Score:
    """How near a method came to the truth, or to the frames that were held out."""

    column: str
    method: str
    seed: int
    psnr: float
    ssim: float | None
    seconds: float
    commit: str | None = None


def solve_with_nerfkit(problem: Problem, work: Path, seconds: float) -> tuple[NDArray[np.float32], float]:
    """The picture that `nerfkit superres` makes, and the seconds it took."""
    np.savez(work / "frames.npz", frames=problem.as_filed)
    options = ["--scale", str(problem.scale), "--seconds", str(seconds), "--overwrite"]
    if problem.shifts is not None:
        names = [str(index) for index in range(len(problem.frames))]
        write_shifts(work / "shifts.csv", names, problem.shifts)
        options += ["--shifts", str(work / "shifts.csv")]
    result = nerfkit("superres", str(work / "frames.npz"), "-o", str(work / "out.png"), *options)
    return read_frames(work / "out.png").images[0], result["seconds"]


@contextlib.contextmanager
def busy_processes() -> Iterator[None]:
    """As many processes that do nothing but spin as there are cores."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(machine()["cores"])]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def bench_column(name: str, seed: int, methods: list[str], work: Path, seconds: float) -> list[Score]:
    """All methods on one sequence."""
    column = COLUMNS[name]
    reason = why_not(column.camera)
    if reason:
        print(f"left out: {name} ({reason})", file=sys.stderr, flush=True)
        return []
    problem = make_problem(column, seed)
    if problem.outliers and OURS in methods and OURS_CLEAN not in methods:
        # what the goal of this column is relative to
        methods = [*methods, OURS_CLEAN]
    scores = []
    for method in methods:
        if method in PEERS:
            if column.is_hurried:
                # peers stop after some steps, whatever the clock says
                continue
            scores.append(_bench_peer(name, method, seed, problem))
        elif method == OURS or problem.outliers:
            seen = problem if method == OURS else problem.without_outliers()
            with busy_processes() if column.is_loaded else contextlib.nullcontext():
                image, took = solve_with_nerfkit(seen, work, column.seconds or seconds)
            found = score(image, problem.truth, problem.scale)
            scores.append(Score(name, method, seed, found["psnr_interior"] or 0.0, found["ssim"], took))
        else:
            continue
        print(scores[-1], file=sys.stderr, flush=True)
    return scores


def _bench_peer(name: str, method: str, seed: int, problem: Problem) -> Score:
    shifts = problem.true_shifts if COLUMNS[name].camera is not None else problem.shifts
    shifts = phase_correlation(problem.frames) if shifts is None else shifts
    stack = FrameStack.of(torch.from_numpy(problem.frames))
    lowres = LowresView(Motion.of_shifts(torch.from_numpy(shifts)), (problem.frames.shape[2], problem.frames.shape[1]))
    started = time.perf_counter()
    images = PEERS[method].images(View(stack, lowres, problem.scale, problem.noise))
    took = (time.perf_counter() - started) / len(images)
    found = max((score(image, problem.truth, problem.scale) for image in images), key=lambda s: s["psnr_interior"] or 0)
    return Score(name, method, seed, found["psnr_interior"] or 0.0, found["ssim"], took)


class Sequence:
    """A real sequence, registered by nerfkit, with the frames that are held out."""

    def __init__(self, name: str, data: Path, work: Path, seconds: float) -> None:
        capture = SEQUENCES[name]
        self.work, self.seconds = work, seconds
        self.truth = None if capture.truth is None else read_frames(data / "sr" / capture.truth).images[0]
        self.scale = capture.scale
        self.frames = read_frames(data / "sr" / capture.frames)
        options = [] if capture.psf_width is None else ["--psf-width", str(capture.psf_width)]
        options += [] if self.truth is None else ["--register", "affine"]
        result = self._superres(data / "sr" / capture.frames, work / f"{name}.png", *options)
        self.psf = Psf(width=result["psf"]["width"])
        self.positions = _moved(read_shifts(work / name / "registered.csv", self.frames), capture.displacement)
        is_used = np.array([row["used"] for row in result["registered"]])
        is_out = np.arange(len(is_used)) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        self.fitted = np.flatnonzero(is_used & ~is_out) if self.truth is None else np.flatnonzero(is_used)
        self.held_out = np.flatnonzero(is_used & is_out)

    def lowres(self, chosen: NDArray, channel: int | None = None) -> tuple[FrameStack, LowresView]:
        """Some of the frames as samples of the scene; of colour, a channel."""
        images = self.frames.images[chosen]
        values = torch.from_numpy(np.ascontiguousarray(images if channel is None else images[..., channel]))
        motion = Motion.of_matrices(torch.from_numpy(self.positions.matrices()[chosen]))
        return FrameStack.of(values), LowresView(motion, self.frames.size, self.psf)

    def _superres(self, frames: Path, out: Path, *options: str) -> dict[str, Any]:
        # peers average values as files have them
        known = ["--scale", str(self.scale), "--seconds", str(self.seconds), "--transfer", "linear"]
        return nerfkit("superres", str(frames), "-o", str(out), *known, *options, "--overwrite")

    def with_nerfkit(self) -> tuple[NDArray[np.float32], float]:
        """The picture of the fitted frames [H, W] or [H, W, 3]."""
        names = [str(index) for index in range(len(self.fitted))]
        # as files have them: what is at the ends of their range may lie beyond it
        depth = self.frames.bit_depth
        values = np.rint(self.frames.images[self.fitted] * (2**depth - 1)).astype(f"uint{depth}")
        np.savez(self.work / "fitted.npz", frames=values)
        write_shifts(self.work / "fitted.csv", names, self.positions.values[self.fitted], self.positions.kind)
        given = ["--shifts", str(self.work / "fitted.csv"), "--exact-shifts", "--psf-width", str(self.psf.width)]
        result = self._superres(self.work / "fitted.npz", self.work / "fitted.png", *given)
        return read_frames(self.work / "fitted.png").images[0], result["seconds"]

    def with_peer(self, method: str) -> list[NDArray[np.float32]]:
        """Pictures of the fitted frames, one for each weight."""
        n_channels = 1 if self.frames.images.ndim == 3 else 3
        channels = [None] if n_channels == 1 else list(range(3))
        found = [PEERS[method].images(View(*self.lowres(self.fitted, channel), self.scale)) for channel in channels]
        return [images[0] if n_channels == 1 else np.stack(images, axis=-1) for images in zip(*found, strict=True)]

    def judge(self, image: NDArray[np.float32]) -> tuple[float, float | None]:
        """PSNR and SSIM against the truth, or the PSNR of the frames that were held out."""
        if self.truth is not None:
            found = score(image, self.truth, self.scale)
            return found["psnr_interior"] or 0.0, found["ssim"]
        squares = []
        for channel in [None] if image.ndim == 2 else range(3):
            stack, lowres = self.lowres(self.held_out, channel)
            width, height = lowres.size
            grid = Grid(height, width, self.scale * FINER)
            plane = torch.from_numpy(np.ascontiguousarray(image if channel is None else image[..., channel]))
            squares_of_pixels = plane.repeat_interleave(FINER, 0).repeat_interleave(FINER, 1)
            samples, is_known = lowres.sample(grid, squares_of_pixels)
            squares.append((samples.values - stack.values)[is_known].square())
        return float(-10 * torch.cat(squares).mean().log10()), None


def _moved(positions: Shifts, displacement: float) -> Shifts:
    """The positions on the axes of a truth that lies ``displacement`` low-res pixels off, in x and in y."""
    values = positions.values.copy()
    if positions.kind == "homography":
        values[:, :2] += displacement * values[:, 2:]
    else:
        values[..., slice(None) if positions.kind == "shift" else 2] += displacement
    return dataclasses.replace(positions, values=values)


def bench_sequence(name: str, data: Path, methods: list[str], work: Path, seconds: float) -> list[Score]:
    """All methods on a real sequence."""
    sequence = Sequence(name, data, work, seconds)
    scores = []
    for method in methods:
        if method not in PEERS and method != OURS:
            continue
        started = time.perf_counter()
        images, took = sequence.with_nerfkit() if method == OURS else (sequence.with_peer(method), 0.0)
        images = images if isinstance(images, list) else [images]
        took = took or (time.perf_counter() - started) / len(images)
        psnr, ssim = max((sequence.judge(image) for image in images), key=lambda found: found[0])
        scores.append(Score(name, method, 0, psnr, ssim, took))
        print(scores[-1], file=sys.stderr, flush=True)
    return scores


def median(scores: list[Score], column: str, method: str) -> float | None:
    """Median PSNR of the seeds; None where nothing was measured."""
    found = [score.psnr for score in scores if score.column == column and score.method == method]
    return float(np.median(found)) if found else None


def goal(scores: list[Score], column: str) -> float | None:
    """The PSNR that is wanted of nerfkit."""
    if column in COLUMNS and COLUMNS[column].goal is not None:
        return COLUMNS[column].goal
    if column in COLUMNS and COLUMNS[column].has_outliers:
        clean = median(scores, column, OURS_CLEAN)
        return None if clean is None else clean - OUTLIERS_COST
    # on frames that are held out as well as BTV-L1 is what is asked, the classic of the made columns as well
    rivals = [BTV] if column in SEQUENCES and SEQUENCES[column].truth is None else list(PEERS)
    peers = [value for peer in rivals if (value := median(scores, column, peer)) is not None]
    return max(peers) + MARGINS.get(column, 0.0) if peers else None


def table(scores: list[Score]) -> str:
    """A line for each column: nerfkit, what is wanted, the peers."""
    methods = [OURS, *PEERS]
    lines = ["| column | " + " | ".join([OURS, "wanted", *PEERS]) + " |", "|---" * (len(methods) + 2) + "|"]
    for column in [*COLUMNS, *SEQUENCES]:
        values = [median(scores, column, method) for method in methods]
        if any(value is not None for value in values):
            cells = [values[0], goal(scores, column), *values[1:]]
            lines.append(f"| {column} | " + " | ".join("" if v is None else f"{v:.2f}" for v in cells) + " |")
    return "\n".join(lines)


def plot(scores: list[Score], path: Path) -> None:
    """The medians, a group of points for each column; the range of the seeds as a line."""
    from matplotlib.figure import Figure

    columns = [column for column in [*COLUMNS, *SEQUENCES] if any(score.column == column for score in scores)]
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    for index, method in enumerate([*PEERS, OURS]):
        for at, column in enumerate(columns):
            found = [score.psnr for score in scores if score.column == column and score.method == method]
            if found:
                x, label = at + (index - 2.5) * 0.11, method if at == 0 else None
                axes.plot([x, x], [min(found), max(found)], color=f"C{index}", linewidth=1.5)
                axes.plot([x], [np.median(found)], "o" if method == OURS else ".", color=f"C{index}", label=label)
    for at, column in enumerate(columns):
        wanted = goal(scores, column)
        if wanted is not None:
            axes.plot([at - 0.4, at + 0.4], [wanted, wanted], color="0.6", linewidth=1, zorder=0)
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axes.set_ylabel("PSNR [dB]: interior; real sequences: frames held out", fontsize=8)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8)
    axes.set_title("Super-resolution: medians of the seeds; grey: what is wanted of nerfkit", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def merged(path: Path | None, new: list[Score]) -> list[Score]:
    """The scores that a file holds already, those of the same column, method and seed replaced."""
    before = json.loads(path.read_text())["scores"] if path is not None and path.is_file() else []
    old = [Score(**entry) for entry in before]
    known = {(score.column, score.method, score.seed) for score in new}
    return [score for score in old if (score.column, score.method, score.seed) not in known] + new


def write_json(scores: list[Score], path: Path) -> None:
    """Machine, scores and the table's figures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"machine": machine(), "scores": [vars(score) for score in scores]}
    path.write_text(json.dumps(content, indent=1) + "\n")


def _names(text: str, known: list[str], what: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"{what}: {', '.join(unknown)} is unknown; of {', '.join(known)}")
    return names


def main() -> None:
    """Measure, print the table, write JSON and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--columns", default=",".join(COLUMNS), help="of " + ", ".join(COLUMNS))
    parser.add_argument("--sequences", default=",".join(SEQUENCES), help="of " + ", ".join(SEQUENCES))
    methods = [OURS, OURS_CLEAN, *PEERS]
    parser.add_argument("--methods", default=None, help="of " + "; ".join(methods) + " (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds of each column (default: 3)")
    parser.add_argument("--first-seed", type=int, default=0, help="others than 0, 1, 2 to try settings on (default: 0)")
    parser.add_argument("--seconds", type=float, default=60, help="budget of nerfkit (default: 60)")
    parser.add_argument("--data", type=Path, default=os.environ.get("NERFKIT_TEST_DATA") or None)
    parser.add_argument("--json", type=Path, help="add the scores to this file")
    parser.add_argument("--plot", type=Path, help="draw all scores here")
    options = parser.parse_args()
    chosen = methods if options.methods is None else [name.strip() for name in options.methods.split(";")]
    commit = machine()["commit"]
    scores: list[Score] = []
    with tempfile.TemporaryDirectory() as name:
        for column in _names(options.columns, list(COLUMNS), "--columns"):
            for seed in range(options.first_seed, options.first_seed + options.seeds):
                scores += bench_column(column, seed, chosen, Path(name), options.seconds)
        sequences = _names(options.sequences, list(SEQUENCES), "--sequences")
        if options.data is None:
            print("left out: real sequences (need --data or NERFKIT_TEST_DATA)", file=sys.stderr)
        else:
            for sequence in sequences:
                scores += bench_sequence(sequence, Path(options.data), chosen, Path(name), options.seconds)
    scores = merged(options.json, [Score(**{**vars(score), "commit": commit}) for score in scores])
    print(table(scores))
    if options.json is not None:
        write_json(scores, options.json)
    if options.plot is not None:
        plot(scores, options.plot)


if __name__ == "__main__":
    main()
