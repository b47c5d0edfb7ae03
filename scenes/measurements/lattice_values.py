"""An image on a grid as measurements: of every n-th cell in a batch, so that fields evaluate a lattice of points."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nerfkit.scenes.fields.image_field import Lattice
from nerfkit.scenes.measurements.measurements import Measurements

__all__ = ["LatticeMeasurements", "cell_centres"]


def cell_centres(n_cells: int, extent: float) -> Tensor:
    """Centres [n_cells] of equal cells that cover [0, ``extent``], float64."""
    return (torch.arange(n_cells, dtype=torch.float64) + 0.5) * (extent / n_cells)


class LatticeMeasurements:
    """Values of an image on the cells of a grid.

    Parameters
    ----------
    values : Tensor, shape (n_channels, n_rows, n_cols)
        The image.
    axes : (Tensor, Tensor)
        Heights [n_rows] and positions along a row [n_cols] of the cells, ascending, in the field's unit.
    prepare : callable
        From heights and positions to the lattice that the field evaluates: its ``lattice``.
    """

    def __init__(
        self, values: Tensor, axes: tuple[Tensor, Tensor], prepare: Callable[[Tensor, Tensor], Lattice]
    ) -> None:  # fmt: skip
        self.values, self.axes, self.prepare = values, axes, prepare
        self._parts: dict[tuple[int, int, int], Measurements] = {}

    def draw(self, n: int, generator: torch.Generator) -> Measurements:
        """At most about ``n`` points: every stride-th row and column from a random one on."""
        stride = self.stride(n)
        if stride == 1:
            return self.part(1, 0, 0)
        top, left = torch.randint(stride, (2,), generator=generator, device=generator.device).tolist()
        return self.part(stride, top, left)

    def stride(self, n: int) -> int:
        """The least stride with which at most ``n`` cells are in a batch, but for rounding."""
        return max(1, math.ceil(math.sqrt(self.values[0].numel() / n)))

    def part(self, stride: int, top: int, left: int) -> Measurements:
        """Every ``stride``-th cell from row ``top`` and column ``left`` on; values [n_channels, n_rows, n_cols]."""
        key = (stride, top, left)
        if key not in self._parts:
            ys, xs = self.axes
            where = self.prepare(ys[top::stride], xs[left::stride])
            self._parts[key] = Measurements(where, self.values[:, top::stride, left::stride])
        return self._parts[key]
