"""The definition in plain torch: a sum of the weights, and where it passes each of the new samples' shares."""

from __future__ import annotations

import torch
from torch import Tensor

from nerfkit.kernels._packed import pad_rays


@torch.no_grad()
def resample_reference(
    t_starts: Tensor,
    t_ends: Tensor,
    weights: Tensor,
    n_new: int,
    packed_info: Tensor | None = None,
    jitter: Tensor | None = None,
    padding: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Same contract as :func:`nerfkit.kernels.resample.resample`: ``ts`` and ``edges``."""
    weights, exists = weights.to(t_starts.dtype) + padding, torch.ones_like(t_starts)
    if packed_info is not None:
        t_starts, t_ends, weights, exists = pad_rays(packed_info, t_starts, t_ends, weights, exists)
    n_rays, n_longest = weights.shape
    if not n_longest:
        return t_starts.new_zeros(n_rays, n_new), t_starts.new_zeros(n_rays, n_new + 1)
    total = weights.sum(-1, keepdim=True)
    weights = torch.where((total > 0) & (total < torch.inf), weights, exists)
    after = weights.cumsum(-1)
    k = torch.arange(n_new, device=weights.device, dtype=weights.dtype)
    shares = (k + (0.5 if jitter is None else jitter.to(weights.dtype))) / n_new
    targets = (shares * after[:, -1:]).contiguous()
    # rounding must not lead into the intervals without weight at the end
    last = n_longest - 1 - (weights > 0).flip(-1).int().argmax(-1, keepdim=True)
    chosen = torch.searchsorted(after, targets, right=True).minimum(last)  # [n_rays, n_new]
    before = torch.nn.functional.pad(after[:, :-1], (1, 0))
    share = (targets - before.gather(1, chosen)) / weights.gather(1, chosen)
    low, high = t_starts.gather(1, chosen), t_ends.gather(1, chosen)
    ts = torch.where(exists[:, :1] > 0, torch.lerp(low, high, share.clamp(0, 1)), 0)
    n_before_last = (exists.sum(-1, keepdim=True).long() - 1).clamp(min=0)
    return ts, _edges(ts, t_starts[:, :1], t_ends.gather(1, n_before_last))


def _edges(ts: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Middles between neighbours; at both ends as far out as in, but within the ray."""
    if ts.shape[1] == 1:
        return torch.cat([start, end], -1)
    mids = 0.5 * (ts[:, 1:] + ts[:, :-1])
    first = (2 * ts[:, :1] - mids[:, :1]).maximum(start)
    return torch.cat([first, mids, (2 * ts[:, -1:] - mids[:, -1:]).minimum(end)], -1)
