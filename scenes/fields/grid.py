"""An image as square cells over a rectangle: the field that linear solvers work on.

Lengths are low-res pixels of a reference frame, axes x (columns, right) and y (rows, down), the origin at its top left
corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate, pad

from nerfkit.scenes.fields.image_field import Lattice

__all__ = ["Grid", "GridField"]


@dataclass(frozen=True)
class Grid:
    """Square cells over a reference frame and a margin.

    Parameters
    ----------
    height, width : int
        Size of the reference frame in low-res pixels.
    cells : int
        Cells along the side of a low-res pixel.
    margin : int
        Low-res pixels of the grid beyond each side of the reference frame.
    """

    height: int
    width: int
    cells: int
    margin: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return (self.height + 2 * self.margin) * self.cells, (self.width + 2 * self.margin) * self.cells

    def crop(self, image: Tensor) -> Tensor:
        """The cells [.., height * cells, width * cells] of the reference frame alone."""
        first = self.margin * self.cells
        return image[..., first : first + self.height * self.cells, first : first + self.width * self.cells]

    def enlarge(self, frame: Tensor) -> Tensor:
        """A smooth image on the grid to start from: ``frame`` [height, width] interpolated, its border continued."""
        size = (self.height * self.cells, self.width * self.cells)
        fine = interpolate(frame[None, None], size, mode="bicubic", align_corners=False)
        return pad(fine, (self.margin * self.cells,) * 4, mode="replicate")[0, 0]

    def resize(self, image: Tensor) -> Tensor:
        """An image [h, w] on the cells of another grid of the same extent, on these."""
        return image if image.shape == self.shape else interpolate(image[None, None], self.shape, mode="bilinear")[0, 0]


class GridField(nn.Module):
    """Values on the cells of a grid, linear between their centres: a field like a network.

    Parameters
    ----------
    values : Tensor, shape (n_outputs, n_rows, n_cols)
        What the cells hold.
    grid : Grid
        Where they are.

    Examples
    --------
    >>> field = GridField(torch.tensor([[[0.0, 1.0], [2.0, 3.0]]]), Grid(2, 2, 1))
    >>> field(torch.tensor([[0.5, 0.5], [1.0, 1.5]])).tolist()
    [[0.0], [2.5]]
    """

    n_dims = 2

    def __init__(self, values: Tensor, grid: Grid) -> None:
        super().__init__()
        if values.ndim != 3 or values.shape[1:] != grid.shape:
            raise ValueError(f"values must be [n_outputs, {grid.shape[0]}, {grid.shape[1]}]; got {tuple(values.shape)}")
        self.values, self.grid = nn.Parameter(values), grid
        # of the reference frame, low-res pixels
        self.size = float(grid.width), float(grid.height)

    @property
    def n_outputs(self) -> int:
        """Channels."""
        return len(self.values)

    def forward(self, coords: Tensor) -> Tensor:
        """Values [.., n_outputs] at points ``coords`` [.., 2] (x, y), low-res pixels; beyond the grid its border's."""
        rows, cols = self.grid.shape
        cells = (coords.to(self.values) + self.grid.margin) * self.grid.cells
        # grid_sample counts from -1 to 1 over the whole extent
        at = (2 * cells / torch.tensor([cols, rows], dtype=cells.dtype, device=cells.device) - 1).view(1, 1, -1, 2)
        found = grid_sample(self.values[None], at, mode="bilinear", padding_mode="border", align_corners=False)
        return found[0, :, 0].T.reshape(*coords.shape[:-1], self.n_outputs)

    def lattice(self, ys: Tensor, xs: Tensor) -> Lattice:
        """Prepare the points at heights ``ys`` [n_rows] and ``xs`` [n_cols]."""
        y, x = torch.meshgrid(ys, xs, indexing="ij")
        return Lattice((len(ys), len(xs)), torch.stack([x, y], -1).view(-1, 2))

    def evaluate_lattice(self, lattice: Lattice) -> Tensor:
        """Values [n_outputs, n_rows, n_cols] at the points."""
        return self(lattice.points).T.reshape(self.n_outputs, *lattice.shape)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """All cells at one rate."""
        return [{"params": [self.values], "lr": learning_rate}]
