"""A field whose values cannot fall below a floor, and are at it outside a disc: attenuation, density, magnitude."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

__all__ = ["Positive"]

# steepness of the bend at the floor: a value of 0.1 is what the network gave to a part in seven
STEEPNESS = 20.0


class Positive(nn.Module):
    """``floor + scale * softplus(20 field) / 20`` within a disc, ``floor`` outside.

    Parameters
    ----------
    field : Field
        Gives values of about 0 to 1.
    floor, scale : float
        Least value, and what a value of 1 adds to it.
    disc : tuple of float, optional
        Its middle and then its radius, in the field's unit; a ball in three dimensions. None: everywhere.

    Examples
    --------
    >>> from nerfkit.scenes.fields.plain_grid import PlainGrid
    >>> water = Positive(PlainGrid((2, 2), 1, [(0, 1), (0, 1)], start=1.0), -1000.0, 1000.0, (0.5, 0.5, 0.4))
    >>> [round(value, 3) for value in water(torch.tensor([[0.5, 0.5], [0.0, 0.0]]))[:, 0].tolist()]
    [0.0, -1000.0]
    """

    def __init__(self, field: Any, floor: float, scale: float, disc: tuple[float, ...] | None = None) -> None:
        super().__init__()
        if not scale > 0:
            raise ValueError(f"scale must be above 0; got {scale}")
        if disc is not None and not (len(disc) == field.n_dims + 1 and disc[-1] > 0):
            raise ValueError(f"a disc has a middle of {field.n_dims} numbers and a radius above 0; got {disc}")
        self.field, self.n_dims, self.n_outputs = field, field.n_dims, field.n_outputs
        self.floor, self.scale, self.disc = floor, scale, disc

    def forward(self, coords: Tensor) -> Tensor:
        """Values [..., c] at ``coords`` [..., d]."""
        return self.floor + self.scale * self.unit(coords)

    def unit(self, coords: Tensor) -> Tensor:
        """Values in units of ``scale`` above the floor."""
        values = softplus(STEEPNESS * self.field(coords)) / STEEPNESS
        if self.disc is None:
            return values
        away = (coords - torch.tensor(self.disc[:-1], device=coords.device)).square().sum(-1, keepdim=True)
        return torch.where(away < self.disc[-1] ** 2, values, 0.0)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """The inner field's."""
        return self.field.parameter_groups(learning_rate)
