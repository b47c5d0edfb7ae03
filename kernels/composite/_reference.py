"""The definition in plain torch. A kernel is right when it agrees with this file."""

from __future__ import annotations

import torch
from torch import Tensor

# exp(-1000) is 0 in float32 and float64: the bound changes no value and no gradient, it keeps inf - inf away
MAX_TAU = 1000.0


def composite_reference(
    sigmas: Tensor,
    rgbs: Tensor,
    t_starts: Tensor,
    t_ends: Tensor,
    packed_info: Tensor,
    bkgd_rgb: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Same contract as :func:`nerfkit.kernels.composite.composite`; autograd gives the gradients."""
    acc = accumulation_dtype(sigmas, rgbs, t_starts, t_ends, bkgd_rgb)
    n_rays, n_samples = packed_info.shape[0], sigmas.shape[0]
    starts, counts = packed_info.unbind(-1)
    rays = torch.repeat_interleave(torch.arange(n_rays, device=sigmas.device), counts)  # [n_samples]
    nth = torch.arange(n_samples, device=sigmas.device) - starts[rays]  # [n_samples] place within the ray
    n_longest = int(counts.max()) if n_rays else 0

    t_starts, t_ends = t_starts.to(acc), t_ends.to(acc)
    tau = (sigmas.to(acc).clamp(max=torch.finfo(acc).max) * (t_ends - t_starts)).clamp(max=MAX_TAU)
    # one column to the right: the running sum excludes the sample itself, and the last column is the total
    shifted = tau.new_zeros(n_rays, n_longest + 1).index_put((rays, nth + 1), tau)
    passed = shifted.cumsum(-1)  # [n_rays, n_longest + 1] optical depth before each sample
    weights = torch.exp(-passed)[rays, nth] * -torch.expm1(-tau)

    def sum_along_rays(values: Tensor) -> Tensor:  # [n_samples, c] -> [n_rays, c]
        return values.new_zeros(n_rays, values.shape[1]).index_add(0, rays, values)

    rgb = sum_along_rays(weights[:, None] * rgbs.to(acc))
    depths = sum_along_rays((weights * (t_starts + t_ends) / 2)[:, None])
    total = passed[:, -1:]
    if bkgd_rgb is not None:
        rgb = rgb + torch.exp(-total) * bkgd_rgb.to(acc)
    return rgb, depths, -torch.expm1(-total), weights  # the weights' sum telescopes to 1 - exp(-total)


def accumulation_dtype(*tensors: Tensor | None) -> torch.dtype:
    """float64 if any of the tensors is, else float32."""
    has_double = any(x is not None and x.dtype == torch.float64 for x in tensors)
    return torch.float64 if has_double else torch.float32
