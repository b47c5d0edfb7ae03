"""Triton kernels for mlp. A program takes tiles of samples through all layers, and back; see README.md.

Widths are padded to powers of two from 16 on, the same for all hidden layers; what is padded has weights of zero.
"""

# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false
# (to pyright a call of a jitted function never returns, and a number is no constexpr)
from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from nerfkit.kernels._autograd import differentiable_gradients
from nerfkit.kernels._launch import CompileCase, ceil_div, launch

from ._reference import accumulation_dtype, mlp_reference

# samples of a tile: Hopper's matrix units take 64 rows of half-precision numbers; exact products, which have no such
# units on NVIDIA, need registers for their operands
BLOCK_N = 64
CACHED_BLOCK_N = 32
WIDE_BLOCK_N = 16
# a wider layer's tiles do not fit the registers, nor the shared memory of AMD
MAX_REGISTER_WIDTH = 64
# programs that go from tile to tile, over all networks, each with sums of its own for the parameters' gradients. A
# constant, so that the order of the additions does not depend on the card: two for each of 132 multiprocessors
MAX_PROGRAMS = 264
_PER_PI = tl.constexpr(1 / math.pi)
# pi in parts of 9 and 11 bits, so that multiples of them are exact (Cody and Waite, 1980), and the rest
_PI_1 = tl.constexpr(3.140625)
_PI_2 = tl.constexpr(9.67502593994140625e-4)
_PI_3 = tl.constexpr(math.pi - 3.140625 - 9.67502593994140625e-4)


@triton.jit
def _reduce_by_pi(x):
    """Remainder in [-pi/2, pi/2] and the sign with which its sine and cosine are those of x.

    The library's sine carries a slow path for large angles with a table in local memory. One rounding a step
    keeps this to 1e-7 in float32 up to abs(x) = 1e7, where x itself has a spacing of 1.
    """
    nearest = tl.floor(x * _PER_PI + 0.5)
    r = tl.fma(-nearest, _PI_1, x)
    r = tl.fma(-nearest, _PI_2, r) - nearest * _PI_3
    half = 0.5 * nearest
    return r, 1 - 4 * (half - tl.floor(half))


@triton.jit
def _series(q, FIRST: tl.constexpr, N_TERMS: tl.constexpr):
    """1 - q / (FIRST (FIRST + 1)) (1 - q / ((FIRST + 2) (FIRST + 3)) (1 - ...))."""
    total = tl.full(q.shape, 1, q.dtype)
    for i in tl.static_range(N_TERMS):
        total = 1 - q * (1 / ((FIRST + 2 * (N_TERMS - i) - 2) * (FIRST + 2 * (N_TERMS - i) - 1))) * total
    return total


@triton.jit
def _sine(x):
    r, sign = _reduce_by_pi(x)
    # Taylor to r^13 and r^23: below 1e-9 and 1e-17 at pi/2
    return sign * r * _series(r * r, 2, 11 if x.dtype == tl.float64 else 6)


@triton.jit
def _cosine(x):
    r, sign = _reduce_by_pi(x)
    # to r^14 and r^24
    return sign * _series(r * r, 1, 12 if x.dtype == tl.float64 else 7)


@triton.jit
def _activate(z, scale, ACTIVATION: tl.constexpr):
    if ACTIVATION == "relu":
        return tl.where(z < 0, 0, z)  # lets a NaN through
    elif ACTIVATION == "sine":
        return _sine(scale * z)
    else:
        return tl.exp(-(scale * z) * (scale * z))


@triton.jit
def _d_activate(d_h, h, z, scale, ACTIVATION: tl.constexpr):
    """Gradient of z from that of h = activation(z); a ReLU looks at h alone, the others at z and h."""
    if ACTIVATION == "relu":
        return tl.where(h <= 0, 0, d_h)
    elif ACTIVATION == "sine":
        return d_h * scale * _cosine(scale * z)
    else:
        return d_h * (-2 * scale * scale) * z * h


@triton.jit
def _sigmoid(z):
    e = tl.exp(-tl.abs(z))
    return tl.where(z < 0, e, 1) / (1 + e)


@triton.jit
def _matrix(
    l: tl.constexpr, N_LAYERS: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_O: tl.constexpr
):
    """Places [d_l, d_next] of the matrix of layer l among the packed weights of a network."""
    FIRST: tl.constexpr = 0 if l == 0 else BLOCK_I * BLOCK_H + (l - 1) * BLOCK_H * BLOCK_H
    ROWS: tl.constexpr = BLOCK_I if l == 0 else BLOCK_H
    COLS: tl.constexpr = BLOCK_O if l == N_LAYERS - 1 else BLOCK_H
    return FIRST + tl.arange(0, ROWS)[:, None] * COLS + tl.arange(0, COLS)[None, :]


