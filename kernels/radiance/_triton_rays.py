"""Sums along rays on tiles of R groups of K samples: device functions shared by the forward and the backward.

Within a group a sum is a scan along its K samples. Between the groups of a tile it is a sum over those of the same ray,
by a matrix [R, R] that says which count. Neither is a difference of sums.
"""

# pyright: reportGeneralTypeIssues=false
# (to pyright a call of a jitted function never returns)
from __future__ import annotations

import triton
import triton.language as tl

from nerfkit.kernels.composite._reference import MAX_TAU

_MAX_TAU = tl.constexpr(MAX_TAU)


@triton.jit
def _extend(sum_a, before_a, sum_b, before_b):
    return sum_a + sum_b, sum_a + before_b


@triton.jit
def _sum_before(values, reverse: tl.constexpr):
    """Exclusive sum [R, K] within groups, a scan of its own: "inclusive minus the value" loses what is small."""
    _, before = tl.associative_scan((values, tl.zeros_like(values)), 1, _extend, reverse=reverse)
    return before


@triton.jit
def _of_owner(values, owns):
    """Values [lanes] for the groups that each lane ``owns`` [lanes, groups]; 0 for a group without an owner."""
    return tl.sum(tl.where(owns, values[:, None], 0), 0)


@triton.jit
def _sum_where(values, counts):
    """``out_i = sum_j values_j`` over those j whose ``counts`` [i, j] is true."""
    # chosen, not multiplied: what is not a number stays with its own ray
    return tl.sum(tl.where(counts, values[None, :], 0), 1)


@triton.jit
def _sum_rows_where(rows, counts):
    """The same for rows [R, C]."""
    return tl.sum(tl.where(counts[:, :, None], rows[None, :, :], 0), 1)


@triton.jit
def _bounded(tau):
    return tl.where(tau > _MAX_TAU, _MAX_TAU, tau)


@triton.jit
def _is_within(tau):
    return tl.where(tau > _MAX_TAU, 0, 1)


@triton.jit
def _each_sample(groups, K: tl.constexpr):
    """Values [R] of groups for each of their samples [R * K]."""
    R: tl.constexpr = groups.shape[0]
    return tl.reshape(tl.broadcast_to(groups[:, None], (R, K)), (R * K,))
