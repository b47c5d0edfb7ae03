"""Stacks in the unit of the solvers, on their grid, and what each method makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.scenes.observations.slice_averages import SliceAverages
from nerfkit.scenes.volumes import Volume
from nerfkit.scenes.voxel_grid import VoxelGrid
from nerfkit.workbench.volumes.interpolated import interpolated
from nerfkit.workbench.volumes.layout import Layout, lay_out
from nerfkit.workbench.volumes.statistics import background_of, noise_of
from nerfkit.workbench.volumes.variation import least_variation

__all__ = ["StackProblem", "make_problem"]


@dataclass(frozen=True)
class StackProblem:
    """What was measured, and how.

    Parameters
    ----------
    layout : Layout
        The grid.
    stacks : list of Volume
        Values in [0, 1].
    span : (float, float)
        What 0 and 1 are in the unit of the input.
    noise : float
        Standard deviation of a value, of the range.
    floor : float or None
        Least value that there can be, of the range.
    slices : list of SliceAverages
        How each stack has measured the grid.
    """

    layout: Layout
    stacks: list[Volume]
    span: tuple[float, float]
    noise: float
    floor: float | None
    slices: list[SliceAverages]

    @property
    def tensors(self) -> list[Tensor]:
        """Values of the stacks."""
        return [torch.from_numpy(stack.values) for stack in self.stacks]

    def smooth(
        self, weight: float, tensors: Sequence[Tensor], start: Tensor, check: Callable[[], None]
    ) -> Tensor:  # fmt: skip
        """The volume of least total variation through ``tensors``, NaN where they are not to count."""
        return least_variation(self.slices, tensors, weight, start, floor=self.floor, check=check)

    def between(self, how: str) -> NDArray[np.float32]:
        """The stacks interpolated, "linear" or "cubic"."""
        return interpolated(self.layout.grid, self.stacks, how)

    def in_unit(self, values: NDArray | Tensor) -> NDArray[np.float32]:
        """Values in the unit of the input, none below the floor."""
        low, high = self.span
        found = np.asarray(values, np.float32)
        found = found if self.floor is None else np.maximum(found, np.float32(self.floor))
        return found * np.float32(high - low) + np.float32(low)


def make_problem(volumes: Sequence[Volume], spacing: float | None, grid: VoxelGrid | None = None) -> StackProblem:
    """The problem of ``volumes``, which are in the unit of the input, on their grid or on one that is given."""
    low, high = min(volume.range[0] for volume in volumes), max(volume.range[1] for volume in volumes)
    stacks = [
        Volume((volume.values - np.float32(low)) / np.float32(high - low), volume.affine, volume.thickness)
        for volume in volumes
    ]
    layout = lay_out(stacks, spacing, grid)
    noise = noise_of([stack.values for stack in stacks])
    floor = background_of([stack.values for stack in stacks], noise)
    slices = [SliceAverages(layout.grid, stack) for stack in stacks]
    return StackProblem(layout, stacks, (low, high), noise, floor, slices)
