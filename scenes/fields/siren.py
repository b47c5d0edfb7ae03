"""An image held by one sine network (SIREN, arXiv:2006.09661)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nerfkit.scenes.fields.coordinate import CoordinateField, in_range
from nerfkit.scenes.fields.encodings.identity import IdentityEncoding
from nerfkit.scenes.fields.image_field import Lattice
from nerfkit.scenes.fields.networks import FullyConnected

__all__ = ["Siren", "SirenConfig", "sine_network"]


@dataclass(frozen=True)
class SirenConfig:
    """Sizes of a sine network, or of each of many."""

    # width of the hidden layers
    width: int = 32
    # hidden layers
    n_layers: int = 2
    # factor omega_0 on the argument of each sine: the higher, the finer the detail it starts with
    omega: float = 15.0
    # side of a network's square and distance between two of them, in the unit of the size; the single network has none
    tile: float = 6.5
    stride: float = 5.5

    def __post_init__(self) -> None:
        if self.width < 1 or self.n_layers < 1 or not 0 < self.omega < math.inf:
            raise ValueError(
                f"width, n_layers and omega must be positive; got {self.width}, {self.n_layers}, {self.omega}"
            )
        if not 0 < self.stride <= self.tile <= 2 * self.stride:
            raise ValueError(f"need 0 < stride <= tile <= 2 stride; got {self.stride} and {self.tile}")


def sine_network(
    config: SirenConfig, size: tuple[float, float], bounds: Tensor, generator: torch.Generator,
    n_networks: int | None = None,
) -> FullyConnected:  # fmt: skip
    """From a point to a value of each channel; checks what an image is made with."""
    if not (size[0] > 0 and size[1] > 0) or bounds.ndim != 2 or bounds.shape[1] != 2:
        raise ValueError(f"need a positive size and bounds [n_channels, 2]; got {size} and {tuple(bounds.shape)}")
    return FullyConnected(
        [2, *[config.width] * config.n_layers, len(bounds)], generator, activation="sine", scale=config.omega,
        n_networks=n_networks,
    )  # fmt: skip


class Siren(CoordinateField):
    """One sine network for the whole image; the longer side spans [-1, 1].

    Parameters
    ----------
    config : SirenConfig
        Its sizes.
    size : (float, float)
        Width and height of the image, in the unit in which points are given.
    bounds : Tensor, shape (n_channels, 2)
        Least and greatest value of each channel.
    generator : torch.Generator
        Source of the initial weights, on the CPU.

    Examples
    --------
    >>> image = Siren(SirenConfig(), (8.0, 4.0), torch.tensor([[0.0, 1.0]]), torch.Generator().manual_seed(0))
    >>> image(torch.tensor([[0.5, 0.5], [7.5, 3.5]])).shape
    torch.Size([2, 1])
    >>> image.evaluate_lattice(image.lattice(torch.arange(4) + 0.5, torch.arange(8) + 0.5)).shape
    torch.Size([1, 4, 8])
    """

    def __init__(
        self, config: SirenConfig, size: tuple[float, float], bounds: Tensor, generator: torch.Generator
    ) -> None:
        network, half = sine_network(config, size, bounds, generator), max(size) / 2
        super().__init__(IdentityEncoding(2), network, [(side / 2 - half, side / 2 + half) for side in size], bounds)
        self.config, self.size = config, size
        self.bounds: Tensor

    def lattice(self, ys: Tensor, xs: Tensor) -> Lattice:
        """See :class:`nerfkit.scenes.fields.image_field.ImageField`."""
        coords = torch.stack(torch.meshgrid(xs.double(), ys.double(), indexing="xy"), -1).to(self.box.device)
        points = self.encoding(self.to_unit(coords)).reshape(-1, 2)
        return Lattice((len(ys), len(xs)), points.to(self.bounds))

    def evaluate_lattice(self, lattice: Lattice) -> Tensor:
        """See :class:`nerfkit.scenes.fields.image_field.ImageField`."""
        return in_range(self.network(lattice.points), self.bounds).T.reshape(-1, *lattice.shape)
