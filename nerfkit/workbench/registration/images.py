"""Two images to be registered, with their places in space, and their pyramids.

Index coordinates have whole numbers at the centres of pixels, in the order x, y(, z). An affine takes them to the
common space: millimetres in RAS+ for volumes, pixels for pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

__all__ = ["Level", "Pair", "Spatial", "level_factors", "make_level"]

# least pixels along the longer sides of the coarsest level
COARSEST = 24
# standard deviation of the blur at the finest level, pixels: between its pixels an image is smooth then
FINEST_BLUR = 0.5


@dataclass(frozen=True)
class Spatial:
    """Values of one kind with their place.

    Parameters
    ----------
    values : ndarray of float32, shape (h, w) or (d, h, w)
        What is compared.
    affine : ndarray of float64, shape (n_dims + 1, n_dims + 1)
        From index coordinates to the common space.
    """

    values: NDArray[np.float32]
    affine: NDArray[np.float64]

    @property
    def n_dims(self) -> int:
        """Two or three."""
        return self.values.ndim

    @property
    def size(self) -> tuple[int, ...]:
        """Pixels along x, y(, z)."""
        return self.values.shape[::-1]

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Between centres of pixels along x, y(, z), in the unit of the common space."""
        return np.linalg.norm(self.affine[:-1, :-1], axis=0)


@dataclass(frozen=True)
class Pair:
    """What is registered: where in ``moving`` each pixel of ``fixed`` looks."""

    fixed: Spatial
    moving: Spatial

    @property
    def length(self) -> float:
        """Unit of bending: an eighth of the longest side of the fixed image, in the unit of the common space."""
        return float((np.array(self.fixed.size) * self.fixed.spacing).max()) / 8


@dataclass(frozen=True)
class Level:
    """The two images at one coarseness.

    Parameters
    ----------
    factor : int
        Finest pixels to one of this level.
    fixed : Tensor, shape (h, w) or (d, h, w)
        Every factor-th pixel of the blurred fixed image.
    axes : list of Tensor
        Index coordinates in the full fixed image of those pixels along x, y(, z), float32.
    moving : Tensor, shape (1, ...)
        The blurred moving image, twice as fine.
    to_moving : ndarray, shape (n_dims + 1, n_dims + 1)
        From the common space to its index coordinates.
    """

    factor: int
    fixed: Tensor
    axes: list[Tensor]
    moving: Tensor
    to_moving: NDArray[np.floating]


def level_factors(pair: Pair, finest: int = 1) -> list[int]:
    """Powers of two from the coarsest level down to ``finest``."""
    longest = max(pair.fixed.size)
    factors = [finest]
    while longest / (2 * factors[-1]) >= COARSEST:
        factors.append(2 * factors[-1])
    return factors[::-1]


def make_level(pair: Pair, factor: int) -> Level:
    """The pair blurred by half a pixel of the level and thinned out; an axis of thick slices is thinned out later."""
    fixed, steps, starts = _thinned(pair.fixed, factor, 1)
    moving, moving_steps, _ = _thinned(pair.moving, factor, 2)
    axes = [
        torch.arange(n, dtype=torch.float32) * step + start
        for n, step, start in zip(fixed.shape[::-1], steps, starts, strict=True)
    ]
    thinning = np.diag([*(1.0 / np.array(moving_steps)), 1.0])
    to_moving = thinning @ np.linalg.inv(pair.moving.affine)
    return Level(factor, torch.from_numpy(fixed), axes, torch.from_numpy(moving)[None], to_moving)


def _thinned(image: Spatial, factor: int, finer: int) -> tuple[NDArray[np.float32], list[int], list[int]]:
    """Blurred values at every step-th pixel, the steps along x, y(, z), and where the first pixel is.

    With ``finer`` above 1 the steps are that many times smaller, and begin at the first pixel.
    """
    relative = image.spacing / image.spacing.min()
    widths = [max(1, round(factor / ratio)) for ratio in relative]
    # a side keeps two pixels at least
    widths = [min(width, max(1, side // 2)) for width, side in zip(widths, image.size, strict=True)]
    sigmas = [width / 2 if width > 1 else FINEST_BLUR for width in widths]
    steps = [max(1, width // finer) for width in widths]
    starts = [step // 2 if finer == 1 else 0 for step in steps]
    blurred = gaussian_filter(image.values, sigmas[::-1], mode="nearest")
    kept = blurred[_every(starts, steps)]
    return np.ascontiguousarray(kept, np.float32), steps, starts


def _every(starts: Sequence[int], steps: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(start, None, step) for start, step in zip(reversed(starts), reversed(steps), strict=True))
