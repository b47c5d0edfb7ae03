"""Half precision and narrow layers: a tile of samples stays in registers from layer to layer, and back."""

# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false
# (to pyright a call of a jitted function never returns, and a number is no constexpr)
from __future__ import annotations

import triton
import triton.language as tl

from ._triton_elements import _activate, _add, _d_activate, _rows, _sigmoid


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
