"""Both networks on a tile of M samples: device functions, forward and backward.

Weights are loaded where they are used (they stay in the first-level cache), sums are float32 or float64. A backward
computes the activations of a network once more from its input and keeps them on its way to the output; the recursion
is unrolled by the compiler. Gradients of weights are added at once to sums that belong to one program alone: held in
registers they would not fit, and with one writer per number their order is fixed.
"""

# pyright: reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
# (to pyright a call of a jitted function never returns, and a constexpr has nothing of the value that it holds)
from __future__ import annotations

import triton
import triton.language as tl

from ._reference import MAX_LOG_DENSITY

_MAX_LOG_DENSITY = tl.constexpr(MAX_LOG_DENSITY)


@triton.jit
def _weights(ptr, A: tl.constexpr, B: tl.constexpr):
    return tl.load(ptr + tl.arange(0, A)[:, None] * B + tl.arange(0, B)[None, :])


@triton.jit
def _weights_transposed(ptr, A: tl.constexpr, B: tl.constexpr):
    """[B, A] of the stored [A, B]: by the addresses, which costs nothing."""
    return tl.load(ptr + tl.arange(0, A)[None, :] * B + tl.arange(0, B)[:, None])


@triton.jit
def _product(h, weights, acc, PRECISION: tl.constexpr):
    return tl.dot(h, weights, acc, input_precision=PRECISION, out_dtype=acc.dtype)


@triton.jit
def _shift(ptr, M: tl.constexpr, B: tl.constexpr, HAS_BIAS: tl.constexpr):
    """What a layer starts from: its biases in each of M rows, or zeros; ``ptr`` has the dtype of the sums."""
    if HAS_BIAS:
        return tl.broadcast_to(tl.load(ptr + tl.arange(0, B))[None, :], (M, B))
    else:
        return tl.zeros((M, B), ptr.dtype.element_ty)


@triton.jit
def _relu(z):
    # a comparison, not maximum(): it lets a NaN through, so that a broken network is seen
    return tl.where(z < 0, 0, z)


@triton.jit
def _project(features, w_ptr, acc, LAYOUT: tl.constexpr, PRECISION: tl.constexpr):
    """The encoding times its [E, H] block: one product a tile, in place of a concatenation."""
    H: tl.constexpr = LAYOUT.H
    if LAYOUT.IS_HASH:
        return _product(features[0], _weights(w_ptr, LAYOUT.E, H), acc, PRECISION)
    else:
        acc = _product(features[0], _weights(w_ptr, 16, H), acc, PRECISION)
        acc = _product(features[1], _weights(w_ptr + 16 * H, LAYOUT.FM, H), acc, PRECISION)
        return _product(features[2], _weights(w_ptr + (16 + LAYOUT.FM) * H, LAYOUT.FM, H), acc, PRECISION)


@triton.jit
def _trunk_layer(h, features, w_ptr, b_ptr, layer: tl.constexpr, LAYOUT: tl.constexpr, PRECISION: tl.constexpr):
    """Hidden layer ``layer`` before its ReLU; ``h`` is of no use to the first, 0."""
    H: tl.constexpr = LAYOUT.H
    acc = _shift(b_ptr + LAYOUT.AT_TRUNK_BIAS + layer * H, features[0].shape[0], H, LAYOUT.HAS_BIAS)
    if layer == 0:
        return _project(features, w_ptr, acc, LAYOUT, PRECISION)
    else:
        if layer == LAYOUT.SKIP:
            acc = _project(features, w_ptr + LAYOUT.AT_SKIP, acc, LAYOUT, PRECISION)
        return _product(h, _weights(w_ptr + LAYOUT.AT_TRUNK + (layer - 1) * H * H, H, H), acc, PRECISION)


@triton.jit
def _trunk(features, w_ptr, b_ptr, LAYOUT: tl.constexpr, PRECISION: tl.constexpr):
    """Logarithm of the density [M] and what the colour network takes [M, GEO]."""
    H: tl.constexpr = LAYOUT.H
    M: tl.constexpr = features[0].shape[0]
    N: tl.constexpr = LAYOUT.N_TRUNK
    h = features[0]
    for layer in tl.static_range(N):
        h = _relu(_trunk_layer(h, features, w_ptr, b_ptr, layer, LAYOUT, PRECISION)).to(w_ptr.dtype.element_ty)
    acc = _shift(b_ptr + LAYOUT.AT_GEOMETRY_BIAS, M, LAYOUT.GEO, LAYOUT.HAS_BIAS)
    geometry = _product(h, _weights(w_ptr + LAYOUT.AT_GEOMETRY, H, LAYOUT.GEO), acc, PRECISION)
    if LAYOUT.DENSITY_APART:
        column = tl.load(b_ptr + LAYOUT.AT_DENSITY + tl.arange(0, H))
        raw = tl.sum(h.to(acc.dtype) * column[None, :], 1) + tl.load(b_ptr + LAYOUT.AT_DENSITY_BIAS)
    else:
        raw = tl.sum(tl.where(tl.arange(0, LAYOUT.GEO)[None, :] == 0, geometry, 0), 1)
    return raw + tl.load(b_ptr + LAYOUT.AT_OFFSET), geometry.to(w_ptr.dtype.element_ty)


