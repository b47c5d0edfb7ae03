"""The definition in plain torch. A kernel is right when it agrees with this file."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def fourier_reference(x: Tensor, freqs: Tensor) -> Tensor:
    """Same contract as :func:`nerfkit.kernels.fourier.fourier`; autograd gives the gradients."""
    acc = torch.float64 if torch.float64 in (x.dtype, freqs.dtype) else torch.float32
    # outer products, not a matrix product: autocast and TF32 would round phases to a few bits
    x_axes, freq_axes = x.to(acc).split(1, dim=-1), freqs.to(acc).unbind(-1)  # d of [n, 1], d of [m]
    cycles = x_axes[0] * freq_axes[0]  # [n, m]
    for x_k, freq_k in zip(x_axes[1:], freq_axes[1:], strict=True):
        cycles = torch.addcmul(cycles, x_k, freq_k)
    # to [-1/2, 1/2): exact, and keeps the rounding of 2 pi from growing with the phase
    angles = 2 * math.pi * (cycles - torch.floor(cycles + 0.5))
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1).to(x.dtype)
