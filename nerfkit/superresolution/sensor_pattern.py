"""What stands still on the sensor while the scene moves: hot pixels, dust, burnt-in text, row noise.

A frame is the scene at its shift plus a pattern that is the same in all: y_n(p) = s(p + d_n) + f(p). A strong pattern
locks a registration: frames agree best where nothing has moved. Without what they have in common, the scene is all that
is left to register by. Which of the two motions is right is told by the residual of both layers together.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import shift
from torch import Tensor
from torch.nn.functional import avg_pool2d

from nerfkit.limits import Limit

from .registration import NORMAL_MAD, phase_correlation

__all__ = ["MIN_FRAMES", "find_pattern", "from_neighbours", "is_defect", "without_pattern"]

# frames and pixels along a side that the question is decided by, and the fewest frames that can tell
N_JUDGED, JUDGED_SIDE, MIN_FRAMES = 24, 160, 6
# rounds in which scene and pattern are told apart
ROUNDS = 3
# residual of both layers by the motions without the pattern, as a fraction of that by the others, below which there is
# one: 0.60 to 0.79 with hot pixels, text and row noise, 0.90 and more without
IS_THERE = 0.85
# robust standard deviations of the pattern, and standard deviations of a pixel's error, beyond which a pixel is defect
DEFECT_DEVIATIONS, DEFECT_ERRORS = 6.0, 3.0
# spread of what all frames have in common beside the scene, in standard errors of it, from which on it is subtracted
DENSE = 3.0

Frames = NDArray[np.floating]


def find_pattern(
    grey: Frames, shifts: NDArray[np.float64], reference: int, limit: Limit | None = None
) -> tuple[NDArray[np.float64], Frames] | None:
    """Other shifts of the frames, and the pattern that had locked those given; None where there is none.

    Parameters
    ----------
    grey : ndarray, shape (n_frames, h, w)
    shifts : ndarray, shape (n_frames, 2)
        (dx, dy) of phase correlation, low-res pixels.
    reference : int
        Frame that stands still.
    limit : Limit, optional
        Where it leaves no time, none is found.

    Returns
    -------
    shifts : ndarray, shape (n_frames, 2)
    pattern : ndarray, shape (h, w)
        What all frames have beside the scene.
    """
    limit = Limit() if limit is None else limit
    if len(grey) < MIN_FRAMES or not limit.allows(0, "the search for what stands still on the sensor"):
        return None
    some = np.unique(np.append(np.linspace(0, len(grey) - 1, min(len(grey), N_JUDGED)).round().astype(int), reference))
    top, left = (max(0, (size - JUDGED_SIDE) // 2) for size in grey.shape[1:])
    part = grey[some, top : top + JUDGED_SIDE, left : left + JUDGED_SIDE]
    at = int(np.flatnonzero(some == reference)[0])
    freed = _freed_shifts(part, at, limit)
    if not np.isfinite(freed).all():
        return None
    # as many pixels for both: what leaves the frame counts for neither
    border = int(np.ceil(max(np.abs(freed).max(), np.abs(shifts[some]).max()))) + 1
    if 2 * border >= min(part.shape[1:]):
        return None
    locked, free = (_layers(part, each, border)[1] for each in (shifts[some], freed))
    if not free < IS_THERE * locked:
        return None
    freed = _freed_shifts(grey, reference, limit)
    return (freed, _layers(grey, freed, border)[0]) if np.isfinite(freed).all() else None


def _freed_shifts(grey: Frames, reference: int, limit: Limit) -> NDArray[np.float64]:
    """Shifts by what frames do not have in common; twice, since the first time a blurred scene is missing as well.

    NaN where the limit leaves no time.
    """
    freed = phase_correlation(grey - np.median(grey, 0), reference, limit)
    if not np.isfinite(freed).all():
        return freed
    pattern, _ = _layers(grey, freed, 1)
    return phase_correlation(grey - pattern, reference, limit)


def _layers(grey: Frames, shifts: NDArray[np.float64], border: int) -> tuple[Frames, float]:
    """The pattern [h, w], and the rms of what neither it nor the scene explains."""
    pattern = np.zeros_like(grey[0])
    moves = shifts[:, ::-1]
    for _ in range(ROUNDS):
        scene = np.mean([_moved(frame - pattern, move) for frame, move in zip(grey, moves, strict=True)], axis=0)
        errors = np.stack([frame - _moved(scene, -move) for frame, move in zip(grey, moves, strict=True)])
        pattern = np.median(errors, axis=0)
    inner = (errors - pattern)[:, border:-border, border:-border]
    return pattern, float(np.sqrt(np.mean(inner**2)))


def _moved(frame: Frames, move: NDArray[np.float64]) -> Frames:
    return shift(frame, move, order=1, mode="nearest")


def without_pattern(values: Tensor, seen: Tensor, is_used: Tensor) -> tuple[Tensor, Tensor]:
    """Frames without what they have beside the scene, and which pixels were defect.

    Parameters
    ----------
    values, seen : Tensor, shape (n_frames, h, w)
        What was measured, and what the image of all frames predicts, NaN where it predicts nothing.
    is_used : Tensor, shape (n_frames,)
        Frames that belong to the scene.

    Returns
    -------
    values : Tensor, shape (n_frames, h, w)
        Defect pixels have what is predicted; of the others a pattern is subtracted where all have one.
    is_defect : Tensor, shape (h, w)
    """
    errors = (values - seen)[is_used]
    pattern = errors.nanmedian(0).values.nan_to_num()
    sigma = float((errors - pattern).square().nanmean().sqrt())
    bad = torch.from_numpy(is_defect(pattern.cpu().numpy(), sigma)).to(values.device)
    spread = float((pattern - pattern.median()).abs().median()) / NORMAL_MAD
    # a median of n errors is off by 1.25 sigma / sqrt(n)
    if spread > DENSE * sigma / math.sqrt(len(errors)):
        values = values - pattern
    return torch.where(bad, seen, values), bad


def from_neighbours(values: Tensor, is_out: Tensor) -> Tensor:
    """The means of the nearest pixels that are not ``is_out`` [h, w] around each, in frames [n_frames, h, w].

    Examples
    --------
    >>> is_out = torch.zeros(3, 3, dtype=torch.bool)
    >>> is_out[1, 1] = True
    >>> from_neighbours(torch.arange(9.0).reshape(1, 3, 3).where(~is_out, 99.0), is_out)[0, 1, 1]
    tensor(4.)
    """
    is_in = (~is_out).to(values)[None, None]
    around = torch.full_like(values, math.nan)
    known = torch.where(is_out, 0.0, values)[:, None]
    for reach in range(1, max(values.shape[1:])):
        weights = avg_pool2d(is_in, 2 * reach + 1, 1, reach)[:, 0]
        mean = avg_pool2d(known, 2 * reach + 1, 1, reach)[:, 0] / weights
        around = torch.where(around.isnan() & (weights > 0), mean, around)
        if not around.isnan().any():
            break
    return around


def is_defect(pattern: Frames, sigma: float) -> NDArray[np.bool_]:
    """Pixels [h, w] that differ from the scene in all frames by far more than others do, whose errors have ``sigma``.

    Examples
    --------
    >>> pattern = np.random.default_rng(0).normal(0, 0.01, (20, 20))
    >>> pattern[3, 4] = 0.5
    >>> np.argwhere(is_defect(pattern, 0.02)).tolist()
    [[3, 4]]
    """
    apart = np.abs(pattern - np.median(pattern))
    return (apart > DEFECT_DEVIATIONS * np.median(apart) / NORMAL_MAD) & (apart > DEFECT_ERRORS * sigma)
