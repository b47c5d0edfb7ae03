"""Triton kernels for mlp as a function that torch differentiates. A program takes tiles of samples through all layers.

Widths are padded to powers of two from 16 on, the same for all hidden layers; what is padded has weights of zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import torch
import triton.language as tl
from torch import Tensor

from nerfkit.kernels._autograd import differentiable_gradients
from nerfkit.kernels._launch import CompileCase, ceil_div, launch

from ._reference import mlp_reference
from ._triton_cached import _mlp_cached_bwd_kernel, _mlp_cached_fwd_kernel
from ._triton_network import Network, halves, layouts, pack
from ._triton_registers import _mlp_bwd_kernel, _mlp_fwd_kernel

__all__ = ["MlpTriton", "compile_cases", "mlp_triton", "pack", "run_backward"]

# programs that go from tile to tile, over all networks, each with sums of its own for the parameters' gradients. A
# constant, so that the order of the additions does not depend on the card: two for each of 132 multiprocessors, and
# one where these sums are large
MAX_PROGRAMS = 264
MAX_WIDE_PROGRAMS = 132
# what a program holds at once in the backward: sums of a weight's gradient, and units of a layer with their gradients.
# Exact products need more registers for their operands
EXACT_PARTS = {"N_SUMS": 2048, "MAX_PART": 64}
HALF_PARTS = {"N_SUMS": 8192, "MAX_PART": 128}


class MlpTriton(torch.autograd.Function):
    """The kernels with their gradients; each tensor keeps its own dtype."""

    @staticmethod
    def forward(ctx, activation, scale, output, x, *parameters):
        """Run the network; only what goes in and comes out is kept."""
        packed, net = pack(x, parameters), Network.of(x, parameters)
        out = x.new_empty(*x.shape[:-1], net.widths[-1], dtype=net.acc)
        ctx.save_for_backward(out if output == "sigmoid" else None, *packed, x, *parameters)
        ctx.options = activation, scale, output
        if out.numel():
            _run_forward(net, out, x.contiguous(), packed, activation, scale, output)
        return out

    @staticmethod
    def backward(ctx, d_out):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Run the hidden layers again, tile by tile, and go back through them."""
        out, *packed, x = ctx.saved_tensors[:4]
        parameters, needs, options = ctx.saved_tensors[4:], ctx.needs_input_grad[3:], ctx.options
        if torch.is_grad_enabled():  # create_graph=True: a second derivative may follow

            def reference(x, *parameters):
                return mlp_reference(x, *halves(parameters), *options)

            return None, None, None, *differentiable_gradients(reference, (x, *parameters), needs, (d_out,))
        return None, None, None, *run_backward(d_out, out, packed, x, parameters, needs, *options)


def _run_forward(net: Network, out, x, packed, activation, scale, output) -> None:
    n, tensors, meta = x.shape[-2], (x, *packed, _scale(scale, net.acc, x.device)), _meta(net, activation, output)
    n_tiles = ceil_div(n, meta["BLOCK_N"])
    if net.is_in_registers:
        launch(_mlp_fwd_kernel, (net.n_nets * n_tiles,), out, *tensors, n, n_tiles, **meta)
        return
    n_chunks = min(n_tiles, _max_chunks(net))
    scratch, meta = _scratch(net, n_chunks, 2, x.device, meta)
    launch(_mlp_cached_fwd_kernel, (net.n_nets * n_chunks,), out, scratch, *tensors, n, n_chunks, **meta)


