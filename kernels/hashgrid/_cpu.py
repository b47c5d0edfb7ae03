"""Numba loops for CPUs. Corners and weights of a block of samples are computed axis by axis in loops that become vector
instructions, then rows of the table are gathered or scattered. See README.md for the gradients and the costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._reference import PRIMES
from ._rows import dot, load_row, multiply_add, store_row, zero_row

if TYPE_CHECKING:
    from . import HashGridSpec

# samples at a time: their corners and weights (64 bytes each) stay in the first-level cache
BLOCK = 256
_PRIMES = np.array(PRIMES, dtype=np.uint32)


@njit(cache=True, error_model="numpy", nogil=True)
def _corners(rows, weights, fractions, x, start, count, resolution, mask, dense):
    """Row in its level and weight of the 2**d corners round samples start to start + count; x is [d, n] here."""
    real = weights.dtype.type
    scale, half, zero, one = real(resolution - 1), real(0.5), real(0), real(1)
    stride = np.uint32(1)
    lower = np.empty(BLOCK, np.uint32)
    for axis in range(x.shape[0]):
        step = stride if dense else _PRIMES[axis]
        stride = np.uint32(stride * np.uint32(resolution + 1))
        for i in range(count):
            p = min(max(x[axis, start + i], zero), one) * scale + half
            # the comparison keeps a NaN from becoming an index
            cell = np.int32(p) if p >= zero else np.int32(0)
            lower[i] = np.uint32(cell) * step
            fractions[axis, i] = p - real(cell)
        if axis == 0:
            for i in range(count):
                rows[0, i] = lower[i]
                rows[1, i] = lower[i] + step
                weights[0, i] = one - fractions[0, i]
                weights[1, i] = fractions[0, i]
            continue
        n = 1 << axis
        for c in range(n):
            if dense:
                for i in range(count):
                    rows[c + n, i] = rows[c, i] + lower[i] + step
                    rows[c, i] += lower[i]
            else:
                for i in range(count):
                    rows[c + n, i] = (rows[c, i] ^ (lower[i] + step)) & mask
                    rows[c, i] = (rows[c, i] ^ lower[i]) & mask
            for i in range(count):
                weights[c + n, i] = weights[c, i] * fractions[axis, i]
                weights[c, i] *= one - fractions[axis, i]


@njit(parallel=True, cache=True, error_model="numpy", nogil=True)
def _forward(out, x, table, resolutions, offsets, sizes, is_dense, axes, features):
    n_corners = 1 << len(axes)
    n_levels = len(resolutions)
    n = x.shape[1]
    for block in prange((n + BLOCK - 1) // BLOCK):
        start = block * BLOCK
        count = min(BLOCK, n - start)
        rows = np.empty((n_corners, BLOCK), np.uint32)
        weights = np.empty((n_corners, BLOCK), x.dtype)
        fractions = np.empty((len(axes), BLOCK), x.dtype)
        for l in range(n_levels):
            mask = np.uint32(sizes[l] - 1)
            _corners(rows, weights, fractions, x, start, count, resolutions[l], mask, is_dense[l])
            for i in range(count):
                total = zero_row(table, features)
                for c in range(n_corners):
                    row = load_row(table, offsets[l] + np.int64(rows[c, i]), features)
                    total = multiply_add(total, weights[c, i], row)
                store_row(out, (start + i) * n_levels + l, total)


@njit(parallel=True, cache=True, error_model="numpy", nogil=True)
def _backward_table(d_table, d_out, x, resolutions, offsets, sizes, is_dense, order, axes, features):
    n_corners = 1 << len(axes)
    n_levels = len(resolutions)
    n = x.shape[1]
    # a level is written by one thread, samples in order: no atomics, the same sum whatever the number of threads
    for task in prange(len(order)):
        l = order[task]
        rows = np.empty((n_corners, BLOCK), np.uint32)
        weights = np.empty((n_corners, BLOCK), x.dtype)
        fractions = np.empty((len(axes), BLOCK), x.dtype)
        mask = np.uint32(sizes[l] - 1)
        d_table[offsets[l] : offsets[l] + sizes[l]] = 0
        for start in range(0, n, BLOCK):
            count = min(BLOCK, n - start)
            _corners(rows, weights, fractions, x, start, count, resolutions[l], mask, is_dense[l])
            for i in range(count):
                d_row = load_row(d_out, (start + i) * n_levels + l, features)
                for c in range(n_corners):
                    index = offsets[l] + np.int64(rows[c, i])
                    total = multiply_add(load_row(d_table, index, features), weights[c, i], d_row)
                    store_row(d_table, index, total)


@njit(cache=True, error_model="numpy", nogil=True)
def _add_slopes(d_x, dots, fractions, start, count, scale):
    """Add to d_x [d, n] what a level gives, dots [2**d, BLOCK] being its corners' features times the gradient."""
    one = d_x.dtype.type(1)
    slope = np.empty(BLOCK, d_x.dtype)
    for axis in range(len(fractions)):
        upper = 1 << axis
        for c in range(len(dots)):
            if c & upper:
                continue
            for i in range(count):
                slope[i] = scale * (dots[c + upper, i] - dots[c, i])
            # times the pair's weight, which lacks the factor of this axis
            for other in range(len(fractions)):
                if other == axis:
                    continue
                if (c >> other) & 1:
                    for i in range(count):
                        slope[i] *= fractions[other, i]
                else:
                    for i in range(count):
                        slope[i] *= one - fractions[other, i]
            for i in range(count):
                d_x[axis, start + i] += slope[i]


