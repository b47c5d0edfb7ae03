"""A pixel as the integral of density and colour along its ray (NeRF, arXiv:2003.08934, eq. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from nerfkit.kernels.composite import composite
from nerfkit.kernels.distortion import distortion
from nerfkit.kernels.march import Samples
from nerfkit.kernels.radiance import Radiance
from nerfkit.scenes.bounds import SceneBounds
from nerfkit.scenes.contraction import to_unit_cube
from nerfkit.scenes.fields.radiance import RadianceField
from nerfkit.scenes.observations.fused_rendering import MIN_TRANSMITTANCE, can_render_fused, draw_seed, render_fused
from nerfkit.scenes.rays import Rays

__all__ = ["RaySampler", "Rendered", "VolumeRendering", "cost_in_samples"]

# asking for the density of a sample costs about this fraction of a sample's forward and backward pass
COST_OF_ASKING = 0.25
# samples a ray may take before rays that are done are dropped from the batch
SAMPLES_A_PASS = 16


@torch.no_grad()
def _that_matter(samples: Samples, field: RadianceField, min_weight: float) -> Samples:
    """The samples whose weight in their ray is above ``min_weight``, found by asking for the density alone.

    With density an exponential of what the network puts out, the gradient of a sample is proportional to its weight,
    both in thin air (alpha) and behind a surface (transmittance): the others would cost a backward pass for nothing.
    """
    sigmas = field.density(samples.xyzs)
    out = composite(sigmas, samples.xyzs, samples.t_starts, samples.t_ends, samples.packed_info)
    # so that NaN is kept: a field that diverged must not pass for an empty one
    keep = ~(out.weights <= min_weight)
    before = torch.nn.functional.pad(keep.cumsum(0), (1, 0))  # [n_samples + 1] kept samples before each
    first, count = samples.packed_info.unbind(-1)
    counts = before[first + count] - before[first]
    kept = keep.nonzero().squeeze(-1)
    return samples._replace(
        ray_indices=samples.ray_indices[kept],
        t_starts=samples.t_starts[kept],
        t_ends=samples.t_ends[kept],
        xyzs=samples.xyzs[kept],
        packed_info=torch.stack([counts.cumsum(0) - counts, counts], dim=-1),
    )


class RaySampler(Protocol):
    """Where along rays the field is asked; see :mod:`nerfkit.scenes.samplers`."""

    # says whether space is contracted
    bounds: SceneBounds

    def sample(
        self, field: RadianceField, rays_o: Tensor, rays_d: Tensor, *, jitter: Tensor | None, max_samples: int = ...,
        near: Tensor | None = None, limits: Sequence[Tensor | None] = ...,
    ) -> Samples:  # fmt: skip
        """Samples of rays [n_rays, 3] inside ``limits``, near and far; ``t_next`` is infinite where a ray is done."""
        ...


class Rendered(NamedTuple):
    """What rays see."""

    # colour [n_rays, 3]
    rgb: Tensor
    # weighted distance along the ray [n_rays, 1], normalised units
    depths: Tensor
    # sum of the weights [n_rays, 1], 0 to 1
    opacities: Tensor
    # number of samples that the field was asked for; on the device where it was counted there, so that nothing waits
    n_samples: int | Tensor
    # distortion loss of each ray [n_rays, 1]; None unless it was asked for
    distortions: Tensor | None = None
    # number of samples whose density alone was asked for, before those that matter were chosen
    n_asked: int = 0


def cost_in_samples(n_samples: int, n_asked: int) -> int:
    """What a training step of so many samples costs, as a number of samples: they, or asking which they are."""
    return max(n_samples, round(n_asked * COST_OF_ASKING))


class VolumeRendering:
    """Predicts pixels: sample, ask the field, composite.

    Parameters
    ----------
    sampler : RaySampler
        Where the field is asked.
    min_weight : float
        Weight below which a sample is left out; 0 keeps all.
    """

    def __init__(self, sampler: RaySampler, *, min_weight: float = 0.0) -> None:
        self.sampler, self.min_weight = sampler, min_weight

    def predict(
        self, field: RadianceField, where: Rays, *, min_weight: float | None = None, has_distortion: bool = False
    ) -> Rendered:
        """Differentiable prediction of pixels, for fitting.

        Parameters
        ----------
        field : RadianceField
            What is observed.
        where : Rays
            Origins in normalised units.
        min_weight : float, optional
            Instead of the observation's own.
        has_distortion : bool
            Also give the distortion loss of each ray, measured in the contracted distance where space is contracted.
        """
        rays_o, rays_d, bkgd_rgb, jitter, _, *limits = where
        min_weight = self.min_weight if min_weight is None else min_weight
        # the fused loops of a CPU take rays for constants
        is_differentiated = torch.is_grad_enabled() and (rays_o.requires_grad or rays_d.requires_grad)
        if can_render_fused(field, self.sampler, rays_o) and (rays_o.is_cuda or not is_differentiated):
            seed = None if jitter is None else draw_seed(self.sampler)
            # behind a transmittance of min_weight no sample can have more
            out = render_fused(
                field, self.sampler, rays_o, rays_d, bkgd_rgb, jitter=jitter, seed=seed, min_weight=min_weight,
                min_transmittance=min_weight, has_distortion=has_distortion, limits=limits,
            )  # fmt: skip
            return _seen(out)
        samples = self.sampler.sample(field, rays_o.detach(), rays_d.detach(), jitter=jitter, limits=limits)
        n_asked = len(samples.xyzs)
        if min_weight > 0:
            samples = _that_matter(samples, field, min_weight)
        if is_differentiated:
            samples = samples._replace(xyzs=self._positions(samples, rays_o, rays_d))
        sigmas, rgbs = field(samples.xyzs, rays_d, samples.ray_indices)
        out = composite(sigmas, rgbs, samples.t_starts, samples.t_ends, samples.packed_info, bkgd_rgb)
        distortions = None
        if has_distortion:
            distortions = distortion(
                out.weights,
                samples.t_starts,
                samples.t_ends,
                samples.packed_info,
                contract=self.sampler.bounds.contract,
            )
        return Rendered(out.rgb, out.depths, out.opacities, len(sigmas), distortions, n_asked)

    def _positions(self, samples: Samples, rays_o: Tensor, rays_d: Tensor) -> Tensor:
        """Middles of samples in the unit cube, differentiable in their rays."""
        mids = (samples.t_starts + samples.t_ends)[:, None] / 2
        of_rays = samples.ray_indices
        return to_unit_cube(rays_o[of_rays] + mids * rays_d[of_rays], self.sampler.bounds.contract)

    @torch.no_grad()
    def render(self, field: RadianceField, where: Rays) -> Rendered:
        """The same without gradients and jitter, in passes: a ray that hits something opaque asks no further."""
        rays_o, rays_d, bkgd_rgb, *_ = where
        if can_render_fused(field, self.sampler, rays_o):
            return _seen(render_fused(field, self.sampler, rays_o, rays_d, bkgd_rgb, min_weight=self.min_weight))
        n_rays = len(rays_o)
        rgb, depths = rays_o.new_zeros(n_rays, 3), rays_o.new_zeros(n_rays, 1)
        trans = rays_o.new_ones(n_rays, 1)
        alive = torch.arange(n_rays, device=rays_o.device)
        near: Tensor | None = None
        n_samples, max_samples = 0, SAMPLES_A_PASS
        while len(alive):
            samples = self.sampler.sample(
                field, rays_o[alive], rays_d[alive], jitter=None if near is None else torch.zeros_like(near),
                max_samples=max_samples, near=near,
            )  # fmt: skip
            n_samples += len(samples.xyzs)
            sigmas, rgbs = field(samples.xyzs, rays_d[alive], samples.ray_indices)
            out = composite(sigmas, rgbs, samples.t_starts, samples.t_ends, samples.packed_info)
            before = trans[alive]
            rgb[alive] += before * out.rgb
            depths[alive] += before * out.depths
            trans[alive] = before * (1 - out.opacities)
            keep = torch.isfinite(samples.t_next) & (trans[alive, 0] > MIN_TRANSMITTANCE)
            alive, near = alive[keep], samples.t_next[keep]
            # those that are left look through something thin: longer passes cost fewer rounds
            max_samples *= 2
        if bkgd_rgb is not None:
            rgb += trans * bkgd_rgb
        return Rendered(rgb, depths, 1 - trans, n_samples)


def _seen(out: Radiance) -> Rendered:
    return Rendered(out.rgb, out.depths, out.opacities, out.counts.sum(), out.distortions)
