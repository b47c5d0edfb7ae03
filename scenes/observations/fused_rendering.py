"""Volume rendering by one operation for sampling, field and integral, where a field and its sampler can be fused.

What :class:`nerfkit.scenes.observations.volume_rendering.VolumeRendering` does in parts, to the same pictures: on a
GPU samples never reach memory, and nothing waits for the device; on a CPU they stay in its cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from nerfkit.kernels.radiance import (
    MarchSampling,
    Radiance,
    RadianceParams,
    RadianceSpec,
    RegularSampling,
    can_fuse,
    radiance,
)
from nerfkit.scenes.samplers import ALL_SAMPLES, OccupancySampler, StratifiedSampler, clip_rays

__all__ = ["FusableField", "can_render_fused", "draw_seed", "render_fused"]

# transmittance at which a ray ends early: below half a grey level of 255
MIN_TRANSMITTANCE = 1e-3
# most samples of a ray on a GPU: what little transmittance is left beyond is lost; memory of a step grows with it
MAX_SAMPLES = 1024


@runtime_checkable
class FusableField(Protocol):
    """A radiance field whose parts the operation takes as they are."""

    def radiance_params(self) -> tuple[RadianceParams, RadianceSpec] | None:
        """Tensors and their order; None where its settings are beyond the operation."""
        ...


def draw_seed(sampler: object) -> Tensor | None:
    """Seed [1] of a step's stratified samples, from the sampler's own generator; a marching sampler needs none."""
    if not isinstance(sampler, StratifiedSampler):
        return None
    generator = sampler.source()
    return torch.randint(2**31 - 1, (1,), generator=generator, device=generator.device)


def can_render_fused(field: object, sampler: object, rays_o: Tensor) -> bool:
    """Whether one operation serves: on a CPU it marches, on a GPU it needs sizes that fit the kernels.

    A second pass of samples that follows from the first is beyond both.
    """
    fused = field.radiance_params() if isinstance(field, FusableField) else None
    if fused is None:
        return False
    if isinstance(sampler, StratifiedSampler):
        is_sampled = rays_o.is_cuda and not sampler.config.n_importance
    else:
        is_sampled = isinstance(sampler, OccupancySampler)
    return is_sampled and (not rays_o.is_cuda or can_fuse(rays_o, *fused))


def render_fused(
    field: object,
    sampler: object,
    rays_o: Tensor,
    rays_d: Tensor,
    bkgd_rgb: Tensor | None,
    *,
    jitter: Tensor | None = None,
    seed: int | Tensor | None = None,
    has_distortion: bool = False,
    min_weight: float = 0.0,
    min_transmittance: float = MIN_TRANSMITTANCE,
    limits: Sequence[Tensor | None] = (None, None),
    precision: str = "auto",
    impl: str = "auto",
) -> Radiance:
    """What rays see, differentiable in the field, the rays and the background.

    Parameters
    ----------
    field : FusableField
        What is observed; this and the sampler as :func:`can_render_fused` found them.
    sampler : OccupancySampler or StratifiedSampler
        Where along the rays.
    rays_o, rays_d : Tensor, shape (n_rays, 3)
        Origins in normalised units, unit directions.
    bkgd_rgb : Tensor or None, shape (3,) or (n_rays, 3)
        Colour behind the scene.
    jitter : Tensor or None, shape (n_rays,)
        Shift of marched samples in steps, [0, 1).
    seed : int, Tensor or None
        Moves the edges of stratified samples.
    min_weight : float
        Samples of less weight are left out; on a GPU all are kept, where a ray's samples cost no memory.
    min_transmittance : float
        Transmittance below which a ray ends.
    limits : (near, far)
        Distances, [n_rays] or one for all, before and beyond which a ray sees nothing; None: the scene's own.
    has_distortion, precision, impl
        As :func:`nerfkit.kernels.radiance.radiance` takes them.
    """
    assert isinstance(field, FusableField) and isinstance(sampler, OccupancySampler | StratifiedSampler)
    fused = field.radiance_params()
    assert fused is not None
    params, spec = fused
    near, far = clip_rays(rays_o.detach(), rays_d.detach(), sampler.bounds, limits)
    occupancy = None
    if isinstance(sampler, OccupancySampler):
        occupancy, seed = sampler.grid.bits, None
        sampling = MarchSampling(
            sampler.grid.resolution, sampler.step, sampler.cone_angle, sampler.bounds.contract,
            MAX_SAMPLES if rays_o.is_cuda else ALL_SAMPLES, min_transmittance,
        )  # fmt: skip
    else:
        jitter = None
        sampling = RegularSampling(sampler.config.n_samples, sampler.bounds.contract, min_transmittance)
    return radiance(
        rays_o, rays_d, near, far, params, spec, sampling, bkgd_rgb,
        occupancy=occupancy, jitter=jitter, seed=seed, has_distortion=has_distortion,
        min_weight=0.0 if rays_o.is_cuda else min_weight, precision=precision, impl=impl,
    )  # fmt: skip
