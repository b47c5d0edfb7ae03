"""numba loops for distortion, parallel over rays; see README.md for the backward."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
# (to pyright a prange index is not an int)
from __future__ import annotations

import numba
import torch
from numba import prange
from torch import Tensor

from nerfkit.kernels._autograd import differentiable_gradients
from nerfkit.kernels._packed import regular_packing
from nerfkit.kernels.composite._reference import accumulation_dtype

from ._reference import distance, distortion_reference

# no fastmath: a NaN of the network must be seen
njit = numba.njit(parallel=True, cache=True, error_model="numpy")


@njit
def _distortion_fwd(distortions, weights, s_starts, s_ends, packed_info):
    # locals are float64 whatever the arrays are
    for r in prange(len(packed_info)):
        start = packed_info[r, 0]
        total, before, spread, previous = 0.0, 0.0, 0.0, 0.0
        for i in range(start, start + packed_info[r, 1]):
            weight, mid = float(weights[i]), 0.5 * (float(s_starts[i]) + float(s_ends[i]))
            spread += before * (mid - previous)
            total += weight * (2 * spread + weight * (float(s_ends[i]) - float(s_starts[i])) / 3)
            before += weight
            previous = mid
        distortions[r] = total


@njit
def _distortion_bwd(d_weights, d_s_starts, d_s_ends, d_distortions, weights, s_starts, s_ends, packed_info):
    for r in prange(len(packed_info)):
        start, stop = packed_info[r, 0], packed_info[r, 0] + packed_info[r, 1]
        g = float(d_distortions[r])
        # towards the far end for what lies before a sample, back again for what lies behind it
        before, spread, previous = 0.0, 0.0, 0.0
        for i in range(start, stop):
            weight, mid = float(weights[i]), 0.5 * (float(s_starts[i]) + float(s_ends[i]))
            length = float(s_ends[i]) - float(s_starts[i])
            spread += before * (mid - previous)
            d_weights[i] = g * (2 * spread + weight * length * 2 / 3)
            d_s_starts[i] = g * weight * (before - weight / 3)
            d_s_ends[i] = g * weight * (before + weight / 3)
            before += weight
            previous = mid
        after, spread = 0.0, 0.0
        for i in range(stop - 1, start - 1, -1):
            weight, mid = float(weights[i]), 0.5 * (float(s_starts[i]) + float(s_ends[i]))
            spread += after * (previous - mid)
            d_weights[i] += g * 2 * spread
            d_s_starts[i] -= g * weight * after
            d_s_ends[i] -= g * weight * after
            after += weight
            previous = mid


class DistortionCpu(torch.autograd.Function):
    """The loops with their gradients; tensors [n_samples] of one dtype, float32 or float64, distances as measured."""

    @staticmethod
    def forward(ctx, weights, s_starts, s_ends, packed_info):
        """Loss [n_rays, 1] of each ray."""
        ctx.save_for_backward(weights, s_starts, s_ends, packed_info)
        distortions = weights.new_empty(len(packed_info), 1)
        _distortion_fwd(*_arrays(distortions.view(-1), weights, s_starts, s_ends, packed_info))
        return distortions

    @staticmethod
    def backward(ctx, d_distortions):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Each ray twice: no sum is a difference of others."""
        *inputs, packed_info = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: a second derivative may follow

            def reference(*inputs: Tensor) -> Tensor:
                return distortion_reference(*inputs, packed_info=packed_info)

            return *differentiable_gradients(reference, inputs, ctx.needs_input_grad[:3], (d_distortions,)), None
        grads = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in inputs]
        _distortion_bwd(*_arrays(*grads, d_distortions.reshape(-1), *inputs, packed_info))
        return *(grad if needed else None for grad, needed in zip(grads, ctx.needs_input_grad, strict=False)), None


def distortion_cpu(
    weights: Tensor, t_starts: Tensor, t_ends: Tensor, packed_info: Tensor | None, contract: bool
) -> Tensor:
    """Same contract as :func:`nerfkit.kernels.distortion.distortion`."""
    acc = accumulation_dtype(weights, t_starts, t_ends)
    if packed_info is None:
        packed_info = regular_packing(*weights.shape, weights.device)
    flat = [x.reshape(-1).to(acc) for x in (weights, t_starts, t_ends)]
    return DistortionCpu.apply(  # pyright: ignore[reportReturnType]
        flat[0], *(distance(t, contract) for t in flat[1:]), packed_info
    )


def _arrays(*tensors: Tensor):
    # the same layout every time: numba compiles a function anew for each combination of layouts
    return [x.detach().contiguous().numpy() for x in tensors]