def run_backward(d_out, out, packed, x, parameters, needs, activation: str, scale: float, output: str):
    """Gradient of x and of each parameter; None where it is not needed."""
    net, inputs = Network.of(x, parameters), (x, *parameters)
    if not d_out.numel():
        return [torch.zeros_like(t) if need else None for t, need in zip(inputs, needs, strict=True)]
    n, meta = x.shape[-2], _meta(net, activation, output)
    n_chunks = min(ceil_div(n, meta["BLOCK_N"]), _max_chunks(net))
    d_x = torch.empty_like(x, memory_format=torch.contiguous_format) if needs[0] else None
    sums = [
        x.new_zeros(net.n_nets, n_chunks, part.shape[1], dtype=net.acc) if any(need) else None
        for part, need in zip(packed, halves(needs[1:]), strict=True)
    ]
    tensors = d_out.contiguous(), out, x.contiguous(), *packed, _scale(scale, net.acc, x.device)
    grid = (net.n_nets * n_chunks,)
    if net.is_in_registers:
        launch(_mlp_bwd_kernel, grid, d_x, *sums, *tensors, n, n_chunks, **meta)
    else:
        scratch, meta = _scratch(net, n_chunks, len(net.has_bias) + 2, x.device, meta)
        meta |= EXACT_PARTS if net.dtype == net.acc else HALF_PARTS
        launch(_mlp_cached_bwd_kernel, grid, d_x, *sums, scratch, *tensors, n, n_chunks, **meta)
    grads = [d_x]
    both = layouts(net.widths, tuple(net.padded), net.has_bias, x.device)
    for kind, need, total, layout in zip(halves(parameters), halves(needs[1:]), sums, both, strict=True):
        rows = None if total is None else total.sum(1).index_select(1, layout.places)
        grads += _split(rows, kind, need)
    return grads


def _split(rows: Tensor | None, parameters: Sequence[Tensor | None], needs: Sequence[bool]) -> list[Tensor | None]:
    """The parts [n_nets, ...] of rows [n_nets, n_given] as gradients of the parameters."""
    if rows is None:
        return [None for _ in parameters]
    grads, at = [], 0
    for parameter, need in zip(parameters, needs, strict=True):
        if parameter is None:
            grads.append(None)
            continue
        is_shared = parameter.ndim == 1  # a bias, of one network or of all
        size = parameter.numel() if is_shared else parameter.numel() // len(rows)
        part = rows[:, at : at + size]
        part = part.sum(0) if is_shared else part
        grads.append(part.reshape(parameter.shape).to(parameter.dtype) if need else None)
        at += size
    return grads


def _max_chunks(net: Network) -> int:
    """Programs that share the tiles of a network."""
    return ceil_div(MAX_PROGRAMS if max(net.padded) <= 128 else MAX_WIDE_PROGRAMS, net.n_nets)


@lru_cache(maxsize=64)
def _scale(scale: float, acc: torch.dtype, device: torch.device) -> Tensor:
    # through memory: a number among the arguments of a kernel is float32 always
    return torch.tensor([scale], dtype=acc, device=device)


def _scratch(net: Network, n_chunks: int, n_slots: int, device: torch.device, meta: dict) -> tuple[Tensor, dict]:
    """Memory for tiles between layers, [n_slots, SLOT] a program, and the kernel's constants with its sizes."""
    slot = meta["BLOCK_N"] * max(net.padded)
    scratch = torch.empty(net.n_nets * n_chunks, n_slots, slot, dtype=net.dtype, device=device)
    return scratch, meta | {"N_SLOTS": n_slots, "SLOT": slot}


def _meta(net: Network, activation: str, output: str) -> dict:
    padded = net.padded
    pairs = pairwise(padded)
    meta = {
        "D_IN": net.widths[0],
        "D_OUT": net.widths[-1],
        "N_LAYERS": len(net.has_bias),
        "BLOCK_I": padded[0],
        "BLOCK_H": padded[1] if len(padded) > 2 else 16,
        "BLOCK_O": padded[-1],
        "N_WEIGHTS": sum(rows * cols for rows, cols in pairs),
        "N_BIASES": sum(padded[1:]),
        "ACTIVATION": activation,
        "OUTPUT": output,
        "num_warps": 4 if max(padded) <= 64 else 8,
    }
    if net.is_in_registers:
        return meta | {"DT": _type(net.dtype), "BLOCK_N": 64}
    if net.dtype != net.acc:
        # half precision: rows for the matrix units, and the next blocks of k on their way meanwhile
        sizes = {"BLOCK_N": 64, "BLOCK_K": 32, "num_stages": 3}
    else:
        # exact products take registers for their operands, and stages of a loop would each have a copy of them
        sizes = {"BLOCK_N": 32 if max(padded) <= 64 else 16, "BLOCK_K": 16, "num_stages": 1}
    return meta | sizes | {"ACC": _type(net.acc)}


