"""Triton kernels for distortion. One program per ray; see README.md for the backward."""

# pyright: reportGeneralTypeIssues=false
# (to pyright a call of a jitted function never returns)
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from nerfkit.kernels._autograd import differentiable_gradients
from nerfkit.kernels._launch import CompileCase, launch
from nerfkit.kernels.composite._reference import accumulation_dtype
from nerfkit.kernels.composite._triton import _sum_before

from ._reference import distortion_reference

# as in composite, whose samples these are
BLOCK_S = 64
NUM_WARPS = 1


@triton.jit
def _distance(t, CONTRACT: tl.constexpr):
    """What distortion is measured in: t, or its contraction (mip-NeRF 360, arXiv:2111.12077)."""
    if CONTRACT:
        return tl.where(t < 1, t, 2 - 1 / tl.maximum(t, 1))
    else:
        return t


@triton.jit
def _slope(t, CONTRACT: tl.constexpr):
    if CONTRACT:
        return tl.where(t < 1, 1, 1 / (tl.maximum(t, 1) * tl.maximum(t, 1)))
    else:
        return tl.full(t.shape, 1, t.dtype)


@triton.jit
def _ends(t_starts_ptr, t_ends_ptr, cols, mask, ACC: tl.constexpr):
    """Starts and ends of samples along their ray."""
    t0 = tl.load(t_starts_ptr + cols, mask=mask, other=0).to(ACC)
    t1 = tl.load(t_ends_ptr + cols, mask=mask, other=0).to(ACC)
    return t0, t1


@triton.jit
def _mids(t_starts_ptr, t_ends_ptr, cols, mask, ACC: tl.constexpr, CONTRACT: tl.constexpr):
    t0, t1 = _ends(t_starts_ptr, t_ends_ptr, cols, mask, ACC)
    return 0.5 * (_distance(t0, CONTRACT) + _distance(t1, CONTRACT))


@triton.jit
def _range(packed_info_ptr, n_samples):
    """First sample of the program's ray, and the one behind its last."""
    # int64: n_rays * n_samples can pass 2**31
    ray = tl.program_id(0).to(tl.int64)
    if packed_info_ptr is not None:
        first = tl.load(packed_info_ptr + 2 * ray)
        return first, first + tl.load(packed_info_ptr + 2 * ray + 1)
    else:
        return ray * n_samples, (ray + 1) * n_samples


