"""The encoding of a tile of M samples: device functions for the hash grid and for Fourier features.

A hash grid is walked as a tile [M, L, F]: indices once a level, the features of a vertex as one vector. Fourier
features are three tiles: the position in 16 columns, cosines, sines.
"""

# pyright: reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
# (to pyright a call of a jitted function never returns, and a constexpr has nothing of the value that it holds)
from __future__ import annotations

import math

import triton
import triton.language as tl

from nerfkit.kernels.fourier._triton import _cos_sin

_TAU = tl.constexpr(2 * math.pi)


@triton.jit
def _levels(levels_ptr, LAYOUT: tl.constexpr):
    """Resolution, first entry, mask of the size and whether dense [1, L] of each level; which exist."""
    l = tl.arange(0, LAYOUT.L)
    exists = l < LAYOUT.n_levels
    resolution = tl.load(levels_ptr + l, mask=exists, other=2)[None, :]
    offset = tl.load(levels_ptr + LAYOUT.L + l, mask=exists, other=0)[None, :]
    size = tl.load(levels_ptr + 2 * LAYOUT.L + l, mask=exists, other=1)[None, :]
    is_dense = tl.load(levels_ptr + 3 * LAYOUT.L + l, mask=exists, other=0)[None, :] != 0
    return resolution, offset, (size - 1).to(tl.uint32), is_dense, exists[None, :]


@triton.jit
def _cell(x, resolution):
    """Cell (uint32) and place within it, [M, L], along one axis."""
    # comparisons, not minimum(): a NaN goes on through the place, so that a broken ray is seen
    x = tl.where(x < 0, 0, tl.where(x > 1, 1, x))
    position = x[:, None] * (resolution - 1).to(x.dtype) + 0.5
    cell = tl.floor(tl.where(position >= 0, position, 0))
    return cell.to(tl.int32).to(tl.uint32), position - cell


@triton.jit
def _entry(cx, cy, cz, resolution, offset, mask, is_dense, corner: tl.constexpr, IS_WIDE: tl.constexpr):
    """Row of the table [M, L] of a corner of the cells."""
    vx, vy, vz = cx + (corner & 1), cy + ((corner >> 1) & 1), cz + ((corner >> 2) & 1)
    stride = (resolution + 1).to(tl.uint32)
    dense = vx + stride * (vy + stride * vz)
    hashed = (vx ^ (vy * 2654435761) ^ (vz * 805459861)) & mask
    entry = tl.where(is_dense, dense, hashed).to(tl.int32) + offset
    # int64 before the multiply by F where the table has more than 2**31 numbers
    return entry.to(tl.int64) if IS_WIDE else entry


@triton.jit
def _cells(x, y, z, is_sample, levels_ptr, LAYOUT: tl.constexpr):
    """Cells round points [M] and places within them, [M, L] along each axis; the levels; which of [M, L] are used."""
    resolution, offset, mask, is_dense, exists = _levels(levels_ptr, LAYOUT)
    cx, fx = _cell(x, resolution)
    cy, fy = _cell(y, resolution)
    cz, fz = _cell(z, resolution)
    is_used = tl.broadcast_to(is_sample[:, None], cx.shape)
    # where all levels exist, one predicate a sample instead of one a level
    if LAYOUT.n_levels < LAYOUT.L:
        is_used = is_used & exists
    return (cx, cy, cz), (fx, fy, fz), (resolution, offset, mask, is_dense), is_used


@triton.jit
def _vertex(cells, levels, corner: tl.constexpr, LAYOUT: tl.constexpr, IS_WIDE: tl.constexpr):
    """Addresses [M, L, F] in the table of a corner of the cells."""
    resolution, offset, mask, is_dense = levels
    entry = _entry(cells[0], cells[1], cells[2], resolution, offset, mask, is_dense, corner, IS_WIDE)
    return (entry * LAYOUT.F)[:, :, None] + tl.arange(0, LAYOUT.F)[None, None, :]


