"""The integral along rays on tiles [R, K]: device functions shared by the forward and the backward."""

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
    """Exclusive sum along a ray, a scan of its own: "inclusive minus the value" loses what is small beside it."""
    _, before = tl.associative_scan((values, tl.zeros_like(values)), 1, _extend, reverse=reverse)
    return before


@triton.jit
def _bounded(tau):
    return tl.where(tau > _MAX_TAU, _MAX_TAU, tau)


@triton.jit
def _is_within(tau):
    return tl.where(tau > _MAX_TAU, 0, 1)


@triton.jit
def _load_ray(rays_ptr, ray, mask):
    return (
        tl.load(rays_ptr + 3 * ray, mask=mask, other=0),
        tl.load(rays_ptr + 3 * ray + 1, mask=mask, other=0),
        tl.load(rays_ptr + 3 * ray + 2, mask=mask, other=0),
    )


@triton.jit
def _positions(rays_o_ptr, rays_d_ptr, ray, mask, t, M: tl.constexpr):
    """Points of the scene [M] at the distances t [R, K] along the rays."""
    ox, oy, oz = _load_ray(rays_o_ptr, ray, mask)
    dx, dy, dz = _load_ray(rays_d_ptr, ray, mask)
    x = ox[:, None] + t * dx[:, None]
    y = oy[:, None] + t * dy[:, None]
    z = oz[:, None] + t * dz[:, None]
    return tl.reshape(x, (M,)), tl.reshape(y, (M,)), tl.reshape(z, (M,))


@triton.jit
def _row(block, R: tl.constexpr, K: tl.constexpr):
    """Ray of each of the M samples of a block; int64, because a ray times 3 and a chunk times n_rays can pass 2**31."""
    return block.to(tl.int64) * R + tl.arange(0, R * K) // K


@triton.jit
def _ray(block, R: tl.constexpr):
    """Rays of a block; int64 as in :func:`_row`."""
    return block.to(tl.int64) * R + tl.arange(0, R)
