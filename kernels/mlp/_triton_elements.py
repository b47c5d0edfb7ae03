"""Activations, their slopes, and rows of matrices: what both ways through the layers have in common."""

# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false
# (to pyright a call of a jitted function never returns, and a number is no constexpr)
from __future__ import annotations

import math

import triton
import triton.language as tl

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
        tl.static_assert(ACTIVATION == "gaussian", "unknown activation")
        return tl.exp(-(scale * z) * (scale * z))


@triton.jit
def _d_activate(d_h, h, z, scale, ACTIVATION: tl.constexpr):
    """Gradient of z from that of h = activation(z); a ReLU looks at h alone, the others at z and h."""
    if ACTIVATION == "relu":
        return tl.where(h <= 0, 0, d_h)
    elif ACTIVATION == "sine":
        return d_h * scale * _cosine(scale * z)
    else:
        tl.static_assert(ACTIVATION == "gaussian", "unknown activation")
        return d_h * (-2 * scale * scale) * z * h


@triton.jit
def _sigmoid(z):
    e = tl.exp(-tl.abs(z))
    return tl.where(z < 0, e, 1) / (1 + e)


@triton.jit
def _rows(rows, n, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Places [BLOCK_N, BLOCK_D] of rows of a matrix with D columns, and whether they are inside of it."""
    cols = tl.arange(0, BLOCK_D)
    return rows[:, None] * D + cols[None, :], (rows < n)[:, None] & (cols < D)[None, :]


@triton.jit
def _add(ptr, values):
    tl.store(ptr, tl.load(ptr) + values)