@triton.jit
def _color_layer(h, directions, w_ptr, b_ptr, layer: tl.constexpr, LAYOUT: tl.constexpr, PRECISION: tl.constexpr):
    """Hidden layer of the colour network before its ReLU; to the first, ``h`` is the geometry."""
    H: tl.constexpr = LAYOUT.H
    acc = _shift(b_ptr + LAYOUT.AT_COLOR_BIAS + layer * H, h.shape[0], H, LAYOUT.HAS_BIAS)
    if layer == 0:
        acc = _product(h, _weights(w_ptr + LAYOUT.AT_FROM_GEOMETRY, LAYOUT.GEO, H), acc, PRECISION)
        return _product(directions, _weights(w_ptr + LAYOUT.AT_FROM_DIRECTIONS, LAYOUT.S, H), acc, PRECISION)
    else:
        return _product(h, _weights(w_ptr + LAYOUT.AT_COLOR + (layer - 1) * H * H, H, H), acc, PRECISION)


@triton.jit
def _color(geometry, directions, w_ptr, b_ptr, LAYOUT: tl.constexpr, PRECISION: tl.constexpr):
    """Colours [M, 16], 3 columns used."""
    N: tl.constexpr = LAYOUT.N_COLOR
    h = geometry
    for layer in tl.static_range(N):
        z = _color_layer(h, directions, w_ptr, b_ptr, layer, LAYOUT, PRECISION)
        h = _relu(z).to(w_ptr.dtype.element_ty)
    acc = _shift(b_ptr + LAYOUT.AT_RGB_BIAS, h.shape[0], 16, LAYOUT.HAS_BIAS)
    z = _product(h, _weights(w_ptr + LAYOUT.AT_RGB, LAYOUT.H, 16), acc, PRECISION)
    return 1 / (1 + tl.exp(-z))


@triton.jit
def _density(raw):
    return tl.exp(tl.where(raw > _MAX_LOG_DENSITY, _MAX_LOG_DENSITY, raw))


@triton.jit
def _add_weights(ptr, h, d_z, A: tl.constexpr, B: tl.constexpr, PRECISION: tl.constexpr):
    """Add ``h^T d_z`` to the block [A, B] at ``ptr`` of this program's sums."""
    rows, columns = tl.arange(0, A), tl.arange(0, B)
    # the longer side in the rows: Hopper's matrix units want 64 of them
    if A >= B:
        block = _product(tl.trans(h), d_z, tl.zeros((A, B), ptr.dtype.element_ty), PRECISION)
        tl.atomic_add(ptr + rows[:, None] * B + columns[None, :], block, sem="relaxed")
    else:
        block = _product(tl.trans(d_z), h, tl.zeros((B, A), ptr.dtype.element_ty), PRECISION)
        tl.atomic_add(ptr + rows[None, :] * B + columns[:, None], block, sem="relaxed")


@triton.jit
def _add_biases(ptr, d_z, B: tl.constexpr, HAS_BIAS: tl.constexpr):
    if HAS_BIAS:
        tl.atomic_add(ptr + tl.arange(0, B), tl.sum(d_z, 0), sem="relaxed")


@triton.jit
def _before_relu(a, d_a):
    return tl.where(a > 0, d_a, 0)


@triton.jit
def _back(d_z, w_ptr, A: tl.constexpr, B: tl.constexpr, acc_like, PRECISION: tl.constexpr):
    """Gradient [M, A] of a layer's input."""
    acc = tl.zeros((d_z.shape[0], A), acc_like.dtype.element_ty)
    return _product(d_z, _weights_transposed(w_ptr, A, B), acc, PRECISION)


@triton.jit
def _color_backward(
    h, directions, d_logits, w_ptr, b_ptr, d_w_ptr, layer: tl.constexpr, LAYOUT: tl.constexpr, PRECISION: tl.constexpr
):
    """From hidden layer ``layer`` with input ``h`` to the output and back: gradient of ``h``, and of the first
    layer's sum.
    """
    H: tl.constexpr = LAYOUT.H
    DT: tl.constexpr = w_ptr.dtype.element_ty
    if layer == LAYOUT.N_COLOR:
        d_z = d_logits.to(DT)
        _add_biases(d_w_ptr + LAYOUT.AT_RGB_BIAS, d_logits, 16, LAYOUT.HAS_BIAS)
        _add_weights(d_w_ptr + LAYOUT.AT_RGB, h, d_z, H, 16, PRECISION)
        return _back(d_z, w_ptr + LAYOUT.AT_RGB, H, 16, b_ptr, PRECISION), d_z
    else:
        a = _relu(_color_layer(h, directions, w_ptr, b_ptr, layer, LAYOUT, PRECISION)).to(DT)
        d_a, _ = _color_backward(a, directions, d_logits, w_ptr, b_ptr, d_w_ptr, layer + 1, LAYOUT, PRECISION)
        d_a = _before_relu(a, d_a)
        _add_biases(d_w_ptr + LAYOUT.AT_COLOR_BIAS + layer * H, d_a, H, LAYOUT.HAS_BIAS)
        d_z = d_a.to(DT)
        if layer == 0:
            _add_weights(d_w_ptr + LAYOUT.AT_FROM_GEOMETRY, h, d_z, LAYOUT.GEO, H, PRECISION)
            _add_weights(d_w_ptr + LAYOUT.AT_FROM_DIRECTIONS, directions, d_z, LAYOUT.S, H, PRECISION)
            return _back(d_z, w_ptr + LAYOUT.AT_FROM_GEOMETRY, LAYOUT.GEO, H, b_ptr, PRECISION), d_z
        else:
            at: tl.constexpr = LAYOUT.AT_COLOR + (layer - 1) * H * H
            _add_weights(d_w_ptr + at, h, d_z, H, H, PRECISION)
            return _back(d_z, w_ptr + at, H, H, b_ptr, PRECISION), d_z


