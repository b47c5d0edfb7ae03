"""The hash of :mod:`nerfkit.kernels._random` as device functions."""

# pyright: reportGeneralTypeIssues=false
# (to pyright a call of a jitted function never returns)
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _uniform(row, k, seed):
    """Numbers in [0, 1) of 24 bits, float32."""
    h = (row.to(tl.uint32) * 747796405) ^ (k.to(tl.uint32) * 2891336453) ^ seed.to(tl.uint32)
    h = h * 747796405 + 2891336453
    h = ((h >> ((h >> 28) + 4)) ^ h) * 277803737
    h = (h >> 22) ^ h
    return (h >> 8).to(tl.float32) * (1 / 16777216)
