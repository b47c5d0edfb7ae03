"""Stacks of thick slices, made from a fine volume."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.observations.slice_averages import SliceAverages
from nerfkit.scenes.volumes import Volume
from nerfkit.scenes.voxel_grid import VoxelGrid

__all__ = ["simulate_stacks"]

# axes of the volume (0, 1, 2 for i, j, k) that i, j and k of each stack are along: across k first, then i, then j
ORDERS = ((0, 1, 2), (1, 2, 0), (0, 2, 1))
WHERE = "--simulate"


def simulate_stacks(volume: Volume, keys: Mapping[str, Any], seed: int, path: Path) -> tuple[Volume, list[Volume]]:
    """The volume that is to be found, and the stacks that a scanner would have given of it.

    Parameters
    ----------
    volume : Volume
        Fine; cut to whole numbers of slices.
    keys : mapping
        ``thickness`` of a slice in voxels, ``stacks`` 1 to 3, each across another axis, ``noise`` as a fraction of the
        range, ``every``: which slices are kept, 2 for every second.
    seed : int
        Of the noise.
    path : Path
        For messages.
    """
    thickness, n_stacks, noise, every = (keys[name] for name in ("thickness", "stacks", "noise", "every"))
    _check(volume, thickness, n_stacks, noise, every, path)
    pitch = thickness * every
    size = [side - side % pitch if axis in _across(n_stacks) else side for axis, side in enumerate(volume.shape[::-1])]
    width, height, depth = size
    truth = Volume(np.ascontiguousarray(volume.values[:depth, :height, :width]), volume.affine)
    generator = np.random.default_rng(seed)
    low, high = truth.range
    grid, stacks = VoxelGrid(truth.shape, truth.affine), []
    for order in ORDERS[:n_stacks]:
        empty = _slices_of(grid, order, thickness, pitch)
        measured = _measured(grid, empty, truth)
        noisy = measured + noise * (high - low) * generator.standard_normal(measured.shape)
        stacks.append(Volume(noisy.astype(np.float32), empty.affine, empty.thickness))
    return truth, stacks


def _across(n_stacks: int) -> list[int]:
    return [order[2] for order in ORDERS[:n_stacks]]


def _check(volume: Volume, thickness: int, n_stacks: int, noise: float, every: int, path: Path) -> None:
    if thickness < 1 or every < 1 or thickness * every < 2:
        raise NerfkitError(
            f"thickness {thickness} and every {every} leave the volume as it is; a product above 1 is wanted",
            where=WHERE, fix="for example thickness=4, or thickness=1,every=2",
        )  # fmt: skip
    if not 1 <= n_stacks <= len(ORDERS):
        raise NerfkitError(f"stacks must be 1, 2 or 3; got {n_stacks}", where=WHERE, fix="stacks=2")
    if not 0 <= noise < 10:
        raise NerfkitError(f"noise must be 0 to 10, of the range; got {noise}", where=WHERE, fix="noise=0.01")
    for axis in _across(n_stacks):
        if (side := volume.shape[2 - axis]) < 2 * thickness * every:
            raise NerfkitError(
                f"has {side} voxels along axis {'ijk'[axis]}; two slices of {thickness * every} at least are wanted",
                where=path, fix="give a larger volume, or a smaller thickness",
            )  # fmt: skip


def _slices_of(grid: VoxelGrid, order: tuple[int, int, int], thickness: int, pitch: int) -> Volume:
    """A stack of nothing at its place."""
    sides = [grid.size[axis] for axis in order]
    to_grid = np.zeros((4, 4))
    to_grid[list(order), range(3)] = 1.0, 1.0, pitch
    to_grid[order[2], 3] = (thickness - 1) / 2
    to_grid[3, 3] = 1.0
    values = np.zeros((sides[2] // pitch, sides[1], sides[0]), np.float32)
    return Volume(values, grid.affine @ to_grid, thickness * grid.spacing[order[2]])


def _measured(grid: VoxelGrid, stack: Volume, truth: Volume) -> np.ndarray:
    import torch

    return SliceAverages(grid, stack).predict(torch.from_numpy(truth.values)).numpy()