@triton.jit
def _factors(places, corner: tl.constexpr):
    """Weights [M, L] of a corner along each axis; their product is its weight."""
    fx, fy, fz = places
    wx = fx if corner & 1 else 1 - fx
    wy = fy if corner & 2 else 1 - fy
    wz = fz if corner & 4 else 1 - fz
    return wx, wy, wz


@triton.jit
def _settled(tile):
    """The tile itself, as a sum of one term.

    It keeps the compiler from computing a tile in the layout in which a product wants its operand: threads would
    repeat each other's work, and the entries of a vertex be no vector any more.
    """
    return tl.sum(tl.reshape(tile, (tile.shape[0], tile.shape[1], 1)), 2)


@triton.jit
def _gather(x, y, z, is_sample, table_ptr, levels_ptr, LAYOUT: tl.constexpr, IS_WIDE: tl.constexpr):
    """Features [M, L * F] of the hash grid; 0, and nothing is loaded, where there is no sample."""
    L: tl.constexpr = LAYOUT.L
    F: tl.constexpr = LAYOUT.F
    cells, places, levels, is_used = _cells(x, y, z, is_sample, levels_ptr, LAYOUT)
    out = tl.zeros((x.shape[0], L, F), x.dtype)
    for corner in tl.static_range(8):
        at = _vertex(cells, levels, corner, LAYOUT, IS_WIDE)
        wx, wy, wz = _factors(places, corner)
        out += (wx * wy * wz)[:, :, None] * tl.load(table_ptr + at, mask=is_used[:, :, None], other=0).to(x.dtype)
    return _settled(tl.reshape(out, (x.shape[0], L * F)))


@triton.jit
def _scatter(
    x, y, z, is_sample, d_features, d_table_ptr, levels_ptr, scales_ptr, LAYOUT: tl.constexpr, IS_WIDE: tl.constexpr
):
    """Add the gradient [M, L * F] of the features to that of the table; in integers where there are scales [L]."""
    cells, places, levels, is_used = _cells(x, y, z, is_sample, levels_ptr, LAYOUT)
    d_out = tl.reshape(d_features, (x.shape[0], LAYOUT.L, LAYOUT.F))
    if scales_ptr is not None:
        d_out *= tl.load(scales_ptr + tl.arange(0, LAYOUT.L))[None, :, None]
    for corner in tl.static_range(8):
        at = _vertex(cells, levels, corner, LAYOUT, IS_WIDE)
        wx, wy, wz = _factors(places, corner)
        d_row = (wx * wy * wz)[:, :, None] * d_out
        if scales_ptr is not None:
            d_row = d_row.to(tl.int64)
        tl.atomic_add(d_table_ptr + at, d_row, mask=is_used[:, :, None], sem="relaxed")


@triton.jit
def _slope(x, resolution):
    # the clamp's gradient is zero beyond the cube
    return tl.where((x >= 0) & (x <= 1), 1, 0)[:, None] * (resolution - 1).to(x.dtype)


@triton.jit
def _gather_backward(
    x, y, z, is_sample, d_features, table_ptr, levels_ptr, LAYOUT: tl.constexpr, IS_WIDE: tl.constexpr
):
    """Gradient with respect to the positions, from that of the features [M, L * F]."""
    L: tl.constexpr = LAYOUT.L
    cells, places, levels, is_used = _cells(x, y, z, is_sample, levels_ptr, LAYOUT)
    d_out = tl.reshape(d_features, (x.shape[0], L, LAYOUT.F))
    d_fx = tl.zeros((x.shape[0], L), x.dtype)
    d_fy = tl.zeros((x.shape[0], L), x.dtype)
    d_fz = tl.zeros((x.shape[0], L), x.dtype)
    for corner in tl.static_range(8):
        at = _vertex(cells, levels, corner, LAYOUT, IS_WIDE)
        value = tl.load(table_ptr + at, mask=is_used[:, :, None], other=0)
        d_weight = tl.sum(value.to(x.dtype) * d_out, 2)  # [M, L]
        wx, wy, wz = _factors(places, corner)
        d_fx += (d_weight if corner & 1 else -d_weight) * (wy * wz)
        d_fy += (d_weight if corner & 2 else -d_weight) * (wx * wz)
        d_fz += (d_weight if corner & 4 else -d_weight) * (wx * wy)
    d_x = tl.sum(d_fx * _slope(x, levels[0]), 1)
    d_y = tl.sum(d_fy * _slope(y, levels[0]), 1)
    d_z = tl.sum(d_fz * _slope(z, levels[0]), 1)
    return d_x, d_y, d_z


