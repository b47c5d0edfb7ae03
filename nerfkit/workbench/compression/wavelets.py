"""The wavelets CDF 9/7 by lifting (Daubechies and Sweldens 1998): the linear part of the codec's synthesis.

Coefficients of a plane [h, w] lie as Mallat put them: of each level the means of pairs of rows and columns, which the
next level splits again, in the upper left, details in the other three quarters. The rows and columns of an odd size
have one mean more than details. The basis is nearly orthonormal: the same step quantises all bands.

The analysis is float. The synthesis is in integers, so that it gives the same pixels on every machine.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["analyse", "synthesise"]

# predict, update, predict, update
_LIFTS = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
# of a mean and of a detail, so that basis functions have a norm of about 1
_MEAN_GAIN = 1.149604398860241
_GAINS = np.array([_MEAN_GAIN, 1 / _MEAN_GAIN])
# bits behind the point of the synthesis's multipliers
_SHIFT = 14
_INTEGER_LIFTS = np.array([round(a * 2**_SHIFT) for a in _LIFTS], np.int64)
_INTEGER_GAINS = np.array([round(a * 2**_SHIFT) for a in (1 / _MEAN_GAIN, _MEAN_GAIN)], np.int64)


def analyse(planes: NDArray[np.floating], n_levels: int) -> NDArray[np.float64]:
    """Coefficients [c, h, w] of planes [c, h, w]."""
    out = np.array(planes, np.float64, order="C")
    for plane in out:
        _analyse(plane, n_levels, np.array(_LIFTS), _GAINS)
    return out


def synthesise(coefficients: NDArray[np.int64], n_levels: int) -> NDArray[np.int64]:
    """Planes [c, h, w] of integer coefficients [c, h, w]: the inverse of :func:`analyse` up to rounding.

    Notes
    -----
    A product has to fit into 64 bits: coefficients stay below 2**40.
    """
    out = np.array(coefficients, np.int64, order="C")
    for plane in out:
        _synthesise(plane, n_levels, _INTEGER_LIFTS, _INTEGER_GAINS)
    return out


# A line of n numbers has (n + 1) // 2 means m and n // 2 details d; d[i] stands between m[i] and m[i + 1]. At the ends
# the line is mirrored at its last number, which here is the nearest index that exists.


@njit(cache=True, error_model="numpy", nogil=True)
def _analyse(plane, n_levels, lifts, gains):
    h, w = plane.shape
    scratch = np.empty((h, w), plane.dtype)
    for _ in range(n_levels):
        n_rows, n_columns = (h + 1) // 2, (w + 1) // 2
        for i in range(h):
            # rows' means first, then their details; columns likewise
            row = i // 2 if i % 2 == 0 else n_rows + i // 2
            for j in range(n_columns):
                scratch[row, j] = plane[i, 2 * j]
            for j in range(w // 2):
                scratch[row, n_columns + j] = plane[i, 2 * j + 1]
        for step in range(4):
            a = lifts[step]
            _lift_rows(scratch, h, w, step % 2 == 0, a)
            _lift_columns(scratch, h, w, step % 2 == 0, a)
        for i in range(h):
            for j in range(w):
                by_row = gains[0] if i < n_rows or h == 1 else gains[1]
                by_column = gains[0] if j < n_columns or w == 1 else gains[1]
                plane[i, j] = scratch[i, j] * by_row * by_column
        h, w = n_rows, n_columns


@njit(cache=True, error_model="numpy", nogil=True)
def _lift_rows(x, h, w, are_details, a):
    """Add to rows of details a times the sum of the means beside them, or to means of the details."""
    n = (h + 1) // 2
    if h < 2:
        return
    for i in range(h // 2 if are_details else n):
        if are_details:
            target, first, second = n + i, i, min(i + 1, n - 1)
        else:
            target, first, second = i, n + max(i - 1, 0), n + min(i, h // 2 - 1)
        for j in range(w):
            x[target, j] += a * (x[first, j] + x[second, j])


@njit(cache=True, error_model="numpy", nogil=True)
def _lift_columns(x, h, w, are_details, a):
    n, n_details = (w + 1) // 2, w // 2
    if w < 2:
        return
    for i in range(h):
        if are_details:
            for j in range(n_details):
                x[i, n + j] += a * (x[i, j] + x[i, min(j + 1, n - 1)])
        else:
            for j in range(n):
                x[i, j] += a * (x[i, n + max(j - 1, 0)] + x[i, n + min(j, n_details - 1)])


@njit(cache=True, error_model="numpy", nogil=True)
def _synthesise(plane, n_levels, lifts, gains):
    height, width = plane.shape
    half = np.int64(1) << (_SHIFT - 1)
    scratch = np.empty((height, width), np.int64)
    for level in range(n_levels - 1, -1, -1):
        # a size halved so often, rounded up
        h, w = (height + (1 << level) - 1) >> level, (width + (1 << level) - 1) >> level
        n_rows, n_columns = (h + 1) // 2, (w + 1) // 2
        for i in range(h):
            by_row = gains[0] if i < n_rows or h == 1 else gains[1]
            for j in range(w):
                by_column = gains[0] if j < n_columns or w == 1 else gains[1]
                once = (plane[i, j] * by_row + half) >> _SHIFT
                scratch[i, j] = (once * by_column + half) >> _SHIFT
        for step in range(3, -1, -1):
            _unlift_rows(scratch, h, w, step % 2 == 0, lifts[step], half)
        for i in range(h):
            row = scratch[i]
            for step in range(3, -1, -1):
                _unlift_line(row, w, step % 2 == 0, lifts[step], half)
        for i in range(h):
            row = i // 2 if i % 2 == 0 else n_rows + i // 2
            for j in range(n_columns):
                plane[i, 2 * j] = scratch[row, j]
            for j in range(w // 2):
                plane[i, 2 * j + 1] = scratch[row, n_columns + j]


@njit(cache=True, error_model="numpy", nogil=True)
def _unlift_rows(x, h, w, are_details, a, half):
    n = (h + 1) // 2
    if h < 2:
        return
    for i in range(h // 2 if are_details else n):
        if are_details:
            target, first, second = n + i, i, min(i + 1, n - 1)
        else:
            target, first, second = i, n + max(i - 1, 0), n + min(i, h // 2 - 1)
        for j in range(w):
            x[target, j] -= (a * (x[first, j] + x[second, j]) + half) >> _SHIFT


@njit(cache=True, error_model="numpy", nogil=True)
def _unlift_line(row, w, are_details, a, half):
    n, n_details = (w + 1) // 2, w // 2
    if w < 2:
        return
    if are_details:
        for j in range(n_details):
            row[n + j] -= (a * (row[j] + row[min(j + 1, n - 1)]) + half) >> _SHIFT
    else:
        for j in range(n):
            row[j] -= (a * (row[n + max(j - 1, 0)] + row[n + min(j, n_details - 1)]) + half) >> _SHIFT
