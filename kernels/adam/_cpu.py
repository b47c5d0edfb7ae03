"""numba loops for adam: one reading and writing of each number, none of rows that are left out."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
# (to pyright a prange index is not an int)
from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from ._reference import step_factors

# rows, and numbers, that a thread takes at a time: they stay in its first-level cache
BLOCK, BLOCK_NUMBERS = 512, 2048


@njit(parallel=True, cache=True, error_model="numpy", fastmath={"contract"}, nogil=True)
def _adam(param, exp_avg, exp_avg_sq, grad, numbers):
    """Of all numbers, in a loop that the compiler makes vectors of."""
    step_size, root_scale, beta1, beta2, eps = numbers
    one, n = param.dtype.type(1), len(param)
    for block in prange((n + BLOCK_NUMBERS - 1) // BLOCK_NUMBERS):
        here = slice(block * BLOCK_NUMBERS, min((block + 1) * BLOCK_NUMBERS, n))
        # parts that are counted from 0: an index that might be negative keeps the compiler from vectors
        p, m, v, grads = param[here], exp_avg[here], exp_avg_sq[here], grad[here]
        for i in range(len(p)):
            g = grads[i]
            first = m[i] + (one - beta1) * (g - m[i])
            second = beta2 * v[i] + (one - beta2) * g * g
            p[i] -= step_size * first / (math.sqrt(second) * root_scale + eps)
            m[i], v[i] = first, second


@njit(parallel=True, cache=True, error_model="numpy", fastmath={"contract"}, nogil=True)
def _adam_of_touched(param, exp_avg, exp_avg_sq, grad, numbers):
    step_size, root_scale, beta1, beta2, eps = numbers
    one = param.dtype.type(1)
    n, d = param.shape
    for block in prange((n + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min((block + 1) * BLOCK, n)):
            is_touched = False
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
    sizes = (len(param), -1) if touched_only else (-1,)
    arrays = [x.detach().view(sizes).numpy() for x in (*changed, grad.contiguous())]
    # as numbers of Python: a dozen operations of torch on one number took longer than the loop over a small layer
    numbers = np.array([*step_factors(float(step), float(lr), betas), *betas, eps], arrays[0].dtype)
    (_adam_of_touched if touched_only else _adam)(*arrays, numbers)
    for tensor, new in zip(given, changed, strict=True):
        if new is not tensor:
            tensor.copy_(new)
