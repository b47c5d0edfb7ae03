"""numba loop for adam: one reading and writing of each number, none of rows that are left out."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
# (to pyright a prange index is not an int)
from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from ._reference import step_factors

# rows that a thread takes at a time: they stay in its first-level cache
BLOCK = 512


@njit(parallel=True, cache=True, error_model="numpy", fastmath={"contract"}, nogil=True)
def _adam(param, exp_avg, exp_avg_sq, grad, numbers, touched_only):
    step_size, root_scale, beta1, beta2, eps = numbers
    one = param.dtype.type(1)
    n, d = param.shape
    for block in prange((n + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min((block + 1) * BLOCK, n)):
            is_touched = not touched_only
            for j in range(d):
                is_touched |= grad[i, j] != 0
            if is_touched:
                for j in range(d):
                    g = grad[i, j]
                    first = exp_avg[i, j] + (one - beta1) * (g - exp_avg[i, j])
                    second = beta2 * exp_avg_sq[i, j] + (one - beta2) * g * g
                    param[i, j] -= step_size * first / (math.sqrt(second) * root_scale + eps)
                    exp_avg[i, j], exp_avg_sq[i, j] = first, second


@torch.no_grad()
def adam_cpu(
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
    if not param.numel():
        return
    given = param, exp_avg, exp_avg_sq
    changed = [x.contiguous() for x in given]
    rows = [x.detach().view(len(param), -1).numpy() for x in (*changed, grad.contiguous())]
    # as numbers of Python: a dozen operations of torch on one number took longer than the loop over a small layer
    numbers = np.array([*step_factors(float(step), float(lr), betas), *betas, eps], rows[0].dtype)
    _adam(*rows, numbers, touched_only)
    for tensor, new in zip(given, changed, strict=True):
        if new is not tensor:
            tensor.copy_(new)
