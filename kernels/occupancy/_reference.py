"""The definition in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def update_occupancy_reference(
    densities: Tensor, bits: Tensor, cells: Tensor, found: Tensor, decay: float, threshold: float
) -> None:
    """Same contract as :func:`nerfkit.kernels.occupancy.update_occupancy`."""
    densities.mul_(decay).scatter_reduce_(0, cells, found, "amax")
    # half the mean bounds the threshold, so that a young scene that is thin everywhere is not emptied
    half_mean = (densities.sum(dtype=torch.float64) / len(densities) * 0.5).float()
    occupied = densities > half_mean.clamp(max=threshold)
    weights = 2 ** torch.arange(8, dtype=torch.uint8, device=bits.device)
    bits.copy_((occupied.view(-1, 8) * weights).sum(-1, dtype=torch.uint8))
