"""Samples of rays of different lengths in one run, and the same as rows of a matrix."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["check_packed", "pad_rays", "places", "regular_packing"]


def check_packed(packed_info: Tensor, n_samples: int) -> None:
    """Raise a ValueError unless ``packed_info`` lists all samples, ray after ray; its numbers on a CPU alone.

    Parameters
    ----------
    packed_info : Tensor
        To be int64 [n_rays, 2]: first sample and count of each ray.
    n_samples : int
        Samples that there are.
    """
    if packed_info.ndim != 2 or packed_info.shape[1] != 2 or packed_info.dtype != torch.int64:
        raise ValueError(
            "packed_info must be int64 of shape (n_rays, 2), first sample and count of each ray; "
            f"got {packed_info.dtype} of shape {tuple(packed_info.shape)}"
        )
    # to look would be to wait for the device, and a compiler has no numbers yet
    if packed_info.device.type != "cpu" or torch.compiler.is_compiling():
        return
    starts, counts = packed_info.numpy().T  # numpy: a tenth of the calls' cost in torch, and this runs every step
    ends = starts + counts
    n_packed = int(ends[-1]) if len(ends) else 0
    follows = len(ends) == 0 or (starts[0] == 0 and (starts[1:] == ends[:-1]).all() and counts.min() >= 0)
    if not follows or n_packed != n_samples:
        raise ValueError(
            f"packed_info must list all {n_samples} samples ray after ray without gaps "
            "(start = sum of the counts before); "
            f"got starts {starts[:4].tolist()}..., counts {counts[:4].tolist()}..., last end {n_packed}"
        )


def regular_packing(n_rays: int, n_samples: int, device: torch.device) -> Tensor:
    """``packed_info`` of rays that have ``n_samples`` samples each."""
    first = torch.arange(n_rays, device=device) * n_samples
    return torch.stack([first, torch.full_like(first, n_samples)], dim=-1)


def places(packed_info: Tensor, n_samples: int) -> tuple[Tensor, Tensor]:
    """Ray of each sample, and its number within the ray, both [n_samples] int64."""
    n_rays, device = len(packed_info), packed_info.device
    starts, counts = packed_info.unbind(-1)
    rays = torch.repeat_interleave(torch.arange(n_rays, device=device), counts, output_size=n_samples)
    return rays, torch.arange(n_samples, device=device) - starts[rays]


def pad_rays(packed_info: Tensor, *values: Tensor) -> list[Tensor]:
    """Each of ``values`` [n_samples] as [n_rays, longest ray], zeros behind the last sample; differentiable."""
    rays, nth = places(packed_info, len(values[0]))
    n_longest = int(packed_info[:, 1].max()) if len(packed_info) else 0
    return [x.new_zeros(len(packed_info), n_longest).index_put((rays, nth), x) for x in values]
