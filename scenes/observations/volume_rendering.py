"""A pixel as the integral of density and colour along its ray (NeRF, arXiv:2003.08934, eq. 3)."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from nerfkit.kernels.composite import composite
from nerfkit.kernels.march import Samples
from nerfkit.scenes.fields.radiance import RadianceField

__all__ = ["RaySampler", "Rendered", "VolumeRendering"]

# light that is left when a ray ends early: below half a grey level of 255
MIN_TRANSMITTANCE = 1e-3
# samples a ray may take before rays that are done are dropped from the batch
SAMPLES_A_PASS = 16


class RaySampler(Protocol):
    """Where along rays the field is asked; see :mod:`nerfkit.scenes.samplers`."""

    def sample(
        self, field: RadianceField, rays_o: Tensor, rays_d: Tensor, *, jitter: Tensor | None, max_samples: int = ...,
        near: Tensor | None = None,
    ) -> Samples:  # fmt: skip
        """Samples of rays [n_rays, 3]; ``t_next`` is infinite where a ray is done."""
        ...


class Rendered(NamedTuple):
    """What rays see."""

    # colour [n_rays, 3]
    rgb: Tensor
    # weighted distance along the ray [n_rays, 1], normalised units
    depths: Tensor
    # sum of the weights [n_rays, 1], 0 to 1
    opacities: Tensor
    # number of samples that the field was asked for
    n_samples: int


class VolumeRendering:
    """Predicts pixels: sample, ask the field, composite.

    Parameters
    ----------
    sampler : RaySampler
        Where the field is asked.
    """

    def __init__(self, sampler: RaySampler) -> None:
        self.sampler = sampler

    def predict(
        self,
        field: RadianceField,
        rays_o: Tensor,
        rays_d: Tensor,
        bkgd_rgb: Tensor | None,
        jitter: Tensor | None,
    ) -> Rendered:
        """Differentiable prediction of pixels, for fitting.

        Parameters
        ----------
        field : RadianceField
            What is observed.
        rays_o, rays_d : Tensor, shape (n_rays, 3)
            Origins in normalised units, unit directions.
        bkgd_rgb : Tensor or None, shape (3,) or (n_rays, 3)
            Colour behind the scene.
        jitter : Tensor or None, shape (n_rays,)
            Shift of the samples in steps, [0, 1).
        """
        samples = self.sampler.sample(field, rays_o, rays_d, jitter=jitter)
        sigmas, rgbs = field(samples.xyzs, rays_d, samples.ray_indices)
        out = composite(sigmas, rgbs, samples.t_starts, samples.t_ends, samples.packed_info, bkgd_rgb)
        return Rendered(out.rgb, out.depths, out.opacities, len(sigmas))

    @torch.no_grad()
    def render(self, field: RadianceField, rays_o: Tensor, rays_d: Tensor, bkgd_rgb: Tensor | None) -> Rendered:
        """The same without gradients, in passes, so that a ray that hits something opaque asks no further."""
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
