"""Numba loops for CPUs: a block of samples goes through all layers while it is in the first-level cache.

See README.md for the gradients, the layout and the costs.
"""

# numba removes the first argument of an intrinsic, and takes stubs for functions; a type checker cannot know
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from nerfkit.kernels._elementwise import FAR, exp, sigmoid, sine_cosine

from ._microkernel import VECTOR_BYTES, pointer, product
from ._plan import BLOCK
from ._reference import ACTIVATIONS

__all__ = ["add_partials", "backward", "forward"]

_RELU, _SINE, _GAUSSIAN = range(len(ACTIVATIONS))

# no fastmath but fused multiply-adds: NaN and infinity go through, so that a diverged network is seen
_loops = njit(cache=True, error_model="numpy", fastmath={"contract"}, nogil=True)
_parallel = njit(parallel=True, cache=True, error_model="numpy", nogil=True)

# Arguments of the loops: x [n_nets, n, d_in]; params [n_nets, n_params] of the parameters as they are given;
# scratch, aligned memory laid out by the plan; partials [n_nets, n_chunks, n_packed] of sums of gradients.
# Parallel functions are thin: numba's compile time grows with what is inside of them.


@_loops
def make_scratch(x, plan):
    lanes = VECTOR_BYTES // x.itemsize
    memory = np.empty(plan.n_scratch + lanes, x.dtype)
    # a vector that crosses a cache line is loaded at half the speed
    first = (-memory.ctypes.data % VECTOR_BYTES) // x.itemsize
    return memory[first : first + plan.n_scratch]


@_loops
def pack(scratch, params, plan):
    """Copy one net's parameters into the scratch, padded with zeros."""
    for l in range(len(plan.weight_at)):
        d_in, d_out, width = plan.widths[l], plan.widths[l + 1], plan.padded[l + 1]
        packed, given = plan.packed_weight_at[l], plan.weight_at[l]
        scratch[packed : packed + d_in * width] = 0
        for i in range(d_in):
            for j in range(d_out):
                scratch[packed + i * width + j] = params[given + i * d_out + j]
        packed, given = plan.packed_bias_at[l], plan.bias_at[l]
        scratch[packed : packed + width] = 0
        if given >= 0:
            scratch[packed : packed + d_out] = params[given : given + d_out]


@_loops
def pack_transposed(scratch, params, plan):
    """Copy one net's matrices transposed, and the constants that the backward multiplies with."""
    for l in range(len(plan.weight_at)):
        d_in, d_out, width = plan.widths[l], plan.widths[l + 1], plan.padded[l]
        packed, given = plan.transposed_at[l], plan.weight_at[l]
        scratch[packed : packed + d_out * width] = 0
        for i in range(d_in):
            for j in range(d_out):
                scratch[packed + j * width + i] = params[given + i * d_out + j]
    scratch[plan.ones_at : plan.zeros_at] = 1
    scratch[plan.zeros_at :] = 0


@_loops
def _activate(h, slope, count, activation, scale, has_slope):
    """Apply the activation to ``count`` numbers in place; its derivative goes to ``slope``, that of ReLU nowhere."""
    real = type(scale)
    if activation == _RELU:
        for i in range(count):
            h[i] = real(0) if h[i] < real(0) else h[i]  # NaN stays
    elif activation == _SINE:
        is_far = False
        for i in range(count):
            is_far |= abs(scale * h[i]) > FAR
        if is_far:
            for i in range(count):
                z = scale * h[i]
                h[i] = math.sin(z)
                if has_slope:
                    slope[i] = scale * math.cos(z)
        elif has_slope:
            for i in range(count):
                sine, cosine = sine_cosine(scale * h[i])
                h[i] = sine
                slope[i] = scale * cosine
        else:
            for i in range(count):
                h[i] = sine_cosine(scale * h[i])[0]
    else:
        for i in range(count):
            z = scale * h[i]
            h[i] = exp(-(z * z))
            if has_slope:
                slope[i] = -real(2) * scale * z * h[i]


