"""Sequences with a known truth for the benchmark of super-resolution: text, a scanned page, photographs.

A scene is drawn on fine pixels, ``FINE`` along a pixel of the truth. The truth is their means, and a low-resolution
pixel is the mean over its square at a whole number of fine pixels' shift: nothing is interpolated.
Text is set in DejaVu Sans Mono, which matplotlib carries; page and photographs are those that scikit-image carries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from superres_cameras import CAMERAS, N_TIMES

__all__ = ["COLUMNS", "Column", "Problem", "draw_text", "make_problem", "means"]

# fine pixels along a pixel of the truth
FINE = 4
# sides of a frame of text, of a photograph, and height of a frame of the page, low-res pixels
SIDE, PAGE_HEIGHT = 84, 44
PAPER, INK = 0.95, 0.85
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# heights of the three sizes of text by scale, pixels of the truth; the border that stays empty
TEXT_SIZES, TEXT_BORDER = {4: (11, 15, 21), 8: (16, 22, 30)}, 10
# frames that shifts and noise are drawn for, whatever number is used: 8 of them are the first of 64
N_DRAWN = 64
# every so many-th frame is of something else where a column has outliers
OUTLIER_EVERY = 5
# a hand that drifts: low-res pixels that it moves at most, and swings over the sequence
DRIFT, SWINGS = 1.75, (1.7, 4.3)


@dataclass(frozen=True)
class Column:
    """A column of the table: what is seen, how, and what is known of it."""

    scene: str = "text"
    scale: int = 4
    n_frames: int = 64
    noise: float = 0.01
    # standard deviation of the error of the shifts that are given, low-res pixels; None: none are given
    shift_error: float | None = 0.0
    has_outliers: bool = False
    # what made files of 8 bits of the frames, of superres_cameras.CAMERAS; None: floats that nothing was done to
    camera: str | None = None
    # budget of nerfkit; None: the benchmark's
    seconds: float | None = None
    # whether a busy process for each core runs beside it
    is_loaded: bool = False
    # interior PSNR that is wanted, dB; None where the goal is relative to another method
    goal: float | None = None

    @property
    def is_hurried(self) -> bool:
        """Whether it is another column in less time."""
        return self.is_loaded or self.seconds is not None


COLUMNS = {
    "4x64": Column(goal=31.0),
    "4x8": Column(n_frames=8, goal=22.5),
    "4x64 noisy": Column(noise=0.05, goal=22.7),
    "8x64": Column(scale=8, goal=22.8),
    "page": Column(scene="page", goal=26.8),
    "camera": Column(scene="camera"),
    "astronaut": Column(scene="astronaut"),
    "coffee": Column(scene="coffee"),
    "shifts off": Column(shift_error=0.1, goal=29.0),
    "no shifts": Column(shift_error=None, goal=29.0),
    "no shifts (loaded)": Column(shift_error=None, is_loaded=True, goal=29.0),
    "no shifts (20 s)": Column(shift_error=None, seconds=20, goal=29.0),
    "outliers": Column(has_outliers=True),
    "plain": Column(n_frames=32, shift_error=None, camera="plain"),
    "sharpened": Column(n_frames=32, shift_error=None, camera="sharpened"),
    "jpeg": Column(n_frames=32, shift_error=None, camera="jpeg"),
    "h264": Column(n_frames=32, shift_error=None, camera="h264"),
    "interlaced": Column(n_frames=32, shift_error=None, camera="interlaced"),
    # photographs that nothing is tuned on
    "brick": Column(scene="brick"),
    "moon": Column(scene="moon"),
    "rocket": Column(scene="rocket"),
}


@dataclass(frozen=True)
class Problem:
    """Frames [n, h, w], where they look [n, 2] (dx, dy) in low-res pixels, what is said of it, and the truth."""

    frames: NDArray[np.float32]
    true_shifts: NDArray[np.float64]
    # None: not told
    shifts: NDArray[np.float64] | None
    truth: NDArray[np.float32]
    scale: int
    noise: float
    # frames that show something else
    outliers: tuple[int, ...] = ()
    # of a value of the frames; 32 is float
    bit_depth: int = 32

    @property
    def as_filed(self) -> NDArray:
        """The frames as a file holds them."""
        if self.bit_depth == 32:
            return self.frames
        return np.rint(self.frames * (2**self.bit_depth - 1)).astype(f"uint{self.bit_depth}")

    def without_outliers(self) -> Problem:
        """The same without the frames that show something else."""
        kept = np.setdiff1d(np.arange(len(self.frames)), self.outliers)
        shifts = None if self.shifts is None else self.shifts[kept]
        return replace(
            self, frames=self.frames[kept], true_shifts=self.true_shifts[kept], shifts=shifts, outliers=()
        )  # fmt: skip


def make_problem(column: Column, seed: int = 0) -> Problem:
    """The sequence of a column; the seed changes the letters, the shifts and the noise."""
    fine, margin, (height, width) = _scene(column, seed)
    n_times = N_TIMES.get(column.camera or "", 1)
    scale, n = column.scale, column.n_frames * n_times
    rng = np.random.default_rng(seed)
    reach = min(scale, margin - 1)
    moves = np.round(rng.uniform(-reach, reach, (N_DRAWN, 2)) * FINE).astype(int)  # (dy, dx), fine pixels
    if n_times > 1:
        # fields follow one another as a hand moves
        moves = _drift(n, min(DRIFT * scale, margin - 1) * FINE, rng)
    moves[0] = 0
    noise = column.noise * rng.normal(0, 1, (N_DRAWN, height, width))
    step = scale * FINE
    moves = moves[:n]
    seen = [means(fine, margin * FINE + move, (height, width), step) for move in moves]
    outliers = tuple(range(OUTLIER_EVERY - 1, n, OUTLIER_EVERY)) if column.has_outliers else ()
    for index in outliers:
        seen[index] = _something_else(seen[index], index)
    frames = (np.stack(seen) + noise[:n]).astype(np.float32)
    if column.camera is not None:
        frames = CAMERAS[column.camera](frames)
    moves, n = moves[::n_times], column.n_frames
    true_shifts = moves[:, ::-1] / step
    shifts = None
    if column.shift_error is not None:
        errors = rng.normal(0, column.shift_error, (N_DRAWN, 2))[:n] if column.shift_error else np.zeros((n, 2))
        errors[0] = 0
        shifts = true_shifts + errors
    truth = means(fine, np.full(2, margin * FINE), (height * scale, width * scale), FINE)
    return Problem(
        frames, true_shifts, shifts, truth.astype(np.float32), scale, column.noise, outliers,
        bit_depth=32 if column.camera is None else 8,
    )  # fmt: skip


def _drift(n: int, most: float, rng: np.random.Generator) -> NDArray[np.int_]:
    """(dy, dx) [n, 2] of a hand in fine pixels, at most ``most`` from the first: slow swings of two frequencies."""
    phases = rng.uniform(0, 2 * np.pi, (len(SWINGS), 2))
    times = np.linspace(0, 2 * np.pi, n)[:, None]
    path = sum(np.sin(swings * times + phase) / swings**0.5 for swings, phase in zip(SWINGS, phases, strict=True))
    path = np.asarray(path) - np.asarray(path)[0]
    return np.round(path * most / np.abs(path).max()).astype(int)


def _scene(column: Column, seed: int) -> tuple[NDArray[np.float32], int, tuple[int, int]]:
    """Fine pixels, the truth's pixels beyond each side of the frame, and the frame's size in low-res pixels."""
    if column.scene == "text":
        margin = 2 * column.scale
        return draw_text(SIDE * column.scale, margin, TEXT_SIZES[column.scale], seed + 1), margin, (SIDE, SIDE)
    from skimage import color, data

    picture = np.asarray(getattr(data, column.scene)(), np.float64)
    picture = color.rgb2gray(picture / 255) if picture.ndim == 3 else picture / 255
    # the page is 191 pixels high, which leaves 7 at each side of 44 low-res ones
    margin, height = (7, PAGE_HEIGHT) if column.scene == "page" else (2 * column.scale, SIDE)
    rows, cols = (n * column.scale + 2 * margin for n in (height, SIDE))
    top, left = (0, 0) if column.scene == "page" else ((picture.shape[0] - rows) // 2, (picture.shape[1] - cols) // 2)
    part = picture[top : top + rows, left : left + cols].astype(np.float32)
    return np.kron(part, np.ones((FINE, FINE), np.float32)), margin, (height, SIDE)


def draw_text(
    side: int, margin: int, sizes: tuple[int, ...], seed: int, fine: int = FINE
) -> NDArray[np.float32]:  # fmt: skip
    """Lines of random letters in turns of size, dark on paper."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    font_file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf"
    rng = np.random.default_rng(seed)
    n = (side + 2 * margin) * fine
    ink = Image.new("L", (n, n), 0)
    y, line = margin + TEXT_BORDER, 0
    while True:
        size = sizes[line % len(sizes)]
        font = ImageFont.truetype(str(font_file), size * fine)
        cell = math.ceil(font.getlength("M") / fine), math.ceil(size * 1.25)
        if y + cell[1] > margin + side - TEXT_BORDER:
            return np.float32(PAPER) - np.float32(INK / 255) * np.asarray(ink, np.float32)
        for x in range(margin + TEXT_BORDER, margin + side - TEXT_BORDER - cell[0] + 1, cell[0]):
            if rng.random() > 0.1:
                letter = Image.new("L", (cell[0] * fine, cell[1] * fine), 0)
                ImageDraw.Draw(letter).text((0, 0), LETTERS[rng.integers(len(LETTERS))], fill=255, font=font)
                ink.paste(letter, (x * fine, y * fine))
        y, line = y + cell[1], line + 1


def means(fine: NDArray[np.float32], corner: NDArray, size: tuple[int, int], step: int) -> NDArray[np.float32]:
    """Means over squares of ``step`` fine pixels from a corner (row, column) on."""
    rows, cols = size
    part = fine[corner[0] : corner[0] + rows * step, corner[1] : corner[1] + cols * step]
    return part.reshape(rows, step, cols, step).mean((1, 3))


def _something_else(frame: NDArray[np.float32], index: int) -> NDArray[np.float32]:
    """In turn: the frame's negative, and the frame of a camera that was turned by a quarter."""
    return 1 - frame if index % 2 else np.ascontiguousarray(np.resize(np.rot90(frame), frame.shape))
