"""numba loops for composite, parallel over rays; see README.md for the backward.

An empty array stands for "not given" among the inputs and for "not wanted" among the outputs.
"""

# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
# (to pyright a prange index is not an int)
from __future__ import annotations

import math
from collections.abc import Sequence

import numba
import torch
from numba import prange
from torch import Tensor

from nerfkit.kernels._autograd import differentiable_gradients

from ._reference import MAX_TAU, accumulation_dtype, composite_reference

# no fastmath: it may assume that infinity and NaN never come, so the bound on tau and a NaN of the network
# could vanish, and it may rewrite expm1 as exp - 1, which has no digits left for thin samples
njit = numba.njit(parallel=True, cache=True, error_model="numpy")


@njit
def _composite_fwd(
    rgb,  # out, [n_rays, 3]
    depths,
    opacities,  # out, [n_rays]
    weights,
    trans,  # out, [n_samples]; trans is what is left behind the sample, empty when no backward will come
    sigmas,
    rgbs,
    t_starts,
    t_ends,
    packed_info,
    bkgd_rgb,
    sigma_max,
):
    # locals are float64 whatever the arrays are: free in scalar code, and sums need no care
    for r in prange(packed_info.shape[0]):
        start = packed_info[r, 0]
        left, passed = 1.0, 0.0
        red, green, blue, depth = 0.0, 0.0, 0.0, 0.0
        for i in range(start, start + packed_info[r, 1]):
            t0, t1 = float(t_starts[i]), float(t_ends[i])
            # comparisons, not min(): they let a NaN through, so that a broken network is seen
            sigma = float(sigmas[i])
            if sigma > sigma_max:
                sigma = sigma_max
            tau = sigma * (t1 - t0)
            if tau > MAX_TAU:
                tau = MAX_TAU
            # one call of the two serves both values to the last digit: expm1 below a half, exp above
            if tau < 0.5:
                alpha = -math.expm1(-tau)
                kept = 1.0 - alpha
            else:
                kept = math.exp(-tau)
                alpha = 1.0 - kept
            weight = left * alpha
            left *= kept
            passed += tau
            weights[i] = weight
            if trans.size > 0:
                trans[i] = left
            red += weight * rgbs[i, 0]
            green += weight * rgbs[i, 1]
            blue += weight * rgbs[i, 2]
            depth += weight * (0.5 * (t0 + t1))
        if bkgd_rgb.size > 0:
            red += left * bkgd_rgb[r, 0]
            green += left * bkgd_rgb[r, 1]
            blue += left * bkgd_rgb[r, 2]
        rgb[r, 0], rgb[r, 1], rgb[r, 2] = red, green, blue
        depths[r] = depth
        opacities[r] = -math.expm1(-passed)


@njit
def _composite_bwd(
    d_sigmas,
    d_rgbs,
    d_t_starts,
    d_t_ends,  # out, [n_samples(, 3)]
    d_bkgd_rgb,  # out, [n_rays, 3]
    d_rgb,
    d_depths,
    d_opacities,
    d_weights,
    weights,
    trans,
    sigmas,
    rgbs,
    t_starts,
    t_ends,
    packed_info,
    bkgd_rgb,
    sigma_max,
):
    for r in prange(packed_info.shape[0]):
        start, count = packed_info[r, 0], packed_info[r, 1]
        left = float(trans[start + count - 1]) if count > 0 else 1.0
        g_red, g_green, g_blue = 0.0, 0.0, 0.0
        if d_rgb.size > 0:
            g_red, g_green, g_blue = float(d_rgb[r, 0]), float(d_rgb[r, 1]), float(d_rgb[r, 2])
        g_depth = float(d_depths[r]) if d_depths.size > 0 else 0.0
        # the background is one more sample, the last: it brings its colour and takes away opacity
        later = -left * float(d_opacities[r]) if d_opacities.size > 0 else 0.0
        if bkgd_rgb.size > 0:
            later += left * (g_red * bkgd_rgb[r, 0] + g_green * bkgd_rgb[r, 1] + g_blue * bkgd_rgb[r, 2])
        if d_bkgd_rgb.size > 0:
            d_bkgd_rgb[r, 0], d_bkgd_rgb[r, 1], d_bkgd_rgb[r, 2] = left * g_red, left * g_green, left * g_blue
        for i in range(start + count - 1, start - 1, -1):
            weight = float(weights[i])
            if d_rgbs.size > 0:
                d_rgbs[i, 0], d_rgbs[i, 1], d_rgbs[i, 2] = weight * g_red, weight * g_green, weight * g_blue
            d_weight = g_red * rgbs[i, 0] + g_green * rgbs[i, 1] + g_blue * rgbs[i, 2]
            if d_depths.size > 0:
                d_weight += g_depth * 0.5 * (float(t_starts[i]) + float(t_ends[i]))
            if d_weights.size > 0:
                d_weight += d_weights[i]
            d_tau = trans[i] * d_weight - later
            later += weight * d_weight
            sigma = float(sigmas[i])
            if sigma > sigma_max:
                sigma = sigma_max
            if d_sigmas.size > 0:
                d_sigmas[i] = d_tau * (float(t_ends[i]) - float(t_starts[i]))
            if d_t_starts.size > 0:
                d_t_starts[i] = 0.5 * weight * g_depth - d_tau * sigma
            if d_t_ends.size > 0:
                d_t_ends[i] = 0.5 * weight * g_depth + d_tau * sigma


