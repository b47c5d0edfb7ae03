"""Differences of a field between points that lie next to each other, and its total variation: smoothness as a term."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["NeighbourDifferences", "total_variation"]


class NeighbourDifferences:
    """Differences of a field's values along each axis, from a point to the one that lies ``step`` from it.

    A difference over a pixel is blind to what oscillates faster, which a derivative at a point is not.
    """

    def __init__(self, step: float = 1.0) -> None:
        self.step = step

    def predict(self, field: Callable[[Tensor], Tensor], where: Tensor) -> Tensor:
        """Differences [n, d, c] at ``where`` [n, d]."""
        n, d = where.shape
        moves = torch.cat([where.new_zeros(1, d), self.step * torch.eye(d, dtype=where.dtype, device=where.device)])
        values = field((where + moves[:, None]).view(-1, d)).view(d + 1, n, -1)
        return (values[1:] - values[0]).transpose(0, 1)


def total_variation(differences: Tensor, values: Tensor, *, smoothing: float = 0.005) -> Tensor:
    """Lengths [n] of differences [n, d, c], all channels' together, of the term whose mean is the total variation.

    ``values`` is not looked at: the differences are to be small. Lengths below ``smoothing`` count as squares.
    """
    return (differences.square().sum((-1, -2)) + smoothing**2).sqrt()
