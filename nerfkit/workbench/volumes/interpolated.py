"""Volumes by interpolation: between slices, and at other spacings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import affine_transform

from nerfkit.scenes.observations.slice_averages import box_overlaps
from nerfkit.scenes.volumes import Volume
from nerfkit.scenes.voxel_grid import VoxelGrid

__all__ = ["interpolated", "resampled"]

# order of the splines by name
ORDERS = {"linear": 1, "cubic": 3}
# how much coarser than the cells a grid must be for averages over its voxels rather than values at their centres
COARSER = 1.01


def interpolated(grid: VoxelGrid, stacks: Sequence[Volume], how: str) -> NDArray[np.float32]:
    """The mean [grid.shape] of the stacks, each interpolated linearly or by cubic splines; beyond them their border."""
    total = np.zeros(grid.shape)
    for stack in stacks:
        to_stack = np.linalg.inv(stack.affine) @ grid.affine
        # the array's axes are the lattice's, last first
        matrix, offset = to_stack[2::-1, 2::-1], to_stack[2::-1, 3]
        # scipy's own annotation knows one offset for all axes alone
        offsets: Any = offset
        total += affine_transform(
            stack.values.astype(np.float64), matrix, offsets, grid.shape, order=ORDERS[how], mode="nearest"
        )
    return (total / len(stacks)).astype(np.float32)


def resampled(volume: Volume, grid: VoxelGrid) -> Volume:
    """A volume on a grid whose axes are along its own: cubic between its voxels; averages on a coarser grid."""
    to_own = np.linalg.inv(volume.affine) @ grid.affine
    values = volume.values.astype(np.float64)
    for axis in range(3):
        step, first = to_own[axis, axis], to_own[axis, 3]
        places = first + step * np.arange(grid.size[axis])
        values = _along(values, 2 - axis, places, step)
    return grid.holding(values)


def _along(values: NDArray, axis: int, places: NDArray, step: float) -> NDArray:
    """Values along one axis of an array at fractional indices, beyond the ends those of the border."""
    n = values.shape[axis]
    if len(places) == n and np.allclose(places, np.arange(n), atol=1e-6):
        return values
    if step > COARSER:
        matrix = box_overlaps(places, step, n).toarray()
        return np.moveaxis(np.tensordot(matrix, values, (1, axis)), 0, axis)
    places = places.clip(0, n - 1)
    return values.take([0] * len(places), axis) if n == 1 else CubicSpline(np.arange(n), values, axis)(places)
