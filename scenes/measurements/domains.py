"""Domains on which an equation is to hold: points of them are drawn anew at every step, and nothing is measured."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nerfkit.scenes.measurements.measurements import Measurements

__all__ = ["Box", "BoxBoundary"]


class Box:
    """An interval, rectangle or box, drawn from evenly.

    Parameters
    ----------
    sides : sequence of (float, float), length d
        Least and greatest coordinate along each axis.

    Examples
    --------
    >>> Box([(0, 1), (-2, 2)]).draw(5, torch.Generator().manual_seed(0)).where.shape
    torch.Size([5, 2])
    """

    def __init__(self, sides: Sequence[tuple[float, float]]) -> None:
        if not sides or not all(low < high for low, high in sides):
            raise ValueError(f"a box has pairs (least, greatest) of coordinates; got {list(sides)}")
        self.sides = torch.tensor(sides, dtype=torch.float32)

    def draw(self, n: int, generator: torch.Generator) -> Measurements:
        """``n`` points [n, d]."""
        return Measurements(self._points(n, generator))

    def _points(self, n: int, generator: torch.Generator) -> Tensor:
        low, high = self.sides.to(generator.device).unbind(-1)
        return low + (high - low) * torch.rand(n, len(low), generator=generator, device=generator.device)


class BoxBoundary(Box):
    """The faces of a box, drawn from evenly: two points in one dimension, edges in two."""

    def draw(self, n: int, generator: torch.Generator) -> Measurements:
        """``n`` points [n, d]."""
        points = self._points(n, generator)
        lengths = self.sides[:, 1] - self.sides[:, 0]
        # the area of a face is the volume divided by the length across it
        areas = (lengths.prod() / lengths).repeat_interleave(2).to(points.device)
        faces = torch.multinomial(areas, n, replacement=True, generator=generator)
        axes, ends = faces // 2, faces % 2
        points[torch.arange(n, device=points.device), axes] = self.sides.to(points.device)[axes, ends]
        return Measurements(points)
