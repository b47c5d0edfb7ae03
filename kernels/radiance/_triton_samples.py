"""Where rays are sampled, and where the samples lie: device functions.

A tile is R groups of K consecutive samples of a ray, each group of any ray. Nothing of a sample is stored but the start
of a marched one: regular samples follow from their number.
"""

# pyright: reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
# (to pyright a call of a jitted function never returns, and a constexpr has nothing of the value that it holds)
from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl

from nerfkit.kernels._random_triton import _uniform
from nerfkit.kernels.march._triton import _step

__all__ = ["Sampling"]


@dataclass(frozen=True)
class Sampling:
    """What the kernels are compiled for; numbers of the scene, as float arguments would arrive in float32."""

    MARCHES: bool
    """along a lattice where the occupancy grid has a bit; else regular intervals"""
    CONTRACT: bool
    HAS_JITTER: bool
    """regular: inner edges move by the hash of ray, edge and seed"""
    STEP: float
    CONE: float
    R: int
    """groups of a tile"""
    K: int
    """samples of a group"""


@triton.jit
def _contracted_left(t):
    return tl.where(t < 1, 2 - t, 1 / tl.maximum(t, 1))


@triton.jit
def _edge(k, ray, near, far, n_samples, seed_ptr, SAMPLING: tl.constexpr):
    """Distance of edge k of the ``n_samples`` intervals from near to far."""
    n_before = k.to(near.dtype)
    if SAMPLING.HAS_JITTER:
        # inner edges move within half an interval: samples stay in order and cover the ray
        shift = _uniform(ray, k, tl.load(seed_ptr)).to(near.dtype) - 0.5
        n_before += tl.where((k > 0) & (k < n_samples), shift, 0)
    n = n_samples.to(near.dtype)
    if SAMPLING.CONTRACT:
        # a weighted mean of what is left of the contracted distance; its relative error does not grow with t
        left = ((n - n_before) * _contracted_left(near) + n_before * _contracted_left(far)) / n
        return tl.where(left > 1, 2 - left, 1 / left)
    else:
        return near + (far - near) * (n_before / n)


@triton.jit
def _n_samples_of(ray, mask, near_ptr, far_ptr, n_marched_ptr, n_samples, SAMPLING: tl.constexpr):
    """How many samples rays [R] have, before anything is known of what they meet."""
    if SAMPLING.MARCHES:
        return tl.load(n_marched_ptr + ray, mask=mask, other=0)
    else:
        near = tl.load(near_ptr + ray, mask=mask, other=0)
        far = tl.load(far_ptr + ray, mask=mask, other=0)
        return tl.where(mask & (far > near), n_samples, 0)


@triton.jit
def _intervals(k, ray, exists, near_ptr, far_ptr, t_rows_ptr, n_samples, seed_ptr, SAMPLING: tl.constexpr):
    """Starts and ends [R, K] of samples ``k`` [R, K] of rays [R]; 0 and 0 in slots without a sample."""
    mask = tl.max(exists.to(tl.int32), 1) > 0
    if SAMPLING.MARCHES:
        t_starts = tl.load(t_rows_ptr + ray[:, None] * n_samples + k, mask=exists, other=0)
        t_ends = t_starts + _step(t_starts, SAMPLING.STEP, SAMPLING.CONE)
    else:
        near = tl.load(near_ptr + ray, mask=mask, other=0)[:, None]
        far = tl.load(far_ptr + ray, mask=mask, other=0)[:, None]
        t_starts = _edge(k, ray[:, None], near, far, n_samples, seed_ptr, SAMPLING)
        t_ends = _edge(k + 1, ray[:, None], near, far, n_samples, seed_ptr, SAMPLING)
    # whatever is computed at the origin over no length is finite and counts nothing
    return tl.where(exists, t_starts, 0), tl.where(exists, t_ends, 0)


@triton.jit
def _positions(rays_o_ptr, rays_d_ptr, ray, mask, t, M: tl.constexpr):
    """Points of the scene [M] at the distances t [R, K] along rays [R]."""
    ox, oy, oz = _load_rays(rays_o_ptr, ray, mask)
    dx, dy, dz = _load_rays(rays_d_ptr, ray, mask)
    x = ox[:, None] + t * dx[:, None]
    y = oy[:, None] + t * dy[:, None]
    z = oz[:, None] + t * dz[:, None]
    return tl.reshape(x, (M,)), tl.reshape(y, (M,)), tl.reshape(z, (M,))


@triton.jit
def _load_rays(rays_ptr, ray, mask):
    return (
        tl.load(rays_ptr + 3 * ray, mask=mask, other=0),
        tl.load(rays_ptr + 3 * ray + 1, mask=mask, other=0),
        tl.load(rays_ptr + 3 * ray + 2, mask=mask, other=0),
    )


@triton.jit
def _unit_cube(x, y, z, CONTRACT: tl.constexpr):
    """Points of the scene in the unit cube, as march has them (mip-NeRF 360 eq. 10 in the maximum norm)."""
    if CONTRACT:
        largest = tl.maximum(tl.maximum(tl.maximum(tl.abs(x), tl.abs(y)), tl.abs(z)), 1)
        scale = (2 - 1 / largest) / largest
        return (x * scale + 2) * 0.25, (y * scale + 2) * 0.25, (z * scale + 2) * 0.25
    else:
        return (x + 1) * 0.5, (y + 1) * 0.5, (z + 1) * 0.5


@triton.jit
def _unit_cube_backward(x, y, z, d_x, d_y, d_z, CONTRACT: tl.constexpr):
    """Gradient with respect to points of the scene from that with respect to the unit cube."""
    if CONTRACT:
        ax, ay, az = tl.abs(x), tl.abs(y), tl.abs(z)
        m = tl.maximum(tl.maximum(tl.maximum(ax, ay), az), 1)
        scale = (2 - 1 / m) / m
        # the scale falls with the largest coordinate; coordinates that share it share its gradient
        d_m = (x * d_x + y * d_y + z * d_z) * (2 / m - 2) / (m * m)
        n_largest = (ax == m).to(x.dtype) + (ay == m).to(x.dtype) + (az == m).to(x.dtype)
        d_m = d_m / tl.maximum(n_largest, 1)
        d_x = 0.25 * (scale * d_x + tl.where(ax == m, tl.where(x < 0, -d_m, d_m), 0))
        d_y = 0.25 * (scale * d_y + tl.where(ay == m, tl.where(y < 0, -d_m, d_m), 0))
        d_z = 0.25 * (scale * d_z + tl.where(az == m, tl.where(z < 0, -d_m, d_m), 0))
        return d_x, d_y, d_z
    else:
        return d_x * 0.5, d_y * 0.5, d_z * 0.5
