"""Exact products and wide layers: what goes from layer to layer lies in memory of the program, in the caches.

Weights are streamed: a product takes blocks of both factors along k, so that no layer must fit anywhere as a whole.
"""

# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false
# (to pyright a call of a jitted function never returns, and a number is no constexpr)
from __future__ import annotations

import triton
import triton.language as tl

from ._triton_elements import _activate, _add, _d_activate, _rows, _sigmoid


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
    BLOCK_K: tl.constexpr,
):
    """A @ B of A [ROWS, N_K] and B [N_K, COLS], given by their strides; BLOCK_K of k at a time."""
    K: tl.constexpr = BLOCK_K if BLOCK_K < N_K else N_K
    a_ptr += tl.arange(0, ROWS)[:, None] * A_ROW + tl.arange(0, K)[None, :] * A_K
    b_ptr += tl.arange(0, K)[:, None] * B_K + tl.arange(0, COLS)[None, :] * B_COL
    total = tl.zeros((ROWS, COLS), ACC)
    for k in range(0, N_K, K):
        a, b = tl.load(a_ptr + k * A_K), tl.load(b_ptr + k * B_K)
        total = tl.dot(a, b, total, input_precision="ieee", out_dtype=ACC)
    return total


@triton.jit
def _first(l: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_H: tl.constexpr):
    """Place of the matrix of layer l among the packed weights of a network."""
    FIRST: tl.constexpr = 0 if l == 0 else BLOCK_I * BLOCK_H + (l - 1) * BLOCK_H * BLOCK_H
    return FIRST


@triton.jit
def _cached_affine(
    h_ptr,
    weights_ptr,
    biases_ptr,
    col,
    l: tl.constexpr,
    N_LAYERS: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_O: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PART: tl.constexpr,
):
    """PART columns of h @ weights[l] + biases[l], from col on."""
    ROWS: tl.constexpr = BLOCK_I if l == 0 else BLOCK_H
    COLS: tl.constexpr = BLOCK_O if l == N_LAYERS - 1 else BLOCK_H
    b_ptr = weights_ptr + _first(l, BLOCK_I, BLOCK_H) + col
    z = _product(h_ptr, b_ptr, BLOCK_N, PART, ROWS, ROWS, 1, COLS, 1, ACC, BLOCK_K)
    if biases_ptr is not None:
        z += tl.load(biases_ptr + l * BLOCK_H + col + tl.arange(0, PART))[None, :]
    return z


@triton.jit
def _add_d_weight(
    d_weight_ptr,
    h_ptr,
    d_z_ptr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    N_SUMS: tl.constexpr,
):
    """Add the gradient h^T d_z of a matrix [ROWS, COLS] to its sum."""
    # N_SUMS at a time: more do not fit the registers beside their operands; a product takes no fewer than 16 columns
    PART_ROWS: tl.constexpr = ROWS if ROWS * 16 < N_SUMS else N_SUMS // 16
    PART_COLS: tl.constexpr = COLS if COLS * PART_ROWS < N_SUMS else N_SUMS // PART_ROWS
    for row in range(0, ROWS, PART_ROWS):
        for col in range(0, COLS, PART_COLS):
            d_weight = _product(
                h_ptr + row, d_z_ptr + col, PART_ROWS, PART_COLS, BLOCK_N, 1, ROWS, COLS, 1, ACC, BLOCK_K
            )
            at = (row + tl.arange(0, PART_ROWS))[:, None] * COLS + (col + tl.arange(0, PART_COLS))[None, :]
            _add(d_weight_ptr + at, d_weight)


@triton.jit
def _tile(BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, PART: tl.constexpr):
    """Places [BLOCK_N, PART] of the first columns of a tile of BLOCK_D."""
    return tl.arange(0, BLOCK_N)[:, None] * BLOCK_D + tl.arange(0, PART)[None, :]