@njit(parallel=True, cache=True, error_model="numpy", nogil=True)
def _backward_x(d_x, d_out, x, table, resolutions, offsets, sizes, is_dense, axes, features):
    n_corners = 1 << len(axes)
    n_levels = len(resolutions)
    n = x.shape[1]
    for block in prange((n + BLOCK - 1) // BLOCK):
        start = block * BLOCK
        count = min(BLOCK, n - start)
        rows = np.empty((n_corners, BLOCK), np.uint32)
        weights = np.empty((n_corners, BLOCK), x.dtype)
        fractions = np.empty((len(axes), BLOCK), x.dtype)
        for axis in range(len(axes)):
            d_x[axis, start : start + count] = 0
        for l in range(n_levels):
            mask = np.uint32(sizes[l] - 1)
            _corners(rows, weights, fractions, x, start, count, resolutions[l], mask, is_dense[l])
            for i in range(count):
                d_row = load_row(d_out, (start + i) * n_levels + l, features)
                for c in range(n_corners):
                    row = load_row(table, offsets[l] + np.int64(rows[c, i]), features)
                    weights[c, i] = dot(row, d_row)
            _add_slopes(d_x, weights, fractions, start, count, x.dtype.type(resolutions[l] - 1))
        for axis in range(len(axes)):
            for i in range(start, start + count):
                # the clamp is flat outside of the cube
                if x[axis, i] < 0 or x[axis, i] > 1:
                    d_x[axis, i] = 0


class HashGrid(torch.autograd.Function):
    """Forward and both gradients by the loops above."""

    @staticmethod
    def forward(ctx, x: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
        # by axis, so that loops over samples read vectors
        x, table = x.t().contiguous(), table.contiguous()
        ctx.save_for_backward(x, table)
        ctx.spec = spec
        out = x.new_empty(x.shape[1], spec.n_levels * spec.n_features)
        if out.numel():
            _forward(_array(out), _array(x), _array(table), *_levels(spec), *_constants(spec))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, table = ctx.saved_tensors
        spec, d_out = ctx.spec, d_out.contiguous()
        d_x = d_table = None
        if ctx.needs_input_grad[1]:
            d_table = torch.empty_like(table)
            # every other level: static halves then hold as many coarse as fine levels
            order = np.array([*range(0, spec.n_levels, 2), *range(1, spec.n_levels, 2)])
            _backward_table(
                _array(d_table), _array(d_out), _array(x), *_levels(spec), order, *_constants(spec)
            )
        if ctx.needs_input_grad[0]:
            d_x = torch.empty_like(x)
            _backward_x(
                _array(d_x), _array(d_out), _array(x), _array(table), *_levels(spec), *_constants(spec)
            )
        return d_x if d_x is None else d_x.t(), d_table, None


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def _levels(spec: HashGridSpec) -> tuple[np.ndarray, ...]:
    return (
        np.array(spec.resolutions, np.int64),
        np.array(spec.offsets, np.int64),
        np.array(spec.sizes, np.int64),
        np.array(spec.is_dense, np.bool_),
    )


def _constants(spec: HashGridSpec) -> tuple[tuple[int, ...], tuple[int, ...]]:
    # the length of a tuple is part of its type, so numba compiles d and F in and unrolls their loops
    return (0,) * spec.n_dims, (0,) * spec.n_features
