"""The definition in plain torch, by running sums; the tests hold it to the double sum of the paper."""

from __future__ import annotations

import torch
from torch import Tensor

from nerfkit.kernels._packed import pad_rays
from nerfkit.kernels.composite._reference import accumulation_dtype


def distortion_reference(
    weights: Tensor, t_starts: Tensor, t_ends: Tensor, packed_info: Tensor | None = None, contract: bool = False
) -> Tensor:
    """Same contract as :func:`nerfkit.kernels.distortion.distortion`; autograd gives the gradients."""
    acc = accumulation_dtype(weights, t_starts, t_ends)
    weights, s_starts, s_ends = weights.to(acc), *(distance(t.to(acc), contract) for t in (t_starts, t_ends))
    if packed_info is not None:
        weights, s_starts, s_ends = pad_rays(packed_info, weights, s_starts, s_ends)
    mids = 0.5 * (s_starts + s_ends)
    # sum_(j<i) w_j (s_i - s_j): from sample to sample it grows by the weight that lies before times the way
    spread = (weights.cumsum(-1)[:, :-1] * mids.diff(dim=-1)).cumsum(-1)
    pairs = (weights[:, 1:] * spread).sum(-1, keepdim=True)
    return 2 * pairs + (weights.square() * (s_ends - s_starts)).sum(-1, keepdim=True) / 3


def distance(t: Tensor, contract: bool) -> Tensor:
    """What distortion is measured in: t, or its contraction."""
    return torch.where(t < 1, t, 2 - 1 / t.clamp(min=1)) if contract else t
