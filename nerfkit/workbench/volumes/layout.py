"""The grid that a volume is reconstructed on, and whether the stacks are cells of it counted together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.scenes.observations.slice_averages import box_overlaps, parallel_axes
from nerfkit.scenes.volumes import Volume
from nerfkit.scenes.voxel_grid import VoxelGrid

__all__ = ["Coarse", "Layout", "lay_out", "working_grid"]

# cells by which a stack's voxels may lie beside the grid's and count as lying on them
ALIGNED = 0.1
# cells of a thickness that are counted as a whole number of them
WHOLE = 0.25


@dataclass(frozen=True)
class Coarse:
    """How slices follow each other along the axis across them, in cells of the grid.

    Parameters
    ----------
    step : int
        Cells from one slice to the next.
    phase : float
        From the grid's border to where the first slice begins.
    thickness : float
        What a slice averages over.
    axis : int
        0, 1, 2 for x, y, z of the grid; slices that follow each other alike are alike along any axis.
    """

    step: int
    phase: float
    thickness: float
    axis: int = field(default=2, compare=False)

    def matrix(self, n_cells: int) -> Tensor:
        """Means [n_cells / step, n_cells] over a line of cells, as slices would have measured it."""
        starts = self.phase + self.step * np.arange(n_cells // self.step)
        found = box_overlaps(starts + self.thickness / 2 - 0.5, self.thickness, n_cells).toarray()
        return torch.from_numpy(found.astype(np.float32))


@dataclass(frozen=True)
class Layout:
    """Stacks on a grid.

    Parameters
    ----------
    grid : VoxelGrid
        What is reconstructed.
    coarse : tuple of Coarse
        Of each stack; empty where one is oblique to the grid, or is beside its cells, or does not cover it.
    stacks : tuple of ndarray
        With these: values of each stack with the grid's axes [d, h, w], shorter along its coarse one.
    """

    grid: VoxelGrid
    coarse: tuple[Coarse, ...] = ()
    stacks: tuple[NDArray[np.float32], ...] = ()


def working_grid(stacks: Sequence[Volume], spacing: float | None = None) -> VoxelGrid:
    """Cells along the axes of the first stack, over all that any stack has seen.

    Along an axis that some stack has pixels on, these are the cells. Along one that has slices alone, the pitch is
    divided into as many as makes them nearest to ``spacing`` mm, or to the finest pixels.
    """
    first = stacks[0]
    finest = min(min(stack.spacing[:2]) for stack in stacks)
    frame = VoxelGrid(first.shape, first.affine)
    low, cells, counts = np.zeros(3), np.zeros(3), np.zeros(3, int)
    for axis in range(3):
        low[axis], cells[axis], counts[axis] = _along(axis, frame, stacks, finest, spacing or finest)
    unit = np.array(frame.spacing)
    affine = first.affine.copy()
    affine[:3, :3] *= cells / unit
    affine[:3, 3] = (first.affine @ np.append((low + cells / 2) / unit, 1))[:3]
    width, height, depth = (int(n) for n in counts)
    return VoxelGrid((depth, height, width), affine)


def _along(
    axis: int, frame: VoxelGrid, stacks: Sequence[Volume], finest: float, spacing: float
) -> tuple[float, float, int]:  # fmt: skip
    """Where the grid begins along an axis of the first stack, mm from the centre of its first voxel; cell; count."""
    edges, fine, coarse = [], [], []
    for stack in stacks:
        edges.append(_edges(axis, frame, stack))
        axes = parallel_axes(frame, stack)
        if axes is None:
            fine.append((finest, edges[-1][0]))
        elif axes[2] == axis:
            coarse.append(stack)
        else:
            fine.append((stack.spacing[axes.index(axis)], edges[-1][0]))
    if fine:
        cell, start = min(fine)
    else:
        n = max(1, round(coarse[0].pitch / spacing))
        cell = coarse[0].pitch / n
        thickness = round((coarse[0].thickness or coarse[0].pitch) / cell)
        # the middle of a slice is that of a cell, or a border of two, as its thickness asks for
        start = edges[stacks.index(coarse[0])][0] + (cell / 2 if (thickness - n) % 2 else 0)
        if len(coarse) == len(stacks) == 1:
            return start, cell, n * coarse[0].shape[0]
    low = start - cell * max(0, int(np.ceil((start - min(edges)[0]) / cell - ALIGNED)))
    high = max(high for _, high in edges)
    return low, cell, max(1, int(np.ceil((high - low) / cell - ALIGNED)))


def _edges(axis: int, frame: VoxelGrid, stack: Volume) -> tuple[float, float]:
    """From where to where a stack reaches along an axis of the frame, mm; slices as far as half the pitch."""
    depth, height, width = stack.shape
    corners = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in (width, height, depth)], [1.0]), -1).reshape(-1, 4)
    found = (corners @ frame.to_index(stack.affine)[axis]) * frame.spacing[axis]
    return float(found.min()), float(found.max())


def lay_out(stacks: Sequence[Volume], spacing: float | None = None, grid: VoxelGrid | None = None) -> Layout:
    """The grid of the stacks, or one that is given, and how their slices are cells of it where they all are."""
    grid = grid or working_grid(stacks, spacing)
    found = [_on_grid(grid, stack) for stack in stacks]
    axes = {at[0].axis for at in found if at is not None}
    # two stacks of one direction are no two views
    if any(at is None for at in found) or len(axes) < len(stacks):
        return Layout(grid)
    complete = [at for at in found if at is not None]
    return Layout(grid, tuple(coarse for coarse, _ in complete), tuple(values for _, values in complete))


def _on_grid(grid: VoxelGrid, stack: Volume) -> tuple[Coarse, NDArray[np.float32]] | None:
    """A stack whose pixels are the grid's cells and whose slices are whole cells apart; None: it is not so."""
    axes = parallel_axes(grid, stack)
    if axes is None:
        return None
    to_grid = grid.to_index(stack.affine)
    depth, height, width = stack.shape
    counts = dict(zip(axes, (width, height, depth), strict=True))
    steps = {axis: to_grid[axis, own] for own, axis in enumerate(axes)}
    across = axes[2]
    step = round(abs(steps[across]))
    wanted = {axis: grid.size[axis] // (step if axis == across else 1) for axis in range(3)}
    if step < 1 or counts != wanted or counts[across] * step != grid.size[across]:
        return None
    for axis in range(3):
        side = step if axis == across else 1
        drift = abs(abs(steps[axis]) - side) * counts[axis]
        first = to_grid[axis, 3] + min(0.0, steps[axis] * (counts[axis] - 1))
        if drift > ALIGNED or (axis != across and abs(first) > ALIGNED):
            return None
    first = to_grid[across, 3] + min(0.0, steps[across] * (depth - 1))
    thickness = (stack.thickness or stack.pitch) / stack.pitch * step
    if abs(thickness - round(thickness)) < WHOLE and round(thickness) > 0:
        thickness = float(round(thickness))
    phase = round(2 * (first + 0.5 - thickness / 2)) / 2
    values = stack.values.transpose(*(2 - axes.index(axis) for axis in (2, 1, 0)))
    flips = tuple(2 - axis for axis in range(3) if steps[axis] < 0)
    return Coarse(step, phase, thickness, across), np.ascontiguousarray(np.flip(values, flips))