@triton.jit
def _cached_bwd_layer(
    d_x_ptr,
    d_weights_ptr,
    d_biases_ptr,
    d_z_below_ptr,  # out, of layer l - 1, or d_x of the first one
    d_z_ptr,
    h_ptr,
    weights_ptr,
    biases_ptr,
    scale,
    rows,
    is_row,  # in; the inputs of the layer below lie one slot before h
    l: tl.constexpr,
    D_IN: tl.constexpr,
    N_LAYERS: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_O: tl.constexpr,
    SLOT: tl.constexpr,
    ACTIVATION: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    N_SUMS: tl.constexpr,
    MAX_PART: tl.constexpr,
):
    """From d_z of layer l to that of the layer below, with its bias, and to the sum of the matrix between them."""
    ROWS: tl.constexpr = BLOCK_I if l == 0 else BLOCK_H
    COLS: tl.constexpr = BLOCK_O if l == N_LAYERS - 1 else BLOCK_H
    PART: tl.constexpr = ROWS if ROWS < MAX_PART else MAX_PART
    at = _first(l, BLOCK_I, BLOCK_H)
    if d_weights_ptr is not None:
        _add_d_weight(d_weights_ptr + at, h_ptr, d_z_ptr, ROWS, COLS, ACC, BLOCK_N, BLOCK_K, N_SUMS)
    if l > 0 or d_x_ptr is not None:
        # a part of the units at a time: their gradients and their z together take the registers
        for col in range(0, ROWS, PART):
            b_ptr = weights_ptr + at + col * COLS
            d_h = _product(d_z_ptr, b_ptr, BLOCK_N, PART, COLS, COLS, 1, 1, COLS, ACC, BLOCK_K)
            cols = col + tl.arange(0, PART)
            if l > 0:
                h = tl.load(h_ptr + col + _tile(BLOCK_N, BLOCK_H, PART))
                z = h
                if ACTIVATION != "relu":
                    # computed again rather than kept, as in the other one
                    z = _cached_affine(
                        h_ptr - SLOT,
                        weights_ptr,
                        biases_ptr,
                        col,
                        l - 1,
                        N_LAYERS,
                        BLOCK_I,
                        BLOCK_H,
                        BLOCK_O,
                        ACC,
                        BLOCK_N,
                        BLOCK_K,
                        PART,
                    )
                d_z = _d_activate(d_h, h, z, scale, ACTIVATION)
                tl.store(d_z_below_ptr + col + _tile(BLOCK_N, BLOCK_H, PART), d_z)
                if d_biases_ptr is not None:
                    _add(d_biases_ptr + (l - 1) * BLOCK_H + cols, tl.sum(d_z, axis=0))
            else:
                mask = is_row[:, None] & (cols < D_IN)[None, :]
                tl.store(d_x_ptr + rows[:, None] * D_IN + cols[None, :], d_h, mask=mask)


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
    BLOCK_K: tl.constexpr,
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
        tl.store(scratch_ptr + _tile(BLOCK_N, BLOCK_I, BLOCK_I), h)
        for l in tl.static_range(N_LAYERS - 1):
            tl.debug_barrier()
            h_ptr = scratch_ptr + (l % 2) * SLOT
            z = _cached_affine(
                h_ptr,
                weights_ptr,
                biases_ptr,
                0,
                l,
                N_LAYERS,
                BLOCK_I,
                BLOCK_H,
                BLOCK_O,
                ACC,
                BLOCK_N,
                BLOCK_K,
                BLOCK_H,
            )
            tl.store(
                scratch_ptr + (1 - l % 2) * SLOT + _tile(BLOCK_N, BLOCK_H, BLOCK_H), _activate(z, scale, ACTIVATION)
            )
        tl.debug_barrier()
        h_ptr = scratch_ptr + ((N_LAYERS - 1) % 2) * SLOT
        z = _cached_affine(
            h_ptr,
            weights_ptr,
            biases_ptr,
            0,
            N_LAYERS - 1,
            N_LAYERS,
            BLOCK_I,
            BLOCK_H,
            BLOCK_O,
            ACC,
            BLOCK_N,
            BLOCK_K,
            BLOCK_O,
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
    BLOCK_K: tl.constexpr,
    N_SUMS: tl.constexpr,
    MAX_PART: tl.constexpr,
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
        tl.store(scratch_ptr + _tile(BLOCK_N, BLOCK_I, BLOCK_I), h)
        for l in tl.static_range(N_LAYERS - 1):
            tl.debug_barrier()
            h_ptr = scratch_ptr + l * SLOT
            z = _cached_affine(
                h_ptr,
                weights_ptr,
                biases_ptr,
                0,
                l,
                N_LAYERS,
                BLOCK_I,
                BLOCK_H,
                BLOCK_O,
                ACC,
                BLOCK_N,
                BLOCK_K,
                BLOCK_H,
            )
            tl.store(h_ptr + SLOT + _tile(BLOCK_N, BLOCK_H, BLOCK_H), _activate(z, scale, ACTIVATION))
        at, mask = _rows(rows, n, D_OUT, BLOCK_O)
        d_z = tl.load(d_out_ptr + net * n * D_OUT + at, mask=mask, other=0)
        if OUTPUT == "sigmoid":
            out = tl.load(out_ptr + net * n * D_OUT + at, mask=mask, other=0)
            d_z *= out * (1 - out)
        tl.store(scratch_ptr + N_LAYERS * SLOT + _tile(BLOCK_N, BLOCK_O, BLOCK_O), d_z)
        if d_biases_ptr is not None:
            _add(d_biases_ptr + (N_LAYERS - 1) * BLOCK_H + tl.arange(0, BLOCK_O), tl.sum(d_z, axis=0))
        for i in tl.static_range(N_LAYERS):
            tl.debug_barrier()
            _cached_bwd_layer(
                d_x_ptr,
                d_weights_ptr,
                d_biases_ptr,
                scratch_ptr + (N_LAYERS + 1 - i % 2) * SLOT,
                scratch_ptr + (N_LAYERS + i % 2) * SLOT,
                scratch_ptr + (N_LAYERS - 1 - i) * SLOT,
                weights_ptr,
                biases_ptr,
                scale,
                net * n + rows,
                rows < n,
                N_LAYERS - 1 - i,
                D_IN,
                N_LAYERS,
                BLOCK_I,
                BLOCK_H,
                BLOCK_O,
                SLOT,
                ACTIVATION,
                ACC,
                BLOCK_N,
                BLOCK_K,
                N_SUMS,
                MAX_PART,
            )
        first += n_chunks.to(tl.int64) * BLOCK_N
