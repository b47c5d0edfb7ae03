"""What a scanner's slices have measured of a volume: the mean over a box, as thick as the slice and as wide as a pixel.

Where a stack's axes are along the grid's, the box's overlap with each cell is exact. Otherwise the mean is over points
in the box, closer together than the cells, between which the volume is linear.
"""

from __future__ import annotations

import itertools
import math
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.scenes.observations.sparse import sparse_tensor
from nerfkit.scenes.volumes import Volume
from nerfkit.scenes.voxel_grid import VoxelGrid

__all__ = ["SliceAverages", "box_overlaps", "parallel_axes"]

# cells by which a stack's corner may be elsewhere for its axes to count as along the grid's
PARALLEL = 0.1
# fraction of a box that must be in the grid for its voxel to be predicted
INSIDE = 0.5


def parallel_axes(grid: VoxelGrid, stack: Volume) -> tuple[int, int, int] | None:
    """Which axes (0, 1, 2 for i, j, k) of the grid the stack's i, j and k are along; None: it is oblique."""
    to_grid = grid.to_index(stack.affine)[:3, :3]
    axes = [int(axis) for axis in np.abs(to_grid).argmax(0)]
    beside = to_grid.copy()
    beside[axes, range(3)] = 0
    depth, height, width = stack.shape
    drift = np.abs(beside) @ np.array([width, height, depth])
    return (axes[0], axes[1], axes[2]) if len(set(axes)) == 3 and drift.max() <= PARALLEL else None


def box_overlaps(centres: NDArray[np.floating], width: float, n_cells: int) -> sp.csr_matrix:
    """Fractions [n, n_cells] of boxes ``width`` cells wide that lie in each cell; cell c is from c - 1/2 to c + 1/2.

    A box that lies partly beyond the cells is that part of it which does not; where that is less than half, no cell is
    in its row.
    """
    low, high = centres - width / 2 + 0.5, centres + width / 2 + 0.5
    first = np.floor(low + 1e-9).astype(np.int64)
    columns = first[:, None] + np.arange(math.ceil(width) + 1)
    overlaps = np.minimum(high[:, None], columns + 1) - np.maximum(low[:, None], columns)
    overlaps[(columns < 0) | (columns >= n_cells) | (overlaps < 1e-6)] = 0
    total = overlaps.sum(1, keepdims=True)
    overlaps = np.where(total >= INSIDE * width, overlaps / np.maximum(total, 1e-12), 0)
    rows = np.repeat(np.arange(len(centres)), columns.shape[1])
    matrix = sp.csr_matrix((overlaps.ravel(), (rows, columns.ravel().clip(0, n_cells - 1))), (len(centres), n_cells))
    matrix.eliminate_zeros()
    return matrix


class SliceAverages:
    """The voxels of one stack as means over the cells of a grid; a linear observation.

    Parameters
    ----------
    grid : VoxelGrid
        Cells of the volume that is observed.
    stack : Volume
        Its affine, shape and thickness say where its boxes are; a thickness that is not known is the pitch.
    device : str
        Where to compute.
    """

    def __init__(self, grid: VoxelGrid, stack: Volume, device: str = "cpu") -> None:
        self.grid, self.shape = grid, stack.shape
        axes = parallel_axes(grid, stack)
        sparse = _oblique(grid, stack) if axes is None else _parallel(grid, stack, axes)
        # [d, h, w] of the stack: whether it is in the grid, so that something predicts it
        self.is_seen = torch.from_numpy(np.diff(sparse.indptr).reshape(stack.shape) > 0).to(device)
        self._forward = sparse_tensor(sparse, device)
        self._backward = sparse_tensor(sp.csr_matrix(sparse.T), device)

    def predict(self, image: Tensor, where: Tensor | None = None) -> Tensor:
        """Means [d, h, w] of an ``image`` [grid.shape]; 0 where the stack is not in the grid.

        ``where`` are numbers of voxels, of which alone the means [n] are given.
        """
        found = self._forward @ image.reshape(-1)
        return found.view(self.shape) if where is None else found[where]

    def adjoint(self, values: Tensor, grid: VoxelGrid | None = None) -> Tensor:
        """The transpose of :meth:`predict`: values [d, h, w] laid back on the cells [grid.shape]."""
        return (self._backward @ values.reshape(-1)).view(self.grid.shape)

    @cached_property
    def cover(self) -> float:
        """Greatest sum of weights that a cell has; the square of the operator's norm is at most that."""
        return float(self.adjoint(torch.ones(self.shape, device=self.is_seen.device)).max())