def _type(dtype: torch.dtype) -> tl.dtype:
    return getattr(tl, str(dtype).removeprefix("torch."))


def mlp_triton(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    activation: str,
    scale: float,
    output: str,
) -> Tensor:
    """Same contract as :func:`nerfkit.kernels.mlp.mlp`."""
    return MlpTriton.apply(activation, scale, output, x, *weights, *biases)  # pyright: ignore[reportReturnType]


_WIDE_SPILLS = (
    "in the backward on sm_120 and on gfx942, where a lane of 8 wavefronts has 256 registers; none on sm_80, sm_90"
)


def compile_cases() -> list[CompileCase]:
    """Uses of mlp whose kernels are compiled ahead of time."""

    def run(
        dtype: torch.dtype,
        widths: tuple[int, ...],
        activation: str = "relu",
        output: str = "none",
        *,
        biases: bool = False,
    ) -> None:
        x = torch.zeros(3, widths[0], dtype=dtype, requires_grad=True)
        pairs = list(pairwise(widths))
        weights = [torch.zeros(a, b, dtype=dtype, requires_grad=True) for a, b in pairs]
        shifts = [torch.zeros(b, dtype=dtype, requires_grad=True) if biases else None for _, b in pairs]
        out = mlp_triton(x, weights, shifts, activation, 30.0, output)
        out.backward(torch.zeros_like(out))

    fp16, bf16, fp32, fp64 = torch.float16, torch.bfloat16, torch.float32, torch.float64
    return [
        CompileCase("bf16 32-64-16", lambda: run(bf16, (32, 64, 16))),
        CompileCase(
            "fp16 32-64-64-3",
            lambda: run(fp16, (32, 64, 64, 3), output="sigmoid"),
            spill_budget=16,
            spill_reason="four values on sm_120, beside 255 registers that hold the tile of every layer",
        ),
        CompileCase(
            "fp32 32-64-64-3",
            lambda: run(fp32, (32, 64, 64, 3), output="sigmoid"),
            spill_budget=24,
            spill_reason="ptxas stops at 96 registers on sm_120 and spills three values",
        ),
        CompileCase("fp32 SIREN 32", lambda: run(fp32, (2, 32, 32, 1), "sine", biases=True)),
        CompileCase(
            "fp32 SIREN 128",
            lambda: run(fp32, (2, 128, 128, 3), "sine", biases=True),
            spill_budget=16,
            spill_reason="four values on sm_120, beside 255 registers in the backward",
        ),
        CompileCase(
            "bf16 gauss 128",
            lambda: run(bf16, (64, 128, 128, 3), "gaussian", biases=True),
            spill_budget=16,
            spill_reason="four values on sm_120, beside 255 registers in the backward",
        ),
        CompileCase(
            "bf16 relu 256",
            lambda: run(bf16, (64, 256, 256, 256, 4), biases=True),
            spill_budget=136,
            spill_reason=_WIDE_SPILLS,
            is_quick=False,
        ),
        CompileCase(
            "bf16 SIREN 256",
            lambda: run(bf16, (2, 256, 256, 256, 3), "sine", biases=True),
            spill_budget=560,
            spill_reason=_WIDE_SPILLS,
            is_quick=False,
        ),
        CompileCase("fp32 SIREN 256", lambda: run(fp32, (2, 256, 256, 256, 3), "sine", biases=True), is_quick=False),
        CompileCase("fp32 gauss 256", lambda: run(fp32, (2, 256, 256, 3), "gaussian", biases=True), is_quick=False),
        CompileCase(
            "fp64 SIREN 32",
            lambda: run(fp64, (2, 32, 32, 1), "sine", biases=True),
            spill_budget=40,
            spill_reason="float64 is for checks; sm_120 has no matrix units for it",
        ),
    ]
