"""Triton kernel for adam: one reading and writing of each number, none of rows that are left out."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from nerfkit.kernels._launch import CompileCase, ceil_div, launch

from ._reference import step_factors

# numbers of a program, 8 a thread: two vectors of each array in flight
TILE = 1024
NUM_WARPS = 4


@triton.jit(do_not_specialize=["n", "step_size", "root_scale", "beta1", "beta2", "eps"])
def _adam_kernel(
    param_ptr,
    exp_avg_ptr,
    exp_avg_sq_ptr,  # in and out, [n, D]
    grad_ptr,  # in, [n, D]
    factors_ptr,  # in, [2] step_size and root_scale where they lie on the device, else None
    n,
    step_size,
    root_scale,
    beta1,
    beta2,
    eps,
    D: tl.constexpr,
    TOUCHED_ONLY: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    if factors_ptr is not None:
        step_size, root_scale = tl.load(factors_ptr), tl.load(factors_ptr + 1)
    # int64 before the multiply: n * D can pass 2**31
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    cols = tl.arange(0, BLOCK_D)
    at = rows[:, None] * D + cols[None, :]
    mask = (rows < n)[:, None] & (cols < D)[None, :]
    grad = tl.load(grad_ptr + at, mask=mask, other=0)
    if TOUCHED_ONLY:
        mask = mask & (tl.max((grad != 0).to(tl.int32), axis=1) > 0)[:, None]
    exp_avg = tl.load(exp_avg_ptr + at, mask=mask, other=0)
    exp_avg_sq = tl.load(exp_avg_sq_ptr + at, mask=mask, other=0)
    param = tl.load(param_ptr + at, mask=mask, other=0)
    exp_avg += (1 - beta1) * (grad - exp_avg)
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad * grad
    param -= step_size * exp_avg / (tl.sqrt(exp_avg_sq) * root_scale + eps)
    tl.store(exp_avg_ptr + at, exp_avg, mask=mask)
    tl.store(exp_avg_sq_ptr + at, exp_avg_sq, mask=mask)
    tl.store(param_ptr + at, param, mask=mask)


@torch.no_grad()
def adam_triton(
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
    # without a choice of rows all numbers are alike
    n, d = (len(param), param[0].numel()) if touched_only else (param.numel(), 1)
    block_d = 1 << (d - 1).bit_length()
    block_n = TILE // block_d
    factors = step_factors(step, lr, betas)
    on_device = None
    if isinstance(step, Tensor) or isinstance(lr, Tensor):
        on_device = param.new_empty(2)
        for i, factor in enumerate(factors):
            on_device[i] = factor
        factors = 0.0, 0.0
    numbers = *factors, *betas, eps
    meta = {"D": d, "TOUCHED_ONLY": touched_only, "BLOCK_N": block_n, "BLOCK_D": block_d, "num_warps": NUM_WARPS}
    launch(_adam_kernel, (ceil_div(n, block_n),), *changed, grad.contiguous(), on_device, n, *numbers, **meta)
    for tensor, new in zip(given, changed, strict=True):
        if new is not tensor:
            tensor.copy_(new)


def compile_cases() -> list[CompileCase]:
    """Uses of adam whose kernel is compiled ahead of time."""

    def run(d: int, *, touched_only: bool, step: int | Tensor = 1) -> None:
        param, grad, exp_avg, exp_avg_sq = torch.zeros(4, 5, d).unbind()
        adam_triton(param, grad, exp_avg, exp_avg_sq, step, 0.01, (0.9, 0.99), 1e-15, touched_only)

    return [
        CompileCase("fp32 dense", lambda: run(3, touched_only=False)),
        CompileCase("fp32 rows of 4", lambda: run(4, touched_only=True)),
        CompileCase("fp32 rows of 3", lambda: run(3, touched_only=True)),
        CompileCase("fp32 counted", lambda: run(4, touched_only=True, step=torch.ones(()))),
    ]
