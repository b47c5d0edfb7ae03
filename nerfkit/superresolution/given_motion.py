"""Whether shifts or matrices that a user gives are what the frames show, and by which reading they would be.

Everybody has a convention of his own: signs, axes, rows or columns first, forth or back, the unit, the first pixel's
centre. A file in another than ours is told from its right reading by the frames themselves: the reference, blurred, is
laid under the blurred frames by each reading, and the right one leaves far less difference.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.filters import gaussian_filter
from nerfkit.scenes.findings import Findings, listed_or_logged
from nerfkit.scenes.readers.shifts import Shifts

__all__ = ["check_given_motion"]

Matrices = NDArray[np.floating]
Reading = Callable[[Matrices], Matrices]
logger = logging.getLogger(__name__)

# another reading must leave this fraction of the frames' differences, or less, to be the right one; more than this of
# the contrast left over by what is given is worth a warning
MUCH_BETTER, MUCH_LEFT = 0.75, 0.6
# frames that are judged by, and pixels along a side that are compared
N_JUDGED, N_COMPARED = 24, 128
# standard deviation in low-res pixels by which frames are blurred first, so that they differ in little but their motion
BLUR = 1.0
# fraction of a frame that must lie within the reference
MIN_OVERLAP = 0.3
# median shift left over, in low-res pixels, from which on half a pixel's difference in the centres is looked for
MIN_LEFT_OVER = 0.03
_WANTED = {
    "shift": "pixel (i, j) of a frame looks at (j + 0.5 + dx, i + 0.5 + dy) of the reference",
    "matrix": "row-major, from frame pixel to reference pixel, x before y, low-res pixels with centres at +0.5",
}


def check_given_motion(
    given: Shifts, frames: NDArray[np.floating], scale: float, where: str, *, reference: int = 0,
    is_exact: bool = False, findings: Findings | None = None,
) -> None:  # fmt: skip
    """Compare a motion with what the frames show, and name the mistake if another reading fits far better.

    Parameters
    ----------
    given : Shifts
        As it was read; a single frame has nothing to compare with.
    frames : ndarray, shape (n_frames, h, w)
        Grey frames.
    scale : float
        Output pixels along a low-res pixel, the unit that is most often mistaken.
    where : str
        The file, for messages.
    reference : int
        Frame that the others are compared with.
    is_exact : bool
        Whether the user insists: a mistake is then a warning.
    findings : Findings, optional
        Filled with warnings; they are logged unless given.

    Raises
    ------
    NerfkitError
        The motion contradicts the frames in one of the usual ways.
    """
    if len(frames) < 2:
        return
    with listed_or_logged(findings, logger) as found:
        _check(given, frames, scale, where, reference, is_exact, found)


def _check(
    given: Shifts, frames: NDArray[np.floating], scale: float, where: str, reference: int, is_exact: bool,
    findings: Findings,
) -> None:  # fmt: skip
    """What :func:`check_given_motion` does, with a list to fill."""
    judged = {round(at) for at in np.linspace(0, len(frames) - 1, min(len(frames), N_JUDGED + 1))} - {reference}
    chosen = [reference, *sorted(judged)[:N_JUDGED]]
    compared, matrices = _Comparison(frames[chosen]), given.matrices()[chosen]
    kind = "shift" if given.kind == "shift" else "matrix"
    as_given = compared.difference(matrices)
    found = {name: compared.difference_by(read, matrices) for name, read in _readings(kind, scale).items()}
    best = min(found, key=lambda name: found[name])
    what = "shifts" if kind == "shift" else "matrices"
    fix = f"correct the file ({_WANTED[kind]}), or leave --shifts out"
    if found[best] < MUCH_BETTER * as_given:
        message = (
            f"read as they are, the {what} leave frames and reference different by {as_given:.2f} of their contrast; "
            f"with {best} by {found[best]:.2f}"
        )
        _object(message, where, fix, is_exact, findings)
    elif kind == "matrix" and compared.is_of_other_centres(matrices):
        moved = matrices[1:, :2, :2].sum(2) / 2 - 0.5
        message = (
            f"the matrices are off by up to {float(np.abs(moved).max()):.2f} low-res pixels, as those are whose pixel "
            "centres lie at whole numbers; ours lie at +0.5"
        )
        fix = f"write T M inverse(T) for each matrix M, with T = 1,0,0.5, 0,1,0.5, 0,0,1 ({_WANTED[kind]})"
        _object(message, where, fix, is_exact, findings)
    elif as_given > MUCH_LEFT:
        findings.add(
            "warning", f"with these {what} frames and reference differ by {as_given:.2f} of their contrast",
            where=where, fix="leave --shifts out if the result has ghosts",
        )  # fmt: skip


def _object(what: str, where: str, fix: str, is_exact: bool, findings: Findings) -> None:
    """Refuse, or warn a user who asked for the motion to be taken as it is."""
    if not is_exact:
        raise NerfkitError(what, where=where, fix=fix)
    findings.add("warning", what, where=where, fix=fix)


def _readings(kind: str, scale: float) -> dict[str, Reading]:
    """Other readings of matrices [n, 3, 3] by name, each alone and in the unit of the output."""
    exchange = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
    flips = {"dx": np.diag([-1.0, 1, 1]), "dy": np.diag([1.0, -1, 1])}
    to_output = np.diag([scale, scale, 1.0])
    ways: dict[str, Reading] = {"": lambda m: m}
    if kind == "shift":
        ways |= {
            "both signs changed": np.linalg.inv,
            "the sign of dx changed": lambda m: flips["dx"] @ m @ flips["dx"],
            "the sign of dy changed": lambda m: flips["dy"] @ m @ flips["dy"],
            "dx and dy exchanged": lambda m: exchange @ m @ exchange,
            "dx and dy exchanged, both signs changed": lambda m: exchange @ np.linalg.inv(m) @ exchange,
            "dx and dy exchanged, the sign of dx changed": lambda m: (
                flips["dx"] @ exchange @ m @ exchange @ flips["dx"]
            ),
            "dx and dy exchanged, the sign of dy changed": lambda m: (
                flips["dy"] @ exchange @ m @ exchange @ flips["dy"]
            ),
        }
    else:
        ways |= {
            "their inverse": np.linalg.inv,
            "their numbers read column by column": _by_column,
            "the 2 x 2 part transposed": _turned_back,
            "x and y exchanged": lambda m: exchange @ m @ exchange,
            "x and y exchanged and inverted": lambda m: exchange @ np.linalg.inv(m) @ exchange,
        }
    unit = f"lengths divided by {scale:g} (they seem to be in pixels of the output)"
    found = {name: way for name, way in ways.items() if name}
    for name, way in ways.items():
        both = f"{name}, {unit}" if name else unit
        found[both] = lambda m, way=way: np.linalg.inv(to_output) @ way(m) @ to_output
    return found


def _by_column(matrices: Matrices) -> Matrices:
    if (matrices[:, 2] != (0, 0, 1)).any():
        return matrices.transpose(0, 2, 1)
    found = matrices.copy()
    found[:, :2] = matrices[:, :2].reshape(-1, 3, 2).transpose(0, 2, 1)
    return found


def _turned_back(matrices: Matrices) -> Matrices:
    found = matrices.copy()
    found[:, :2, :2] = matrices[:, :2, :2].transpose(0, 2, 1)
    return found


class _Comparison:
    """The reference, which is the first frame, laid under the others."""

    def __init__(self, frames: NDArray[np.floating]) -> None:
        values = gaussian_filter(torch.from_numpy(np.ascontiguousarray(frames)).double(), BLUR)
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

    def _under(self, matrices: Matrices) -> tuple[Tensor, Tensor]:
        """Reference and its slopes [n_frames, 3, n_points] where the frames look, and where that is within it."""
        if not np.isfinite(matrices).all() or abs(np.linalg.det(matrices[0])) < 1e-9:
            return torch.zeros(len(self.seen), 3, self.seen.shape[1]), torch.zeros_like(self.seen, dtype=torch.bool)
        relative = torch.from_numpy(np.linalg.inv(matrices[0]) @ matrices[1:])
        seen = relative @ self.points
        at = seen[:, :2] / torch.where(seen[:, 2:].abs() < 1e-9, 1e-9, seen[:, 2:])
        is_in = ((at > 0.5) & (at < self.size[:, None] - 0.5)).all(1) & (seen[:, 2] > 0)
        where = (2 * at / self.size[:, None] - 1).transpose(1, 2)[None]
        return grid_sample(self.layers, where, align_corners=False)[0].transpose(0, 1), is_in

    def difference(self, matrices: Matrices) -> float:
        """Median over the frames of the rms difference, in units of their contrast; infinite where they part."""
        under, is_in = self._under(matrices)
        counts = is_in.sum(1)
        squares = ((self.seen - under[:, 0]).square() * is_in).sum(1) / counts.clamp(min=1)
        squares[counts < MIN_OVERLAP * is_in.shape[1]] = torch.inf
        return float(squares.sqrt().median())

    def difference_by(self, read: Reading, matrices: Matrices) -> float:
        """The same by another reading; infinite where there is none."""
        try:
            return self.difference(read(matrices))
        except np.linalg.LinAlgError:
            return math.inf

    def left_over(self, matrices: Matrices) -> NDArray[np.floating]:
        """Shift [n_frames, 2] of each frame that a Gauss-Newton step finds beyond the matrices, low-res pixels."""
        under, is_in = self._under(matrices)
        slopes = under[:, 1:] * is_in[:, None]
        normal = slopes @ slopes.transpose(1, 2) + 1e-9 * torch.eye(2, dtype=torch.float64)
        errors = (self.seen - under[:, 0])[..., None]
        return torch.linalg.solve(normal, slopes @ errors)[..., 0].numpy()

    def is_of_other_centres(self, matrices: Matrices) -> bool:
        """Whether what is left over is what centres at whole numbers would leave."""
        half = np.eye(3)
        half[:2, 2] = 0.5
        read = half @ matrices @ np.linalg.inv(half)
        middle = np.append(self.size.numpy() / 2, 1.0)

        def seen(matrices: Matrices) -> NDArray[np.floating]:
            there = np.linalg.inv(matrices[0]) @ matrices[1:] @ middle
            return there[:, :2] / there[:, 2:]

        left = self.left_over(matrices)
        before, after = (np.median(np.linalg.norm(part, axis=1)) for part in (left, left - seen(read) + seen(matrices)))
        return bool(before > MIN_LEFT_OVER and after < before / 2)
