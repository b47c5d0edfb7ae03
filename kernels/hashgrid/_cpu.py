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

if TYPE_CHECKING:
    from . import HashGridSpec

# samples at a time: their corners and weights (64 bytes each) stay in the first-level cache
BLOCK = 256
_PRIMES = np.array(PRIMES, dtype=np.uint32)
# no nnan, ninf: a NaN coordinate must come out as NaN
_SUMS = {"contract", "reassoc", "nsz"}


@njit(cache=True, error_model="numpy", nogil=True)
def _corners(rows, weights, fractions, x, start, count, resolution, mask, dense):
    """Row in its level and weight of the 2**d corners round samples start to start + count; see README.md."""
    n_dims = x.shape[1]
    scale = weights.dtype.type(resolution - 1)
    half = weights.dtype.type(0.5)
    zero = weights.dtype.type(0)
    one = weights.dtype.type(1)
    stride = np.uint32(1)
    lower = np.empty(BLOCK, np.uint32)
    for axis in range(n_dims):
        step = stride if dense else _PRIMES[axis]
        stride = np.uint32(stride * np.uint32(resolution + 1))
        for i in range(count):
            p = min(max(x[start + i, axis], zero), one) * scale + half
            # the comparison keeps a NaN from becoming an index
            cell = np.int32(p) if p >= zero else np.int32(0)
            lower[i] = np.uint32(cell) * step
            fractions[axis, i] = p - weights.dtype.type(cell)
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


@njit(parallel=True, cache=True, error_model="numpy", fastmath=_SUMS, nogil=True)
def _forward(out, x, table, resolutions, offsets, sizes, is_dense, axes, features):
    n_corners = 1 << len(axes)
    n_features = len(features)
    n = x.shape[0]
    for block in prange((n + BLOCK - 1) // BLOCK):
        start = block * BLOCK
        count = min(BLOCK, n - start)
        rows = np.empty((n_corners, BLOCK), np.uint32)
        weights = np.empty((n_corners, BLOCK), x.dtype)
        fractions = np.empty((len(axes), BLOCK), x.dtype)
        for l in range(len(resolutions)):
            mask = np.uint32(sizes[l] - 1)
            _corners(rows, weights, fractions, x, start, count, resolutions[l], mask, is_dense[l])
            for i in range(count):
                for f in range(n_features):
                    total = x.dtype.type(0)
                    for c in range(n_corners):
                        total += weights[c, i] * table[offsets[l] + np.int64(rows[c, i]), f]
                    out[start + i, l * n_features + f] = total


@njit(parallel=True, cache=True, error_model="numpy", fastmath=_SUMS, nogil=True)
def _backward_table(d_table, d_out, x, resolutions, offsets, sizes, is_dense, order, axes, features):
    n_corners = 1 << len(axes)
    n_features = len(features)
    n = x.shape[0]
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
                for c in range(n_corners):
                    row = offsets[l] + np.int64(rows[c, i])
                    for f in range(n_features):
                        d_table[row, f] += weights[c, i] * d_out[start + i, l * n_features + f]


@njit(parallel=True, cache=True, error_model="numpy", fastmath=_SUMS, nogil=True)
def _backward_x(d_x, d_out, x, table, resolutions, offsets, sizes, is_dense, axes, features):
    n_dims = len(axes)
    n_corners = 1 << n_dims
    n_features = len(features)
    n = x.shape[0]
    one = x.dtype.type(1)
    for block in prange((n + BLOCK - 1) // BLOCK):
        start = block * BLOCK
        count = min(BLOCK, n - start)
        rows = np.empty((n_corners, BLOCK), np.uint32)
        weights = np.empty((n_corners, BLOCK), x.dtype)
        fractions = np.empty((n_dims, BLOCK), x.dtype)
        d_x[start : start + count] = 0
        for l in range(len(resolutions)):
            mask = np.uint32(sizes[l] - 1)
            _corners(rows, weights, fractions, x, start, count, resolutions[l], mask, is_dense[l])
            scale = x.dtype.type(resolutions[l] - 1)
            for i in range(count):
                for c in range(n_corners):
                    row = offsets[l] + np.int64(rows[c, i])
                    slope = x.dtype.type(0)
                    for f in range(n_features):
                        slope += table[row, f] * d_out[start + i, l * n_features + f]
                    slope *= scale
                    for axis in range(n_dims):
                        # the weight without this axis' factor
                        rest = slope if (c >> axis) & 1 else -slope
                        for other in range(n_dims):
                            if other != axis:
                                f_other = fractions[other, i]
                                rest *= f_other if (c >> other) & 1 else one - f_other
                        d_x[start + i, axis] += rest
        for i in range(start, start + count):
            for axis in range(n_dims):
                # the clamp is flat outside of the cube
                if x[i, axis] < 0 or x[i, axis] > 1:
                    d_x[i, axis] = 0


class HashGrid(torch.autograd.Function):
    """Forward and both gradients by the loops above."""

    @staticmethod
    def forward(ctx, x: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
        x, table = x.contiguous(), table.contiguous()
        ctx.save_for_backward(x, table)
        ctx.spec = spec
        out = x.new_empty(len(x), spec.n_levels * spec.n_features)
        if len(x):
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
        return d_x, d_table, None


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
