"""Values on the knots of a grid, interpolated by cubics: the field without a network, which comparisons need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["PlainGrid"]


def _taps(positions: Tensor, n_knots: int) -> tuple[Tensor, Tensor]:
    """The four knots [n, 4] round ``positions`` [n] along an axis, and their weights (Keys 1981, eq. 15)."""
    first = positions.detach().floor()
    t = (positions - first)[:, None]
    knots = (first.long()[:, None] + torch.arange(-1, 3, device=positions.device)).clamp(0, n_knots - 1)
    outer = lambda d: ((-0.5 * d + 2.5) * d - 4) * d + 2  # noqa: E731  1 <= d <= 2
    inner = lambda d: (1.5 * d - 2.5) * d * d + 1  # noqa: E731  d <= 1
    return knots, torch.cat([outer(1 + t), inner(t), inner(1 - t), outer(2 - t)], -1)


class PlainGrid(nn.Module):
    """An image as knots over a box, and cubic convolution between them (Keys 1981, a = -1/2: exact for parabolas).

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
    Differentiable in the knots and the coordinates. Beyond the box the border's values go on.
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
        _, rows, cols = self.values.shape
        at = ((coords.reshape(-1, 2) - low) / (high - low)).to(self.values.dtype)
        col_knots, col_weights = _taps(at[:, 0] * cols - 0.5, cols)
        row_knots, row_weights = _taps(at[:, 1] * rows - 0.5, rows)
        knots = row_knots[:, :, None] * cols + col_knots[:, None]  # [n, 4, 4]
        weights = row_weights[:, :, None] * col_weights[:, None]
        found = self.values.flatten(1)[:, knots.flatten(1)] * weights.flatten(1)  # [c, n, 16]
        return found.sum(-1).T.reshape(*coords.shape[:-1], self.n_outputs)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """All knots at one rate."""
        return [{"params": [self.values], "lr": learning_rate}]
