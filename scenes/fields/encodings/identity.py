"""The point itself as an encoding: what sine networks take, and the baseline for all other encodings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nerfkit.scenes.fields.taylor import Taylor

__all__ = ["IdentityEncoding"]


class IdentityEncoding(nn.Module):
    """The unit cube as [-1, 1], where the initialisation of sine networks expects it (arXiv:2006.09661).

    Parameters
    ----------
    n_dims : int
        Coordinates of a point.
    generator : torch.Generator, optional
        Nothing is drawn from it.
    """

    def __init__(self, n_dims: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.n_dims = self.n_outputs = n_dims

    def forward(self, x: Tensor) -> Tensor:
        """See :class:`nerfkit.scenes.fields.encodings.Encoding`."""
        return x * 2 - 1

    def taylor(self, points: Taylor) -> Taylor:
        """The point and its derivatives."""
        return points.centred()

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """None: there are no parameters."""
        return []
