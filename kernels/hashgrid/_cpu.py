"""Numba loops for CPUs.

Rows and weights of the corners round a block of samples are computed axis by axis, in loops that become
vector code; then rows of the table are gathered or scattered. See README.md for the gradients and the costs.
"""

# numba removes the first argument of an intrinsic, which a type checker cannot know
# pyright: reportCallIssue=false

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from nerfkit.kernels._autograd import differentiable_gradients
from nerfkit.kernels.memory import large_empty

from ._reference import PRIMES, hashgrid_reference
from ._rows import dot, load_row, multiply_add, store_row, zero_row

if TYPE_CHECKING:
    from . import HashGridSpec

# samples at a time: their corners and weights (64 bytes each) stay in the first-level cache
BLOCK = 256
_PRIMES = np.array(PRIMES, dtype=np.uint32)

# Arguments of all loops: x and d_x [d, n], so that loops over samples read vectors; out and d_out [n, L * F];
# levels = (resolutions, offsets, sizes, is_dense); axes and features are tuples of length d and F, which
# numba knows when it compiles. Parallel functions are thin: numba's compile time grows with what is inside
# of them.


@njit(cache=True, error_model="numpy", nogil=True)
def corner_scratch(x, axes):
    """Rows, weights and fractions of a block's corners, to be filled by :func:`corners`."""
    n_corners = 1 << len(axes)
    rows = np.empty((n_corners, BLOCK), np.uint32)
    return rows, np.empty((n_corners, BLOCK), x.dtype), np.empty((len(axes), BLOCK), x.dtype)


@njit(cache=True, error_model="numpy", nogil=True)
def corners(scratch, x, start, count, levels, l):
    """Rows in level l and weights of the 2**d corners round samples start to start + count; see README.md."""
    rows, weights, fractions = scratch
    resolutions, _, sizes, is_dense = levels
    real = weights.dtype.type
    resolution, mask, dense = resolutions[l], np.uint32(sizes[l] - 1), is_dense[l]
    scale, half, zero, one = real(resolution - 1), real(0.5), real(0), real(1)
    stride = np.uint32(1)
    lower = np.empty(BLOCK, np.uint32)
    for axis in range(len(x)):
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
        upper = 1 << axis
        for c in range(upper):
            if dense:
                for i in range(count):
                    rows[c + upper, i] = rows[c, i] + lower[i] + step
                    rows[c, i] += lower[i]
            else:
                for i in range(count):
                    rows[c + upper, i] = (rows[c, i] ^ (lower[i] + step)) & mask
                    rows[c, i] = (rows[c, i] ^ lower[i]) & mask
            for i in range(count):
                weights[c + upper, i] = weights[c, i] * fractions[axis, i]
                weights[c, i] *= one - fractions[axis, i]


@njit(cache=True, error_model="numpy", nogil=True)
def forward_block(out, x, table, levels, start, count, axes, features):
    """Features of samples start to start + count, at most ``BLOCK`` of them."""
    scratch = corner_scratch(x, axes)
    rows, weights, _ = scratch
    offsets = levels[1]
    n_levels = len(offsets)
    for l in range(n_levels):
        corners(scratch, x, start, count, levels, l)
        for i in range(count):
            total = zero_row(table, features)
            for c in range(1 << len(axes)):
                row = load_row(table, offsets[l] + np.int64(rows[c, i]), features)
                total = multiply_add(total, weights[c, i], row)
            store_row(out, (start + i) * n_levels + l, total)


