"""The definition in plain torch: every lattice point is looked up. The loops are right when they agree."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def march_reference(
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
    n_rays = len(rays_o)
    t = near + jitter * (cone_angle * near).clamp(min=step)
    counts = torch.zeros(n_rays, dtype=torch.int64, device=rays_o.device)
    rays = torch.arange(n_rays, device=rays_o.device)
    kept: list[tuple[Tensor, ...]] = [(rays[:0], t[:0], t[:0], rays_o[:0])]
    alive = torch.ones(n_rays, dtype=torch.bool, device=rays_o.device)
    while True:
        dt = (cone_angle * t).clamp(min=step)
        mid = t + 0.5 * dt
        # a step that no longer moves t ends the ray too
        alive = alive & (mid < far) & (t + dt > t)
        active = alive & (counts < max_samples)
        if not active.any():
            break
        xyzs = unit_cube(rays_o + mid[:, None] * rays_d, contract)
        hit = active & is_occupied(xyzs, occupancy, resolution)
        kept.append((rays[hit], t[hit], (t + dt)[hit], xyzs[hit].clamp(0, 1 - torch.finfo(t.dtype).eps)))
        counts += hit
        t = torch.where(active, t + dt, t)
    ray_indices, t_starts, t_ends, xyzs = (torch.cat(part) for part in zip(*kept, strict=True))
    order = torch.argsort(ray_indices, stable=True)
    packed_info = torch.stack((counts.cumsum(0) - counts, counts), dim=-1)
    t_next = torch.where(alive, t, far)
    return ray_indices[order], t_starts[order], t_ends[order], xyzs[order], packed_info, t_next


def unit_cube(points: Tensor, contract: bool) -> Tensor:
    """Points [n, 3] of the scene in the unit cube, into which ``contract`` brings all of space."""
    if not contract:
        return (points + 1) * 0.5
    largest = points.abs().amax(-1, keepdim=True).clamp(min=1)
    return (points * ((2 - 1 / largest) / largest) + 2) * 0.25


def is_occupied(xyzs: Tensor, occupancy: Tensor, resolution: int) -> Tensor:
    """Bit of the cell round each point [n, 3]; False outside of the unit cube."""
    scaled = xyzs * resolution
    inside = ((scaled >= 0) & (scaled < resolution)).all(-1)
    x, y, z = torch.where(inside[:, None], scaled, 0).long().unbind(-1)
    index = (x * resolution + y) * resolution + z
    return inside & ((occupancy[index >> 3] >> (index & 7).to(torch.uint8) & 1) == 1)
