"""From the codec's coefficients to pixels: wavelets, a small network that corrects them, colours; integers alone.

Planes have 8 bits behind the point. The network sees, of each pixel, the differences to its neighbours in units of the
quantisation step: 12 neighbours in the first plane, 4 in each other one. It adds a correction in the same units to each
plane; edges lose their ringing, and what the first plane tells of the others is made use of.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .networks import BITS, IntegerNetwork, evaluate
from .wavelets import synthesise

__all__ = [
    "FEATURE_BITS",
    "MATRIX_BITS",
    "PLANE_BITS",
    "colors",
    "correct",
    "differences",
    "n_differences",
    "planes_of",
]

# bits behind the point: of planes and of the quantisation step, of what the network sees, of the matrix of colours
PLANE_BITS, FEATURE_BITS, MATRIX_BITS = 8, 6, 7
# largest difference that is seen: 8 steps
_LARGEST = 8 << FEATURE_BITS
_SCALE_BITS, _HALF = 16, 1 << (BITS - 1)
# largest coefficient, so that a hostile file overflows nothing
_LARGEST_COEFFICIENT = 1 << 22
# where a pixel's neighbours are; planes after the first have the first four
_NEIGHBORS = np.array(
    [(0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1), (0, -2), (0, 2), (-2, 0), (2, 0)], np.int64
)
_N_FIRST, _N_OTHER = len(_NEIGHBORS), 4


def n_differences(n_channels: int) -> int:
    """Number of neighbours that the network sees."""
    return _N_FIRST + _N_OTHER * (n_channels - 1)


def planes_of(coefficients: NDArray[np.int32], step: int, n_levels: int) -> NDArray[np.int64]:
    """Planes [c, h, w] of quantised coefficients [c, h, w]; ``step`` has ``PLANE_BITS`` bits behind the point."""
    bounded = np.clip(coefficients, -_LARGEST_COEFFICIENT, _LARGEST_COEFFICIENT).astype(np.int64)
    bounded *= step
    return synthesise(bounded, n_levels)


@njit(cache=True, error_model="numpy", nogil=True)
def _differences(out, planes, i, j, scale, neighbors):
    n_channels, h, w = planes.shape
    at = 0
    for channel in range(n_channels):
        for k in range(_N_FIRST if channel == 0 else _N_OTHER):
            # the border is repeated
            row, column = min(max(i + neighbors[k, 0], 0), h - 1), min(max(j + neighbors[k, 1], 0), w - 1)
            difference = planes[channel, row, column] - planes[channel, i, j]
            # bounded before the product, which then fits
            difference = min(max(difference, -np.int64(1 << 24)), np.int64(1 << 24))
            seen = (difference * scale) >> _SCALE_BITS
            out[at] = min(max(seen, -np.int64(_LARGEST)), np.int64(_LARGEST))
            at += 1


@njit(cache=True, error_model="numpy", nogil=True)
def _differences_at(out, planes, pixels, scale, neighbors):
    x = np.empty(out.shape[1], np.int64)
    w = planes.shape[2]
    for at in range(len(pixels)):
        _differences(x, planes, pixels[at] // w, pixels[at] % w, scale, neighbors)
        for k in range(len(x)):
            out[at, k] = x[k]


@njit(cache=True, error_model="numpy", nogil=True)
def _correct(out, planes, network, step, scale, neighbors):
    n_channels, h, w = planes.shape
    n_seen = _N_FIRST + _N_OTHER * (n_channels - 1)
    x, y = np.empty(n_seen, np.int64), np.empty(n_channels, np.int64)
    hidden = np.empty((2, len(network[1])), np.int64)
    for i in range(h):
        for j in range(w):
            _differences(x, planes, i, j, scale, neighbors)
            evaluate(y, hidden, x, network, FEATURE_BITS)
            for channel in range(n_channels):
                out[channel, i, j] = planes[channel, i, j] + ((y[channel] * step + _HALF) >> BITS)


def _scale(step: int) -> int:
    """What turns a plane's units into what the network sees."""
    return (1 << (_SCALE_BITS + FEATURE_BITS)) // step


def differences(planes: NDArray[np.int64], pixels: NDArray[np.int64], step: int) -> NDArray[np.int16]:
    """What the network sees at the pixels of these numbers [n, n_differences]."""
    out = np.empty((len(pixels), n_differences(len(planes))), np.int16)
    _differences_at(out, planes, pixels, _scale(step), _NEIGHBORS)
    return out


def correct(planes: NDArray[np.int64], network: IntegerNetwork, step: int) -> NDArray[np.int64]:
    """Planes with the network's correction."""
    out = np.empty_like(planes)
    _correct(out, planes, network, step, _scale(step), _NEIGHBORS)
    return out


def colors(planes: NDArray[np.int64], means: NDArray[np.int64], matrix: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Pixels [h, w, c] of planes [c, h, w]: the means plus the matrix, in 2**-7, times the planes, rounded."""
    bounded = np.clip(planes, -(1 << 32), 1 << 32)
    out = np.empty((*planes.shape[1:], len(planes)), np.uint8)
    bits = PLANE_BITS + MATRIX_BITS
    for channel, row in enumerate(matrix):
        total = sum(int(entry) * plane for entry, plane in zip(row, bounded, strict=True))
        whole = (total + (1 << (bits - 1))) >> bits
        out[..., channel] = np.clip(whole + int(means[channel]), 0, 255)
    return out