@njit(parallel=True, cache=True, error_model="numpy", nogil=True)
def _forward(out, x, table, levels, axes, features):
    for block in prange((x.shape[1] + BLOCK - 1) // BLOCK):
        start = block * BLOCK
        forward_block(out, x, table, levels, start, min(BLOCK, x.shape[1] - start), axes, features)


@njit(cache=True, error_model="numpy", nogil=True)
def add_rows(d_table, d_out, x, scratch, start, count, levels, l, axes, features):
    """Add to level l of ``d_table`` what samples start to start + count, at most ``BLOCK`` of them, give to it."""
    rows, weights, _ = scratch
    offset, n_levels = levels[1][l], len(levels[1])
    corners(scratch, x, start, count, levels, l)
    for i in range(count):
        d_row = load_row(d_out, (start + i) * n_levels + l, features)
        # a number of corners that is known when this is compiled: the loop is unrolled
        for c in range(1 << len(axes)):
            index = offset + np.int64(rows[c, i])
            total = multiply_add(load_row(d_table, index, features), weights[c, i], d_row)
            store_row(d_table, index, total)


@njit(cache=True, error_model="numpy", nogil=True)
def _backward_level(d_table, d_out, x, levels, l, axes, features):
    scratch = corner_scratch(x, axes)
    offsets, sizes = levels[1], levels[2]
    d_table[offsets[l] : offsets[l] + sizes[l]] = 0
    for start in range(0, x.shape[1], BLOCK):
        add_rows(d_table, d_out, x, scratch, start, min(BLOCK, x.shape[1] - start), levels, l, axes, features)


@njit(parallel=True, cache=True, error_model="numpy", nogil=True)
def _backward_table(d_table, d_out, x, levels, order, axes, features):
    # one thread writes a level, samples in order: no atomics, and the same bits with any number of threads
    for task in prange(len(order)):
        _backward_level(d_table, d_out, x, levels, order[task], axes, features)


@njit(cache=True, error_model="numpy", nogil=True)
def _add_slopes(d_x, dots, fractions, start, count, scale):
    """Add to d_x what a level gives; dots [2**d, BLOCK] are the corners' rows times the gradient."""
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


@njit(cache=True, error_model="numpy", nogil=True)
def _backward_x_block(d_x, d_out, x, table, levels, start, axes, features):
    scratch = corner_scratch(x, axes)
    rows, weights, fractions = scratch
    resolutions, offsets = levels[0], levels[1]
    n_levels = len(offsets)
    count = min(BLOCK, x.shape[1] - start)
    d_x[:, start : start + count] = 0
    for l in range(n_levels):
        corners(scratch, x, start, count, levels, l)
        for i in range(count):
            d_row = load_row(d_out, (start + i) * n_levels + l, features)
            for c in range(1 << len(axes)):
                row = load_row(table, offsets[l] + np.int64(rows[c, i]), features)
                weights[c, i] = dot(row, d_row)
        _add_slopes(d_x, weights, fractions, start, count, x.dtype.type(resolutions[l] - 1))
    for axis in range(len(axes)):
        for i in range(start, start + count):
            # the clamp is flat outside of the cube
            if x[axis, i] < 0 or x[axis, i] > 1:
                d_x[axis, i] = 0


@njit(parallel=True, cache=True, error_model="numpy", nogil=True)
def _backward_x(d_x, d_out, x, table, levels, axes, features):
    for block in prange((x.shape[1] + BLOCK - 1) // BLOCK):
        _backward_x_block(d_x, d_out, x, table, levels, block * BLOCK, axes, features)


class HashGridCpu(torch.autograd.Function):
    """The loops with their gradients; ``x`` and ``table`` have one dtype, float32 or float64."""

    @staticmethod
    def forward(ctx, x: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
        """Features in the dtype of ``x``."""
        ctx.save_for_backward(x, table)
        ctx.spec = spec
        out = x.new_empty(len(x), spec.n_levels * spec.n_features)
        _forward(_array(out), _array(x.t()), _array(table), levels_of(spec), *lengths_of(spec))
        return out

    @staticmethod
    def backward(ctx, d_out: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The corners are computed again for each gradient."""
        x, table = ctx.saved_tensors
        spec, needs = ctx.spec, ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # create_graph=True: a second derivative may follow

            def reference(x: Tensor, table: Tensor) -> Tensor:
                return hashgrid_reference(x, table, spec)

            return *differentiable_gradients(reference, (x, table), needs, (d_out,)), None
        return *gradients(d_out, x, table, spec, needs), None


def gradients(
    d_out: Tensor, x: Tensor, table: Tensor, spec: HashGridSpec, needs: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of ``x`` and ``table``, None where not needed."""
    d_rows, columns = _array(d_out), _array(x.t())
    levels, lengths = levels_of(spec), lengths_of(spec)
    d_x = d_table = None
    if needs[0]:
        d_columns = x.new_empty(spec.n_dims, len(x))
        _backward_x(_array(d_columns), d_rows, columns, _array(table), levels, *lengths)
        d_x = d_columns.t()
    if needs[1]:
        d_table = large_empty(*table.shape, dtype=table.dtype)
        # every other level: two halves then hold as many coarse levels as fine ones
        order = np.array([*range(0, spec.n_levels, 2), *range(1, spec.n_levels, 2)])
        _backward_table(_array(d_table), d_rows, columns, levels, order, *lengths)
    return d_x, d_table


def hashgrid_cpu(x: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
    """Same contract as :func:`nerfkit.kernels.hashgrid.hashgrid`."""
    # the processor has no half-precision arithmetic: such a table is widened once
    return HashGridCpu.apply(x, table.to(x.dtype), spec).to(table.dtype)  # pyright: ignore[reportOptionalMemberAccess, reportReturnType, reportAttributeAccessIssue]


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def levels_of(spec: HashGridSpec) -> tuple[np.ndarray, ...]:
    return (
        np.array(spec.resolutions, np.int64),
        np.array(spec.offsets, np.int64),
        np.array(spec.sizes, np.int64),
        np.array(spec.is_dense, np.bool_),
    )


def lengths_of(spec: HashGridSpec) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (0,) * spec.n_dims, (0,) * spec.n_features
