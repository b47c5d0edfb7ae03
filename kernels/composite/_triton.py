"""Triton kernels for composite. One program per ray; see README.md for the backward.

A pointer that is None stands for "not given" among the inputs and for "not wanted" among the outputs; Triton
compiles the branches away.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from nerfkit.kernels._autograd import differentiable_gradients
from nerfkit.kernels._launch import CompileCase, launch

from ._reference import MAX_TAU, accumulation_dtype, composite_reference

# samples of a ray that one pass of the loop takes: an occupancy grid leaves 10 to 100 of them, and one warp a
# ray needs no shared memory for its sums
BLOCK_S = 64
NUM_WARPS = 1
_MAX_TAU = tl.constexpr(MAX_TAU)


@triton.jit
def _alpha(tau):
    # 1 - exp(-tau) loses digits for thin samples; below 0.1 the series is exact to 3e-16
    series = 1 - tau * (1 / 7) * (1 - tau * (1 / 8) * (1 - tau * (1 / 9)))
    series = 1 - tau * (1 / 4) * (1 - tau * (1 / 5) * (1 - tau * (1 / 6) * series))
    series = tau * (1 - tau * (1 / 2) * (1 - tau * (1 / 3) * series))
    return tl.where(tau < 0.1, series, 1 - tl.exp(-tau))


@triton.jit
def _extend(sum_a, before_a, sum_b, before_b):
    return sum_a + sum_b, sum_a + before_b


@triton.jit
def _sum_before(values, reverse: tl.constexpr):
    """Exclusive sum, a scan of its own: "inclusive minus the value" loses what is small beside the value."""
    _, before = tl.associative_scan((values, tl.zeros_like(values)), 0, _extend, reverse=reverse)
    return before


@triton.jit
def _optical_depth(sigma, delta, SIGMA_MAX: tl.constexpr):
    # comparisons, not minimum(): they let a NaN through, so that a broken network is seen
    tau = tl.where(sigma > SIGMA_MAX, SIGMA_MAX, sigma) * delta
    return tl.where(tau > _MAX_TAU, _MAX_TAU, tau)


@triton.jit(do_not_specialize=["n_samples"])
def _composite_fwd_kernel(
    rgb_ptr,
    depths_ptr,
    opacities_ptr,  # out, [n_rays(, 3)]
    weights_ptr,
    trans_ptr,  # out, [n_samples]; trans is what is left behind the sample
    sigmas_ptr,
    rgbs_ptr,
    t_starts_ptr,
    t_ends_ptr,  # in, [n_samples(, 3)]
    packed_info_ptr,  # in, [n_rays, 2]
    bkgd_rgb_ptr,  # in, [n_rays, 3]
    n_samples,
    ACC: tl.constexpr,
    SIGMA_MAX: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    # int64 throughout: 3 * n_samples can pass 2**31
    ray = tl.program_id(0).to(tl.int64)
    first = tl.load(packed_info_ptr + 2 * ray)
    stop = tl.minimum(first + tl.load(packed_info_ptr + 2 * ray + 1), n_samples)
    passed = tl.zeros((), ACC)
    red = tl.zeros((BLOCK_S,), ACC)
    green = tl.zeros((BLOCK_S,), ACC)
    blue = tl.zeros((BLOCK_S,), ACC)
    depth = tl.zeros((BLOCK_S,), ACC)
    while first < stop:
        cols = first + tl.arange(0, BLOCK_S)
        mask = cols < stop
        t0 = tl.load(t_starts_ptr + cols, mask=mask, other=0).to(ACC)
        t1 = tl.load(t_ends_ptr + cols, mask=mask, other=0).to(ACC)
        sigma = tl.load(sigmas_ptr + cols, mask=mask, other=0).to(ACC)
        tau = _optical_depth(sigma, t1 - t0, SIGMA_MAX)
        before = passed + _sum_before(tau, False)
        weight = tl.exp(-before) * _alpha(tau)
        tl.store(weights_ptr + cols, weight, mask=mask)
        if trans_ptr is not None:
            tl.store(trans_ptr + cols, tl.exp(-(before + tau)), mask=mask)
        red += weight * tl.load(rgbs_ptr + 3 * cols, mask=mask, other=0).to(ACC)
        green += weight * tl.load(rgbs_ptr + 3 * cols + 1, mask=mask, other=0).to(ACC)
        blue += weight * tl.load(rgbs_ptr + 3 * cols + 2, mask=mask, other=0).to(ACC)
        depth += weight * (0.5 * (t0 + t1))
        passed += tl.sum(tau, axis=0)
        first += BLOCK_S
    r, g, b = tl.sum(red, axis=0), tl.sum(green, axis=0), tl.sum(blue, axis=0)
    if bkgd_rgb_ptr is not None:
        left = tl.exp(-passed)
        r += left * tl.load(bkgd_rgb_ptr + 3 * ray).to(ACC)
        g += left * tl.load(bkgd_rgb_ptr + 3 * ray + 1).to(ACC)
        b += left * tl.load(bkgd_rgb_ptr + 3 * ray + 2).to(ACC)
    tl.store(rgb_ptr + 3 * ray, r)
    tl.store(rgb_ptr + 3 * ray + 1, g)
    tl.store(rgb_ptr + 3 * ray + 2, b)
    tl.store(depths_ptr + ray, tl.sum(depth, axis=0))
    tl.store(opacities_ptr + ray, _alpha(passed))


@triton.jit(do_not_specialize=["n_samples"])
def _composite_bwd_kernel(
    d_sigmas_ptr,
    d_rgbs_ptr,
    d_t_starts_ptr,
    d_t_ends_ptr,  # out, [n_samples(, 3)]
    d_bkgd_rgb_ptr,  # out, [n_rays, 3]
    d_rgb_ptr,
    d_depths_ptr,
    d_opacities_ptr,  # in, [n_rays(, 3)]
    d_weights_ptr,
    weights_ptr,
    trans_ptr,
    sigmas_ptr,
    rgbs_ptr,
    t_starts_ptr,
    t_ends_ptr,  # in, [n_samples(, 3)]
    packed_info_ptr,
    bkgd_rgb_ptr,  # in, [n_rays, 2 or 3]
    n_samples,
    ACC: tl.constexpr,
    SIGMA_MAX: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    ray = tl.program_id(0).to(tl.int64)
    start = tl.load(packed_info_ptr + 2 * ray)
    last = tl.minimum(start + tl.load(packed_info_ptr + 2 * ray + 1), n_samples)
    g_red = tl.zeros((), ACC)
    g_green = tl.zeros((), ACC)
    g_blue = tl.zeros((), ACC)
    g_depth = tl.zeros((), ACC)
    if d_rgb_ptr is not None:
        g_red = tl.load(d_rgb_ptr + 3 * ray).to(ACC)
        g_green = tl.load(d_rgb_ptr + 3 * ray + 1).to(ACC)
        g_blue = tl.load(d_rgb_ptr + 3 * ray + 2).to(ACC)
    if d_depths_ptr is not None:
        g_depth = tl.load(d_depths_ptr + ray).to(ACC)
    # the background is one more sample, the last: it brings its colour and takes away opacity
    left = tl.load(trans_ptr + last - 1, mask=last > start, other=1).to(ACC)
    later = tl.zeros((), ACC)
    if d_opacities_ptr is not None:
        later -= left * tl.load(d_opacities_ptr + ray).to(ACC)
    if bkgd_rgb_ptr is not None:
        later += left * g_red * tl.load(bkgd_rgb_ptr + 3 * ray).to(ACC)
        later += left * g_green * tl.load(bkgd_rgb_ptr + 3 * ray + 1).to(ACC)
        later += left * g_blue * tl.load(bkgd_rgb_ptr + 3 * ray + 2).to(ACC)
    if d_bkgd_rgb_ptr is not None:
        tl.store(d_bkgd_rgb_ptr + 3 * ray, left * g_red)
        tl.store(d_bkgd_rgb_ptr + 3 * ray + 1, left * g_green)
        tl.store(d_bkgd_rgb_ptr + 3 * ray + 2, left * g_blue)
    while last > start:
        cols = last - BLOCK_S + tl.arange(0, BLOCK_S)
        mask = cols >= start
        weight = tl.load(weights_ptr + cols, mask=mask, other=0)
        t0 = tl.load(t_starts_ptr + cols, mask=mask, other=0).to(ACC)
        t1 = tl.load(t_ends_ptr + cols, mask=mask, other=0).to(ACC)
        d_weight = g_depth * 0.5 * (t0 + t1)
        if d_rgb_ptr is not None:
            d_weight += g_red * tl.load(rgbs_ptr + 3 * cols, mask=mask, other=0).to(ACC)
            d_weight += g_green * tl.load(rgbs_ptr + 3 * cols + 1, mask=mask, other=0).to(ACC)
            d_weight += g_blue * tl.load(rgbs_ptr + 3 * cols + 2, mask=mask, other=0).to(ACC)
        if d_weights_ptr is not None:
            d_weight += tl.load(d_weights_ptr + cols, mask=mask, other=0).to(ACC)
        if d_rgbs_ptr is not None:
            tl.store(d_rgbs_ptr + 3 * cols, weight * g_red, mask=mask)
            tl.store(d_rgbs_ptr + 3 * cols + 1, weight * g_green, mask=mask)
            tl.store(d_rgbs_ptr + 3 * cols + 2, weight * g_blue, mask=mask)
        trans = tl.load(trans_ptr + cols, mask=mask, other=0)
        brought = weight * d_weight
        d_tau = trans * d_weight - (later + _sum_before(brought, True))
        later += tl.sum(brought, axis=0)
        if d_sigmas_ptr is not None:
            tl.store(d_sigmas_ptr + cols, d_tau * (t1 - t0), mask=mask)
        if d_t_starts_ptr is not None or d_t_ends_ptr is not None:
            sigma = tl.load(sigmas_ptr + cols, mask=mask, other=0).to(ACC)
            d_delta = d_tau * tl.where(sigma > SIGMA_MAX, SIGMA_MAX, sigma)
            d_mid = 0.5 * weight * g_depth
            if d_t_starts_ptr is not None:
                tl.store(d_t_starts_ptr + cols, d_mid - d_delta, mask=mask)
            if d_t_ends_ptr is not None:
                tl.store(d_t_ends_ptr + cols, d_mid + d_delta, mask=mask)
        last -= BLOCK_S


class CompositeTriton(torch.autograd.Function):
    """The kernels with their gradients; each floating tensor keeps its own dtype."""

    @staticmethod
    def forward(ctx, sigmas, rgbs, t_starts, t_ends, packed_info, bkgd_rgb):
        """Composite, keeping what the backward reads."""
        inputs = (sigmas, rgbs, t_starts, t_ends, packed_info, bkgd_rgb)
        *outputs, trans = run_forward(*inputs, has_backward=True)
        ctx.save_for_backward(*inputs, outputs[3], trans)
        ctx.set_materialize_grads(False)
        needs = ctx.needs_input_grad
        if not (needs[0] or needs[2] or needs[3]):
            ctx.mark_non_differentiable(*outputs[1:])  # colours move rgb alone
        return tuple(outputs)

    @staticmethod
    def backward(ctx, *d_outputs):
        """Walk each ray from its far end to the camera."""
        *inputs, weights, trans = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: a second derivative may follow
            return tuple(differentiable_gradients(composite_reference, inputs, ctx.needs_input_grad, d_outputs))
        return tuple(run_backward(d_outputs, inputs, weights, trans, ctx.needs_input_grad))


def run_backward(
    d_outputs: Sequence[Tensor | None],
    inputs: Sequence[Tensor | None],
    weights: Tensor,
    trans: Tensor,
    needs: Sequence[bool],
) -> list[Tensor | None]:
    """Gradient of each input from what the forward gave, None where not needed."""
    wanted = [
        torch.empty_like(x, memory_format=torch.contiguous_format) if x is not None and needed else None
        for x, needed in zip(inputs, needs, strict=True)
    ]
    sigmas, packed_info = inputs[0], inputs[4]
    assert sigmas is not None and packed_info is not None
    if len(packed_info):
        launch(
            _composite_bwd_kernel,
            (len(packed_info),),
            *(wanted[i] for i in (0, 1, 2, 3, 5)),
            *map(_contiguous, (*d_outputs, weights, trans, *inputs)),
            len(sigmas),
            **_meta(weights.dtype),
        )
    return wanted


def composite_triton(
    sigmas: Tensor,
    rgbs: Tensor,
    t_starts: Tensor,
    t_ends: Tensor,
    packed_info: Tensor,
    bkgd_rgb: Tensor | None,
) -> tuple[Tensor, ...]:
    """Same contract as :func:`nerfkit.kernels.composite.composite`, with ``bkgd_rgb`` one row a ray."""
    inputs = (sigmas, rgbs, t_starts, t_ends, packed_info, bkgd_rgb)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        return CompositeTriton.apply(*inputs)  # pyright: ignore[reportReturnType]
    return run_forward(*inputs, has_backward=False)[:4]


def run_forward(sigmas, rgbs, t_starts, t_ends, packed_info, bkgd_rgb, *, has_backward: bool):
    """Outputs, and the light left behind each sample, which the backward reads."""
    n_rays, n_samples = packed_info.shape[0], sigmas.shape[0]
    acc = accumulation_dtype(sigmas, rgbs, t_starts, t_ends, bkgd_rgb)
    rgb, depths, opacities = (sigmas.new_empty(n_rays, c, dtype=acc) for c in (3, 1, 1))
    weights = sigmas.new_empty(n_samples, dtype=acc)
    trans = torch.empty_like(weights) if has_backward else None
    if n_rays:
        launch(
            _composite_fwd_kernel,
            (n_rays,),
            rgb,
            depths,
            opacities,
            weights,
            trans,
            *map(_contiguous, (sigmas, rgbs, t_starts, t_ends, packed_info, bkgd_rgb)),
            n_samples,
            **_meta(acc),
        )
    return rgb, depths, opacities, weights, trans


def _contiguous(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


def _meta(acc: torch.dtype) -> dict:
    return {
        "ACC": tl.float64 if acc == torch.float64 else tl.float32,
        "SIGMA_MAX": torch.finfo(acc).max,
        "BLOCK_S": BLOCK_S,
        "num_warps": NUM_WARPS,
    }


def compile_cases() -> list[CompileCase]:
    """Uses of composite whose kernels are compiled ahead of time."""

    def run(dtype: torch.dtype, *, trains: bool, through_all: bool) -> None:
        sigmas, t_starts, t_ends = (torch.zeros(16, dtype=dtype, requires_grad=trains) for _ in range(3))
        rgbs, bkgd_rgb = (torch.zeros(*shape, dtype=dtype, requires_grad=trains) for shape in ((16, 3), (1, 3)))
        times = (t_starts, t_ends) if through_all else (t_starts.detach().float(), t_ends.detach().float())
        bkgd_rgb = bkgd_rgb if through_all else bkgd_rgb.detach()
        packed_info = torch.tensor([[0, 16]])
        outputs = composite_triton(sigmas, rgbs, *times, packed_info, bkgd_rgb)
        if trains:
            used = outputs if through_all else outputs[:1]
            torch.autograd.backward(used, [torch.zeros_like(x) for x in used])

    return [
        CompileCase("fp32 render", lambda: run(torch.float32, trains=False, through_all=False)),
        CompileCase("fp32 colour", lambda: run(torch.float32, trains=True, through_all=False)),
        CompileCase("bf16 colour", lambda: run(torch.bfloat16, trains=True, through_all=False)),
        CompileCase("fp32 all", lambda: run(torch.float32, trains=True, through_all=True)),
        CompileCase("fp64 all", lambda: run(torch.float64, trains=True, through_all=True)),
    ]
