"""The definition: the operations that are fused, one after the other. A kernel is right when it agrees with this file.

With ``impl="reference"`` every part is its own definition in plain torch; with ``"auto"`` each part takes its best
implementation, which is what runs where the fused kernels cannot.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nerfkit.kernels._packed import places
from nerfkit.kernels._random import uniform
from nerfkit.kernels.composite import composite
from nerfkit.kernels.composite._reference import MAX_TAU
from nerfkit.kernels.distortion import distortion
from nerfkit.kernels.fourier import fourier
from nerfkit.kernels.harmonics import harmonics
from nerfkit.kernels.hashgrid import hashgrid
from nerfkit.kernels.march import march
from nerfkit.kernels.march._reference import unit_cube
from nerfkit.kernels.mlp import mlp

from ._specs import MarchSampling, RadianceSpec, RegularSampling

if TYPE_CHECKING:
    from . import RadianceParams

# exp(15) = 3.3e6 is opaque within any step, and far from overflow
MAX_LOG_DENSITY = 15.0


def radiance_reference(
    rays_o: Tensor,
    rays_d: Tensor,
    near: Tensor,
    far: Tensor,
    params: RadianceParams,
    spec: RadianceSpec,
    sampling: RegularSampling | MarchSampling,
    bkgd_rgb: Tensor | None = None,
    *,
    occupancy: Tensor | None = None,
    jitter: Tensor | None = None,
    seed: int | Tensor | None = None,
    has_distortion: bool = True,
    min_weight: float = 0.0,
    impl: str = "reference",
) -> tuple[Tensor, ...]:
    """Same contract as :func:`nerfkit.kernels.radiance.radiance`, all five outputs; autograd gives the gradients."""
    if isinstance(sampling, RegularSampling):
        t_starts, t_ends, packed_info = regular_samples(near, far, sampling, seed)
    else:
        assert occupancy is not None
        samples = march(
            rays_o.detach(), rays_d.detach(), near, far, occupancy, sampling.resolution,
            step=sampling.step, cone_angle=sampling.cone_angle, contract=sampling.contract, jitter=jitter,
            max_samples=sampling.max_samples, impl=impl,
        )  # fmt: skip
        t_starts, t_ends, packed_info = samples.t_starts, samples.t_ends, samples.packed_info
    rays, nth = places(packed_info, len(t_starts))
    mids = 0.5 * (t_starts + t_ends)
    xyzs = unit_cube(rays_o[rays] + mids[:, None] * rays_d[rays], sampling.contract)
    sigmas, rgbs = _field(xyzs, rays_d, rays, params, spec, impl)
    is_seen = _is_seen(sigmas.detach(), t_starts, t_ends, rays, nth, sampling.max_depth)
    sigmas = torch.where(is_seen, sigmas, 0)
    if min_weight > 0:
        weights = composite(sigmas.detach(), rgbs.detach(), t_starts, t_ends, packed_info, impl=impl).weights
        # negated for the sake of NaN; a sample without density is as good as none
        is_seen = is_seen & ~(weights <= min_weight)
        sigmas = torch.where(is_seen, sigmas, 0)
    out = composite(sigmas, rgbs, t_starts, t_ends, packed_info, bkgd_rgb, impl=impl)
    distortions = torch.zeros_like(out.depths)
    if has_distortion:
        distortions = distortion(out.weights, t_starts, t_ends, packed_info, contract=sampling.contract, impl=impl)
    counts = torch.zeros_like(packed_info[:, 1]).index_add(0, rays, is_seen.long())
    return out.rgb, out.depths, out.opacities, distortions, counts.int()


def regular_samples(
    near: Tensor, far: Tensor, sampling: RegularSampling, seed: int | Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Starts and ends of the samples and their packed_info; rays with near >= far have none."""
    n_rays, n = len(near), sampling.n_samples
    hit = torch.nonzero(far > near).squeeze(-1)
    near, far = near.detach()[hit, None], far.detach()[hit, None]
    k = torch.arange(n + 1, device=near.device)
    passed = k.to(near.dtype).expand(len(hit), -1)  # [n_hit, n + 1] intervals before the edge
    if seed is not None:
        # inner edges move within half an interval: samples stay in order and cover the ray
        shift = uniform(hit[:, None], k, seed).to(near.dtype) - 0.5
        passed = torch.where((k > 0) & (k < n), passed + shift, passed)
    if sampling.contract:
        # a weighted mean of what is left of the contracted distance; its relative error does not grow with t
        left = ((n - passed) * contracted_left(near) + passed * contracted_left(far)) / n
        edges = torch.where(left > 1, 2 - left, 1 / left)
    else:
        edges = near + (far - near) * (passed / n)
    counts = torch.zeros(n_rays, dtype=torch.int64, device=near.device).index_fill_(0, hit, n)
    packed_info = torch.stack([counts.cumsum(0) - counts, counts], dim=-1)
    return edges[:, :-1].reshape(-1), edges[:, 1:].reshape(-1), packed_info


