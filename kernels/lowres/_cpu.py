"""Numba loops for CPUs: every inner loop runs along a row and becomes vector code.

Nothing may be reordered or contracted: what numba loads from its cache is optimised otherwise than what it has just
compiled, and the same image must come of both.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numba
import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from ._reference import ADAM_EPSILON, BETA1, BETA2

if TYPE_CHECKING:
    from . import Descent, NormalEquations

# samples that one thread takes at a time
BLOCK = 8192
# least rows of the image for a thread: the filter's reach on both sides is computed twice
MIN_ROWS = 32
_DIAGONAL = np.float32(1 / math.sqrt(2))

# Python's error model checks each division, and a loop with a check is no vector code: seven times the time
_loop = njit(cache=True, fastmath={"nnan", "ninf", "nsz"}, nogil=True, error_model="numpy")
# Parallel functions are thin: numba's compile time grows with what is inside of them.
_parallel = njit(parallel=True, cache=True, nogil=True, error_model="numpy")


@_loop
def _filter_row(row, source, taps):
    """A row correlated with taps; four at a time, since each pass over the row loads and stores it."""
    n, n_taps = len(row), len(taps)
    row[:] = 0
    k = 0
    while k + 4 <= n_taps:
        a, b, c, d = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
        p, q, r, t = source[k : k + n], source[k + 1 : k + 1 + n], source[k + 2 : k + 2 + n], source[k + 3 : k + 3 + n]
        for j in range(n):
            row[j] += (a * p[j] + b * q[j]) + (c * r[j] + d * t[j])
        k += 4
    while k < n_taps:
        a, p = taps[k], source[k : k + n]
        for j in range(n):
            row[j] += a * p[j]
        k += 1


@_loop
def _add_rows(row, taps, rows, first, step, start, stop):
    """Add taps[k] times row (first + step k) of a ring for each k from start to stop - 1; four at a time."""
    n, size = len(row), len(rows)
    k = start
    while k + 4 <= stop:
        a, b, c, d = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
        p, q = rows[(first + step * k) % size], rows[(first + step * (k + 1)) % size]
        r, s = rows[(first + step * (k + 2)) % size], rows[(first + step * (k + 3)) % size]
        for j in range(n):
            row[j] += (a * p[j] + b * q[j]) + (c * r[j] + d * s[j])
        k += 4
    while k < stop:
        a, p = taps[k], rows[(first + step * k) % size]
        for j in range(n):
            row[j] += a * p[j]
        k += 1


@_parallel
def _filter(out, half, x, taps):
    """The sum of the terms [n_terms, 2, n_taps]; ``half`` [x's rows, out's columns] is overwritten."""
    n_taps = taps.shape[2]
    for term in range(len(taps)):
        for i in prange(x.shape[0]):
            _filter_row(half[i], x[i], taps[term, 1])
        for i in prange(out.shape[0]):
            if term == 0:
                out[i] = 0
            _add_rows(out[i], taps[term, 0], half, i, 1, 0, n_taps)


@_loop
def _add_product(row, factors, values):
    for j in range(len(row)):
        row[j] += factors[j] * values[j]


@_loop
def _residual_row(row, stencil, rhs, i, above, here, below):
    """Row i of N c - rhs from three rows of c, zero where there is none.

    Slices whose loops count from 0 become vector code; indices with an offset, and an unpacked stencil, do not.
    """
    n, up = rhs.shape[1] - 1, max(i - 1, 0)
    right, cross = stencil[1, i], stencil[4, i]
    row[:] = -rhs[i]
    _add_product(row, stencil[0, i], here)
    _add_product(row[:n], right, here[1:])
    _add_product(row[1:], right, here)
    _add_product(row, stencil[2, i], below)
    _add_product(row[:n], stencil[3, i], below[1:])
    _add_product(row[1:], cross[1:], below)
    cross = stencil[4, up]
    _add_product(row, stencil[2, up], above)
    _add_product(row[1:], stencil[3, up], above)
    _add_product(row[:n], cross[1:], above[1:])


@_loop
def _flow(out, here, other, weights, offset, weight, epsilon2):
    """Slope of weight sqrt(d^2 + epsilon^2) for the pairs here[j], other[j + offset]; 0 where there is no pair."""
    first, last = max(0, -offset), len(here) - max(0, offset)
    out[:first] = 0
    out[last:] = 0
    flow, factor = out[first:last], weights[first:last]
    one, two = here[first:last], other[first + offset : last + offset]
    for j in range(last - first):
        d = one[j] - two[j]
        flow[j] = weight * factor[j] * d / np.sqrt(d * d + epsilon2)


@_loop
def _flows_down(flows, x, tv_map, i, tv_weight, epsilon2):
    """Slopes between row i and the row below it: straight, to the right, to the left; 0 below the last row."""
    if i < 0 or i + 1 >= len(x):
        flows[:] = 0
        return
    diagonal = tv_weight * _DIAGONAL
    weights = tv_map[i % len(tv_map)]
    _flow(flows[0], x[i], x[i + 1], weights, 0, tv_weight, epsilon2)
    _flow(flows[1], x[i], x[i + 1], weights, 1, diagonal, epsilon2)
    _flow(flows[2], x[i], x[i + 1], weights, -1, diagonal, epsilon2)


@_loop
def _add_flows(slope, above, right, below):
    """What a row gains at one end of each pair and loses at the other."""
    n = len(slope)
    to_right, to_left = slope[1:], slope[: n - 1]
    from_right = above[2, 1:]
    for j in range(n):
        slope[j] += right[j] + below[0, j] + below[1, j] + below[2, j] - above[0, j]
    for j in range(n - 1):
        to_right[j] -= right[j] + above[1, j]
    for j in range(n - 1):
        to_left[j] -= from_right[j]


@_loop
def _adam_row(out, here, slope, mean, square, rates, bounds):
    rate, correction = rates
    low, high = bounds
    b1, b2, tiny = np.float32(BETA1), np.float32(BETA2), np.float32(ADAM_EPSILON)
    one = np.float32(1)
    for j in range(len(here)):
        mean[j] = b1 * mean[j] + (one - b1) * slope[j]
        square[j] = b2 * square[j] + (one - b2) * slope[j] * slope[j]
        out[j] = min(max(here[j] - rate * mean[j] / (np.sqrt(square[j] * correction) + tiny), low), high)


@_loop
def _step_rows(out, x, stencil, rhs, tv_map, moments, taps, first, last, settings):
    """Rows first to last - 1 of the new image.

    A row passes once: what later rows need of it stays in rings of as many rows as the filter has taps, which fit in a
    core's cache. Separate passes move twice as many bytes, and bytes are what a step waits for.
    """
    rate, correction, data_weight, tv_weight, epsilon2, low, high, strength, middle = settings
    rates, bounds = (rate, correction), (low, high)
    mean, square = moments
    w, (fh, fw), (n_terms, _, n) = x.shape[1], rhs.shape, taps.shape
    cut = n - 1
    halves, backs = np.empty((n_terms, n, fw), np.float32), np.empty((n_terms, n, w), np.float32)
    filtered, residual = np.zeros((3, fw), np.float32), np.zeros(fw + 2 * cut, np.float32)
    nothing = np.zeros(fw, np.float32)
    slope, right = np.empty(w, np.float32), np.empty(w, np.float32)
    above, below = np.empty((3, w), np.float32), np.empty((3, w), np.float32)
    mirrored = taps[:, 1, ::-1].copy()
    # the next rows of the residual, of the filtered image and of the image that are still to come
    r = max(0, first - cut)
    f = max(0, r - 1)
    source = f
    _flows_down(above, x, tv_map, first - 1, tv_weight, epsilon2)
    for i in range(first, last):
        while r <= min(i, fh - 1):
            while f <= min(r + 1, fh - 1):
                while source <= f + cut:
                    for t in range(n_terms):
                        _filter_row(halves[t, source % n], x[source], taps[t, 1])
                    source += 1
                row = filtered[f % 3]
                row[:] = 0
                for t in range(n_terms):
                    _add_rows(row, taps[t, 0], halves[t], f, 1, 0, n)
                f += 1
            before = filtered[(r + 2) % 3] if r > 0 else nothing
            after = filtered[(r + 1) % 3] if r + 1 < fh else nothing
            _residual_row(residual[cut : cut + fw], stencil, rhs, r, before, filtered[r % 3], after)
            for t in range(n_terms):
                _filter_row(backs[t, r % n], residual, mirrored[t])
            r += 1
        slope[:] = 0
        for t in range(n_terms):
            _add_rows(slope, taps[t, 0], backs[t], i, -1, max(0, i - fh + 1), min(n, i + 1))
        for j in range(w):
            slope[j] = slope[j] * data_weight - strength * (x[i, j] - middle)
        # each pair's slope is computed once, and again only between two threads
        _flow(right, x[i], x[i], tv_map[i % len(tv_map)], 1, tv_weight, epsilon2)
        _flows_down(below, x, tv_map, i, tv_weight, epsilon2)
        _add_flows(slope, above, right, below)
        _adam_row(out[i], x[i], slope, mean[i], square[i], rates, bounds)
        above, below = below, above


@_parallel
def _step(out, x, stencil, rhs, tv_map, moments, taps, n_parts, settings):
    h = len(x)
    for part in prange(n_parts):
        _step_rows(
            out, x, stencil, rhs, tv_map, moments, taps, part * h // n_parts, (part + 1) * h // n_parts, settings
        )


@_loop
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


@_parallel
def _sample(values, d_rows, d_cols, image, rows, cols):
    for block in prange((len(rows) + BLOCK - 1) // BLOCK):
        _sample_block(values, d_rows, d_cols, image, rows, cols, block * BLOCK)


@_loop
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
    h, w = descent.image.shape
    if not descent.scratch:
        # one row of a map without effect serves all rows
        descent.scratch.update(next=torch.empty(h, w), ones=torch.ones(1, w))
    weights = descent.scratch["ones"] if tv_map is None else tv_map
    low, high = bounds if bounds is not None else (-math.inf, math.inf)
    middle = 0.5 * (low + high) if contrast else 0.0
    numbers = (data_weight, tv_weight, epsilon * epsilon)
    corrected = (learning_rate / (1 - BETA1**descent.n_steps), 1 / (1 - BETA2**descent.n_steps))
    settings = np.array([*corrected, *numbers, low, high, contrast, middle], np.float32)
    stencil, rhs, tv_map_of_rows, filters = (
        part.contiguous().numpy() for part in (equations.stencil, equations.rhs, weights, taps)
    )
    moments = tuple(part.numpy() for part in descent.moments)
    n_parts = max(1, min(numba.get_num_threads(), h // MIN_ROWS))
    _step(
        descent.scratch["next"].numpy(), descent.image.numpy(), stencil, rhs, tv_map_of_rows, moments, filters, n_parts,
        settings,
    )  # fmt: skip
    descent.image, descent.scratch["next"] = descent.scratch["next"], descent.image