@_loops
def run_layers(scratch, x, at, count, plan, n_layers, activation, scale, has_slopes):
    """Send ``count`` samples, from element ``at`` of x on, through the first layers."""
    lanes = VECTOR_BYTES // x.itemsize
    inputs, stride = pointer(x, at), plan.widths[0]
    for l in range(n_layers):
        width = plan.padded[l + 1]
        outputs = pointer(scratch, plan.hidden_at[l + 1])
        weight = pointer(scratch, plan.packed_weight_at[l])
        bias = pointer(scratch, plan.packed_bias_at[l])
        n_inputs = plan.widths[l]
        product(outputs, width, bias, 0, inputs, stride, 1, weight, width, count, width, n_inputs, lanes)
        if l + 1 < len(plan.weight_at):
            slope = pointer(scratch, plan.slope_at[l + 1])
            _activate(outputs, slope, count * width, activation, scale, has_slopes)
        inputs, stride = outputs, width


@_loops
def _copy_rows(target, target_row, source, source_row, n_rows, n_cols):
    """Copy a matrix between two strides."""
    if target_row == n_cols and source_row == n_cols:
        for i in range(n_rows * n_cols):
            target[i] = source[i]
        return
    for i in range(n_rows):
        for j in range(n_cols):
            target[i * target_row + j] = source[i * source_row + j]


@_loops
def _forward_chunk(out, x, params, plan, net, start, stop, activation, scale, has_sigmoid):
    scratch = make_scratch(x, plan)
    pack(scratch, params[net], plan)
    n_layers = len(plan.weight_at)
    d_out, width, last = plan.widths[n_layers], plan.padded[n_layers], plan.hidden_at[n_layers]
    for first in range(start, stop, BLOCK):
        count = min(BLOCK, stop - first)
        at = (net * x.shape[1] + first) * x.shape[2]
        run_layers(scratch, x, at, count, plan, n_layers, activation, scale, False)
        outputs = pointer(out, (net * x.shape[1] + first) * d_out)
        _copy_rows(outputs, d_out, pointer(scratch, last), width, count, d_out)
        if has_sigmoid:
            for i in range(count * d_out):
                outputs[i] = sigmoid(outputs[i])


