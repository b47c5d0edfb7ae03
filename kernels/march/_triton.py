"""Triton kernels for march. A lane owns a ray and walks its lattice: t_0, t_(k+1) = t_k + max(step, cone_angle t_k).

Flat samples need two walks, to count and to fill; rows that hold as many samples as a ray may have, one that writes
where it counts (:func:`march_rows`, for kernels/radiance). Every lattice point is looked up, by the reference's
operations in its order and without fused ones, so that the samples are the reference's bit for bit.
"""

# pyright: reportGeneralTypeIssues=false
# (to pyright a call of a jitted function never returns)
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from nerfkit.kernels._launch import CompileCase, ceil_div, launch

# one warp, one ray a lane: rays of a program end together, and few rays still reach all of a GPU
BLOCK_R = 32
NUM_WARPS = 1
# lattice points that are looked up at once: a step does not wait for the look-up before it
N_AHEAD = 4
_N_AHEAD = tl.constexpr(N_AHEAD)


@triton.jit
def _divide(a, b):
    # the operator may be off by two units in the last place in float32
    if a.dtype == tl.float64:
        return a / b
    else:
        return tl.div_rn(a, b)


@triton.jit
def _load_rays(rays_ptr, rays, n_rays):
    mask = rays < n_rays
    x = tl.load(rays_ptr + 3 * rays, mask=mask, other=0)
    y = tl.load(rays_ptr + 3 * rays + 1, mask=mask, other=0)
    z = tl.load(rays_ptr + 3 * rays + 2, mask=mask, other=0)
    return x, y, z


@triton.jit
def _unit_cube(ox, oy, oz, dx, dy, dz, t, CONTRACT: tl.constexpr):
    """Points at t in the unit cube."""
    x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
    if CONTRACT:
        one = tl.full(x.shape, 1, x.dtype)
        largest = tl.maximum(tl.maximum(tl.maximum(tl.abs(x), tl.abs(y)), tl.abs(z)), one)
        scale = _divide(2 - _divide(one, largest), largest)
        x, y, z = (x * scale + 2) * 0.25, (y * scale + 2) * 0.25, (z * scale + 2) * 0.25
    else:
        x, y, z = (x + 1) * 0.5, (y + 1) * 0.5, (z + 1) * 0.5
    return x, y, z


@triton.jit
def _step(t, STEP: tl.constexpr, CONE: tl.constexpr):
    """Length of the sample that starts at t."""
    # a number on its own would be rounded to float32, also for rays in float64
    return tl.maximum(t * tl.full((), CONE, t.dtype), tl.full((), STEP, t.dtype))


@triton.jit
def _is_occupied(x, y, z, occupancy_ptr, resolution, mask):
    """Bit of the cell round each point of the unit cube; False outside of it."""
    g = tl.zeros((), x.dtype) + resolution
    x, y, z = x * g, y * g, z * g
    mask = mask & (x >= 0) & (y >= 0) & (z >= 0) & (x < g) & (y < g) & (z < g)
    row = tl.where(mask, x, 0).to(tl.int32) * resolution + tl.where(mask, y, 0).to(tl.int32)
    # int64 before the multiply: a grid of 2048 cells along an edge has 2**33
    cell = row.to(tl.int64) * resolution + tl.where(mask, z, 0).to(tl.int32)
    byte = tl.load(occupancy_ptr + (cell >> 3), mask=mask, other=0).to(tl.int32)
    return ((byte >> (cell & 7).to(tl.int32)) & 1) == 1