@triton.jit
def _affine(
    h,
    weights_ptr,
    biases_ptr,
    l: tl.constexpr,
    N_LAYERS: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_O: tl.constexpr,
):
    """h @ weights[l] + biases[l]."""
    weight = tl.load(weights_ptr + _matrix(l, N_LAYERS, BLOCK_I, BLOCK_H, BLOCK_O))
    z = tl.dot(h, weight)
    if biases_ptr is not None:
        z += tl.load(biases_ptr + l * BLOCK_H + tl.arange(0, BLOCK_O if l == N_LAYERS - 1 else BLOCK_H))[None, :]
    return z


@triton.jit
def _rows(rows, n, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Places [BLOCK_N, BLOCK_D] of rows of a matrix with D columns, and whether they are inside of it."""
    cols = tl.arange(0, BLOCK_D)
    return rows[:, None] * D + cols[None, :], (rows < n)[:, None] & (cols < D)[None, :]


@triton.jit
def _add(ptr, values):
    tl.store(ptr, tl.load(ptr) + values)


@triton.jit(do_not_specialize=["n", "n_tiles"])
def _mlp_fwd_kernel(
    out_ptr,  # out, [n_nets, n, D_OUT]
    x_ptr,
    weights_ptr,
    biases_ptr,
    scale_ptr,  # in, [n_nets, n, D_IN], [n_nets, n_weights] and [n_nets, n_biases] packed, [1]
    n,
    n_tiles,
    D_IN: tl.constexpr,
    D_OUT: tl.constexpr,
    N_LAYERS: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_O: tl.constexpr,
    N_WEIGHTS: tl.constexpr,
    N_BIASES: tl.constexpr,
    ACTIVATION: tl.constexpr,
    OUTPUT: tl.constexpr,
    DT: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    # int64 before the multiplies: each of the arrays can pass 2**31 elements
    net = (tl.program_id(0) // n_tiles).to(tl.int64)
    rows = (tl.program_id(0) % n_tiles).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    weights_ptr += net * N_WEIGHTS
    if biases_ptr is not None:
        biases_ptr += net * N_BIASES
    scale = tl.load(scale_ptr)
    at, mask = _rows(rows, n, D_IN, BLOCK_I)
    h = tl.load(x_ptr + net * n * D_IN + at, mask=mask, other=0).to(DT)
    for l in tl.static_range(N_LAYERS - 1):
        z = _affine(h, weights_ptr, biases_ptr, l, N_LAYERS, BLOCK_I, BLOCK_H, BLOCK_O)
        h = _activate(z, scale, ACTIVATION).to(DT)
    z = _affine(h, weights_ptr, biases_ptr, N_LAYERS - 1, N_LAYERS, BLOCK_I, BLOCK_H, BLOCK_O)
    if OUTPUT == "sigmoid":
        z = _sigmoid(z)
    at, mask = _rows(rows, n, D_OUT, BLOCK_O)
    tl.store(out_ptr + net * n * D_OUT + at, z, mask=mask)


@triton.jit(do_not_specialize=["n", "n_chunks"])
def _mlp_bwd_kernel(
    d_x_ptr,  # out, [n_nets, n, D_IN]
    d_weights_ptr,
    d_biases_ptr,  # out, [n_nets, n_chunks, n_weights] and [n_nets, n_chunks, n_biases] packed, zeros at first
    d_out_ptr,
    out_ptr,
    x_ptr,
    weights_ptr,
    biases_ptr,
    scale_ptr,  # in, as in the forward; out_ptr where it is a sigmoid
    n,
    n_chunks,
    D_IN: tl.constexpr,
    D_OUT: tl.constexpr,
    N_LAYERS: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_O: tl.constexpr,
    N_WEIGHTS: tl.constexpr,
    N_BIASES: tl.constexpr,
    ACTIVATION: tl.constexpr,
    OUTPUT: tl.constexpr,
    DT: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    # sums of its own for each program: no atomics, and the order of the additions is always the same
    if d_weights_ptr is not None:
        d_weights_ptr += tl.program_id(0).to(tl.int64) * N_WEIGHTS
    if d_biases_ptr is not None:
        d_biases_ptr += tl.program_id(0).to(tl.int64) * N_BIASES
    net = (tl.program_id(0) // n_chunks).to(tl.int64)
    weights_ptr += net * N_WEIGHTS
    if biases_ptr is not None:
        biases_ptr += net * N_BIASES
    scale = tl.load(scale_ptr)
    first = (tl.program_id(0) % n_chunks).to(tl.int64) * BLOCK_N
    while first < n:
        rows = first + tl.arange(0, BLOCK_N)
        at, mask = _rows(rows, n, D_IN, BLOCK_I)
        h = tl.load(x_ptr + net * n * D_IN + at, mask=mask, other=0).to(DT)
        inputs = (h,)  # of each layer
        for l in tl.static_range(N_LAYERS - 1):
            z = _affine(h, weights_ptr, biases_ptr, l, N_LAYERS, BLOCK_I, BLOCK_H, BLOCK_O)
            h = _activate(z, scale, ACTIVATION).to(DT)
            inputs = inputs + (h,)  # noqa: RUF005 (Triton has no starred expressions)
        at, mask = _rows(rows, n, D_OUT, BLOCK_O)
        d_z = tl.load(d_out_ptr + net * n * D_OUT + at, mask=mask, other=0)
        if OUTPUT == "sigmoid":
            out = tl.load(out_ptr + net * n * D_OUT + at, mask=mask, other=0)
            d_z *= out * (1 - out)
        for i in tl.static_range(N_LAYERS):
            places = _matrix(N_LAYERS - 1 - i, N_LAYERS, BLOCK_I, BLOCK_H, BLOCK_O)
            h = inputs[N_LAYERS - 1 - i]
            if d_weights_ptr is not None:
                d_weight = tl.dot(tl.trans(h), d_z.to(DT))
                _add(d_weights_ptr + places, d_weight)
            if d_biases_ptr is not None:
                cols = tl.arange(0, d_z.shape[1])
                _add(d_biases_ptr + (N_LAYERS - 1 - i) * BLOCK_H + cols, tl.sum(d_z, axis=0))
            if i < N_LAYERS - 1 or d_x_ptr is not None:
                weight = tl.load(weights_ptr + tl.trans(places))
                d_h = tl.dot(d_z.to(DT), weight)
                if i < N_LAYERS - 1:
                    z = h
                    if ACTIVATION != "relu":
                        # computed again: kept, it would take as many registers as h
                        z = _affine(
                            inputs[N_LAYERS - 2 - i],
                            weights_ptr,
                            biases_ptr,
                            N_LAYERS - 2 - i,
                            N_LAYERS,
                            BLOCK_I,
                            BLOCK_H,
                            BLOCK_O,
                        )
                    d_z = _d_activate(d_h, h, z, scale, ACTIVATION)
                else:
                    at, mask = _rows(rows, n, D_IN, BLOCK_I)
                    tl.store(d_x_ptr + net * n * D_IN + at, d_h, mask=mask)
        first += n_chunks.to(tl.int64) * BLOCK_N


# The same with what goes from layer to layer in memory of the program's own, which stays in the caches: for float32
# and float64, whose exact products of whole tiles take more registers than a thread has, and for wide layers


@triton.jit
def _product(
    a_ptr,
    b_ptr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    N_K: tl.constexpr,
    A_ROW: tl.constexpr,
    A_K: tl.constexpr,
    B_K: tl.constexpr,
    B_COL: tl.constexpr,
    ACC: tl.constexpr,
):
    """A @ B of A [ROWS, N_K] and B [N_K, COLS], given by their strides; 16 of k at a time."""
    a_ptr += tl.arange(0, ROWS)[:, None] * A_ROW + tl.arange(0, 16)[None, :] * A_K
    b_ptr += tl.arange(0, 16)[:, None] * B_K + tl.arange(0, COLS)[None, :] * B_COL
    total = tl.zeros((ROWS, COLS), ACC)
    for k in range(0, N_K, 16):
        a, b = tl.load(a_ptr + k * A_K), tl.load(b_ptr + k * B_K)
        total = tl.dot(a, b, total, input_precision="ieee", out_dtype=ACC)
    return total


@triton.jit
def _cached_affine(
    h_ptr,
    weights_ptr,
    biases_ptr,
    l: tl.constexpr,
    N_LAYERS: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_O: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """h @ weights[l] + biases[l]."""
    FIRST: tl.constexpr = 0 if l == 0 else BLOCK_I * BLOCK_H + (l - 1) * BLOCK_H * BLOCK_H
    ROWS: tl.constexpr = BLOCK_I if l == 0 else BLOCK_H
    COLS: tl.constexpr = BLOCK_O if l == N_LAYERS - 1 else BLOCK_H
    z = _product(h_ptr, weights_ptr + FIRST, BLOCK_N, COLS, ROWS, ROWS, 1, COLS, 1, ACC)
    if biases_ptr is not None:
        z += tl.load(biases_ptr + l * BLOCK_H + tl.arange(0, COLS))[None, :]
    return z


@triton.jit
def _cached_d_layer(
    d_weights_ptr,
    h_ptr,
    d_z_ptr,
    weights_ptr,
    l: tl.constexpr,
    N_LAYERS: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_O: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Add the gradient of weights[l] to its sum, and return the gradient of the layer's inputs."""
    FIRST: tl.constexpr = 0 if l == 0 else BLOCK_I * BLOCK_H + (l - 1) * BLOCK_H * BLOCK_H
    ROWS: tl.constexpr = BLOCK_I if l == 0 else BLOCK_H
    COLS: tl.constexpr = BLOCK_O if l == N_LAYERS - 1 else BLOCK_H
    # 2048 sums at a time: more do not fit the registers beside their operands
    PART: tl.constexpr = COLS if ROWS * COLS < 2048 else 2048 // ROWS
    if d_weights_ptr is not None:
        for first in range(0, COLS, PART):
            d_weight = _product(h_ptr, d_z_ptr + first, ROWS, PART, BLOCK_N, 1, ROWS, COLS, 1, ACC)
            places = tl.arange(0, ROWS)[:, None] * COLS + first + tl.arange(0, PART)[None, :]
            _add(d_weights_ptr + FIRST + places, d_weight)
    return _product(d_z_ptr, weights_ptr + FIRST, BLOCK_N, ROWS, COLS, COLS, 1, 1, COLS, ACC)


@triton.jit
def _tile(BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr):
    return tl.arange(0, BLOCK_N)[:, None] * BLOCK_D + tl.arange(0, BLOCK_D)[None, :]


@triton.jit(do_not_specialize=["n", "n_chunks"])
def _mlp_cached_fwd_kernel(
    out_ptr,  # out, [n_nets, n, D_OUT]
    scratch_ptr,  # [n_nets * n_chunks, N_SLOTS, SLOT], in the dtype of the products
    x_ptr,
    weights_ptr,
    biases_ptr,
    scale_ptr,  # in, as in the other one
    n,
    n_chunks,
    D_IN: tl.constexpr,
    D_OUT: tl.constexpr,
    N_LAYERS: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_O: tl.constexpr,
    N_WEIGHTS: tl.constexpr,
    N_BIASES: tl.constexpr,
    N_SLOTS: tl.constexpr,
    SLOT: tl.constexpr,
    ACTIVATION: tl.constexpr,
    OUTPUT: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    scratch_ptr += tl.program_id(0).to(tl.int64) * (N_SLOTS * SLOT)
    net = (tl.program_id(0) // n_chunks).to(tl.int64)
    weights_ptr += net * N_WEIGHTS
    if biases_ptr is not None:
        biases_ptr += net * N_BIASES
    scale = tl.load(scale_ptr)
    first = (tl.program_id(0) % n_chunks).to(tl.int64) * BLOCK_N
    while first < n:
        rows = first + tl.arange(0, BLOCK_N)
        at, mask = _rows(rows, n, D_IN, BLOCK_I)
        h = tl.load(x_ptr + net * n * D_IN + at, mask=mask, other=0).to(ACC)
        tl.debug_barrier()  # the tile before has been read
        tl.store(scratch_ptr + _tile(BLOCK_N, BLOCK_I), h)
        for l in tl.static_range(N_LAYERS - 1):
            tl.debug_barrier()
            h_ptr = scratch_ptr + (l % 2) * SLOT
            z = _cached_affine(h_ptr, weights_ptr, biases_ptr, l, N_LAYERS, BLOCK_I, BLOCK_H, BLOCK_O, ACC, BLOCK_N)
            tl.store(scratch_ptr + (1 - l % 2) * SLOT + _tile(BLOCK_N, BLOCK_H), _activate(z, scale, ACTIVATION))
        tl.debug_barrier()
        h_ptr = scratch_ptr + ((N_LAYERS - 1) % 2) * SLOT
        z = _cached_affine(
            h_ptr, weights_ptr, biases_ptr, N_LAYERS - 1, N_LAYERS, BLOCK_I, BLOCK_H, BLOCK_O, ACC, BLOCK_N
        )
        if OUTPUT == "sigmoid":
            z = _sigmoid(z)
        at, mask = _rows(rows, n, D_OUT, BLOCK_O)
        tl.store(out_ptr + net * n * D_OUT + at, z, mask=mask)
        first += n_chunks.to(tl.int64) * BLOCK_N


@triton.jit(do_not_specialize=["n", "n_chunks"])
def _mlp_cached_bwd_kernel(
    d_x_ptr,  # out, [n_nets, n, D_IN]
    d_weights_ptr,
    d_biases_ptr,  # out, as in the other one
    scratch_ptr,  # [n_nets * n_chunks, N_SLOTS, SLOT]: inputs of each layer, gradients of outputs twice
    d_out_ptr,
    out_ptr,
    x_ptr,
    weights_ptr,
    biases_ptr,
    scale_ptr,  # in, as in the other one
    n,
    n_chunks,
    D_IN: tl.constexpr,
    D_OUT: tl.constexpr,
    N_LAYERS: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_O: tl.constexpr,
    N_WEIGHTS: tl.constexpr,
    N_BIASES: tl.constexpr,
    N_SLOTS: tl.constexpr,
    SLOT: tl.constexpr,
    ACTIVATION: tl.constexpr,
    OUTPUT: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    if d_weights_ptr is not None:
        d_weights_ptr += tl.program_id(0).to(tl.int64) * N_WEIGHTS
    if d_biases_ptr is not None:
        d_biases_ptr += tl.program_id(0).to(tl.int64) * N_BIASES
    scratch_ptr += tl.program_id(0).to(tl.int64) * (N_SLOTS * SLOT)
    net = (tl.program_id(0) // n_chunks).to(tl.int64)
    weights_ptr += net * N_WEIGHTS
    if biases_ptr is not None:
        biases_ptr += net * N_BIASES
    scale = tl.load(scale_ptr)
    first = (tl.program_id(0) % n_chunks).to(tl.int64) * BLOCK_N
    while first < n:
        rows = first + tl.arange(0, BLOCK_N)
        at, mask = _rows(rows, n, D_IN, BLOCK_I)
        h = tl.load(x_ptr + net * n * D_IN + at, mask=mask, other=0).to(ACC)
        tl.debug_barrier()  # the tile before has been read
        tl.store(scratch_ptr + _tile(BLOCK_N, BLOCK_I), h)
        for l in tl.static_range(N_LAYERS - 1):
            tl.debug_barrier()
            h_ptr = scratch_ptr + l * SLOT
            z = _cached_affine(h_ptr, weights_ptr, biases_ptr, l, N_LAYERS, BLOCK_I, BLOCK_H, BLOCK_O, ACC, BLOCK_N)
            tl.store(h_ptr + SLOT + _tile(BLOCK_N, BLOCK_H), _activate(z, scale, ACTIVATION))
        at, mask = _rows(rows, n, D_OUT, BLOCK_O)
        d_z = tl.load(d_out_ptr + net * n * D_OUT + at, mask=mask, other=0)
        if OUTPUT == "sigmoid":
            out = tl.load(out_ptr + net * n * D_OUT + at, mask=mask, other=0)
            d_z *= out * (1 - out)
        tl.store(scratch_ptr + N_LAYERS * SLOT + _tile(BLOCK_N, BLOCK_O), d_z)
        for i in tl.static_range(N_LAYERS):
            tl.debug_barrier()
            if d_biases_ptr is not None:
                cols = tl.arange(0, BLOCK_O if i == 0 else BLOCK_H)
                _add(d_biases_ptr + (N_LAYERS - 1 - i) * BLOCK_H + cols, tl.sum(d_z, axis=0))
            h_ptr = scratch_ptr + (N_LAYERS - 1 - i) * SLOT
            d_z_ptr = scratch_ptr + (N_LAYERS + i % 2) * SLOT
            d_h = _cached_d_layer(
                d_weights_ptr,
                h_ptr,
                d_z_ptr,
                weights_ptr,
                N_LAYERS - 1 - i,
                N_LAYERS,
                BLOCK_I,
                BLOCK_H,
                BLOCK_O,
                ACC,
                BLOCK_N,
            )
            if i < N_LAYERS - 1:
                h = tl.load(h_ptr + _tile(BLOCK_N, BLOCK_H))
                z = h
                if ACTIVATION != "relu":
                    # computed again rather than kept, as in the other one
                    z = _cached_affine(
                        h_ptr - SLOT,
                        weights_ptr,
                        biases_ptr,
                        N_LAYERS - 2 - i,
                        N_LAYERS,
                        BLOCK_I,
                        BLOCK_H,
                        BLOCK_O,
                        ACC,
                        BLOCK_N,
                    )
                d_z = _d_activate(d_h, h, z, scale, ACTIVATION)
                tl.store(scratch_ptr + (N_LAYERS + 1 - i % 2) * SLOT + _tile(BLOCK_N, BLOCK_H), d_z)
            elif d_x_ptr is not None:
                at, mask = _rows(rows, n, D_IN, BLOCK_I)
                tl.store(d_x_ptr + net * n * D_IN + at, d_h, mask=mask)
        first += n_chunks.to(tl.int64) * BLOCK_N


class MlpTriton(torch.autograd.Function):
    """The kernels with their gradients; each tensor keeps its own dtype."""

    @staticmethod
    def forward(ctx, activation, scale, output, x, *parameters):
        """Run the network; only what goes in and comes out is kept."""
        packed, net = _pack(x, parameters), _Network.of(x, parameters)
        out = x.new_empty(*x.shape[:-1], net.widths[-1], dtype=net.acc)
        ctx.save_for_backward(out if output == "sigmoid" else None, *packed, x, *parameters)
        ctx.options, ctx.net = (activation, scale, output), net
        if out.numel():
            _run_forward(net, out, x.contiguous(), packed, activation, scale, output)
        return out

    @staticmethod
    def backward(ctx, d_out):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Run the hidden layers again, tile by tile, and go back through them."""
        out, *packed, x = ctx.saved_tensors[:4]
        parameters, needs, options = ctx.saved_tensors[4:], ctx.needs_input_grad[3:], ctx.options
        if torch.is_grad_enabled():  # create_graph=True: a second derivative may follow

            def reference(x, *parameters):
                return mlp_reference(x, *_halves(parameters), *options)

            return None, None, None, *differentiable_gradients(reference, (x, *parameters), needs, (d_out,))
        return None, None, None, *_run_backward(ctx.net, d_out, out, packed, x, parameters, needs, *options)


class _Network(NamedTuple):
    """What the kernels are compiled for, and how many networks there are."""

    widths: tuple[int, ...]
    """[L + 1] inputs, then outputs of each layer"""
    has_bias: tuple[bool, ...]
    """[L]"""
    n_nets: int
    dtype: torch.dtype
    """of the products"""
    acc: torch.dtype
    """of the sums"""

    @classmethod
    def of(cls, x: Tensor, parameters: Sequence[Tensor | None]) -> _Network:
        """The network of these parameters."""
        weights, biases = _halves(parameters)
        dtypes = {x.dtype, *(w.dtype for w in weights)}
        acc = accumulation_dtype(x, *parameters)
        is_half = len(dtypes) == 1 and acc == torch.float32
        return cls(
            widths=(x.shape[-1], *(w.shape[-1] for w in weights)),
            has_bias=tuple(b is not None for b in biases),
            n_nets=x.shape[0] if x.ndim == 3 else 1,
            dtype=x.dtype if is_half else acc,
            acc=acc,
        )

    @property
    def is_in_registers(self) -> bool:
        """Whether the tile stays in registers from layer to layer."""
        return self.dtype != self.acc and max(self.widths) <= MAX_REGISTER_WIDTH

    @property
    def padded(self) -> list[int]:
        """[L + 1] widths as powers of two from 16 on, one for all hidden layers: matrix units take no less than 16."""
        hidden = max(self.widths[1:-1], default=16)
        widths = [self.widths[0], *(hidden for _ in self.widths[1:-1]), self.widths[-1]]
        return [max(16, 1 << (width - 1).bit_length()) for width in widths]


class _Layout(NamedTuple):
    """Parameters one after the other, as given and as packed."""

    sources: Tensor
    """[n_packed] int64, place among the given numbers; their count where there is padding"""
    places: Tensor
    """[n_given] int64, place among the packed numbers"""


@lru_cache(maxsize=64)
def _layouts(
    widths: tuple[int, ...], padded: tuple[int, ...], has_bias: tuple[bool, ...], device: torch.device
) -> tuple[_Layout, _Layout]:
    """Of the weights and of the biases."""
    weights, biases, n_weights, n_biases = [], [], 0, 0
    for l, has in enumerate(has_bias):
        rows, cols = padded[l : l + 2]
        places = torch.arange(rows * cols).view(rows, cols)[: widths[l], : widths[l + 1]]
        weights.append(n_weights + places.reshape(-1))
        if has:
            biases.append(n_biases + torch.arange(widths[l + 1]))
        n_weights, n_biases = n_weights + rows * cols, n_biases + cols
    return _layout(weights, n_weights, device), _layout(biases, n_biases, device)


def _layout(parts: list[Tensor], n_packed: int, device: torch.device) -> _Layout:
    places = torch.cat([torch.arange(0), *parts])
    sources = torch.full((n_packed,), len(places)).index_put((places,), torch.arange(len(places)))
    return _Layout(sources.to(device), places.to(device))


def _pack(x: Tensor, parameters: Sequence[Tensor | None]) -> tuple[Tensor, Tensor | None]:
    """Weights [n_nets, n_packed] in the dtype of the products, biases in that of the sums, None without any."""
    net, (weights, biases) = _Network.of(x, parameters), _halves(parameters)
    by_weights, by_biases = _layouts(net.widths, tuple(net.padded), net.has_bias, x.device)
    biases = [b.reshape(-1, b.shape[-1]).expand(net.n_nets, -1) for b in biases if b is not None]
    packed = _gather([w.reshape(net.n_nets, w.shape[-2] * w.shape[-1]) for w in weights], by_weights, net.dtype)
    return packed, _gather(biases, by_biases, net.acc) if biases else None


def _gather(rows: Sequence[Tensor], layout: _Layout, dtype: torch.dtype) -> Tensor:
    padding = rows[0].new_zeros(len(rows[0]), 1)
    return torch.cat([*rows, padding], dim=1).to(dtype).index_select(1, layout.sources)


def _run_forward(net: _Network, out, x, packed, activation, scale, output) -> None:
    n, tensors, meta = x.shape[-2], (x, *packed, _scale(scale, net.acc, x.device)), _meta(net, activation, output)
    n_tiles = ceil_div(n, meta["BLOCK_N"])
    if net.is_in_registers:
        launch(_mlp_fwd_kernel, (net.n_nets * n_tiles,), out, *tensors, n, n_tiles, **meta)
        return
    n_chunks = min(n_tiles, ceil_div(MAX_PROGRAMS, net.n_nets))
    scratch, meta = _scratch(net, n_chunks, 2, x.device, meta)
    launch(_mlp_cached_fwd_kernel, (net.n_nets * n_chunks,), out, scratch, *tensors, n, n_chunks, **meta)


def _run_backward(net: _Network, d_out, out, packed, x, parameters, needs, activation, scale, output):
    """Gradient of x and of each parameter; None where it is not needed."""
    inputs = (x, *parameters)
    if not d_out.numel():
        return [torch.zeros_like(t) if need else None for t, need in zip(inputs, needs, strict=True)]
    n, meta = x.shape[-2], _meta(net, activation, output)
    n_chunks = min(ceil_div(n, meta["BLOCK_N"]), ceil_div(MAX_PROGRAMS, net.n_nets))
    d_x = torch.empty_like(x, memory_format=torch.contiguous_format) if needs[0] else None
    sums = [
        x.new_zeros(net.n_nets, n_chunks, part.shape[1], dtype=net.acc) if any(need) else None
        for part, need in zip(packed, _halves(needs[1:]), strict=True)
    ]
    tensors = d_out.contiguous(), out, x.contiguous(), *packed, _scale(scale, net.acc, x.device)
    grid = (net.n_nets * n_chunks,)
    if net.is_in_registers:
        launch(_mlp_bwd_kernel, grid, d_x, *sums, *tensors, n, n_chunks, **meta)
    else:
        scratch, meta = _scratch(net, n_chunks, len(net.has_bias) + 2, x.device, meta)
        launch(_mlp_cached_bwd_kernel, grid, d_x, *sums, scratch, *tensors, n, n_chunks, **meta)
    grads = [d_x]
    layouts = _layouts(net.widths, tuple(net.padded), net.has_bias, x.device)
    for kind, need, total, layout in zip(_halves(parameters), _halves(needs[1:]), sums, layouts, strict=True):
        rows = None if total is None else total.sum(1).index_select(1, layout.places)
        grads += _split(rows, kind, need)
    return grads


def _split(rows: Tensor | None, parameters: Sequence[Tensor | None], needs: Sequence[bool]) -> list[Tensor | None]:
    """The parts [n_nets, ...] of rows [n_nets, n_given] as gradients of the parameters."""
    if rows is None:
        return [None for _ in parameters]
    grads, at = [], 0
    for parameter, need in zip(parameters, needs, strict=True):
        if parameter is None:
            grads.append(None)
            continue
        is_shared = parameter.ndim == 1  # a bias, of one network or of all
        size = parameter.numel() if is_shared else parameter.numel() // len(rows)
        part = rows[:, at : at + size]
        part = part.sum(0) if is_shared else part
        grads.append(part.reshape(parameter.shape).to(parameter.dtype) if need else None)
        at += size
    return grads


def _halves(parameters: Sequence) -> tuple[Sequence, Sequence]:
    return parameters[: len(parameters) // 2], parameters[len(parameters) // 2 :]


@lru_cache(maxsize=64)
def _scale(scale: float, acc: torch.dtype, device: torch.device) -> Tensor:
    # through memory: a number among the arguments of a kernel is float32 always
    return torch.tensor([scale], dtype=acc, device=device)


def _scratch(net: _Network, n_chunks: int, n_slots: int, device: torch.device, meta: dict) -> tuple[Tensor, dict]:
    """Memory for tiles between layers, [n_slots, SLOT] a program, and the kernel's constants with its sizes."""
    slot = meta["BLOCK_N"] * max(net.padded)
    scratch = torch.empty(net.n_nets * n_chunks, n_slots, slot, dtype=net.dtype, device=device)
    return scratch, meta | {"N_SLOTS": n_slots, "SLOT": slot}


def _meta(net: _Network, activation: str, output: str) -> dict:
    padded = net.padded
    pairs = pairwise(padded)
    meta = {
        "D_IN": net.widths[0],
        "D_OUT": net.widths[-1],
        "N_LAYERS": len(net.has_bias),
        "BLOCK_I": padded[0],
        "BLOCK_H": padded[1] if len(padded) > 2 else 16,
        "BLOCK_O": padded[-1],
        "N_WEIGHTS": sum(rows * cols for rows, cols in pairs),
        "N_BIASES": sum(padded[1:]),
        "ACTIVATION": activation,
        "OUTPUT": output,
        "num_warps": 4 if max(padded) <= 64 else 8,
    }
    if net.is_in_registers:
        return meta | {"DT": getattr(tl, str(net.dtype).removeprefix("torch.")), "BLOCK_N": BLOCK_N}
    block_n = CACHED_BLOCK_N if max(padded) <= 64 else WIDE_BLOCK_N
    # stages of a loop would each have a copy of its operands
    return meta | {"ACC": getattr(tl, str(net.acc).removeprefix("torch.")), "BLOCK_N": block_n, "num_stages": 1}


def mlp_triton(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    activation: str,
    scale: float,
    output: str,
) -> Tensor:
    """Same contract as :func:`nerfkit.kernels.mlp.mlp`."""
    return MlpTriton.apply(activation, scale, output, x, *weights, *biases)  # pyright: ignore[reportReturnType]


def compile_cases() -> list[CompileCase]:
    """Uses of mlp whose kernels are compiled ahead of time."""

    def run(
        dtype: torch.dtype,
        widths: tuple[int, ...],
        activation: str = "relu",
        output: str = "none",
        *,
        biases: bool = False,
    ) -> None:
        x = torch.zeros(3, widths[0], dtype=dtype, requires_grad=True)
        pairs = list(pairwise(widths))
        weights = [torch.zeros(a, b, dtype=dtype, requires_grad=True) for a, b in pairs]
        shifts = [torch.zeros(b, dtype=dtype, requires_grad=True) if biases else None for _, b in pairs]
        out = mlp_triton(x, weights, shifts, activation, 30.0, output)
        out.backward(torch.zeros_like(out))

    fp16, bf16, fp32, fp64 = torch.float16, torch.bfloat16, torch.float32, torch.float64
    return [
        CompileCase("bf16 32-64-16", lambda: run(bf16, (32, 64, 16))),
        CompileCase(
            "fp16 32-64-64-3",
            lambda: run(fp16, (32, 64, 64, 3), output="sigmoid"),
            spill_budget=16,
            spill_reason="four values on sm_120, beside 255 registers that hold the tile of every layer",
        ),
        CompileCase(
            "fp32 32-64-64-3",
            lambda: run(fp32, (32, 64, 64, 3), output="sigmoid"),
            spill_budget=24,
            spill_reason="ptxas stops at 96 registers on sm_120 and spills three values",
        ),
        CompileCase("fp32 SIREN 32", lambda: run(fp32, (2, 32, 32, 1), "sine", biases=True)),
        CompileCase("fp32 SIREN 128", lambda: run(fp32, (2, 128, 128, 3), "sine", biases=True)),
        CompileCase("bf16 gauss 128", lambda: run(bf16, (64, 128, 128, 3), "gaussian", biases=True)),
        CompileCase(
            "fp64 SIREN 32",
            lambda: run(fp64, (2, 32, 32, 1), "sine", biases=True),
            spill_budget=32,
            spill_reason="float64 is for checks; sm_120 has no matrix units for it",
        ),
    ]
