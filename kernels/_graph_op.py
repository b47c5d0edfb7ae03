"""Operations as single nodes in the graphs of ``torch.compile``, which cannot look into kernels and compiled loops.

Outside of a graph an operation calls its ``autograd.Function`` at once: a custom operation costs several times as
much a call (docs/decisions/0009). Each operation defines its node in its ``_graph.py``, loaded only by a compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nerfkit.kernels._autograd import differentiable_gradients

__all__ = ["define_graph_op"]


def define_graph_op(
    name: str,
    options: str,
    *,
    run: Callable[..., Sequence[Tensor | None]],
    fake: Callable[..., list[Tensor]],
    gradients: Callable[..., Sequence[Tensor | None]],
    reference: Callable[..., tuple[Tensor, ...]],
) -> Any:
    """Register ``nerfkit::<name>(Tensor[] tensors, <options>) -> Tensor[]`` and its backward with torch.

    Parameters
    ----------
    name : str
        Name of the operation; the backward is ``<name>_backward``.
    options : str
        Schema of what follows the tensors, such as ``"bool is_fast, str impl"``.
    run : (tensors, *options) -> list of Tensor
        Outputs in memory of their own, last those that only the backward reads.
    fake : (tensors, *options) -> list of Tensor
        The same in shape, dtype and strides, of tensors without numbers.
    gradients : (d_outputs, tensors, outputs, needs, *options) -> sequence of (Tensor or None)
        One for each of ``tensors``, None where ``needs`` says so. Entries of ``d_outputs`` are None where nothing came.
    reference : (tensors, *options) -> tuple of Tensor
        The definition, for gradients that are differentiated once more; as many outputs as ``run`` has.

    Returns
    -------
    torch.library.CustomOpDef
        To be called as ``run`` is.
    """

    def run_backward(d_outputs, tensors, outputs, needs, *options):
        found = gradients(d_outputs, tensors, outputs, needs, *options)
        return [_in_own_memory(d) for d in found if d is not None]

    def fake_backward(d_outputs, tensors, outputs, needs, *options):
        return [_like(x) for x, need in zip(tensors, needs, strict=True) if need]

    def keep(ctx: Any, inputs: tuple, output: list[Tensor]) -> None:
        tensors, *ctx.options = inputs
        ctx.n_tensors = len(tensors)
        ctx.save_for_backward(*tensors, *output)
        ctx.set_materialize_grads(False)

    def differentiate(ctx: Any, d_outputs: list[Tensor | None]) -> tuple[list[Tensor | None] | None, ...]:
        tensors, outputs = list(ctx.saved_tensors[: ctx.n_tensors]), list(ctx.saved_tensors[ctx.n_tensors :])
        needs = list(ctx.needs_input_grad[0])
        if torch.is_grad_enabled():  # create_graph=True: a second derivative may follow

            def definition(*tensors: Tensor) -> tuple[Tensor, ...]:
                return reference(tensors, *ctx.options)

            grads = differentiable_gradients(definition, tensors, needs, d_outputs)
        else:
            found = iter(backward(d_outputs, tensors, outputs, needs, *ctx.options))
            grads = [next(found) if need else None for need in needs]
        return grads, *(None for _ in ctx.options)

    forward = _custom_op(name, f"(Tensor[] tensors, {options}) -> Tensor[]", run, fake)
    backward = _custom_op(
        f"{name}_backward",
        f"(Tensor?[] d_outputs, Tensor[] tensors, Tensor[] outputs, bool[] needs, {options}) -> Tensor[]",
        run_backward,
        fake_backward,
    )
    forward.register_autograd(differentiate, setup_context=keep)
    return forward


def _custom_op(name: str, schema: str, run: Callable, fake: Callable) -> Any:
    op = torch.library.custom_op(f"nerfkit::{name}", run, mutates_args=(), schema=schema)
    op.register_fake(fake)
    return op


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _in_own_memory(x: Tensor) -> Tensor:
    """x as a compiler expects it of an operation: contiguous, and no part of another output."""
    is_alone = x.is_contiguous() and x.untyped_storage().nbytes() == x.numel() * x.element_size()
    return x if is_alone else x.clone(memory_format=torch.contiguous_format)