def _parallel(grid: VoxelGrid, stack: Volume, axes: tuple[int, int, int]) -> sp.csr_matrix:
    """A product of one matrix an axis, its rows in the stack's order."""
    to_grid = grid.to_index(stack.affine)
    depth, height, width = stack.shape
    factors, sizes = {}, {}
    for own, (axis, n) in enumerate(zip(axes, (width, height, depth), strict=True)):
        step = to_grid[axis, own]
        side = abs(step) * (_thickness(stack) / stack.spacing[2] if own == 2 else 1.0)
        factors[axis] = box_overlaps(to_grid[axis, 3] + step * np.arange(n), side, grid.size[axis])
        sizes[axis] = n
    matrix = sp.kron(sp.kron(factors[2], factors[1]), factors[0], format="csr")
    numbers = np.arange(width * height * depth).reshape(sizes[2], sizes[1], sizes[0])
    # array axis 2 - a holds the grid's axis a
    in_order = numbers.transpose(2 - axes[2], 2 - axes[1], 2 - axes[0]).ravel()
    return sp.csr_matrix(matrix[in_order])


def _thickness(stack: Volume) -> float:
    return stack.pitch if stack.thickness is None else stack.thickness


def _oblique(grid: VoxelGrid, stack: Volume) -> sp.csr_matrix:
    """The mean of the matrices of points in the boxes."""
    cell = min(grid.spacing)
    across = _thickness(stack) / stack.pitch
    lengths = np.array([stack.spacing[0], stack.spacing[1], stack.spacing[2] * across])
    counts = [max(1, math.ceil(length / cell - 0.01)) for length in lengths]
    reach = np.array([1.0, 1.0, across])
    places = [(np.arange(n) + 0.5) / n - 0.5 for n in counts]
    depth, height, width = stack.shape
    k, j, i = np.meshgrid(*map(np.arange, (depth, height, width)), indexing="ij")
    index = np.stack([i, j, k, np.ones_like(i)], -1).reshape(-1, 4)
    to_grid = grid.to_index(stack.affine)
    found = sp.csr_matrix((len(index), math.prod(grid.shape)))
    for offset in itertools.product(*places):
        points = (index + np.array([*(np.array(offset) * reach), 0])) @ to_grid[:3].T
        found = found + _linear(points, grid)
    weights = np.asarray(found.sum(1)).ravel() / math.prod(counts)
    scale = np.where(weights >= INSIDE, 1 / np.maximum(weights * math.prod(counts), 1e-12), 0)
    found = sp.csr_matrix(sp.diags(scale) @ found)
    found.eliminate_zeros()
    return found


def _linear(points: NDArray[np.float64], grid: VoxelGrid) -> sp.csr_matrix:
    """Weights of the eight cells round each point (i, j, k); of points beyond the grid none."""
    width, height, depth = grid.size
    inside = ((points > -0.5) & (points < np.array(grid.size) - 0.5)).all(1)
    low = np.floor(points).astype(np.int64)
    rows, columns, weights = [], [], []
    for corner in itertools.product((0, 1), repeat=3):
        at = (low + corner).clip(0, np.array(grid.size) - 1)
        weight = np.prod(np.where(corner, points - low, 1 - (points - low)), 1) * inside
        used = weight > 1e-9
        rows.append(np.flatnonzero(used))
        columns.append(((at[:, 2] * height + at[:, 1]) * width + at[:, 0])[used])
        weights.append(weight[used])
    data = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    return sp.csr_matrix(data, (len(points), width * height * depth))
