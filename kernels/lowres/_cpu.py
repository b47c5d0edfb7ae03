"""Numba loops for CPUs: every inner loop runs along a row and becomes vector code.

Sums may be reordered and square roots contracted (fastmath): the result is an image on its way down, not a proof.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from ._reference import ADAM_EPSILON, BETA1, BETA2

if TYPE_CHECKING:
    from . import Descent, NormalEquations

# samples that one thread takes at a time
BLOCK = 8192
# rows of the image that one thread takes at a time
ROWS = 16
_DIAGONAL = np.float32(1 / math.sqrt(2))

# Parallel functions are thin: numba's compile time grows with what is inside of them.


@njit(cache=True, fastmath=True, nogil=True)
def _filter_row(out, x, i, taps):
    """Row i of the correlation along rows."""
    n = out.shape[1]
    row, source = out[i], x[i]
    for j in range(n):
        row[j] = taps[0] * source[j]
    for k in range(1, len(taps)):
        for j in range(n):
            row[j] += taps[k] * source[j + k]


@njit(cache=True, fastmath=True, nogil=True)
def _filter_col(out, x, i, taps, is_first):
    """Row i of the correlation along columns, added to what is there unless it is the first."""
    n = out.shape[1]
    row = out[i]
    if is_first:
        row[:] = 0
    for k in range(len(taps)):
        source = x[i + k]
        for j in range(n):
            row[j] += taps[k] * source[j]


@njit(parallel=True, cache=True, nogil=True)
def _filter_term(out, half, x, down, across, is_first):
    for i in prange(x.shape[0]):
        _filter_row(half, x, i, across)
    for i in prange(out.shape[0]):
        _filter_col(out, half, i, down, is_first)


def _filter(out, half, x, taps):
    """The sum of the terms [n_terms, 2, n_taps]; ``half`` [x's rows, out's columns] is overwritten."""
    for index, (down, across) in enumerate(taps):
        _filter_term(out, half, x, down, across, index == 0)


@njit(cache=True, fastmath=True, nogil=True)
def _residual_row(out, stencil, rhs, c, i, margin):
    """Row i of N c - rhs, written ``margin`` cells from the borders of ``out``."""
    h, w = c.shape
    row = out[i + margin, margin : margin + w]
    here = c[i]
    centre, right, down, corner, cross = stencil
    for j in range(w):
        row[j] = centre[i, j] * here[j] - rhs[i, j]
    for j in range(w - 1):
        row[j] += right[i, j] * here[j + 1]
        row[j + 1] += right[i, j] * here[j]
    if i + 1 < h:
        below = c[i + 1]
        for j in range(w):
            row[j] += down[i, j] * below[j]
        for j in range(w - 1):
            row[j] += corner[i, j] * below[j + 1]
            row[j + 1] += cross[i, j + 1] * below[j]
    if i > 0:
        above = c[i - 1]
        for j in range(w):
            row[j] += down[i - 1, j] * above[j]
        for j in range(w - 1):
            row[j + 1] += corner[i - 1, j] * above[j]
            row[j] += cross[i - 1, j + 1] * above[j + 1]


@njit(parallel=True, cache=True, nogil=True)
def _residual(out, stencil, rhs, c, margin):
    for i in prange(c.shape[0]):
        _residual_row(out, stencil, rhs, c, i, margin)


@njit(cache=True, fastmath=True, nogil=True)
def _flow(out, here, other, weights, offset, weight, epsilon2):
    """Slope of weight sqrt(d^2 + epsilon^2) for the pairs here[j], other[j + offset]; 0 where there is no pair."""
    first, last = max(0, -offset), len(here) - max(0, offset)
    out[:first] = 0
    out[last:] = 0
    for j in range(first, last):
        d = here[j] - other[j + offset]
        out[j] = weight * weights[j] * d / np.sqrt(d * d + epsilon2)


@njit(cache=True, fastmath=True, nogil=True)
def _flows_down(flows, x, tv_map, i, tv_weight, epsilon2):
    """Slopes between row i and the row below it: straight, to the right, to the left; 0 below the last row."""
    if i < 0 or i + 1 >= len(x):
        flows[:] = 0
        return
    diagonal = tv_weight * _DIAGONAL
    _flow(flows[0], x[i], x[i + 1], tv_map[i], 0, tv_weight, epsilon2)
    _flow(flows[1], x[i], x[i + 1], tv_map[i], 1, diagonal, epsilon2)
    _flow(flows[2], x[i], x[i + 1], tv_map[i], -1, diagonal, epsilon2)


@njit(cache=True, fastmath=True, nogil=True)
def _add_flows(slope, above, right, below):
    """What a row gains at one end of each pair and loses at the other."""
    n = len(slope)
    for j in range(n):
        slope[j] += right[j] + below[0, j] + below[1, j] + below[2, j] - above[0, j]
    for j in range(n - 1):
        slope[j + 1] -= right[j] + above[1, j]
    for j in range(n - 1):
        slope[j] -= above[2, j + 1]


@njit(cache=True, fastmath=True, nogil=True)
def _adam_row(out, here, slope, mean, square, rates, bounds):
    rate, correction = rates
    low, high = bounds
    b1, b2, tiny = np.float32(BETA1), np.float32(BETA2), np.float32(ADAM_EPSILON)
    one = np.float32(1)
    for j in range(len(here)):
        mean[j] = b1 * mean[j] + (one - b1) * slope[j]
        square[j] = b2 * square[j] + (one - b2) * slope[j] * slope[j]
        out[j] = min(max(here[j] - rate * mean[j] / (np.sqrt(square[j] * correction) + tiny), low), high)


@njit(cache=True, fastmath=True, nogil=True)
def _adam_block(out, x, tv_map, gradient, mean, square, first, rates, data_weight, tv_weight, epsilon2, bounds, push):
    """Some rows of the new image; ``gradient`` holds that of the samples and is used up."""
    strength, middle = push
    above, below = np.empty((3, x.shape[1]), np.float32), np.empty((3, x.shape[1]), np.float32)
    right = np.empty(x.shape[1], np.float32)
    # each pair's slope is computed once, and again only between two blocks
    _flows_down(above, x, tv_map, first - 1, tv_weight, epsilon2)
    for i in range(first, min(first + ROWS, len(x))):
        slope = gradient[i]
        for j in range(len(slope)):
            slope[j] = slope[j] * data_weight - strength * (x[i, j] - middle)
        _flow(right, x[i], x[i], tv_map[i], 1, tv_weight, epsilon2)
        _flows_down(below, x, tv_map, i, tv_weight, epsilon2)
        _add_flows(slope, above, right, below)
        _adam_row(out[i], x[i], slope, mean[i], square[i], rates, bounds)
        above, below = below, above


@njit(parallel=True, cache=True, nogil=True)
def _adam(out, x, tv_map, gradient, mean, square, rates, data_weight, tv_weight, epsilon2, bounds, push):
    for block in prange((len(x) + ROWS - 1) // ROWS):
        _adam_block(
            out, x, tv_map, gradient, mean, square, block * ROWS, rates, data_weight, tv_weight, epsilon2, bounds, push
        )


@njit(cache=True, fastmath=True, nogil=True)
def _sample_block(values, d_rows, d_cols, image, rows, cols, first):
    h, w = image.shape
    for n in range(first, min(first + BLOCK, len(rows))):
        r, c = rows[n], cols[n]
        if not (r >= 0 and c >= 0 and r <= h - 1 and c <= w - 1):
            values[n] = d_rows[n] = d_cols[n] = 0
            continue
        i, j = min(int(r), h - 2), min(int(c), w - 2)
        t, u = r - np.float32(i), c - np.float32(j)
        upper_slope, lower_slope = image[i, j + 1] - image[i, j], image[i + 1, j + 1] - image[i + 1, j]
        upper, lower = image[i, j] + u * upper_slope, image[i + 1, j] + u * lower_slope
        values[n], d_rows[n] = upper + t * (lower - upper), lower - upper
        d_cols[n] = upper_slope + t * (lower_slope - upper_slope)


@njit(parallel=True, cache=True, nogil=True)
def _sample(values, d_rows, d_cols, image, rows, cols):
    for block in prange((len(rows) + BLOCK - 1) // BLOCK):
        _sample_block(values, d_rows, d_cols, image, rows, cols, block * BLOCK)


@njit(cache=True, fastmath=True, nogil=True)
def _accumulate(stencil, rhs, rows, cols, values, weights):
    """One thread: samples of neighbouring frames fall on the same cells."""
    h, w = rhs.shape
    one = np.float32(1)
    for n in range(len(rows)):
        r, c, weight = rows[n], cols[n], weights[n]
        if weight == 0 or not (r >= 0 and c >= 0 and r <= h - 1 and c <= w - 1):
            continue
        i, j = min(int(r), h - 2), min(int(c), w - 2)
        t, u = r - np.float32(i), c - np.float32(j)
        a, b, d, e = (one - t) * (one - u), (one - t) * u, t * (one - u), t * u
        y = weight * values[n]
        rhs[i, j] += a * y
        rhs[i, j + 1] += b * y
        rhs[i + 1, j] += d * y
        rhs[i + 1, j + 1] += e * y
        stencil[0, i, j] += weight * a * a
        stencil[0, i, j + 1] += weight * b * b
        stencil[0, i + 1, j] += weight * d * d
        stencil[0, i + 1, j + 1] += weight * e * e
        stencil[1, i, j] += weight * a * b
        stencil[1, i + 1, j] += weight * d * e
        stencil[2, i, j] += weight * a * d
        stencil[2, i, j + 1] += weight * b * e
        stencil[3, i, j] += weight * a * e
        stencil[4, i, j + 1] += weight * b * d


def filter_cpu(image: Tensor, taps: Tensor) -> Tensor:
    """See :func:`nerfkit.kernels.lowres.filter_valid`."""
    cut = taps.shape[-1] - 1
    half = np.empty((image.shape[0], image.shape[1] - cut), np.float32)
    out = torch.empty(image.shape[0] - cut, image.shape[1] - cut)
    _filter(out.numpy(), half, image.contiguous().numpy(), taps.contiguous().numpy())
    return out


def sample_cpu(image: Tensor, rows: Tensor, cols: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`nerfkit.kernels.lowres.sample`."""
    out = torch.empty(3, rows.numel())
    flat = (rows.reshape(-1).contiguous().numpy(), cols.reshape(-1).contiguous().numpy())
    values, d_rows, d_cols = out.unbind()
    _sample(values.numpy(), d_rows.numpy(), d_cols.numpy(), image.contiguous().numpy(), flat[0], flat[1])
    return values.view(rows.shape), d_rows.view(rows.shape), d_cols.view(rows.shape)


