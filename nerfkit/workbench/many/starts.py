"""Where a new instance begins, and which of its numbers are free: all weights, or a latent that shifts phases."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nerfkit.scenes.fields.networks import FullyConnected
from nerfkit.workbench.many.networks import Networks, Shape

__all__ = ["STARTS", "MetaLearned", "Modulated", "Start", "fresh_networks"]

# every step size before it is learned, of weights and of the latent
FIRST_RATE, FIRST_LATENT_RATE = 1e-2, 1.0
# deviation of the modulation's matrix before it is learned: phases begin as they are
FIRST_SHIFT = 0.01
# Adam's peak rates while learning: the network, its steps, and the latent's steps
NETWORK_RATE, STEP_RATE, LATENT_STEP_RATE = 1e-3, 3e-3, 1e-2


def fresh_networks(shape: Shape, generator: torch.Generator) -> FullyConnected:
    """A network as it begins without any start (SIREN, arXiv:2006.09661, section 3.2)."""
    return FullyConnected(shape.sizes, generator, activation="sine", scale=shape.scale)


class Start(nn.Module):
    """A network that new instances begin with.

    Parameters
    ----------
    shape : Shape
        Of the network.
    generator : torch.Generator
        Source of the first weights.
    """

    # its name, and Adam's rates that may go on from its learnt steps
    kind: ClassVar[str]
    going_on: ClassVar[tuple[float, ...]]

    def __init__(self, shape: Shape, generator: torch.Generator) -> None:
        super().__init__()
        self.shape = shape
        network = fresh_networks(shape, generator)
        self.weights, self.biases = network.weights, network.biases

    @property
    def n_free(self) -> int:
        """Numbers of an instance."""
        return sum(tensor.numel() for tensor in self.begin(1))

    def begin(self, n: int) -> list[Tensor]:
        """The free numbers of n instances, each [n, ...], before any step."""
        raise NotImplementedError

    def networks(self, free: list[Tensor]) -> Networks:
        """The networks of instances with these free numbers."""
        raise NotImplementedError

    def rates(self) -> list[Tensor]:
        """Step sizes of the free numbers."""
        raise NotImplementedError

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What is learned, and Adam's peak rates."""
        raise NotImplementedError


class MetaLearned(Start):
    """All weights are free, and each has a step size of its own.

    A start and step sizes that are learned through the steps: Meta-SGD (arXiv:1707.09835, equation 2), which is MAML
    (arXiv:1703.03400) with learned steps; of coordinate networks arXiv:2012.02189.
    """

    kind = "meta"
    going_on = (1e-4, 3e-4, 1e-3)

    def __init__(self, shape: Shape, generator: torch.Generator) -> None:
        super().__init__(shape, generator)
        self.steps = nn.ParameterList(torch.full_like(tensor, FIRST_RATE) for tensor in (*self.weights, *self.biases))

    def begin(self, n: int) -> list[Tensor]:
        """Weights, then biases."""
        return [tensor.expand(n, *tensor.shape) for tensor in (*self.weights, *self.biases)]

    def networks(self, free: list[Tensor]) -> Networks:
        """The free numbers are the networks."""
        n_layers = len(self.weights)
        return Networks(free[:n_layers], free[n_layers:])

    def rates(self) -> list[Tensor]:
        """One for each weight."""
        return list(self.steps)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The network, and the steps."""
        return [
            {"params": [*self.weights, *self.biases], "lr": NETWORK_RATE},
            {"params": [*self.steps], "lr": STEP_RATE},
        ]


class Modulated(Start):
    """A latent is free, and a linear map of it is added to the biases of all hidden layers.

    The sine network is shared (arXiv:2201.12204, section 3.1; arXiv:2104.03960). A latent begins at 0. An instance is
    a sine network like any other, with biases of its own.

    Parameters
    ----------
    shape, generator
        As :class:`Start` takes them.
    n_latents : int
        Length of the latent.
    """

    kind = "modulation"
    going_on = (3e-3, 1e-2, 3e-2)

    def __init__(self, shape: Shape, generator: torch.Generator, n_latents: int) -> None:
        super().__init__(shape, generator)
        n_shifts = shape.n_layers * shape.width
        self.matrix = nn.Parameter(FIRST_SHIFT * torch.randn(n_latents, n_shifts, generator=generator))
        self.steps = nn.ParameterList([torch.full((n_latents,), FIRST_LATENT_RATE)])

    def begin(self, n: int) -> list[Tensor]:
        """Latents [n, n_latents] of 0."""
        # slopes by them are asked for, though nothing that is learned goes into them
        return [self.matrix.new_zeros(n, len(self.matrix)).requires_grad_()]

    def networks(self, free: list[Tensor]) -> Networks:
        """The shared network, shifted."""
        (latents,) = free
        n = len(latents)
        shifts = (latents @ self.matrix).view(n, self.shape.n_layers, self.shape.width).unbind(1)
        biases = [bias + shift for bias, shift in zip(self.biases, shifts, strict=False)]
        last = self.biases[-1]
        return Networks([weight.expand(n, *weight.shape) for weight in self.weights], [*biases, last.expand(n, -1)])

    def rates(self) -> list[Tensor]:
        """One for each number of the latent."""
        return list(self.steps)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The network and the map, and the steps."""
        return [
            {"params": [*self.weights, *self.biases, self.matrix], "lr": NETWORK_RATE},
            {"params": [*self.steps], "lr": LATENT_STEP_RATE},
        ]


STARTS = {start.kind: start for start in (MetaLearned, Modulated)}