class CompositeCpu(torch.autograd.Function):
    """The loops with their gradients; every floating tensor has one dtype, float32 or float64."""

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
            return tuple(differentiable_gradients(_reference, inputs, ctx.needs_input_grad, d_outputs))
        return tuple(run_backward(d_outputs, inputs, weights, trans, ctx.needs_input_grad))


def run_backward(
    d_outputs: Sequence[Tensor | None],
    inputs: Sequence[Tensor],
    weights: Tensor,
    trans: Tensor,
    needs: Sequence[bool],
) -> list[Tensor | None]:
    """Gradient of each input from what the forward gave, None where not needed."""
    sigmas, rgbs, t_starts, t_ends, packed_info, bkgd_rgb = inputs
    d_rgb, d_depths, d_opacities, d_weights = d_outputs
    wanted = [
        torch.empty_like(x, memory_format=torch.contiguous_format) if needed else None
        for x, needed in zip(inputs, needs, strict=True)
    ]
    absent = weights.new_empty(0)
    d_sigmas, d_rgbs, d_t_starts, d_t_ends, _, d_bkgd_rgb = (absent if x is None else x for x in wanted)
    _composite_bwd(
        *_flat(d_sigmas),
        *_rows(d_rgbs),
        *_flat(d_t_starts, d_t_ends),
        *_rows(d_bkgd_rgb),
        *_rows(absent if d_rgb is None else d_rgb),
        *_flat(*(absent if x is None else x for x in (d_depths, d_opacities, d_weights))),
        *_flat(weights, trans, sigmas),
        *_rows(rgbs),
        *_flat(t_starts, t_ends),
        packed_info.contiguous().numpy(),
        *_rows(bkgd_rgb),
        torch.finfo(sigmas.dtype).max,
    )
    return wanted


def composite_cpu(
    sigmas: Tensor,
    rgbs: Tensor,
    t_starts: Tensor,
    t_ends: Tensor,
    packed_info: Tensor,
    bkgd_rgb: Tensor | None,
) -> tuple[Tensor, ...]:
    """Same contract as :func:`nerfkit.kernels.composite.composite`, with ``bkgd_rgb`` one row a ray."""
    acc = accumulation_dtype(sigmas, rgbs, t_starts, t_ends, bkgd_rgb)
    sigmas, rgbs, t_starts, t_ends = (x.to(acc) for x in (sigmas, rgbs, t_starts, t_ends))
    bkgd_rgb = sigmas.new_empty(0) if bkgd_rgb is None else bkgd_rgb.to(acc)
    inputs = (sigmas, rgbs, t_starts, t_ends, packed_info, bkgd_rgb)
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        return CompositeCpu.apply(*inputs)  # pyright: ignore[reportReturnType]
    return run_forward(*inputs, has_backward=False)[:4]


def _reference(*inputs: Tensor) -> tuple[Tensor, ...]:
    return composite_reference(*inputs[:5], bkgd_rgb=inputs[5] if inputs[5].numel() else None)


def run_forward(sigmas, rgbs, t_starts, t_ends, packed_info, bkgd_rgb, *, has_backward: bool):
    """Outputs, and the light left behind each sample, which the backward reads."""
    n_rays, n_samples = packed_info.shape[0], sigmas.shape[0]
    rgb, depths, opacities = (sigmas.new_empty(n_rays, c) for c in (3, 1, 1))
    weights, trans = sigmas.new_empty(n_samples), sigmas.new_empty(n_samples if has_backward else 0)
    _composite_fwd(
        *_rows(rgb),
        *_flat(depths, opacities, weights, trans, sigmas),
        *_rows(rgbs),
        *_flat(t_starts, t_ends),
        packed_info.contiguous().numpy(),
        *_rows(bkgd_rgb),
        torch.finfo(sigmas.dtype).max,
    )
    return rgb, depths, opacities, weights, trans


def _flat(*tensors: Tensor):
    # the same layout every time: numba compiles a function anew for each combination of layouts
    return [x.detach().reshape(-1).contiguous().numpy() for x in tensors]


def _rows(*tensors: Tensor):
    return [x.detach().reshape(-1, 3).contiguous().numpy() for x in tensors]
