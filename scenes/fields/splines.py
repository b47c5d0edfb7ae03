"""Uniform cubic B-splines: the basis along an axis, and a displacement that is a sum of them on several grids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["SplinePyramid", "cubic_splines"]


def cubic_splines(at: Tensor, n_intervals: int) -> Tensor:
    """Values [n, n_intervals + 3] of the cubic B-splines of equally spaced nodes at places [n] in [0, n_intervals].

    Each row sums to 1. The nodes are at -1, 0, ..., n_intervals + 1. A place beyond takes what the nearest end has.

    Examples
    --------
    >>> cubic_splines(torch.tensor([0.0, 1.0]), 2).mul(6).round().tolist()
    [[1.0, 4.0, 1.0, 0.0, 0.0], [0.0, 1.0, 4.0, 1.0, 0.0]]
    """
    nodes = torch.arange(-1, n_intervals + 2, dtype=at.dtype, device=at.device)
    apart = (at.clamp(0, n_intervals)[:, None] - nodes).abs()
    near, far = 2 / 3 - apart**2 + apart**3 / 2, (2 - apart).clamp(min=0) ** 3 / 6
    return torch.where(apart < 1, near, far)


def refinement(n_intervals: int) -> Tensor:
    """From the nodes of a spline [n_intervals + 3] to those of the same spline on half the spacing [2 n_intervals + 3].

    The two-scale relation of the cubic B-spline: 1 4 6 4 1 eighths.
    """
    matrix = torch.zeros(2 * n_intervals + 3, n_intervals + 3)
    for fine in range(2 * n_intervals + 3):
        # the fine node is at (fine - 1) / 2 of the coarse ones, of which the first is at -1
        before = (fine + 1) // 2
        if fine % 2:
            matrix[fine, before - 1 : before + 2] = torch.tensor([1.0, 6.0, 1.0]) / 8
        else:
            matrix[fine, before : before + 2] = 0.5
    return matrix


class SplinePyramid(nn.Module):
    """A displacement of the plane or of space: cubic B-splines on grids of halved spacing, summed.

    The sum is no richer than its finest grid; the coarse ones let Adam move far what moves together.

    Parameters
    ----------
    size : sequence of float
        Extent along x, y(, z): the box is [0, size].
    spacing : float
        Between nodes of the finest grid along each axis, in the unit of the size; there is a whole number of intervals.
    n_levels : int
        Grids at most; fewer where the longest side has no more intervals to merge.

    Notes
    -----
    Differentiable in the nodes alone. Beyond the box the border's values go on.
    """

    def __init__(self, size: Sequence[float], spacing: float, n_levels: int = 4) -> None:
        super().__init__()
        self.size, self.n_dims, self.n_outputs = tuple(size), len(size), len(size)
        n_levels = max(1, min(n_levels, 1 + math.floor(math.log2(max(1.0, max(size) / spacing)))))
        coarsest = [max(1, round(side / spacing / 2 ** (n_levels - 1))) for side in size]
        self.intervals = [[n * 2**level for n in coarsest] for level in range(n_levels)]
        # [d, .., n_y, n_x]: the axes of arrays, the last the fastest
        self.nodes = nn.ParameterList(
            nn.Parameter(torch.zeros(self.n_outputs, *(n + 3 for n in reversed(intervals))))
            for intervals in self.intervals
        )
        self._refinements = [[refinement(n) for n in intervals] for intervals in self.intervals[:-1]]

    def finest_nodes(self) -> Tensor:
        """The nodes of the sum [d, .., n_y, n_x] on the finest grid."""
        nodes = list(self.nodes)
        total = nodes[0]
        for further, matrices in zip(nodes[1:], self._refinements, strict=True):
            total = _along_axes(total, matrices) + further
        return total

    def forward(self, coords: Tensor) -> Tensor:
        """Values [..., d] at ``coords`` [..., d]."""
        flat = coords.reshape(-1, self.n_dims)
        bases = [self._basis(flat[:, axis], axis) for axis in range(self.n_dims)]
        along = torch.einsum("c...x,px->pc...", self.finest_nodes(), bases[0])
        for basis in bases[1:]:
            along = torch.einsum("pc...y,py->pc...", along, basis)
        return along.reshape(coords.shape)

    def lattice(self, axes: Sequence[Tensor]) -> list[Tensor]:
        """What :meth:`evaluate_lattice` needs of the crossings of places along x, y(, z)."""
        return [self._basis(at.double(), axis).float() for axis, at in enumerate(axes)]

    def evaluate_lattice(self, lattice: list[Tensor]) -> Tensor:
        """Values [d, (n_z,) n_y, n_x] at all crossings, an axis after the other."""
        return _along_axes(self.finest_nodes(), lattice)

    def _basis(self, at: Tensor, axis: int) -> Tensor:
        n = self.intervals[-1][axis]
        return cubic_splines(at * n / self.size[axis], n)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """All nodes at one rate, which is in the unit of the values."""
        return [{"params": list(self.nodes), "lr": learning_rate}]


def _along_axes(values: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Arrays [d, (n_z,) n_y, n_x] with a matrix applied along x, y(, z)."""
    for turns, matrix in enumerate(matrices, 1):
        values = (values.transpose(-1, -turns) @ matrix.T).transpose(-1, -turns)
    return values
