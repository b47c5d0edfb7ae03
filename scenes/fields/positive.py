"""A field whose values cannot fall below a floor: attenuation, density, magnitude."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import softplus

__all__ = ["Positive"]

# steepness of the bend at the floor: a value of 0.1 is what the network gave to a thousandth
STEEPNESS = 20.0


class Positive(nn.Module):
    """``floor + scale * softplus(20 field) / 20``.

    Parameters
    ----------
    field : Field
        Gives values of about 0 to 1.
    floor, scale : float
        Least value, and what a value of 1 adds to it.

    Examples
    --------
    >>> import torch
    >>> from nerfkit.scenes.fields.plain_grid import PlainGrid
    >>> water = Positive(PlainGrid((2, 2), 1, [(0, 1), (0, 1)], start=1.0), -1000.0, 1000.0)
    >>> round(water(torch.tensor([[0.5, 0.5]])).item(), 3)
    0.0
    """

    def __init__(self, field: Any, floor: float, scale: float) -> None:
        super().__init__()
        if not scale > 0:
            raise ValueError(f"scale must be above 0; got {scale}")
        self.field, self.n_dims, self.n_outputs = field, field.n_dims, field.n_outputs
        self.floor, self.scale = floor, scale

    def forward(self, coords: Tensor) -> Tensor:
        """Values [..., c] at ``coords`` [..., d]."""
        return self.floor + self.scale * self.unit(coords)

    def unit(self, coords: Tensor) -> Tensor:
        """Values in units of ``scale`` above the floor."""
        return softplus(STEEPNESS * self.field(coords)) / STEEPNESS

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """The inner field's."""
        return self.field.parameter_groups(learning_rate)
