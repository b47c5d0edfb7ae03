"""Values on the knots of a grid, interpolated by cubics: the field without a network, which comparisons need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

__all__ = ["PlainGrid"]


class PlainGrid(nn.Module):
    """An image as knots over a box, and cubic convolution between them (Keys 1981, a = -3/4 as torch has it).

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of knots; they are the centres of equal cells that cover the box.
    n_outputs : int
        Values a point.
    box : sequence of two (float, float)
        Least and greatest x and y.
    start : float
        Value of all knots at the start.

    Notes
    -----
    Differentiable in the knots and once in the coordinates. Beyond the box the border's values go on.
    """

    n_dims = 2

    def __init__(
        self, shape: tuple[int, int], n_outputs: int, box: Sequence[tuple[float, float]], start: float = 0.0
    ) -> None:
        super().__init__()
        if min(shape) < 1 or len(box) != 2:
            raise ValueError(f"need a knot at least along each of two axes; got {shape} and a box of {len(box)}")
        self.n_outputs = n_outputs
        self.values = nn.Parameter(torch.full((n_outputs, *shape), start))
        self.box: Tensor
        self.register_buffer("box", torch.tensor(box, dtype=torch.float64))

    @classmethod
    def of_size(cls, n_params: int, n_outputs: int, box: Sequence[tuple[float, float]], start: float) -> PlainGrid:
        """The finest grid of square cells with at most ``n_params`` numbers."""
        width, height = (high - low for low, high in box)
        n_knots = max(1, n_params // n_outputs)
        rows = max(1, min(n_knots, math.floor(math.sqrt(n_knots * height / width))))
        return cls((rows, max(1, n_knots // rows)), n_outputs, box, start)

    def forward(self, coords: Tensor) -> Tensor:
        """Values [..., n_outputs] at ``coords`` [..., 2]."""
        low, high = self.box.unbind(-1)
        # grid_sample counts from -1 to 1 over the whole extent
        at = ((coords - low) / (high - low) * 2 - 1).to(self.values.dtype).reshape(1, 1, -1, 2)
        found = grid_sample(self.values[None], at, mode="bicubic", padding_mode="border", align_corners=False)
        return found[0, :, 0].T.reshape(*coords.shape[:-1], self.n_outputs)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """All knots at one rate."""
        return [{"params": [self.values], "lr": learning_rate}]
