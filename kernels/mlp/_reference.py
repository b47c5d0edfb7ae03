"""Definition of the fully connected network in plain torch: any dtype and device, differentiable as often as wanted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["ACTIVATIONS", "OUTPUTS", "accumulation_dtype", "mlp_reference"]

ACTIVATIONS = ("relu", "sine", "gaussian")
OUTPUTS = ("none", "sigmoid")


def mlp_reference(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    activation: str,
    scale: float,
    output: str,
) -> Tensor:
    """Same contract as :func:`nerfkit.kernels.mlp.mlp`; autograd gives the gradients."""
    acc = accumulation_dtype(x, *weights, *biases)
    h = x.to(acc)
    for l, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if l > 0:
            h = _activate(h, activation, scale)
        h = h @ weight.to(acc)
        if bias is not None:
            h = h + bias.to(acc).unsqueeze(-2)  # [d_next] or [n_nets, d_next] -> one row for all samples
    return torch.sigmoid(h) if output == "sigmoid" else h


def _activate(z: Tensor, activation: str, scale: float) -> Tensor:
    if activation == "relu":
        return torch.relu(z)
    if activation == "sine":
        return torch.sin(scale * z)
    return torch.exp(-((scale * z) ** 2))


def accumulation_dtype(*tensors: Tensor | None) -> torch.dtype:
    """float64 if any of the tensors is, else float32."""
    has_double = any(x is not None and x.dtype == torch.float64 for x in tensors)
    return torch.float64 if has_double else torch.float32