@triton.jit(do_not_specialize=["n_rays", "resolution", "max_samples"])
def _march_count_kernel(
    counts_ptr,
    t_first_ptr,
    t_next_ptr,  # out, [n_rays]; the distances may be None
    t_rows_ptr,
    n_hits_ptr,  # out, [n_rays, max_samples] starts of a ray's samples, and [1], added to; may be None
    rays_o_ptr,
    rays_d_ptr,
    near_ptr,
    far_ptr,
    jitter_ptr,  # in, [n_rays(, 3)]
    occupancy_ptr,  # in, [ceil(resolution**3 / 8)]
    n_rays,
    resolution,
    max_samples,
    STEP: tl.constexpr,
    CONE: tl.constexpr,
    CONTRACT: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    rays = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    mask = rays < n_rays
    ox, oy, oz = _load_rays(rays_o_ptr, rays, n_rays)
    dx, dy, dz = _load_rays(rays_d_ptr, rays, n_rays)
    near = tl.load(near_ptr + rays, mask=mask, other=0)
    far = tl.load(far_ptr + rays, mask=mask, other=0)
    t = near + tl.load(jitter_ptr + rays, mask=mask, other=0) * _step(near, STEP, CONE)
    t_first = t
    never = tl.full((BLOCK_R,), float("inf"), t.dtype)
    t_stop = never  # where max_samples ended the walk
    count = tl.zeros((BLOCK_R,), tl.int32)
    alive = mask
    go = tl.max(alive.to(tl.int32), axis=0) > 0
    while go:
        for _ in tl.static_range(_N_AHEAD):
            dt = _step(t, STEP, CONE)
            mid = t + 0.5 * dt
            # a step that no longer moves t ends the ray too
            alive = alive & (mid < far) & (t + dt > t)
            x, y, z = _unit_cube(ox, oy, oz, dx, dy, dz, mid, CONTRACT)
            # not masked by the count: a look-up would wait for the one before it
            hit = _is_occupied(x, y, z, occupancy_ptr, resolution, alive)
            t_stop = tl.minimum(t_stop, tl.where(alive & (count == max_samples), t, never))
            hit = hit & (count < max_samples)
            t_first = tl.where(hit & (count == 0), t, t_first)
            if t_rows_ptr is not None:
                tl.store(t_rows_ptr + rays * max_samples + count, t, mask=hit)
            count += hit.to(tl.int32)
            t += dt
        alive = alive & (t_stop == never)
        go = tl.max(alive.to(tl.int32), axis=0) > 0
    tl.store(counts_ptr + rays, count, mask=mask)
    if n_hits_ptr is not None:
        tl.atomic_add(n_hits_ptr, tl.sum((count > 0).to(tl.int32), axis=0), sem="relaxed")
    if t_first_ptr is not None:
        tl.store(t_first_ptr + rays, t_first, mask=mask)
        tl.store(t_next_ptr + rays, tl.where(t_stop == never, far, t_stop), mask=mask)


@triton.jit(do_not_specialize=["n_rays", "resolution"])
def _march_fill_kernel(
    ray_indices_ptr,
    t_starts_ptr,
    t_ends_ptr,
    xyzs_ptr,  # out, [n_samples(, 3)]
    packed_info_ptr,
    t_first_ptr,
    rays_o_ptr,
    rays_d_ptr,  # in, [n_rays(, 2 or 3)]
    occupancy_ptr,  # in, [ceil(resolution**3 / 8)]
    n_rays,
    resolution,
    STEP: tl.constexpr,
    CONE: tl.constexpr,
    CONTRACT: tl.constexpr,
    TOP: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    rays = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    mask = rays < n_rays
    ox, oy, oz = _load_rays(rays_o_ptr, rays, n_rays)
    dx, dy, dz = _load_rays(rays_d_ptr, rays, n_rays)
    at = tl.load(packed_info_ptr + 2 * rays, mask=mask, other=0)
    end = at + tl.load(packed_info_ptr + 2 * rays + 1, mask=mask, other=0)
    t = tl.load(t_first_ptr + rays, mask=mask, other=0)
    # the known count ends the walk with the last sample
    while tl.max((at < end).to(tl.int32), axis=0) > 0:
        for _ in tl.static_range(_N_AHEAD):
            dt = _step(t, STEP, CONE)
            x, y, z = _unit_cube(ox, oy, oz, dx, dy, dz, t + 0.5 * dt, CONTRACT)
            hit = _is_occupied(x, y, z, occupancy_ptr, resolution, mask) & (at < end)
            tl.store(ray_indices_ptr + at, rays, mask=hit)
            tl.store(t_starts_ptr + at, t, mask=hit)
            tl.store(t_ends_ptr + at, t + dt, mask=hit)
            tl.store(xyzs_ptr + 3 * at, tl.minimum(x, TOP), mask=hit)
            tl.store(xyzs_ptr + 3 * at + 1, tl.minimum(y, TOP), mask=hit)
            tl.store(xyzs_ptr + 3 * at + 2, tl.minimum(z, TOP), mask=hit)
            at += hit.to(tl.int64)
            t += dt


def march_triton(
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
    """Same contract as :func:`nerfkit.kernels.march.march` with all arguments; the fields of ``Samples``."""
    rays_o, rays_d, near, far, jitter, occupancy = (
        x.detach().contiguous() for x in (rays_o, rays_d, near, far, jitter, occupancy)
    )
    n_rays, places = len(rays_o), (occupancy, len(rays_o), resolution)
    grid, meta = (ceil_div(n_rays, BLOCK_R),), _meta(step, cone_angle, contract)
    # zeros: a launch that is noted and not made must leave no count that asks for memory
    counts = torch.zeros(n_rays, dtype=torch.int64, device=rays_o.device)
    t_first, t_next = torch.empty_like(near), torch.empty_like(near)
    if n_rays:
        rays = rays_o, rays_d, near, far, jitter
        launch(_march_count_kernel, grid, counts, t_first, t_next, None, None, *rays, *places, max_samples, **meta)
    packed_info = torch.stack((counts.cumsum(0) - counts, counts), dim=-1)
    # the one wait for the device: memory needs its size
    samples = _empty_samples(int(counts.sum()), rays_o)
    if n_rays:
        top = 1 - torch.finfo(rays_o.dtype).eps
        launch(_march_fill_kernel, grid, *samples, packed_info, t_first, rays_o, rays_d, *places, TOP=top, **meta)
    return (*samples, packed_info, t_next)


def march_rows(
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
) -> tuple[Tensor, Tensor, Tensor]:
    """Starts [n_rays, max_samples] of march's samples, how many [n_rays] a ray has, and how many rays [1] have some.

    One walk and no wait for the device: a row holds as many samples as a ray may have, and what lies behind its last
    one is never written.
    """
    rays = [x.detach().contiguous() for x in (rays_o, rays_d, near, far, jitter)]
    n_rays = len(rays_o)
    counts = torch.empty(n_rays, dtype=torch.int32, device=rays_o.device)
    n_hits = torch.zeros(1, dtype=torch.int32, device=rays_o.device)
    t_starts = rays[0].new_empty(n_rays, max_samples)
    if n_rays:
        launch(
            _march_count_kernel,
            (ceil_div(n_rays, BLOCK_R),),
            *(counts, None, None, t_starts, n_hits, *rays, occupancy.contiguous(), n_rays, resolution, max_samples),
            **_meta(step, cone_angle, contract),
        )
    return t_starts, counts, n_hits


def _empty_samples(n: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    ray_indices = torch.empty(n, dtype=torch.int64, device=like.device)
    return ray_indices, like.new_empty(n), like.new_empty(n), like.new_empty(n, 3)


def _meta(step: float, cone_angle: float, contract: bool) -> dict:
    return {
        "STEP": float(step),
        "CONE": float(cone_angle),
        "CONTRACT": bool(contract),
        "BLOCK_R": BLOCK_R,
        "num_warps": NUM_WARPS,
        # a * b + c rounded once would move a sample across the border of a cell
        "enable_fp_fusion": False,
    }


def compile_cases() -> list[CompileCase]:
    """Uses of march whose kernels are compiled ahead of time."""

    def run(dtype: torch.dtype, *, contract: bool) -> None:
        rays, ends = torch.zeros(4, 3, dtype=dtype), torch.zeros(4, dtype=dtype)
        bits = torch.zeros(64, dtype=torch.uint8)
        march_triton(rays, rays, ends, ends, bits, 8, 0.1, 0.0, contract, ends, 16)
        march_rows(rays, rays, ends, ends, bits, 8, 0.1, 0.0, contract, ends, 16)

    return [
        CompileCase(
            f"{name}{' contract' if contract else ''}",
            lambda dtype=dtype, contract=contract: run(dtype, contract=contract),
        )
        for name, dtype in [("fp32", torch.float32), ("fp64", torch.float64)]
        for contract in (False, True)
    ]