def normal_equations_cpu(
    rows: Tensor, cols: Tensor, values: Tensor, weights: Tensor, shape: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """See :func:`nerfkit.kernels.lowres.normal_equations`."""
    stencil, rhs = torch.zeros(5, *shape), torch.zeros(shape)
    where = rows.contiguous().numpy(), cols.contiguous().numpy()
    _accumulate(
        stencil.numpy(), rhs.numpy(), where[0], where[1], values.contiguous().numpy(), weights.contiguous().numpy()
    )
    return stencil, rhs


def descend_cpu(
    descent: Descent, equations: NormalEquations, taps: Tensor, learning_rate: float, data_weight: float,
    tv_weight: float, epsilon: float, bounds: tuple[float, float] | None, contrast: float, tv_map: Tensor | None,
) -> None:  # fmt: skip
    """See :func:`nerfkit.kernels.lowres.descend`."""
    cut = taps.shape[-1] - 1
    scratch = descent.scratch
    if not scratch:
        h, w = descent.image.shape
        scratch["half"] = torch.empty(h, w - cut)
        scratch["filtered"] = torch.empty(h - cut, w - cut)
        # its margin stays zero: the adjoint filter reads beyond the borders
        scratch["residual"] = torch.zeros(h + cut, w + cut)
        scratch["half_back"] = torch.empty(h + cut, w)
        scratch["gradient"], scratch["next"] = torch.empty(h, w), torch.empty(h, w)
        scratch["ones"] = torch.ones(h, w)
    arrays = {name: tensor.numpy() for name, tensor in scratch.items()}
    forward = taps.contiguous().numpy()
    _filter(arrays["filtered"], arrays["half"], descent.image.numpy(), forward)
    stencil = equations.stencil.contiguous().numpy()
    _residual(arrays["residual"], stencil, equations.rhs.contiguous().numpy(), arrays["filtered"], cut)
    _filter(arrays["gradient"], arrays["half_back"], arrays["residual"], np.ascontiguousarray(forward[..., ::-1]))
    rates = (
        np.float32(learning_rate / (1 - BETA1**descent.n_steps)),
        np.float32(1 / (1 - BETA2**descent.n_steps)),
    )
    low, high = bounds if bounds is not None else (-math.inf, math.inf)
    middle = 0.5 * (low + high) if contrast else 0.0
    mean, square = (moment.numpy() for moment in descent.moments)
    _adam(
        arrays["next"], descent.image.numpy(), arrays["ones"] if tv_map is None else tv_map.contiguous().numpy(),
        arrays["gradient"], mean, square, rates, np.float32(data_weight), np.float32(tv_weight),
        np.float32(epsilon * epsilon), (np.float32(low), np.float32(high)),
        (np.float32(contrast), np.float32(middle)),
    )  # fmt: skip
    descent.image, scratch["next"] = scratch["next"], descent.image
