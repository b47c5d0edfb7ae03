"""Numba loops for CPUs: rays walk the lattice twice, to count and to fill, without look-ups in empty space.

A jump through an empty cell or block stops short of its faces by more than rounding can move a point, so the
samples are those of a walk that looks every lattice point up. See README.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

# edge in cells of the blocks that are skipped at once: along z the bits of such a block are one byte
COARSE = 8


@njit(cache=True, error_model="numpy", nogil=True)
def coarsen(occupancy, resolution):
    """Bytes [B, B, B], non-zero where one of 8 x 8 x 8 cells is occupied; of length 0 where G % 8 != 0."""
    n = resolution // COARSE if resolution % COARSE == 0 else 0
    blocks = np.zeros((n, n, n), np.uint8)
    for x in range(n * COARSE):
        for y in range(n * COARSE):
            first = (x * resolution + y) * n
            for bz in range(n):
                blocks[x // COARSE, y // COARSE, bz] |= occupancy[first + bz]
    return blocks


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _unit_cube(ray_o, ray_d, t, contract):
    """Point at t in the unit cube: the reference's operations in its order, for the same rounding."""
    real = ray_o.dtype.type
    px, py, pz = ray_o[0] + t * ray_d[0], ray_o[1] + t * ray_d[1], ray_o[2] + t * ray_d[2]
    if not contract:
        return (px + real(1)) * real(0.5), (py + real(1)) * real(0.5), (pz + real(1)) * real(0.5)
    largest = max(max(abs(px), abs(py)), max(abs(pz), real(1)))
    scale = (real(2) - real(1) / largest) / largest
    return (
        (px * scale + real(2)) * real(0.25),
        (py * scale + real(2)) * real(0.25),
        (pz * scale + real(2)) * real(0.25),
    )


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _straight_exit(point, ray_d, per_t, low, edge, margin):
    """Distance in t over which a straight ray surely stays in the box of cells [low, low + edge]."""
    real = ray_d.dtype.type
    nearest = real(np.inf)
    for axis in range(3):
        speed = ray_d[axis] * per_t
        if speed > 0:
            nearest = min(nearest, (low[axis] + edge - margin - point[axis]) / speed)
        elif speed < 0:
            nearest = min(nearest, (low[axis] + margin - point[axis]) / speed)
    return nearest


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _curved_exit(point, speed, low, edge, margin):
    """The same for a contracted ray; ``speed`` bounds it in the maximum norm, in cells per t (README.md)."""
    nearest = low[0] + edge - point[0]
    for axis in range(3):
        nearest = min(nearest, min(point[axis] - low[axis], low[axis] + edge - point[axis]))
    return (nearest - margin) / speed


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _entry(point, ray_d, per_t, resolution, margin):
    """Distance in t over which a straight ray surely stays outside of the grid; infinite if it misses."""
    real = ray_d.dtype.type
    latest = real(0)
    for axis in range(3):
        speed = ray_d[axis] * per_t
        if point[axis] < -margin:
            latest = max(latest, (-margin - point[axis]) / speed if speed > 0 else real(np.inf))
        elif point[axis] > resolution + margin:
            latest = max(latest, (resolution + margin - point[axis]) / speed if speed < 0 else real(np.inf))
    return latest


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _empty_for(point, ray_d, largest_d, resolution, occupancy, blocks, contract, margin):
    """Distance in t over which there is surely nothing, point being in cells; -1 in an occupied cell."""
    real = ray_d.dtype.type
    g = real(resolution)
    per_t = g * real(0.25) if contract else g * real(0.5)
    x, y, z = point
    if not (x >= 0 and y >= 0 and z >= 0 and x < g and y < g and z < g):
        return real(0) if contract else _entry(point, ray_d, per_t, g, margin)
    ix, iy, iz = np.int64(x), np.int64(y), np.int64(z)
    edge = 1
    if len(blocks) > 0 and not blocks[ix // COARSE, iy // COARSE, iz // COARSE]:
        edge = COARSE
    else:
        index = (ix * resolution + iy) * resolution + iz
        if occupancy[index >> 3] >> np.uint8(index & 7) & 1:
            return real(-1)
    corner = (real(ix // edge * edge), real(iy // edge * edge), real(iz // edge * edge))
    # the contraction leaves the middle half of each axis as it is
    curved = contract and (4 * min(corner) < g or 4 * (max(corner) + edge) > 3 * g)
    if curved:
        distance = _curved_exit(point, largest_d * per_t * real(4 / 3), corner, real(edge), margin)
    else:
        distance = _straight_exit(point, ray_d, per_t, corner, real(edge), margin)
    # negative within the margin of a face
    return max(distance, real(0))


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def walk(i, t, rays, lattice, grid, max_samples, first, samples):
    """Walk ray i from lattice point t; write its samples from number ``first`` on unless that is negative.

    Returns the number of samples kept, where the ray stopped and where its first sample starts.
    """
    rays_o, rays_d, far = rays
    step, cone_angle, contract = lattice
    occupancy, blocks, resolution = grid
    ray_indices, t_starts, t_ends, xyzs = samples
    real = rays_o.dtype.type
    g, half, top = real(resolution), real(0.5), real(1) - real(np.finfo(rays_o.dtype).eps)
    ray_o, ray_d, end = rays_o[i], rays_d[i], far[i]
    largest_o = max(max(abs(ray_o[0]), abs(ray_o[1])), abs(ray_o[2]))
    largest_d = max(max(abs(ray_d[0]), abs(ray_d[1])), abs(ray_d[2]))
    # rounding moves a point, in cells, by less than margin: a few roundings of numbers as large as o, t d
    # and 1
    margin_per_unit = real(16) * real(np.finfo(rays_o.dtype).eps) * g
    count = 0
    t_first = t
    while True:
        dt = max(step, cone_angle * t)
        mid = t + half * dt
        if not (mid < end and t + dt > t):
            return count, end, t_first
        if count == max_samples:
            return count, t, t_first
        x, y, z = _unit_cube(ray_o, ray_d, mid, contract)
        margin = margin_per_unit * (real(1) + largest_o + abs(mid) * largest_d)
        point = (x * g, y * g, z * g)
        empty = _empty_for(point, ray_d, largest_d, resolution, occupancy, blocks, contract, margin)
        if empty < 0:
            if first >= 0:
                k = first + count
                ray_indices[k], t_starts[k], t_ends[k] = i, t, t + dt
                xyzs[k, 0] = min(max(x, real(0)), top)
                xyzs[k, 1] = min(max(y, real(0)), top)
                xyzs[k, 2] = min(max(z, real(0)), top)
            elif count == 0:
                t_first = t
            count += 1
            t += dt
            continue
        limit = mid + empty
        if limit >= end:
            return count, end, t_first
        # at least one step, then all whose middles are in the same empty space
        while True:
            t += dt
            dt = max(step, cone_angle * t)
            if not (t + half * dt < limit and t + dt > t):
                break


@njit(parallel=True, cache=True, error_model="numpy", nogil=True)
def _count(packed_info, t_next, t_first, near, jitter, rays, lattice, grid, max_samples, samples):
    for i in prange(len(t_next)):
        start = near[i] + jitter[i] * max(lattice[0], lattice[1] * near[i])
        count, stopped, first = walk(i, start, rays, lattice, grid, max_samples, -1, samples)
        packed_info[i, 1], t_next[i], t_first[i] = count, stopped, first


@njit(parallel=True, cache=True, error_model="numpy", nogil=True)
def _fill(packed_info, t_first, rays, lattice, grid, samples):
    for i in prange(len(packed_info)):
        first, count = packed_info[i]
        if count:
            # the known count ends the walk with the last sample, before the empty space behind it
            walk(i, t_first[i], rays, lattice, grid, count, first, samples)


class Counted(NamedTuple):
    """How many samples each ray has, and what :func:`walk` needs to find them."""

    packed_info: np.ndarray
    """[n_rays, 2] int64: first sample and count"""
    t_next: np.ndarray
    """[n_rays] where a ray stopped"""
    t_first: np.ndarray
    """[n_rays] where its first sample starts"""
    rays: tuple[np.ndarray, ...]
    lattice: tuple[Any, ...]
    grid: tuple[Any, ...]


def walk_from(
    rays_o: Tensor,
    rays_d: Tensor,
    far: Tensor,
    occupancy: Tensor,
    resolution: int,
    step: float,
    cone_angle: float,
    contract: bool,
) -> tuple[tuple[np.ndarray, ...], tuple[Any, ...], tuple[Any, ...]]:
    """``rays``, ``lattice`` and ``grid`` of :func:`walk`; arguments of :func:`nerfkit.kernels.march.march`."""
    rays = (_array(rays_o), _array(rays_d), _array(far))
    real = rays[0].dtype.type
    bits = _array(occupancy)
    return rays, (real(step), real(cone_angle), bool(contract)), (bits, coarsen(bits, resolution), resolution)


def count_samples(
    rays_o: Tensor,
    rays_d: Tensor,
    near: Tensor,
    far: Tensor,
    occupancy: Tensor,
    resolution: int,
    step: float,
    cone_angle: float,
    contract: bool,
    jitter: Tensor,
    max_samples: int,
) -> Counted:
    """Walk all rays once; arguments of :func:`nerfkit.kernels.march.march`."""
    rays, lattice, grid = walk_from(rays_o, rays_d, far, occupancy, resolution, step, cone_angle, contract)
    packed_info = np.zeros((len(rays_o), 2), np.int64)
    t_next, t_first = np.empty_like(rays[2]), np.empty_like(rays[2])
    nothing = _arrays(_empty_samples(0, rays_o.dtype))
    _count(packed_info, t_next, t_first, _array(near), _array(jitter), rays, lattice, grid, max_samples, nothing)
    packed_info[:, 0] = packed_info[:, 1].cumsum() - packed_info[:, 1]
    return Counted(packed_info, t_next, t_first, rays, lattice, grid)


def march_cpu(rays_o: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    """Same contract as :func:`nerfkit.kernels.march.march` with all arguments; the fields of ``Samples``."""
    counted = count_samples(rays_o, *arguments)
    samples = _empty_samples(int(counted.packed_info[:, 1].sum()), rays_o.dtype)
    _fill(counted.packed_info, counted.t_first, counted.rays, counted.lattice, counted.grid, _arrays(samples))
    return (*samples, torch.from_numpy(counted.packed_info), torch.from_numpy(counted.t_next))


def _empty_samples(n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        torch.empty(n, dtype=torch.int64),
        torch.empty(n, dtype=dtype),
        torch.empty(n, dtype=dtype),
        torch.empty(n, 3, dtype=dtype),
    )


def _arrays(tensors: tuple[Tensor, ...]) -> tuple[np.ndarray, ...]:
    return tuple(tensor.numpy() for tensor in tensors)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()
