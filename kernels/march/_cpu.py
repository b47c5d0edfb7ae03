"""Numba loops for CPUs: rays walk the lattice, counting first and filling then; empty space is crossed without look-ups.

A jump out of an empty cell or block stops short of its faces by more than rounding can move a point, so the samples are
those of a walk that looks every lattice point up. See README.md.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

# edge in cells of the blocks that are skipped at once: along z the bits of such a block are one byte
COARSE = 8


@njit(parallel=True, cache=True, error_model="numpy", nogil=True)
def _coarsen(occupancy, resolution):
    """Bytes [B, B, B], non-zero where a block of 8 x 8 x 8 cells has an occupied one; [0, 0, 0] where G % 8 != 0."""
    n = resolution // COARSE if resolution % COARSE == 0 else 0
    blocks = np.zeros((n, n, n), np.uint8)
    for bx in prange(n):
        for x in range(bx * COARSE, (bx + 1) * COARSE):
            for y in range(resolution):
                first = (x * resolution + y) * n
                for bz in range(n):
                    blocks[bx, y // COARSE, bz] |= occupancy[first + bz]
    return blocks


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _unit_cube(ray_o, ray_d, t, contract):
    """Point at t in the coordinates of the grid: the reference's operations in its order, so that rounding is the same."""
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
    """The same for the contracted ray, whose speed in the maximum norm is at most 4/3 of the straight one (README.md)."""
    nearest = low[0] + edge - point[0]
    for axis in range(3):
        nearest = min(nearest, min(point[axis] - low[axis], low[axis] + edge - point[axis]))
    return (nearest - margin) / speed


@njit(cache=True, error_model="numpy", nogil=True, forceinline=True)
def _entry(point, ray_d, per_t, resolution, margin):
    """Distance in t over which a straight ray surely stays outside of the grid; infinite where it never enters."""
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
def _walk(i, rays, lattice, grid, max_samples, first, samples):
    """Kept samples of ray i and where it stopped; writes the samples from ``first`` on unless that is negative."""
    rays_o, rays_d, near, far, jitter = rays
    step, cone_angle, contract = lattice
    occupancy, blocks, resolution = grid
    ray_indices, t_starts, t_ends, xyzs = samples
    real = rays_o.dtype.type
    g, half, top = real(resolution), real(0.5), real(1) - real(np.finfo(rays_o.dtype).eps)
    ray_o, ray_d, end = rays_o[i], rays_d[i], far[i]
    largest_o = max(max(abs(ray_o[0]), abs(ray_o[1])), abs(ray_o[2]))
    largest_d = max(max(abs(ray_d[0]), abs(ray_d[1])), abs(ray_d[2]))
    # a point in cells is off by less than this: a few roundings of numbers as large as o, t d and the sides of the scene
    margin_per_unit = real(16) * real(np.finfo(rays_o.dtype).eps) * g
    count = 0
    t = near[i] + jitter[i] * max(step, cone_angle * near[i])
    while True:
        dt = max(step, cone_angle * t)
        mid = t + half * dt
        if not (mid < end and t + dt > t):
            return count, end
        if count == max_samples:
            return count, t
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
            count += 1
            t += dt
            continue
        limit = mid + empty
        if limit >= end:
            return count, end
        # at least one step, then all whose middles are in the same empty space
        while True:
            t += dt
            dt = max(step, cone_angle * t)
            if not (t + half * dt < limit and t + dt > t):
                break


@njit(parallel=True, cache=True, error_model="numpy", nogil=True)
def _count(packed_info, t_next, rays, lattice, grid, max_samples, samples):
    for i in prange(len(t_next)):
        count, stopped = _walk(i, rays, lattice, grid, max_samples, -1, samples)
        packed_info[i, 1] = count
        t_next[i] = stopped


@njit(parallel=True, cache=True, error_model="numpy", nogil=True)
def _fill(packed_info, rays, lattice, grid, samples):
    for i in prange(len(packed_info)):
        if packed_info[i, 1]:
            # the count stops the ray where its last sample ends, before the empty space behind it
            _walk(i, rays, lattice, grid, packed_info[i, 1], packed_info[i, 0], samples)


def march_cpu(
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
) -> tuple[Tensor, ...]:
    """Same contract as :func:`nerfkit.kernels.march.march`, with all its arguments given; the fields of ``Samples``."""
    rays = tuple(_array(part) for part in (rays_o, rays_d, near, far, jitter))
    real = rays[0].dtype.type
    bits = _array(occupancy)
    grid = (bits, _coarsen(bits, resolution), resolution)
    lattice = (real(step), real(cone_angle), bool(contract))
    packed_info = torch.zeros(len(rays_o), 2, dtype=torch.int64)
    t_next = torch.empty(len(rays_o), dtype=rays_o.dtype)
    if len(rays_o):
        nothing = _empty_samples(0, rays_o.dtype)
        _count(packed_info.numpy(), t_next.numpy(), rays, lattice, grid, max_samples, _arrays(nothing))
        packed_info[:, 0] = packed_info[:, 1].cumsum(0) - packed_info[:, 1]
    samples = _empty_samples(int(packed_info[:, 1].sum()), rays_o.dtype)
    if len(samples[0]):
        _fill(packed_info.numpy(), rays, lattice, grid, _arrays(samples))
    return (*samples, packed_info, t_next)


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
