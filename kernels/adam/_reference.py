"""The definition in plain torch: torch.optim.Adam's operations, and the choice of rows."""

from __future__ import annotations

import torch
from torch import Tensor


def step_factors(step: int | Tensor, lr: float | Tensor, betas: tuple[float, float]) -> tuple:
    """Length of the step, and what the root is multiplied by; float64, on the device of ``step`` or ``lr``."""
    step = step.double() if isinstance(step, Tensor) else step
    lr = lr.double() if isinstance(lr, Tensor) else lr
    return lr / (1 - betas[0] ** step), (1 - betas[1] ** step) ** -0.5


@torch.no_grad()
def adam_reference(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    step: int | Tensor,
    lr: float | Tensor,
    betas: tuple[float, float],
    eps: float,
    touched_only: bool,
) -> None:
    """Same contract as :func:`nerfkit.kernels.adam.adam`."""
    first = exp_avg.lerp(grad, 1 - betas[0])
    second = (exp_avg_sq * betas[1]).addcmul(grad, grad, value=1 - betas[1])
    step_size, root_scale = step_factors(step, lr, betas)
    moved = param - step_size * (first / (second.sqrt() * root_scale + eps))
    if touched_only:
        is_touched = (grad != 0).flatten(1).any(1) if grad.ndim > 1 else grad != 0
        is_touched = is_touched.view(-1, *(1 for _ in grad.shape[1:]))
        moved = torch.where(is_touched, moved, param)
        first = torch.where(is_touched, first, exp_avg)
        second = torch.where(is_touched, second, exp_avg_sq)
    param.copy_(moved)
    exp_avg.copy_(first)
    exp_avg_sq.copy_(second)
