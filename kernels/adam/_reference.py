"""The definition in plain torch: torch.optim.Adam's operations in its order, and the choice of rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor


@torch.no_grad()
def adam_reference(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    touched_only: bool,
) -> None:
    """Same contract as :func:`nerfkit.kernels.adam.adam`."""
    first = exp_avg.lerp(grad, 1 - betas[0])
    second = (exp_avg_sq * betas[1]).addcmul(grad, grad, value=1 - betas[1])
    root = second.sqrt() / math.sqrt(1 - betas[1] ** step) + eps
    moved = param.addcdiv(first, root, value=-lr / (1 - betas[0] ** step))
    if touched_only:
        is_touched = (grad != 0).flatten(1).any(1) if grad.ndim > 1 else grad != 0
        is_touched = is_touched.view(-1, *(1 for _ in grad.shape[1:]))
        moved = torch.where(is_touched, moved, param)
        first = torch.where(is_touched, first, exp_avg)
        second = torch.where(is_touched, second, exp_avg_sq)
    param.copy_(moved)
    exp_avg.copy_(first)
    exp_avg_sq.copy_(second)