@_parallel
def forward(out, x, params, plan, n_chunks, activation, scale, has_sigmoid):
    n_blocks = (x.shape[1] + BLOCK - 1) // BLOCK
    for task in prange(len(x) * n_chunks):
        net, chunk = task // n_chunks, task % n_chunks
        start = chunk * n_blocks // n_chunks * BLOCK
        stop = min((chunk + 1) * n_blocks // n_chunks * BLOCK, x.shape[1])
        _forward_chunk(out, x, params, plan, net, start, stop, activation, scale, has_sigmoid)


@_loops
def load_d_out(scratch, d_out, out, at, count, plan, has_sigmoid):
    """Put the gradient to the last layer's sums, elements from ``at`` on, where the first turn takes it."""
    n_cols, width = plan.widths[-1], plan.padded[-1]
    place, other = plan.d_hidden_at
    # the padding is never read into a result, but numbers left there may be slow ones
    scratch[place : place + count * width] = 0
    d, y, d_sums = pointer(d_out, at), pointer(out, at), pointer(scratch, other)
    if has_sigmoid:
        for i in range(count * n_cols):
            d_sums[i] = d[i] * y[i] * (type(y[i])(1) - y[i])
        d = d_sums
    _copy_rows(pointer(scratch, place), width, d, n_cols, count, n_cols)


@_loops
def _add_d_parameters(partial, scratch, x, at, count, plan, l, d_at, needs):
    """Add what a block gives to the gradients of layer l; ``d_at`` is the gradient to its outputs' sums."""
    lanes = VECTOR_BYTES // x.itemsize
    d_in, width_in = plan.widths[l], plan.padded[l]
    d_out, width = plan.widths[l + 1], plan.padded[l + 1]
    d_sums = pointer(scratch, d_at)
    if l == 0:
        inputs, stride = pointer(x, at), d_in
    else:
        inputs, stride = pointer(scratch, plan.hidden_at[l]), width_in
    if needs[0, l]:
        total = pointer(partial, plan.packed_weight_at[l])
        if plan.is_flipped[l]:
            product(total, width_in, total, width_in, d_sums, 1, width, inputs, stride, d_out, width_in, count, lanes)
        else:
            product(total, width, total, width, inputs, 1, stride, d_sums, width, d_in, width, count, lanes)
    if needs[1, l]:
        total = pointer(partial, plan.packed_bias_at[l])
        product(total, 0, total, 0, pointer(scratch, plan.ones_at), 0, 0, d_sums, width, 1, width, count, lanes)


@_loops
def _multiply_slope(d_h, h, slope, count, activation):
    if activation == _RELU:
        zero = type(h[0])(0)
        for i in range(count):
            d_h[i] = zero if h[i] <= zero else d_h[i]
    else:
        for i in range(count):
            d_h[i] *= slope[i]


@_loops
def backward_block(d_x, partial, scratch, x, at, count, plan, activation, needs, lowest):
    """From the gradient to the last layer's sums, in its place, to those of parameters and of x."""
    lanes = VECTOR_BYTES // x.itemsize
    d_at, other_at = plan.d_hidden_at
    zeros = pointer(scratch, plan.zeros_at)
    for l in range(len(plan.weight_at) - 1, max(lowest, 0) - 1, -1):
        _add_d_parameters(partial, scratch, x, at, count, plan, l, d_at, needs)
        if l == lowest:
            break
        n_sums, width, stride = plan.widths[l + 1], plan.padded[l], plan.padded[l + 1]
        # whole rows of the gradient of x need no copy
        is_last = l == 0 and plan.widths[0] == width
        d_h = pointer(d_x, at) if is_last else pointer(scratch, other_at)
        d_sums = pointer(scratch, d_at)
        weight = pointer(scratch, plan.transposed_at[l])
        product(d_h, width, zeros, 0, d_sums, stride, 1, weight, width, count, width, n_sums, lanes)
        if l > 0:
            h, slope = pointer(scratch, plan.hidden_at[l]), pointer(scratch, plan.slope_at[l])
            _multiply_slope(d_h, h, slope, count * width, activation)
        d_at, other_at = other_at, d_at
    d_in, width = plan.widths[0], plan.padded[0]
    if lowest < 0 and d_in < width:
        _copy_rows(pointer(d_x, at), d_in, pointer(scratch, d_at), width, count, d_in)


@_loops
def _backward_chunk(
    d_x, partial, d_out, out, x, params, plan, net, start, stop, activation, scale, has_sigmoid, needs, lowest
):
    scratch = make_scratch(x, plan)
    pack(scratch, params[net], plan)
    pack_transposed(scratch, params[net], plan)
    partial[:] = 0
    n_hidden = len(plan.weight_at) - 1
    for first in range(start, stop, BLOCK):
        count = min(BLOCK, stop - first)
        at = (net * x.shape[1] + first) * x.shape[2]
        run_layers(scratch, x, at, count, plan, n_hidden, activation, scale, True)
        at_out = (net * x.shape[1] + first) * out.shape[2]
        load_d_out(scratch, d_out, out, at_out, count, plan, has_sigmoid)
        backward_block(d_x, partial, scratch, x, at, count, plan, activation, needs, lowest)


@_parallel
def backward(d_x, partials, d_out, out, x, params, plan, activation, scale, has_sigmoid, needs, lowest):
    n_blocks, n_chunks = (x.shape[1] + BLOCK - 1) // BLOCK, partials.shape[1]
    for task in prange(len(x) * n_chunks):
        net, chunk = task // n_chunks, task % n_chunks
        start = chunk * n_blocks // n_chunks * BLOCK
        stop = min((chunk + 1) * n_blocks // n_chunks * BLOCK, x.shape[1])
        _backward_chunk(
            d_x,
            partials[net, chunk],
            d_out,
            out,
            x,
            params,
            plan,
            net,
            start,
            stop,
            activation,
            scale,
            has_sigmoid,
            needs,
            lowest,
        )


@_loops
def _add_net_partials(d_params, partials, plan, needs):
    """Add the chunks' sums in order, and take the padding away."""
    total = partials[0]
    for chunk in range(1, len(partials)):
        part = partials[chunk]
        for i in range(len(total)):
            total[i] += part[i]
    for l in range(len(plan.weight_at)):
        d_in, d_out = plan.widths[l], plan.widths[l + 1]
        if needs[0, l]:
            packed, given = plan.packed_weight_at[l], plan.weight_at[l]
            by_in, by_out = (1, plan.padded[l]) if plan.is_flipped[l] else (plan.padded[l + 1], 1)
            for i in range(d_in):
                for j in range(d_out):
                    d_params[given + i * d_out + j] = total[packed + i * by_in + j * by_out]
        if needs[1, l]:
            packed, given = plan.packed_bias_at[l], plan.bias_at[l]
            d_params[given : given + d_out] = total[packed : packed + d_out]


@_parallel
def add_partials(d_params, partials, plan, needs):
    for net in prange(len(d_params)):
        _add_net_partials(d_params[net], partials[net], plan, needs)