@triton.jit(do_not_specialize=["n_samples"])
def _distortion_fwd_kernel(
    distortions_ptr,  # out, [n_rays]
    befores_ptr,
    spreads_ptr,  # out, [all samples] sums over the samples before: weights; weights times the way; may be None
    weights_ptr,
    t_starts_ptr,
    t_ends_ptr,
    packed_info_ptr,  # in, [n_rays, n_samples] and None, or [all samples] and [n_rays, 2]
    n_samples,
    CONTRACT: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    start, stop = _range(packed_info_ptr, n_samples)
    weight_before = tl.zeros((), ACC)
    spread_before = tl.zeros((), ACC)
    total = tl.zeros((BLOCK_S,), ACC)
    first = start
    while first < stop:
        cols = first + tl.arange(0, BLOCK_S)
        mask = cols < stop
        weight = tl.load(weights_ptr + cols, mask=mask, other=0).to(ACC)
        t0, t1 = _ends(t_starts_ptr, t_ends_ptr, cols, mask, ACC)
        s0, s1 = _distance(t0, CONTRACT), _distance(t1, CONTRACT)
        follows = mask & (cols > start)
        way = 0.5 * (s0 + s1) - _mids(t_starts_ptr, t_ends_ptr, cols - 1, follows, ACC, CONTRACT)
        before = weight_before + _sum_before(weight, False)
        step = tl.where(follows, before * way, 0)
        spread = spread_before + tl.cumsum(step, 0)
        total += weight * (2 * spread + weight * (s1 - s0) * (1 / 3))
        if befores_ptr is not None:
            tl.store(befores_ptr + cols, before, mask=mask)
            tl.store(spreads_ptr + cols, spread, mask=mask)
        weight_before += tl.sum(weight, axis=0)
        spread_before += tl.sum(step, axis=0)
        first += BLOCK_S
    tl.store(distortions_ptr + tl.program_id(0), tl.sum(total, axis=0))


@triton.jit(do_not_specialize=["n_samples"])
def _distortion_bwd_kernel(
    d_weights_ptr,
    d_t_starts_ptr,
    d_t_ends_ptr,  # out, [all samples]; may be None
    d_distortions_ptr,  # in, [n_rays]
    befores_ptr,
    spreads_ptr,  # in, as the forward left them
    weights_ptr,
    t_starts_ptr,
    t_ends_ptr,
    packed_info_ptr,  # in, as in the forward
    n_samples,
    CONTRACT: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    start, stop = _range(packed_info_ptr, n_samples)
    g = tl.load(d_distortions_ptr + tl.program_id(0)).to(ACC)
    weight_after = tl.zeros((), ACC)
    spread_after = tl.zeros((), ACC)
    last = stop
    while last > start:
        cols = last - BLOCK_S + tl.arange(0, BLOCK_S)
        mask = cols >= start
        weight = tl.load(weights_ptr + cols, mask=mask, other=0).to(ACC)
        t0, t1 = _ends(t_starts_ptr, t_ends_ptr, cols, mask, ACC)
        s0, s1 = _distance(t0, CONTRACT), _distance(t1, CONTRACT)
        precedes = mask & (cols + 1 < stop)
        way = _mids(t_starts_ptr, t_ends_ptr, cols + 1, precedes, ACC, CONTRACT) - 0.5 * (s0 + s1)
        after = weight_after + _sum_before(weight, True)
        step = tl.where(precedes, after * way, 0)
        spread = spread_after + tl.cumsum(step, 0, reverse=True)
        if d_weights_ptr is not None:
            both = tl.load(spreads_ptr + cols, mask=mask, other=0) + spread
            tl.store(d_weights_ptr + cols, g * (2 * both + weight * (s1 - s0) * (2 / 3)), mask=mask)
        if d_t_starts_ptr is not None or d_t_ends_ptr is not None:
            d_mid = g * weight * (tl.load(befores_ptr + cols, mask=mask, other=0) - after)
            d_length = g * weight * weight * (1 / 3)
            if d_t_starts_ptr is not None:
                tl.store(d_t_starts_ptr + cols, (d_mid - d_length) * _slope(t0, CONTRACT), mask=mask)
            if d_t_ends_ptr is not None:
                tl.store(d_t_ends_ptr + cols, (d_mid + d_length) * _slope(t1, CONTRACT), mask=mask)
        weight_after += tl.sum(weight, axis=0)
        spread_after += tl.sum(step, axis=0)
        last -= BLOCK_S


class DistortionTriton(torch.autograd.Function):
    """The kernels with their gradients; each tensor keeps its own dtype."""

    @staticmethod
    def forward(ctx, weights, t_starts, t_ends, packed_info, contract):
        """Loss of each ray, keeping the sums over the samples before."""
        ctx.save_for_backward(weights, t_starts, t_ends, packed_info)
        ctx.contract = contract
        distortions, ctx.befores, ctx.spreads = _run_fwd(
            weights, t_starts, t_ends, packed_info, contract, has_backward=True
        )
        return distortions

    @staticmethod
    def backward(ctx, d_distortions):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Walk each ray from its far end."""
        *inputs, packed_info = ctx.saved_tensors
        needs, contract = ctx.needs_input_grad[:3], ctx.contract
        if torch.is_grad_enabled():  # create_graph=True: a second derivative may follow

            def reference(*inputs: Tensor) -> Tensor:
                return distortion_reference(*inputs, packed_info=packed_info, contract=contract)

            return *differentiable_gradients(reference, inputs, needs, (d_distortions,)), None, None
        wanted = [
            torch.empty_like(x, memory_format=torch.contiguous_format) if needed else None
            for x, needed in zip(inputs, needs, strict=True)
        ]
        if len(d_distortions):
            launch(
                _distortion_bwd_kernel,
                (len(d_distortions),),
                *wanted,
                d_distortions.contiguous(),
                ctx.befores,
                ctx.spreads,
                *_given(*inputs, packed_info=packed_info),
                **_meta(d_distortions.dtype, contract),
            )
        return *wanted, None, None


def distortion_triton(
    weights: Tensor, t_starts: Tensor, t_ends: Tensor, packed_info: Tensor | None, contract: bool
) -> Tensor:
    """Same contract as :func:`nerfkit.kernels.distortion.distortion`."""
    inputs = (weights, t_starts, t_ends, packed_info, contract)
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs[:3]):
        return DistortionTriton.apply(*inputs)  # pyright: ignore[reportReturnType]
    return _run_fwd(*inputs, has_backward=False)[0]


def _run_fwd(weights, t_starts, t_ends, packed_info, contract, *, has_backward: bool):
    acc = accumulation_dtype(weights, t_starts, t_ends)
    n_rays = len(weights if packed_info is None else packed_info)
    distortions = weights.new_empty(n_rays, 1, dtype=acc)
    befores, spreads = (weights.new_empty(weights.numel(), dtype=acc) if has_backward else None for _ in range(2))
    if n_rays:
        given = _given(weights, t_starts, t_ends, packed_info)
        launch(_distortion_fwd_kernel, (n_rays,), distortions, befores, spreads, *given, **_meta(acc, contract))
    return distortions, befores, spreads


def _given(weights: Tensor, t_starts: Tensor, t_ends: Tensor, packed_info: Tensor | None) -> tuple:
    """What both kernels read."""
    n_samples = weights.shape[1] if packed_info is None else 0
    rays = None if packed_info is None else packed_info.contiguous()
    return *(x.contiguous() for x in (weights, t_starts, t_ends)), rays, n_samples


def _meta(acc: torch.dtype, contract: bool) -> dict:
    return {
        "CONTRACT": bool(contract),
        "ACC": tl.float64 if acc == torch.float64 else tl.float32,
        "BLOCK_S": BLOCK_S,
        "num_warps": NUM_WARPS,
    }


def compile_cases() -> list[CompileCase]:
    """Uses of distortion whose kernels are compiled ahead of time."""

    def run(dtype: torch.dtype, *, is_packed: bool, contract: bool = False, through_all: bool = False) -> None:
        shape = (12,) if is_packed else (3, 4)
        weights = torch.zeros(shape, dtype=dtype, requires_grad=True)
        t = torch.zeros(shape, dtype=torch.promote_types(dtype, torch.float32), requires_grad=through_all)
        packed_info = torch.tensor([[0, 12]]) if is_packed else None
        distortion_triton(weights, t, t, packed_info, contract).sum().backward()

    return [
        CompileCase("fp32 packed", lambda: run(torch.float32, is_packed=True)),
        CompileCase("fp32 contract", lambda: run(torch.float32, is_packed=True, contract=True, through_all=True)),
        CompileCase("fp32 dense", lambda: run(torch.float32, is_packed=False)),
        CompileCase("bf16 dense", lambda: run(torch.bfloat16, is_packed=False)),
        CompileCase("fp64 dense", lambda: run(torch.float64, is_packed=False, through_all=True)),
    ]
