"""A small ReLU network as an encoding: pre-trained to give a periodic embedding, it is trained on with the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nerfkit.scenes.fields.networks import NETWORK_FRACTION, FullyConnected
from nerfkit.scenes.fields.taylor import Taylor

__all__ = ["LearnedEncoding"]


class LearnedEncoding(nn.Module):
    """What a ReLU network of the point gives, without an activation after its last layer.

    Parameters
    ----------
    n_dims : int
        Coordinates of a point.
    generator : torch.Generator
        Source of the initial weights, on the CPU.
    n_features, width, n_layers : int
        Outputs, width and number of hidden layers.
    """

    def __init__(
        self, n_dims: int, generator: torch.Generator, *, n_features: int = 64, width: int = 64, n_layers: int = 2
    ) -> None:
        super().__init__()
        self.n_dims, self.n_outputs = n_dims, n_features
        self.network = FullyConnected([n_dims, *[width] * n_layers, n_features], generator)

    def forward(self, x: Tensor) -> Tensor:
        """See :class:`nerfkit.scenes.fields.encodings.Encoding`."""
        return self.network(x.to(self.network.weights[0].dtype) * 2 - 1)

    def taylor(self, points: Taylor) -> Taylor:
        """Features and their derivatives of points of the unit cube."""
        return self.network.taylor(points.centred())

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """The network's weights, at a network's rate."""
        return [{"params": list(self.parameters()), "lr": NETWORK_FRACTION * learning_rate}]
