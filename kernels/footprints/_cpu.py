"""Numba loops for CPUs: a pixel's points are carried as they are needed, so that no positions are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

if TYPE_CHECKING:
    from . import Footprints

# Nothing may be reordered or contracted, as in kernels/lowres: one image must come of the loops, cached or new
_loop = njit(cache=True, fastmath={"nnan", "ninf", "nsz"}, nogil=True, error_model="numpy")
_parallel = njit(parallel=True, cache=True, nogil=True, error_model="numpy")


@_loop
def _carry(index, downs, rights, matrix, x, y, n_points, side, h, w):
    """Upper left cell of each point of a pixel and how far it lies beyond it; whether all are within the image.

    Indices are without sign: a check for negative ones would cost as much as the arithmetic.
    """
    is_affine = matrix[2, 0] == 0 and matrix[2, 1] == 0
    k = np.uintp(0)
    for a in range(n_points):
        down = y + ((a + 0.5) / n_points - 0.5) * side
        for b in range(n_points):
            across = x + ((b + 0.5) / n_points - 0.5) * side
            col = matrix[0, 0] * across + matrix[0, 1] * down + matrix[0, 2]
            row = matrix[1, 0] * across + matrix[1, 1] * down + matrix[1, 2]
            below = matrix[2, 2] if is_affine else matrix[2, 0] * across + matrix[2, 1] * down + matrix[2, 2]
            if below != 1:
                col, row = col / below, row / below
            r, c = np.float32(row), np.float32(col)
            if not (r >= 0 and c >= 0 and r <= h - 1 and c <= w - 1):
                return False
            i, j = min(int(r), h - 2), min(int(c), w - 2)
            index[k], downs[k], rights[k] = i * w + j, r - np.float32(i), c - np.float32(j)
            k += np.uintp(1)
    return True


@_loop
def _mean(image, width, index, downs, rights):
    """Mean of bilinear samples of an image, row after row."""
    one, total = np.uintp(1), np.float32(0)
    for k in range(len(index)):
        n, t, u = index[k], downs[k], rights[k]
        a, b, d, e = image[n], image[n + one], image[n + width], image[n + width + one]
        upper, lower = a + u * (b - a), d + u * (e - d)
        total += upper + t * (lower - upper)
    return total / np.float32(len(index))


@_loop
def _spread(out, width, index, downs, rights, error):
    """Give each point's four cells their part of an error."""
    one, whole = np.uintp(1), np.float32(1)
    for k in range(len(index)):
        n, t, u = index[k], downs[k], rights[k]
        lower = error * t
        upper = error - lower
        out[n] += upper * (whole - u)
        out[n + one] += upper * u
        out[n + width] += lower * (whole - u)
        out[n + width + one] += lower * u


@_loop
def _slopes(image, width, index, downs, rights):
    """Mean slopes down and across."""
    one = np.uintp(1)
    down = across = np.float32(0)
    for k in range(len(index)):
        n, t, u = index[k], downs[k], rights[k]
        a, b, d, e = image[n], image[n + one], image[n + width], image[n + width + one]
        down += d + u * (e - d) - a - u * (b - a)
        across += b - a + t * (e - d - b + a)
    return down / np.float32(len(index)), across / np.float32(len(index))


@_loop
def _sample_frame(values, d_rows, d_cols, is_known, image, matrix, n_points, side):
    index = np.empty(n_points**2, np.uintp)
    downs, rights = np.empty(n_points**2, np.float32), np.empty(n_points**2, np.float32)
    (h, w), flat = image.shape, image.reshape(-1)
    width = np.uintp(w)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            is_known[i, j] = _carry(index, downs, rights, matrix, j + 0.5, i + 0.5, n_points, side, h, w)
            if is_known[i, j]:
                values[i, j] = _mean(flat, width, index, downs, rights)
                d_rows[i, j], d_cols[i, j] = _slopes(flat, width, index, downs, rights)
            else:
                values[i, j] = d_rows[i, j] = d_cols[i, j] = 0


@_parallel
def _sample(values, d_rows, d_cols, is_known, image, matrices, n_points, side):
    for n in prange(len(values)):
        _sample_frame(values[n], d_rows[n], d_cols[n], is_known[n], image, matrices[n], n_points, side)


@_loop
def _residual_frame(out, image, matrix, n_points, side, values, weights):
    index = np.empty(n_points**2, np.uintp)
    downs, rights = np.empty(n_points**2, np.float32), np.empty(n_points**2, np.float32)
    (h, w), flat, spread = image.shape, image.reshape(-1), out.reshape(-1)
    width = np.uintp(w)
    share = np.float32(1 / n_points**2)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            weight = weights[i, j]
            if weight != 0 and _carry(index, downs, rights, matrix, j + 0.5, i + 0.5, n_points, side, h, w):
                error = weight * (_mean(flat, width, index, downs, rights) - values[i, j])
                _spread(spread, width, index, downs, rights, error * share)


@_parallel
def _residual(parts, image, matrices, n_points, side, values, weights):
    """Each part of the frames has an image of its own to add to."""
    n_parts, n = len(parts), len(values)
    for part in prange(n_parts):
        for frame in range(part * n // n_parts, (part + 1) * n // n_parts):
            _residual_frame(parts[part], image, matrices[frame], n_points, side, values[frame], weights[frame])


def sample_cpu(
    image: Tensor, matrices: Tensor, n_points: int, side: float, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """See :func:`nerfkit.kernels.footprints.sample`."""
    values, d_rows, d_cols = torch.empty(3, len(matrices), *size).unbind()
    is_known = torch.empty(len(matrices), *size, dtype=torch.bool)
    _sample(
        values.numpy(), d_rows.numpy(), d_cols.numpy(), is_known.numpy(), image.contiguous().numpy(),
        matrices.contiguous().numpy(), n_points, float(side),
    )  # fmt: skip
    return values, d_rows, d_cols, is_known


def residual_cpu(image: Tensor, footprints: Footprints) -> Tensor:
    """See :func:`nerfkit.kernels.footprints.residual`."""
    n_parts = max(1, min(numba.get_num_threads(), len(footprints.values)))
    parts = torch.zeros(n_parts, *image.shape)
    matrices, n_points, side, values, weights = footprints
    _residual(
        parts.numpy(), image.contiguous().numpy(), matrices.contiguous().numpy(), n_points, float(side),
        values.contiguous().numpy(), weights.contiguous().numpy(),
    )  # fmt: skip
    return parts.sum(0)
