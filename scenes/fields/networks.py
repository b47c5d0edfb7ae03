"""Fully connected networks, and the initial weights that each activation asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from nerfkit.kernels.mlp import mlp
from nerfkit.scenes.fields.encodings import Encoding
from nerfkit.scenes.fields.taylor import Taylor, propagate

__all__ = ["FullyConnected", "encoded_groups", "initial_bounds"]

# activations that the kernel has not, written as the papers write them
ACTIVATIONS = {
    # FINER, a sine whose frequency grows with its argument (arXiv:2312.02434, eq. 6)
    "finer": lambda z, scale: torch.sin(scale * (z.abs() + 1) * z),
}
# FINER's first biases are wide: they choose among the frequencies (arXiv:2312.02434, section 3.3)
FINER_BIAS = 5.0

# a network's weights act on every point at once and bear smaller steps than an entry of a table
NETWORK_FRACTION = 0.25


def initial_bounds(activation: str, n_in: int, *, is_first: bool, scale: float, gain: float) -> tuple[float, float]:
    """Bounds b of the uniform distributions U(-b, b) of a layer's weights and of its biases.

    Parameters
    ----------
    activation : {"relu", "sine", "finer", "gaussian"}
        Of the network. ReLU: He et al., arXiv:1502.01852; sine: SIREN, arXiv:2006.09661, section 3.2 and its
        supplement, after which the arguments of every sine start out alike, and FINER's; Gaussian: the default of
        ``torch.nn.Linear``, as it works with any (arXiv:2111.15135).
    n_in : int
        Inputs of the layer.
    is_first : bool
        Whether it takes the network's inputs.
    scale : float
        Factor of the sine.
    gain : float
        ReLU alone: variance of the weights times ``n_in``.
    """
    if activation == "relu":
        return math.sqrt(3.0 * gain / n_in), 0.0
    if activation in ("sine", "finer"):
        first_bias = FINER_BIAS if activation == "finer" else 1 / math.sqrt(n_in)
        return (1 / n_in, first_bias) if is_first else (math.sqrt(6 / n_in) / scale, 0.0)
    if activation != "gaussian":
        raise ValueError(f"activation must be one of relu, sine, finer, gaussian; got {activation!r}")
    return 1 / math.sqrt(n_in), 1 / math.sqrt(n_in)


class FullyConnected(nn.Module):
    """A fully connected network, or many of one shape, each for its own points.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, width of each hidden layer, outputs.
    generator : torch.Generator
        Source of the initial weights, on the CPU, so that every device starts from the same ones.
    activation, scale, output
        As :func:`nerfkit.kernels.mlp.mlp` takes them; the activation may also be "finer".
    last_gain : float
        ReLU alone: variance of the last layer's weights times its inputs; He's 2 is for a layer before a ReLU.
    has_biases : bool
        Whether a layer adds a bias.
    is_spread : bool
        ReLU alone: weights and biases begin as ``torch.nn.Linear``'s, so that units bend at places of their own. Behind
        a table that begins near 0, units without biases would all bend there.
    has_first_bias : bool
        Whether the first one does, too: cosines and sines of the point have phases of their own.
    n_networks : int, optional
        How many networks; None: one, whose points have no axis of networks.

    Examples
    --------
    >>> network = FullyConnected([2, 16, 3], torch.Generator().manual_seed(0), activation="sine")
    >>> network(torch.rand(5, 2)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self, sizes: Sequence[int], generator: torch.Generator, *, activation: str = "relu", scale: float = 30.0,
        output: str = "none", last_gain: float = 1.0, has_biases: bool = True, has_first_bias: bool = True,
        is_spread: bool = False, n_networks: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.n_inputs, self.n_outputs = sizes[0], sizes[-1]
        self.activation, self.scale, self.output = activation, scale, output
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        many = () if n_networks is None else (n_networks,)

        def draw(bound: float, *shape: int) -> nn.Parameter:
            values = torch.zeros(*many, *shape)
            return nn.Parameter(values.uniform_(-bound, bound, generator=generator) if bound else values)

        for layer, (n_in, n_out) in enumerate(pairwise(sizes)):
            gain = last_gain if layer == len(sizes) - 2 else 2.0
            bounds = initial_bounds(activation, n_in, is_first=layer == 0, scale=scale, gain=gain)
            bounds = (1 / math.sqrt(n_in),) * 2 if is_spread else bounds
            self.weights.append(draw(bounds[0], n_in, n_out))
            if has_biases and (layer or has_first_bias):
                self.biases.append(draw(bounds[1], n_out))

    def forward(self, x: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Outputs [n, n_outputs] of ``x`` [n, n_inputs]; of many networks both have an axis of networks before.

        ``chosen`` [n_chosen] names the networks that there are points for; None: all.
        """
        weights, biases = self._layers(chosen)
        if self.activation not in ACTIVATIONS:
            return mlp(x, weights, biases, activation=self.activation, scale=self.scale, output=self.output)
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            x = ACTIVATIONS[self.activation](x, self.scale) if layer else x
            x = x @ weight if bias is None else x @ weight + bias.unsqueeze(-2)
        return torch.sigmoid(x) if self.output == "sigmoid" else x

    def taylor(self, features: Taylor, chosen: Tensor | None = None) -> Taylor:
        """Outputs and their derivatives of the ``features`` that it takes; of many networks, all rows of one and then
        all of the next, ``chosen`` as :meth:`forward` takes it.
        """
        assert self.output == "none"
        return propagate(features, *self._layers(chosen), self.activation, self.scale)

    def _layers(self, chosen: Tensor | None) -> tuple[list[Tensor], list[Tensor | None]]:
        """Weights and biases of each layer, of all networks or those that are chosen."""
        weights: list[Tensor] = list(self.weights)
        if chosen is None:
            return weights, self._all_biases()
        biases = [None if bias is None else bias[chosen] for bias in self._all_biases()]
        return [weight[chosen] for weight in weights], biases

    def _all_biases(self) -> list[Tensor | None]:
        """Of each layer; None where it has none."""
        absent: list[Tensor | None] = [None] * (len(self.weights) - len(self.biases))
        return [*absent, *self.biases]


def encoded_groups(encoding: Encoding, networks: Sequence[nn.Module], learning_rate: float) -> list[dict[str, Any]]:
    """Groups for the optimiser of an encoding and the networks behind it.

    What an encoding trains has the learning rate, and the networks ``NETWORK_FRACTION`` of it; where it trains nothing
    they have all of it.
    """
    groups = encoding.parameter_groups(learning_rate)
    weights = [parameter for network in networks for parameter in network.parameters()]
    return [*groups, {"params": weights, "lr": learning_rate * (NETWORK_FRACTION if groups else 1.0)}]
