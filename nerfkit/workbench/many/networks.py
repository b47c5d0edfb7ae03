"""Many sine networks of one shape at once, one an instance, as plain tensors that may depend on others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nerfkit.kernels.mlp import mlp
from nerfkit.workbench.held_fields import HeldField, make_held_field
from nerfkit.workbench.settings import START_FIELD

__all__ = ["Networks", "Shape", "evaluate", "hold", "interpolated", "lattice_points", "take_networks"]


@dataclass(frozen=True)
class Shape:
    """Of each network.

    Parameters
    ----------
    n_outputs : int
        Values a point: channels of a picture; 1 of a shape.
    width, n_layers : int
        Of its hidden layers, and how many.
    scale : float
        Factor of the sines.
    n_inputs : int
        Coordinates: 2 of pictures, 3 of shapes.
    """

    n_outputs: int
    width: int = 64
    n_layers: int = 3
    scale: float = 30.0
    n_inputs: int = 2

    @property
    def sizes(self) -> list[int]:
        """Inputs, hidden layers, outputs."""
        return [self.n_inputs, *[self.width] * self.n_layers, self.n_outputs]

    @property
    def n_params(self) -> int:
        """Of a network."""
        sizes = self.sizes
        return sum(n_in * n_out + n_out for n_in, n_out in itertools.pairwise(sizes))


class Networks(NamedTuple):
    """Weights [n, d_in, d_out] and biases [n, d_out] of each layer of n networks."""

    weights: list[Tensor]
    biases: list[Tensor]


def evaluate(networks: Networks, points: Tensor, scale: float, *, is_twice: bool = False) -> Tensor:
    """Values [n, n_points, c] of each network at the same ``points`` [n_points, d] in [-1, 1].

    ``is_twice`` says that gradients of gradients will be taken: the plain torch of the network has them.
    """
    where = points.expand(len(networks.biases[0]), *points.shape)
    impl = "reference" if is_twice else "auto"
    return mlp(where, *networks, activation="sine", scale=scale, impl=impl)


def interpolated(networks: Networks, fraction: float) -> Networks:
    """One network between the first two, all its numbers linearly."""
    weights, biases = (
        [tensor[:1] + fraction * (tensor[1:2] - tensor[:1]) for tensor in tensors] for tensors in networks
    )
    return Networks(weights, biases)


def lattice_points(lattice: Sequence[int]) -> Tensor:
    """Centres [n, d] (x, y and z) of the cells of a lattice (d, h, w) or (h, w), the longest side from -1 to 1.

    Examples
    --------
    >>> lattice_points((1, 2)).tolist()
    [[-0.5, 0.0], [0.5, 0.0]]
    """
    axes = [(2 * torch.arange(n) + 1 - n) / max(lattice) for n in lattice]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], -1).view(-1, len(lattice))


def hold(networks: Networks, index: int, shape: Shape, size: tuple[int, int], bounds: list[list[float]]) -> HeldField:
    """One of the networks as the field of a picture of ``size`` (width, height)."""
    held = make_held_field(
        START_FIELD, size, bounds, shape.n_params, seed=0, knob=shape.scale, options={"n_layers": shape.n_layers}
    )
    take_networks(held.field.field.network, networks, index)
    return held


def take_networks(network: Any, networks: Networks, index: int) -> None:
    """Give a sine network of the same shape the numbers of one of the networks."""
    with torch.no_grad():
        for mine, theirs in zip([*network.weights, *network.biases], [*networks[0], *networks[1]], strict=True):
            mine.copy_(theirs[index])
