"""Whether shifts or matrices that a user gives are what the frames show, and by which reading they would be.

Everybody has a convention of his own: signs, axes, rows or columns first, forth or back, the unit, the first pixel's
centre. A file in another than ours is told from its right reading by the frames themselves.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample, pad

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.shifts import Shifts

from .registration import phase_correlation

__all__ = ["check_given_matrices", "check_given_motion", "check_given_shifts"]

Reading = Callable[[NDArray[np.floating]], NDArray[np.floating]]
logger = logging.getLogger(__name__)

# shifts that are this far off, rms in low-res pixels, are not what the frames show
WRONG_RMS = 0.35
# another reading of matrices must leave this share of the frames' differences, or less, to be the right one
MUCH_BETTER = 0.75
# frames that matrices are judged by, and pixels along a side that are compared
N_JUDGED, N_COMPARED = 12, 128
# standard deviation in low-res pixels by which frames are blurred first, so that they differ in little but their motion
BLUR = 1.0
# share of a frame that must lie within the reference
MIN_OVERLAP = 0.3
# median shift left over, in low-res pixels, from which on half a pixel's difference in the centres is looked for
MIN_LEFT_OVER = 0.03
_SHIFTS = "pixel (i, j) of a frame looks at (j + 0.5 + dx, i + 0.5 + dy) of the reference"
_MATRICES = "row-major, from frame pixel to reference pixel, x before y, low-res pixels with centres at +0.5"


def check_given_motion(
    given: Shifts, frames: NDArray[np.floating], scale: float, where: str, *, reference: int = 0,
    is_exact: bool = False,
) -> None:  # fmt: skip
    """Check what a file says, of whichever kind, against grey frames; a single one has nothing to compare with."""
    if len(frames) < 2:
        return
    if given.kind == "shift":
        check_given_shifts(given.values, frames, scale, where, is_exact=is_exact)
    else:
        check_given_matrices(given.matrices(), frames, scale, where, reference=reference, is_exact=is_exact)


def check_given_shifts(
    given: NDArray[np.floating], frames: NDArray[np.floating], scale: float, where: str, *, is_exact: bool = False
) -> None:
    """Compare shifts with what the frames show, and name the mistake if another sign, order or unit fits far better.

    Parameters
    ----------
    given : ndarray, shape (n_frames, 2)
        (dx, dy) as they were read.
    frames : ndarray, shape (n_frames, h, w)
        Grey frames.
    scale : float
        Output pixels along a low-res pixel, the unit that is most often mistaken.
    where : str
        The file, for messages.
    is_exact : bool
        Whether the user insists: a mistake is then a warning.

    Raises
    ------
    NerfkitError
        The shifts contradict the frames in one of the usual ways.
    """
    seen = phase_correlation(frames)
    seen = seen - np.median(seen, axis=0)

    def distance(shifts: NDArray[np.floating]) -> float:
        # the median withstands frames of something else
        shifts = shifts - np.median(shifts, axis=0)
        return float(np.sqrt(np.median(np.square(shifts - seen).sum(axis=1))))

    as_given = distance(given)
    if as_given < WRONG_RMS:
        return
    found = {name: distance(read(given)) for name, read in _shift_readings(scale).items()}
    best = min(found, key=lambda name: found[name])
    if found[best] < min(WRONG_RMS, as_given / 3):
        what = (
            f"the shifts are {as_given:.2f} low-res pixels away from what the frames show; "
            f"with {best} it is {found[best]:.2f}"
        )
        _object(what, where, f"correct the file ({_SHIFTS}), or leave --shifts out", is_exact)
        return
    logger.warning(
        "%s: the shifts are %.2f low-res pixels away from what the frames seem to show; if the result has ghosts, "
        "leave --shifts out", where, as_given,
    )  # fmt: skip


def check_given_matrices(
    given: NDArray[np.floating], frames: NDArray[np.floating], scale: float, where: str, *, reference: int = 0,
    is_exact: bool = False,
) -> None:  # fmt: skip
    """The same for affine maps and homographies [n_frames, 3, 3]: inverse, transposed, exchanged, another unit.

    The reference, blurred, is laid under the blurred frames by each reading; the right one leaves far less difference.
    Centres at whole numbers instead of at +0.5 move a frame by (A - 1) (0.5, 0.5): seen in what Gauss-Newton finds left
    over, if that is much.
    """
    judged = [index for index in _evenly(len(frames), N_JUDGED + 1) if index != reference][:N_JUDGED]
    chosen = [reference, *judged]
    compared = _Comparison(frames[chosen])
    matrices = given[chosen]
    as_given = compared.difference(matrices)
    readings = _matrix_readings(scale)
    found = {name: compared.difference_by(read, matrices) for name, read in readings.items()}
    best = min(found, key=lambda name: found[name])
    if found[best] < MUCH_BETTER * as_given:
        what = (
            "read as they are, the matrices leave frames and reference different by "
            f"{as_given:.2f} of their contrast; with {best} by {found[best]:.2f}"
        )
        _object(what, where, f"correct the file ({_MATRICES}), or leave --shifts out", is_exact)
    elif compared.is_of_other_centres(matrices):
        moved = matrices[1:, :2, :2].sum(2) / 2 - 0.5
        what = (
            f"the matrices are off by up to {float(np.abs(moved).max()):.2f} low-res pixels, as those are whose pixel "
            "centres lie at whole numbers; ours lie at +0.5"
        )
        fix = f"write T M inverse(T) for each matrix M, with T = 1,0,0.5, 0,1,0.5, 0,0,1 ({_MATRICES})"
        _object(what, where, fix, is_exact)


def _object(what: str, where: str, fix: str, is_exact: bool) -> None:
    """Refuse, or warn a user who asked for the motion to be taken as it is."""
    if not is_exact:
        raise NerfkitError(what, where=where, fix=fix)
    logger.warning("%s: %s; %s", where, what, fix)


def _evenly(n: int, n_wanted: int) -> list[int]:
    return sorted({round(at) for at in np.linspace(0, n - 1, min(n, n_wanted))})


def _shift_readings(scale: float) -> dict[str, Reading]:
    """Other readings of shifts by name, each alone and together."""
    orders = {"dx and dy as they are": slice(None), "dx and dy exchanged": slice(None, None, -1)}
    signs = {
        "": (1, 1),
        "both signs changed": (-1, -1),
        "the sign of dx changed": (-1, 1),
        "the sign of dy changed": (1, -1),
    }
    units = {"": 1.0, f"divided by {scale:g} (they seem to be in pixels of the output)": 1 / scale}
    found = {}
    for (order, turn), (sign, directions), (unit, factor) in itertools.product(
        orders.items(), signs.items(), units.items()
    ):
        name = ", ".join(part for part in (order, sign, unit) if part)
        by = np.array(directions) * factor
        found[name] = lambda shifts, turn=turn, by=by: shifts[:, turn] * by
    return found


def _matrix_readings(scale: float) -> dict[str, Reading]:
    """Other readings of matrices [n, 3, 3] by name, each alone and in the unit of the output."""
    exchange = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
    to_output = np.diag([scale, scale, 1.0])
    ways: dict[str, Reading] = {
        "the matrices as they are": lambda m: m,
        "their inverse": np.linalg.inv,
        "their numbers read column by column": _by_column,
        "the 2 x 2 part transposed": _turned_back,
        "x and y exchanged": lambda m: exchange @ m @ exchange,
        "x and y exchanged and inverted": lambda m: exchange @ np.linalg.inv(m) @ exchange,
    }
    unit = f"divided by {scale:g} (they seem to be in pixels of the output)"
    found = {name: way for name, way in ways.items() if name != "the matrices as they are"}
    for name, way in ways.items():
        found[f"{name}, lengths {unit}"] = lambda m, way=way: np.linalg.inv(to_output) @ way(m) @ to_output
    return found


def _by_column(matrices: NDArray[np.floating]) -> NDArray[np.floating]:
    if (matrices[:, 2] != (0, 0, 1)).any():
        return matrices.transpose(0, 2, 1)
    found = matrices.copy()
    found[:, :2] = matrices[:, :2].reshape(-1, 3, 2).transpose(0, 2, 1)
    return found


def _turned_back(matrices: NDArray[np.floating]) -> NDArray[np.floating]:
    found = matrices.copy()
    found[:, :2, :2] = matrices[:, :2, :2].transpose(0, 2, 1)
    return found


class _Comparison:
    """The reference, which is the first frame, laid under the others."""

    def __init__(self, frames: NDArray[np.floating]) -> None:
        values = _blur(torch.from_numpy(np.ascontiguousarray(frames)).double())
        # brightness and contrast may differ from frame to frame
        values = values - values.mean((1, 2), keepdim=True)
        self.values = values / values.std((1, 2), keepdim=True).clamp(min=1e-9)
        height, width = frames.shape[1:]
        self.size = torch.tensor([width, height], dtype=torch.float64)
        step = max(1, -(-max(height, width) // N_COMPARED))
        rows, cols = torch.arange(0, height, step), torch.arange(0, width, step)
        y, x = torch.meshgrid(rows + 0.5, cols + 0.5, indexing="ij")
        self.points = torch.stack([x, y, torch.ones_like(x)]).double().view(3, -1)
        self.seen = self.values[1:, rows][:, :, cols].reshape(len(frames) - 1, -1)
        slopes = torch.stack(torch.gradient(self.values[0], dim=(1, 0)))
        self.layers = torch.stack([self.values[0], *slopes])[None]

    def _under(self, matrices: NDArray[np.floating]) -> tuple[Tensor, Tensor]:
        """Reference and its slopes [n_frames, 3, n_points] where the frames look, and where that is within it."""
        if not np.isfinite(matrices).all() or abs(np.linalg.det(matrices[0])) < 1e-9:
            return torch.zeros(len(self.seen), 3, self.seen.shape[1]), torch.zeros_like(self.seen, dtype=torch.bool)
        relative = torch.from_numpy(np.linalg.inv(matrices[0]) @ matrices[1:])
        seen = relative @ self.points
        at = seen[:, :2] / torch.where(seen[:, 2:].abs() < 1e-9, 1e-9, seen[:, 2:])
        is_in = ((at > 0.5) & (at < self.size[:, None] - 0.5)).all(1) & (seen[:, 2] > 0)
        where = (2 * at / self.size[:, None] - 1).transpose(1, 2)[None]
        return grid_sample(self.layers, where, align_corners=False)[0].transpose(0, 1), is_in

    def difference(self, matrices: NDArray[np.floating]) -> float:
        """Median over the frames of the rms difference, in units of their contrast; infinite where they part."""
        under, is_in = self._under(matrices)
        counts = is_in.sum(1)
        squares = ((self.seen - under[:, 0]).square() * is_in).sum(1) / counts.clamp(min=1)
        squares[counts < MIN_OVERLAP * is_in.shape[1]] = torch.inf
        return float(squares.sqrt().median())

    def difference_by(self, read: Reading, matrices: NDArray[np.floating]) -> float:
        """The same by another reading; infinite where there is none."""
        try:
            return self.difference(read(matrices))
        except np.linalg.LinAlgError:
            return math.inf

    def left_over(self, matrices: NDArray[np.floating]) -> NDArray[np.floating]:
        """Shift [n_frames, 2] of each frame that a Gauss-Newton step finds beyond the matrices, low-res pixels."""
        under, is_in = self._under(matrices)
        slopes = under[:, 1:] * is_in[:, None]
        normal = slopes @ slopes.transpose(1, 2) + 1e-9 * torch.eye(2, dtype=torch.float64)
        errors = (self.seen - under[:, 0])[..., None]
        return torch.linalg.solve(normal, slopes @ errors)[..., 0].numpy()

    def is_of_other_centres(self, matrices: NDArray[np.floating]) -> bool:
        """Whether what is left over is what centres at whole numbers would leave."""
        half = np.eye(3)
        half[:2, 2] = 0.5
        read = half @ matrices @ np.linalg.inv(half)
        middle = np.append(self.size.numpy() / 2, 1.0)
        would = _seen(np.linalg.inv(read[0]) @ read[1:], middle) - _seen(
            np.linalg.inv(matrices[0]) @ matrices[1:], middle
        )
        left = self.left_over(matrices)
        before, after = (float(np.median(np.linalg.norm(part, axis=1))) for part in (left, left - would))
        return before > MIN_LEFT_OVER and after < before / 2


def _seen(matrices: NDArray[np.floating], point: NDArray[np.floating]) -> NDArray[np.floating]:
    """Where each matrix sends a point (x, y, 1)."""
    seen = matrices @ point
    return seen[:, :2] / seen[:, 2:]


def _blur(frames: Tensor) -> Tensor:
    """Frames [n, h, w] under a Gaussian."""
    taps = torch.exp(-0.5 * (torch.arange(-3, 4, dtype=frames.dtype) / BLUR).square())
    taps = taps / taps.sum()
    padded = pad(frames[:, None], (3, 3, 3, 3), mode="replicate")
    return conv2d(conv2d(padded, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))[:, 0]
