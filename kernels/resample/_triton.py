"""Triton kernel for resample: a lane owns a ray and walks its intervals and its new samples together, once."""

# pyright: reportGeneralTypeIssues=false
# (to pyright a call of a jitted function never returns)
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from nerfkit.kernels._launch import CompileCase, ceil_div, launch
from nerfkit.kernels._random_triton import _uniform

# one warp, one ray a lane: sums of a ray run in order, so that they never fall, whatever is rounded
BLOCK_R = 32
NUM_WARPS = 1


@triton.jit(do_not_specialize=["n_rays", "n_samples", "n_new"])
def _resample_kernel(
    ts_ptr,
    edges_ptr,  # out, [n_rays, n_new], [n_rays, n_new + 1]
    t_starts_ptr,
    t_ends_ptr,
    weights_ptr,
    packed_info_ptr,  # in, [n_rays, n_samples] and None, or [all samples] and [n_rays, 2]
    jitter_ptr,
    seed_ptr,  # in, [n_rays, n_new], [1]; one of them or both None
    n_rays,
    n_samples,
    n_new,
    ACC: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    # int64 throughout: n_rays * n_samples can pass 2**31
    rays = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    mask = rays < n_rays
    if packed_info_ptr is not None:
        first = tl.load(packed_info_ptr + 2 * rays, mask=mask, other=0)
        count = tl.load(packed_info_ptr + 2 * rays + 1, mask=mask, other=0).to(tl.int32)
    else:
        first = rays * n_samples
        count = tl.where(mask, n_samples, 0)
    total = tl.zeros((BLOCK_R,), ACC)
    last = tl.zeros((BLOCK_R,), tl.int32)  # interval with weight
    nth = tl.zeros((BLOCK_R,), tl.int32)
    while tl.max((nth < count).to(tl.int32), axis=0) > 0:
        weight = tl.load(weights_ptr + first + nth, mask=nth < count, other=0).to(ACC)
        total += weight
        last = tl.where(weight > 0, nth, last)
        nth += 1
    is_even = ((total > 0) & (total < float("inf"))) == 0
    total = tl.where(is_even, count.to(ACC), total)
    last = tl.where(is_even, count - 1, last)
    start = tl.load(t_starts_ptr + first, mask=count > 0, other=0)
    end = tl.load(t_ends_ptr + first + count - 1, mask=count > 0, other=0)

    nth = tl.zeros((BLOCK_R,), tl.int32)
    k = tl.zeros((BLOCK_R,), tl.int32)
    before = tl.zeros((BLOCK_R,), ACC)
    previous = tl.zeros((BLOCK_R,), ACC)
    mid = tl.zeros((BLOCK_R,), ACC)
    shift = tl.full((BLOCK_R,), 0.5, ACC)
    goes = mask
    while tl.max(goes.to(tl.int32), axis=0) > 0:
        at = first + nth
        # a ray without intervals has one of length 0 at 0
        exists = goes & (nth < count)
        weight = tl.where(is_even, 1, tl.load(weights_ptr + at, mask=exists, other=0).to(ACC))
        after = before + weight
        if jitter_ptr is not None:
            shift = tl.load(jitter_ptr + rays * n_new + k, mask=goes, other=0).to(ACC)
        if seed_ptr is not None:
            shift = _uniform(rays, k, tl.load(seed_ptr)).to(ACC)
        target = (k.to(ACC) + shift) / n_new.to(ACC) * total
        is_here = goes & ((target < after) | (nth >= last))
        t0 = tl.load(t_starts_ptr + at, mask=exists & is_here, other=0)
        t1 = tl.load(t_ends_ptr + at, mask=exists & is_here, other=0)
        share = (target - before) / tl.where(is_here, weight, 1)
        share = tl.where(share < 0, 0, tl.where(share > 1, 1, share))
        t = tl.minimum(t0 + share * (t1 - t0), t1)
        tl.store(ts_ptr + rays * n_new + k, t, mask=is_here)
        mid = tl.where(is_here, 0.5 * (previous + t), mid)
        at_edge = edges_ptr + rays * (n_new + 1)
        tl.store(at_edge + k, mid, mask=is_here & (k > 0))
        tl.store(at_edge, tl.maximum(2 * previous - mid, start), mask=is_here & (k == 1))
        previous = tl.where(is_here, t, previous)
        before = tl.where(is_here, before, after)
        k += is_here.to(tl.int32)
        nth += (goes & (is_here == 0)).to(tl.int32)
        goes = mask & (k < n_new)
    at_edge = edges_ptr + rays * (n_new + 1)
    tl.store(at_edge, start, mask=mask & (n_new == 1))
    tl.store(at_edge + n_new, tl.where(n_new == 1, end, tl.minimum(2 * previous - mid, end)), mask=mask)


@torch.no_grad()
def resample_triton(
    t_starts: Tensor,
    t_ends: Tensor,
    weights: Tensor,
    n_new: int,
    packed_info: Tensor | None,
    jitter: Tensor | None,
    seed: int | Tensor | None,
    padding: float,
) -> tuple[Tensor, Tensor]:
    """Same contract as :func:`nerfkit.kernels.resample.resample`: ``ts`` and ``edges``."""
    n_rays = len(t_starts) if packed_info is None else len(packed_info)
    n_samples = t_starts.shape[1] if packed_info is None else 0
    ts, edges = t_starts.new_empty(n_rays, n_new), t_starts.new_empty(n_rays, n_new + 1)
    if padding:
        weights = weights.to(t_starts.dtype) + padding
    if seed is not None and not isinstance(seed, Tensor):
        # filled there: a copy to the device would be a wait
        seed = torch.full((1,), seed & 0x7FFFFFFF, dtype=torch.int64, device=t_starts.device)
    given = t_starts, t_ends, weights, packed_info, jitter, seed
    if n_rays:
        launch(
            _resample_kernel,
            (ceil_div(n_rays, BLOCK_R),),
            ts,
            edges,
            *(None if x is None else x.contiguous() for x in given),
            n_rays,
            n_samples,
            n_new,
            ACC=tl.float64 if t_starts.dtype == torch.float64 else tl.float32,
            BLOCK_R=BLOCK_R,
            num_warps=NUM_WARPS,
        )
    return ts, edges


def compile_cases() -> list[CompileCase]:
    """Uses of resample whose kernel is compiled ahead of time."""

    def run(dtype: torch.dtype, *, is_packed: bool, has_jitter: bool = False) -> None:
        t = torch.zeros(12, dtype=dtype) if is_packed else torch.zeros(3, 4, dtype=dtype)
        packed_info = torch.tensor([[0, 12], [12, 0], [12, 0]]) if is_packed else None
        jitter = torch.zeros(3, 5, dtype=dtype) if has_jitter else None
        resample_triton(t, t, t, 5, packed_info, jitter, None if has_jitter else 3, 0.0)

    return [
        CompileCase("fp32 dense", lambda: run(torch.float32, is_packed=False)),
        CompileCase("fp32 packed", lambda: run(torch.float32, is_packed=True)),
        CompileCase("fp32 jitter", lambda: run(torch.float32, is_packed=False, has_jitter=True)),
        CompileCase("fp64 packed", lambda: run(torch.float64, is_packed=True)),
    ]
