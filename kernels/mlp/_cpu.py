"""The numba loops as a function that torch differentiates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nerfkit.kernels._autograd import differentiable_gradients

from ._loops import add_partials, backward, forward
from ._plan import BLOCK, Plan, make_plan
from ._reference import ACTIVATIONS, accumulation_dtype, mlp_reference

# Samples are cut into chunks whose number depends on their count alone, never on the threads, and the chunks'
# sums are added in order: the same bits with any number of threads. 32 keep 16 cores busy; more would cost small
# networks time for the sums.
N_CHUNKS = 32


class MlpCpu(torch.autograd.Function):
    """The loops with their gradients; every tensor has one dtype, float32 or float64."""

    @staticmethod
    def forward(ctx, activation, scale, output, x, *parameters):
        """Run the network; only what goes in and comes out is kept."""
        out, params = _run_forward(x, parameters, activation, scale, output)
        ctx.save_for_backward(out, params, x, *parameters)
        ctx.options = activation, scale, output
        return out

    @staticmethod
    def backward(ctx, d_out):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Run the hidden layers again, block by block, and go back through them."""
        out, params, x, *parameters = ctx.saved_tensors
        needs, options = ctx.needs_input_grad[3:], ctx.options
        if torch.is_grad_enabled():  # create_graph=True: a second derivative may follow

            def reference(x, *parameters):
                return mlp_reference(x, *_halves(parameters), *options)

            return None, None, None, *differentiable_gradients(reference, (x, *parameters), needs, (d_out,))
        return None, None, None, *run_backward(d_out, out, params, x, parameters, needs, *options)


def mlp_cpu(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    activation: str,
    scale: float,
    output: str,
) -> Tensor:
    """Same contract as :func:`nerfkit.kernels.mlp.mlp`."""
    acc = accumulation_dtype(x, *weights, *biases)
    x = x.to(acc)
    parameters = [None if p is None else p.to(acc) for p in (*weights, *biases)]
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *parameters)):
        return MlpCpu.apply(activation, scale, output, x, *parameters)  # pyright: ignore[reportReturnType]
    return _run_forward(x, parameters, activation, scale, output)[0]


def _run_forward(x, parameters, activation: str, scale: float, output: str) -> tuple[Tensor, Tensor]:
    """Outputs, and the parameters of each net in one row."""
    weights, _ = _halves(parameters)
    params = pack(x, parameters)
    out = x.new_empty(*x.shape[:-1], weights[-1].shape[-1])
    forward(
        _nets(out),
        _nets(x),
        params.numpy(),
        _plan(x, parameters),
        _count_chunks(len(params), x.shape[-2]),
        *_constants(x, activation, scale, output),
    )
    return out, params


def pack(x: Tensor, parameters: Sequence[Tensor | None]) -> Tensor:
    """Parameters of each net in one row."""
    weights, biases = _halves(parameters)
    n_nets = x.shape[0] if x.ndim == 3 else 1
    given = [*weights, *(b if b.ndim == x.ndim - 1 else b.expand(n_nets, -1) for b in biases if b is not None)]
    rows = (p.detach().flatten(1) if x.ndim == 3 else p.detach().reshape(1, -1) for p in given if p is not None)
    return torch.cat(list(rows), dim=1)


def run_backward(d_out, out, params, x, parameters, needs, activation: str, scale: float, output: str):
    """Gradient of x and of each parameter; None where it is not needed."""
    plan, n_layers = _plan(x, parameters), len(parameters) // 2
    by_kind = np.array(needs[1:], np.bool_).reshape(2, n_layers)  # weights, biases
    needed_layers = np.flatnonzero(by_kind.any(axis=0))
    # below the lowest layer whose parameters need a gradient nothing is computed; -1 goes down to x
    lowest = -1 if needs[0] else int(needed_layers[0])
    d_x = torch.empty_like(x, memory_format=torch.contiguous_format) if needs[0] else x.new_empty(0)
    partials = x.new_empty(len(params), _count_chunks(len(params), x.shape[-2]), plan.n_packed)
    backward(
        d_x.numpy().reshape(-1),
        partials.numpy(),
        _nets(d_out),
        _nets(out),
        _nets(x),
        params.numpy(),
        plan,
        *_constants(x, activation, scale, output),
        by_kind,
        lowest,
    )
    grads: list[Tensor | None] = [d_x if needs[0] else None]
    if len(needed_layers) == 0:
        return [*grads, *(None for _ in parameters)]
    d_params = torch.empty_like(params)
    add_partials(d_params.numpy(), partials.numpy(), plan, by_kind)
    places = [*plan.weight_at, *plan.bias_at]
    for parameter, need, at in zip(parameters, needs[1:], places, strict=True):
        grads.append(_take(d_params, parameter, int(at)) if need else None)
    return grads


def _take(d_params: Tensor, parameter: Tensor, at: int) -> Tensor:
    """The part of the gradients that belongs to a parameter; a shared bias has the sum over the nets."""
    is_shared = parameter.ndim == 1 and len(d_params) != 1
    size = parameter.numel() if is_shared else parameter.numel() // max(len(d_params), 1)
    part = d_params[:, at : at + size]
    return part.sum(0) if is_shared else part.reshape(parameter.shape)


def _halves(parameters: Sequence) -> tuple[Sequence, Sequence]:
    return parameters[: len(parameters) // 2], parameters[len(parameters) // 2 :]


def _plan(x: Tensor, parameters: Sequence[Tensor | None]) -> Plan:
    weights, biases = _halves(parameters)
    widths = (x.shape[-1], *(w.shape[-1] for w in weights))
    return make_plan(widths, tuple(b is not None for b in biases), x.element_size())


def _count_chunks(n_nets: int, n_samples: int) -> int:
    n_blocks = -(-n_samples // BLOCK)
    return max(1, min(n_blocks, -(-N_CHUNKS // max(n_nets, 1))))


def _constants(x: Tensor, activation: str, scale: float, output: str):
    real = np.float32 if x.dtype == torch.float32 else np.float64
    return ACTIVATIONS.index(activation), real(scale), output == "sigmoid"


def _nets(tensor: Tensor) -> np.ndarray:
    """[n, d] or [n_nets, n, d] -> [n_nets, n, d], contiguous."""
    array = tensor.detach().contiguous().numpy()
    return array if array.ndim == 3 else array[None]
