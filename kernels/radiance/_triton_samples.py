"""Where a block of rays is sampled: device functions that make the distances of one chunk, again whenever asked.

A block is R rays; a chunk is the next K samples of each, as tiles [R, K]. Nothing of a sample is stored: regular
samples follow from their number, marched ones from where the chunk starts on the lattice.
"""

# pyright: reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
# (to pyright a call of a jitted function never returns, and a constexpr has nothing of the value that it holds)
from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl

from nerfkit.kernels._random_triton import _uniform

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
    """rays of a block"""
    K: int
    """samples of a ray in a chunk"""


@triton.jit
def _contracted_left(t):
    return tl.where(t < 1, 2 - t, 1 / tl.maximum(t, 1))


@triton.jit
def _edge(k, ray, near, far, n_samples, seed_ptr, SAMPLING: tl.constexpr):
    passed = k.to(near.dtype)
    if SAMPLING.HAS_JITTER:
        # inner edges move within half an interval: samples stay in order and cover the ray
        shift = _uniform(ray, k, tl.load(seed_ptr)).to(near.dtype) - 0.5
        passed += tl.where((k > 0) & (k < n_samples), shift, 0)
    n = n_samples.to(near.dtype)
    if SAMPLING.CONTRACT:
        # a weighted mean of what is left of the contracted distance; its relative error does not grow with t
        left = ((n - passed) * _contracted_left(near) + passed * _contracted_left(far)) / n
        return tl.where(left > 1, 2 - left, 1 / left)
    else:
        return near + (far - near) * (passed / n)


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


@triton.jit
def _step(t, SAMPLING: tl.constexpr):
    # a number on its own would be rounded to float32, also for rays in float64
    return tl.maximum(t * tl.full((), SAMPLING.CONE, t.dtype), tl.full((), SAMPLING.STEP, t.dtype))


@triton.jit
def _is_occupied(x, y, z, occupancy_ptr, resolution, mask):
    gx, gy, gz = x * resolution, y * resolution, z * resolution
    is_inside = (gx >= 0) & (gx < resolution) & (gy >= 0) & (gy < resolution) & (gz >= 0) & (gz < resolution) & mask
    cx, cy, cz = tl.where(is_inside, gx, 0), tl.where(is_inside, gy, 0), tl.where(is_inside, gz, 0)
    # 30 bits at most: the resolution is bounded by 1024
    index = (cx.to(tl.int32) * resolution + cy.to(tl.int32)) * resolution + cz.to(tl.int32)
    bits = tl.load(occupancy_ptr + (index >> 3), mask=is_inside, other=0).to(tl.int32)
    return is_inside & (((bits >> (index & 7)) & 1) == 1)


@triton.jit
def _may_go_on(t, far, SAMPLING: tl.constexpr):
    # a step that no longer moves t ends the ray too
    step = _step(t, SAMPLING)
    return (t + 0.5 * step < far) & (t + step > t)


@triton.jit
def _marched(cursor, far, ox, oy, oz, dx, dy, dz, occupancy_ptr, resolution, SAMPLING: tl.constexpr):
    """Starts [R, K] of the next K occupied samples from the lattice points ``cursor`` [R]; how many; the next cursor.

    K lattice points are looked up at once; those that are occupied move up to the next free slots.
    """
    R: tl.constexpr = SAMPLING.R
    K: tl.constexpr = SAMPLING.K
    slot = tl.arange(0, K)[None, :]
    t_starts = tl.zeros((R, K), cursor.dtype)
    n_found = tl.zeros((R,), tl.int32)
    while tl.max((_may_go_on(cursor, far, SAMPLING) & (n_found < K)).to(tl.int32), 0) > 0:
        t = tl.zeros((R, K), cursor.dtype)
        end = cursor
        for i in tl.static_range(K):
            t = tl.where(slot == i, end[:, None], t)
            end += _step(end, SAMPLING)
        mid = t + 0.5 * _step(t, SAMPLING)
        x, y, z = _unit_cube(
            ox[:, None] + mid * dx[:, None],
            oy[:, None] + mid * dy[:, None],
            oz[:, None] + mid * dz[:, None],
            SAMPLING.CONTRACT,
        )
        may = _may_go_on(t, far[:, None], SAMPLING)
        hit = _is_occupied(x, y, z, occupancy_ptr, resolution, may)
        place = n_found[:, None] + tl.cumsum(hit.to(tl.int32), 1) - 1  # [R, K] slot of each hit
        moves = (place[:, :, None] == slot[None, :, :]) & hit[:, :, None]  # [R, K, K]
        is_open = n_found < K
        t_starts += tl.where(is_open[:, None], tl.sum(tl.where(moves, t[:, :, None], 0), 1), 0)
        # the next chunk begins at the first hit that found no slot
        left_over = tl.min(tl.where(hit & (place >= K), t, float("inf")), 1)
        cursor = tl.where(is_open, tl.minimum(left_over, end), cursor)
        n_found = tl.minimum(n_found + tl.sum(hit.to(tl.int32), 1), K)
    return t_starts, n_found, cursor


@triton.jit
def _samples(
    chunk, ray, start, far, cursor, is_live, ox, oy, oz, dx, dy, dz, occupancy_ptr, resolution, n_samples, seed_ptr,
    SAMPLING: tl.constexpr,
):  # fmt: skip
    """Starts, ends [R, K] of the samples of a chunk, which of them exist, and where the next chunk starts [R]."""
    k = chunk * SAMPLING.K + tl.arange(0, SAMPLING.K)[None, :]
    if SAMPLING.MARCHES:
        # a ray that has ended has no lattice left to walk
        far = tl.where(is_live, far, float("-inf"))
        t_starts, n_found, cursor = _marched(cursor, far, ox, oy, oz, dx, dy, dz, occupancy_ptr, resolution, SAMPLING)
        t_ends = t_starts + _step(t_starts, SAMPLING)
        exists = (tl.arange(0, SAMPLING.K)[None, :] < n_found[:, None]) & (k < n_samples)
    else:
        t_starts = _edge(k, ray[:, None], start[:, None], far[:, None], n_samples, seed_ptr, SAMPLING)
        t_ends = _edge(k + 1, ray[:, None], start[:, None], far[:, None], n_samples, seed_ptr, SAMPLING)
        exists = (k < n_samples) & (far > start)[:, None]
    exists &= is_live[:, None]
    # slots without a sample lie at the origin with no length: whatever is computed there is finite and counts nothing
    return tl.where(exists, t_starts, 0), tl.where(exists, t_ends, 0), exists, cursor
