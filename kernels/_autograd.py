"""Gradients of gradients for operations whose backward is a kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["differentiable_gradients"]


def differentiable_gradients(
    reference: Callable[..., Tensor | tuple[Tensor, ...]],
    inputs: Sequence[Tensor | None],
    needed: Sequence[bool],
    d_outputs: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """Gradients of an operation by its definition in torch, themselves differentiable.

    A backward calls this when it runs in grad mode, that is under ``create_graph=True``: a kernel's gradients
    would be constants there, and a second derivative would be silently wrong.

    Parameters
    ----------
    reference : callable
        The definition; takes ``inputs``, returns one tensor or a tuple of them.
    inputs : sequence of Tensor or None
        What the forward took.
    needed : sequence of bool
        Which inputs need a gradient (``ctx.needs_input_grad``); the others get None.
    d_outputs : sequence of Tensor or None
        Gradient of each output; None where nothing came.
    """
    # aliases: one input may be a function of another, and its gradient must not flow on into that one here
    aliases = [x.view_as(x) if x is not None and need else x for x, need in zip(inputs, needed, strict=True)]
    # autocast, where a gradient is asked for under it, would round the definition's products and their gradients
    with torch.autocast(next(x for x in inputs if x is not None).device.type, enabled=False):
        outputs = reference(*aliases)
        outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
        pairs = [(y, d_y) for y, d_y in zip(outputs, d_outputs, strict=True) if d_y is not None and y.requires_grad]
        wanted = [x for x, need in zip(aliases, needed, strict=True) if x is not None and need]
        ys, d_ys = zip(*pairs, strict=True)
        grads = iter(torch.autograd.grad(ys, wanted, d_ys, create_graph=True, allow_unused=True))
    return [next(grads) if need else None for need in needed]