def contracted_left(t: Tensor) -> Tensor:
    """What is left to infinity of the contracted distance: 2 - t up to t = 1, 1/t beyond."""
    return torch.where(t < 1, 2 - t, 1 / t.clamp(min=1))


def truncated_exp(x: Tensor) -> Tensor:
    """``exp(min(x, 15))`` whose gradient is the value, also beyond the bound: what overshot can come back."""
    return torch.exp(x - (x - MAX_LOG_DENSITY).clamp(min=0).detach())


def _field(
    xyzs: Tensor, rays_d: Tensor, rays: Tensor, params: RadianceParams, spec: RadianceSpec, impl: str
) -> tuple[Tensor, Tensor]:
    """Density [n_samples] and colour [n_samples, 3]."""
    if spec.grid is not None:
        encoding = hashgrid(xyzs, params.encoding, spec.grid, impl=impl)
    else:
        encoding = torch.cat([xyzs * 2 - 1, fourier(xyzs, params.encoding, impl=impl)], dim=-1)
    trunk = _trunk(encoding, params, spec, impl)
    sigmas = truncated_exp(trunk[:, 0] + params.log_density_offset.to(trunk.dtype))
    directions = harmonics(rays_d, spec.harmonics_degree)[rays]
    inputs = torch.cat([trunk if spec.color_sees_density else trunk[:, 1:], directions], dim=-1)
    return sigmas, mlp(inputs, params.color_weights, params.color_biases, output="sigmoid", impl=impl)


def _trunk(encoding: Tensor, params: RadianceParams, spec: RadianceSpec, impl: str) -> Tensor:
    weights, biases = params.trunk_weights, params.trunk_biases
    if spec.skip is None:
        return mlp(encoding, weights, biases, impl=impl)
    head = slice(None, spec.skip), slice(spec.skip, None)
    before, after = ((weights[part], None if biases is None else biases[part]) for part in head)
    hidden = torch.relu(mlp(encoding, *before, impl=impl))
    return mlp(torch.cat([hidden, encoding], dim=-1), *after, impl=impl)


@torch.no_grad()
def _is_seen(sigmas: Tensor, t_starts: Tensor, t_ends: Tensor, rays: Tensor, nth: Tensor, max_depth: float) -> Tensor:
    """Whether enough light reaches each sample [n_samples]."""
    if math.isinf(max_depth) or not len(rays):
        return torch.ones_like(rays, dtype=torch.bool)
    tau = (sigmas * (t_ends - t_starts)).clamp(max=MAX_TAU)
    padded = sigmas.new_zeros(int(rays[-1]) + 1, int(nth.max()) + 1).index_put_((rays, nth), tau)
    before = torch.nn.functional.pad(padded.cumsum(-1), (1, -1))
    # negated, so that NaN is seen: a field that diverged must not pass for an opaque one
    return ~(before[rays, nth] >= max_depth)
