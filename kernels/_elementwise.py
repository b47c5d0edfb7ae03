"""Sine, cosine, exponential and sigmoid for numba, in float32 as polynomials that LLVM turns into vector code.

The library's functions take one number at a time. In float64, used for checks, they serve as they are.
No step assumes that infinity or NaN never come.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numba.extending import overload

__all__ = ["FAR", "exp", "sigmoid", "sine_cosine"]

# numba types its own options by what njit happens to take
# pyright: reportArgumentType=false

# multiply-adds may be rounded once; nothing else is relaxed
_OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}}

FAR = np.float32(1e4)
"""Above this argument :func:`sine_cosine` loses digits in float32: the caller takes the library's functions."""

_f, _i = np.float32, np.int32
_ZERO, _ONE = _f(0), _f(1)
_ONE_BITS = _i(0x3F800000)  # of 1.0
_LEAST = _f(-87)  # 2**-126, the least exponent, is exp(-87.3)
# adding this rounds to an integer, which then stands in the lowest bits
_ROUND = _f(1.5 * 2**23)
_PER_PI, _PER_LN2 = _f(1 / math.pi), _f(1 / math.log(2))
# pi and ln 2 in parts that have few digits, so that multiples of them are exact (Cody and Waite, 1980)
_PI_1, _PI_2, _PI_3 = _f(3.140625), _f(9.67502593994140625e-4), _f(1.509957990978376432e-7)
_LN2_1, _LN2_2 = _f(0.693359375), _f(-2.12194440e-4)
# least maximal error on [-pi/2, pi/2] and [-ln 2/2, ln 2/2]: 5e-9, 3e-10 and 3e-9 before rounding
_S3, _S5, _S7, _S9 = _f(-1.66666571e-01), _f(8.33301636e-03), _f(-1.98065471e-04), _f(2.59990326e-06)
_C2, _C4, _C6 = _f(-4.99999995e-01), _f(4.16666406e-02), _f(-1.38884021e-03)
_C8, _C10 = _f(2.47618082e-05), _f(-2.60756626e-07)
_E2, _E3, _E4 = _f(0.49999993), _f(0.1666652), _f(0.04166839)
_E5, _E6 = _f(0.00836878), _f(0.00138145)


def sine_cosine(x):
    """Sine and cosine; to 2e-7 in float32 for ``abs(x) <= FAR``."""
    raise NotImplementedError("for compiled code only")


def exp(x):
    """Exponential of a number <= 0; to 2e-7 of itself in float32, and 0 below -87 (1e-38)."""
    raise NotImplementedError("for compiled code only")


@overload(sine_cosine, jit_options=_OPTIONS)
def _sine_cosine(x):
    if x != types.float32:
        return lambda x: (math.sin(x), math.cos(x))
    return _sine_cosine32


def _sine_cosine32(x):
    shifted = np.float32(x * _PER_PI + _ROUND)
    nearest = shifted - _ROUND  # x = nearest * pi + r, and sin x = (-1)**nearest sin r
    r = ((x - nearest * _PI_1) - nearest * _PI_2) - nearest * _PI_3
    q = r * r
    sine = np.float32(r + r * q * (_S3 + q * (_S5 + q * (_S7 + q * _S9))))
    cosine = np.float32(_ONE + q * (_C2 + q * (_C4 + q * (_C6 + q * (_C8 + q * _C10)))))
    sign = np.int32(shifted.view(np.int32) << 31)
    flipped_sine = np.int32(sine.view(np.int32) ^ sign)
    flipped_cosine = np.int32(cosine.view(np.int32) ^ sign)
    return flipped_sine.view(np.float32), flipped_cosine.view(np.float32)


@overload(exp, jit_options=_OPTIONS)
def _exp(x):
    if x != types.float32:
        return lambda x: math.exp(x)
    return _exp32


def _exp32(x):
    shifted = np.float32(x * _PER_LN2 + _ROUND)
    nearest = shifted - _ROUND  # exp x = 2**nearest exp r
    r = (x - nearest * _LN2_1) - nearest * _LN2_2
    value = np.float32(_ONE + r * (_ONE + r * (_E2 + r * (_E3 + r * (_E4 + r * (_E5 + r * _E6))))))
    # a product, not a sum of exponents: it keeps a NaN
    power = np.int32(np.int32(shifted.view(np.int32) << 23) + _ONE_BITS)
    return _ZERO if x < _LEAST else value * power.view(np.float32)


@njit(**_OPTIONS)
def sigmoid(x):
    """1 / (1 + exp(-x)), without overflow."""
    one = type(x)(1)
    e = exp(-abs(x))
    return (one if x >= type(x)(0) else e) / (one + e)