@triton.jit
def _columns(x, y, z):
    """Tile [M, 16] with the position in its first columns, 0 in the others."""
    column = tl.arange(0, 16)[None, :]
    xy = tl.where(column == 0, x[:, None], tl.where(column == 1, y[:, None], 0))
    return tl.where(column == 2, z[:, None], xy)


@triton.jit
def _fourier(x, y, z, freqs_ptr, n_freqs, LAYOUT: tl.constexpr):
    """Cosines and sines [M, FM] of the positions; padded frequencies are 0."""
    m = tl.arange(0, LAYOUT.FM)
    bx = tl.load(freqs_ptr + 3 * m, mask=m < n_freqs, other=0).to(x.dtype)
    by = tl.load(freqs_ptr + 3 * m + 1, mask=m < n_freqs, other=0).to(x.dtype)
    bz = tl.load(freqs_ptr + 3 * m + 2, mask=m < n_freqs, other=0).to(x.dtype)
    return _cos_sin(x[:, None] * bx[None, :] + y[:, None] * by[None, :] + z[:, None] * bz[None, :])


@triton.jit
def _fourier_backward(cos, sin, d_position, d_cos, d_sin, freqs_ptr, n_freqs, LAYOUT: tl.constexpr):
    """Gradient with respect to the positions, from that of the three tiles."""
    m = tl.arange(0, LAYOUT.FM)
    d_cycles = _TAU * (cos.to(d_cos.dtype) * d_sin - sin.to(d_cos.dtype) * d_cos)
    column = tl.arange(0, 16)[None, :]
    bx = tl.load(freqs_ptr + 3 * m, mask=m < n_freqs, other=0).to(d_cos.dtype)
    by = tl.load(freqs_ptr + 3 * m + 1, mask=m < n_freqs, other=0).to(d_cos.dtype)
    bz = tl.load(freqs_ptr + 3 * m + 2, mask=m < n_freqs, other=0).to(d_cos.dtype)
    d_x = tl.sum(d_cycles * bx[None, :], 1) + 2 * tl.sum(tl.where(column == 0, d_position, 0), 1)
    d_y = tl.sum(d_cycles * by[None, :], 1) + 2 * tl.sum(tl.where(column == 1, d_position, 0), 1)
    d_z = tl.sum(d_cycles * bz[None, :], 1) + 2 * tl.sum(tl.where(column == 2, d_position, 0), 1)
    return d_x, d_y, d_z


@triton.jit
def _encode(
    x, y, z, is_sample, encoding_ptr, levels_ptr, n_freqs, LAYOUT: tl.constexpr, IS_WIDE: tl.constexpr,
    DT: tl.constexpr,
):  # fmt: skip
    """The tiles that the first layer multiplies, in the dtype of the products."""
    if LAYOUT.IS_HASH:
        return (_gather(x, y, z, is_sample, encoding_ptr, levels_ptr, LAYOUT, IS_WIDE).to(DT),)
    else:
        cos, sin = _fourier(x, y, z, encoding_ptr, n_freqs, LAYOUT)
        return (_columns(2 * x - 1, 2 * y - 1, 2 * z - 1).to(DT), cos.to(DT), sin.to(DT))
