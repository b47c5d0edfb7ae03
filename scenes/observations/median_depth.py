"""Where a ray has lost half of its transmittance: the surface that a picture shows.

The mean distance of a ray (:mod:`nerfkit.scenes.observations.volume_rendering`) lies between two surfaces where a pixel
sees both; the median lies on one of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nerfkit.scenes.fields.radiance import RadianceField
from nerfkit.scenes.observations.volume_rendering import SAMPLES_A_PASS, RaySampler

__all__ = ["median_depths"]

# optical depth at which half of the transmittance is left
HALF = math.log(2)


@torch.no_grad()
def median_depths(field: RadianceField, sampler: RaySampler, rays_o: Tensor, rays_d: Tensor) -> Tensor:
    """Distance along each ray at which its transmittance falls to a half.

    Parameters
    ----------
    field : RadianceField
        What is observed.
    sampler : RaySampler
        Where along the rays.
    rays_o, rays_d : Tensor, shape (n_rays, 3)
        Origins in normalised units, unit directions.

    Returns
    -------
    depths : Tensor, shape (n_rays,)
        Normalised units, linear in the optical depth within a sample; infinite where more than half of the
        transmittance is left.
    """
    n_rays = len(rays_o)
    depths = torch.full((n_rays,), torch.inf, dtype=rays_o.dtype, device=rays_o.device)
    # float64: differences of running sums over all rays of a pass
    passed = torch.zeros(n_rays, dtype=torch.float64, device=rays_o.device)
    alive = torch.arange(n_rays, device=rays_o.device)
    near: Tensor | None = None
    max_samples = SAMPLES_A_PASS
    while len(alive):
        samples = sampler.sample(
            field, rays_o[alive], rays_d[alive], jitter=None if near is None else torch.zeros_like(near),
            max_samples=max_samples, near=near,
        )  # fmt: skip
        sigmas = field.density(samples.xyzs).double()
        total = torch.nn.functional.pad((sigmas * (samples.t_ends - samples.t_starts)).cumsum(0), (1, 0))
        first, count = samples.packed_info.unbind(-1)
        # optical depth of each sample's ray before it: the end of one is the start of the next, bit for bit
        offset = (passed[alive] - total[first])[samples.ray_indices]
        start, end = total[:-1] + offset, total[1:] + offset
        hits = torch.nonzero((start < HALF) & (end >= HALF)).squeeze(-1)
        depths[alive[samples.ray_indices[hits]]] = (samples.t_starts[hits] + (HALF - start[hits]) / sigmas[hits]).to(
            depths.dtype
        )
        passed[alive] += total[first + count] - total[first]
        keep = torch.isfinite(samples.t_next) & (passed[alive] < HALF)
        alive, near = alive[keep], samples.t_next[keep]
        max_samples *= 2
    return depths