@triton.jit
def _trunk_backward(
    h, features, d_geometry, d_raw, w_ptr, b_ptr, d_w_ptr,
    layer: tl.constexpr, LAYOUT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """From hidden layer ``layer`` with input ``h`` to the output and back: gradient of ``h``, and of the sum of the
    layer with the skip.
    """
    H: tl.constexpr = LAYOUT.H
    DT: tl.constexpr = w_ptr.dtype.element_ty
    if layer == LAYOUT.N_TRUNK:
        return _trunk_output_backward(h, d_geometry, d_raw, w_ptr, b_ptr, d_w_ptr, LAYOUT, PRECISION), h
    else:
        a = _relu(_trunk_layer(h, features, w_ptr, b_ptr, layer, LAYOUT, PRECISION)).to(DT)
        d_a, d_skip = _trunk_backward(
            a, features, d_geometry, d_raw, w_ptr, b_ptr, d_w_ptr, layer + 1, LAYOUT, PRECISION
        )
        d_a = _before_relu(a, d_a)
        _add_biases(d_w_ptr + LAYOUT.AT_TRUNK_BIAS + layer * H, d_a, H, LAYOUT.HAS_BIAS)
        d_z = d_a.to(DT)
        if layer == LAYOUT.SKIP:
            d_skip = d_z
        if layer == 0:
            return d_z, d_skip
        else:
            at: tl.constexpr = LAYOUT.AT_TRUNK + (layer - 1) * H * H
            _add_weights(d_w_ptr + at, h, d_z, H, H, PRECISION)
            return _back(d_z, w_ptr + at, H, H, b_ptr, PRECISION), d_skip


@triton.jit
def _trunk_output_backward(h, d_geometry, d_raw, w_ptr, b_ptr, d_w_ptr, LAYOUT: tl.constexpr, PRECISION: tl.constexpr):
    """Gradient [M, H] of the last hidden layer."""
    H: tl.constexpr = LAYOUT.H
    if not LAYOUT.DENSITY_APART:
        d_geometry += tl.where(tl.arange(0, LAYOUT.GEO)[None, :] == 0, d_raw[:, None], 0)
    _add_biases(d_w_ptr + LAYOUT.AT_GEOMETRY_BIAS, d_geometry, LAYOUT.GEO, LAYOUT.HAS_BIAS)
    d_z = d_geometry.to(h.dtype)
    _add_weights(d_w_ptr + LAYOUT.AT_GEOMETRY, h, d_z, H, LAYOUT.GEO, PRECISION)
    d_h = _back(d_z, w_ptr + LAYOUT.AT_GEOMETRY, H, LAYOUT.GEO, b_ptr, PRECISION)
    d_shift = tl.sum(d_raw, 0)
    tl.atomic_add(d_w_ptr + LAYOUT.AT_OFFSET, d_shift, sem="relaxed")
    if LAYOUT.DENSITY_APART:
        tl.atomic_add(d_w_ptr + LAYOUT.AT_DENSITY_BIAS, d_shift, sem="relaxed")
        d_column = tl.sum(h.to(d_raw.dtype) * d_raw[:, None], 0)
        tl.atomic_add(d_w_ptr + LAYOUT.AT_DENSITY + tl.arange(0, H), d_column, sem="relaxed")
        d_h += d_raw[:, None] * tl.load(b_ptr + LAYOUT.AT_DENSITY + tl.arange(0, H))[None, :]
    return d_h


@triton.jit
def _add_projection(d_w_ptr, features, d_z, LAYOUT: tl.constexpr, PRECISION: tl.constexpr):
    """Gradient of the encoding's [E, H] block."""
    H: tl.constexpr = LAYOUT.H
    if LAYOUT.IS_HASH:
        _add_weights(d_w_ptr, features[0], d_z, LAYOUT.E, H, PRECISION)
    else:
        _add_weights(d_w_ptr, features[0], d_z, 16, H, PRECISION)
        _add_weights(d_w_ptr + 16 * H, features[1], d_z, LAYOUT.FM, H, PRECISION)
        _add_weights(d_w_ptr + (16 + LAYOUT.FM) * H, features[2], d_z, LAYOUT.FM, H, PRECISION)
