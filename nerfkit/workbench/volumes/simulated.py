"""Stacks of thick slices, made from a fine volume."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.observations.slice_averages import SliceAverages
from nerfkit.scenes.volumes import Volume
from nerfkit.scenes.voxel_grid import VoxelGrid

__all__ = ["simulate_stacks", "simulated_motion"]

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
        range, ``every``: which slices are kept, 2 for every second; ``motion``: by how many mm the body is shifted and
        by how many degrees turned before each stack after the first, which no affine says; ``gain`` of those stacks.
    seed : int
        Of the noise.
    path : Path
        For messages.
    """
    thickness, n_stacks, noise, every = (keys[name] for name in ("thickness", "stacks", "noise", "every"))
    for name, low, high in (("motion", 0, 45), ("gain", 0.1, 10)):
        if not low <= keys.get(name, low) <= high:
            raise NerfkitError(
                f"{name} must be {low} to {high}; got {keys[name]}", where=WHERE, fix=f"for example {name}=1.5"
            )
    _check(volume, thickness, n_stacks, noise, every, path)
    pitch = thickness * every
    size = [side - side % pitch if axis in _across(n_stacks) else side for axis, side in enumerate(volume.shape[::-1])]
    width, height, depth = size
    truth = Volume(np.ascontiguousarray(volume.values[:depth, :height, :width]), volume.affine)
    generator = np.random.default_rng(seed)
    low, high = truth.range
    grid, stacks = VoxelGrid(truth.shape, truth.affine), []
    for number, order in enumerate(ORDERS[:n_stacks]):
        empty = _slices_of(grid, order, thickness, pitch)
        moved = simulated_motion(truth, keys.get("motion", 0), number, seed) @ empty.affine
        measured = _measured(truth, Volume(empty.values, moved, empty.thickness))
        measured = measured * (keys.get("gain", 1) if number else 1)
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


def simulated_motion(truth: Volume, motion: float, number: int, seed: int) -> NDArray[np.float64]:
    """What takes the places of stack ``number`` by its affine, in mm, to where its slices were in the first one's body.

    It shifts by ``motion`` mm, and turns by as many degrees about the middle, both in directions drawn for the stack.
    """
    found = np.eye(4)
    if number == 0 or motion == 0:
        return found
    draws = np.random.default_rng((seed, number)).standard_normal((2, 3))
    shift, axis = draws / np.linalg.norm(draws, axis=1, keepdims=True)
    middle = truth.to_mm((np.array(truth.shape[::-1]) - 1) / 2)
    found[:3, :3] = Rotation.from_rotvec(axis * motion, degrees=True).as_matrix()
    found[:3, 3] = middle + motion * shift - found[:3, :3] @ middle
    return found


def _measured(truth: Volume, stack: Volume) -> np.ndarray:
    """Averages over the stack's boxes; beyond the volume is what its border has."""
    import torch

    corners = np.array(list(itertools.product(*((-1, n) for n in stack.shape[::-1]))))
    beyond = truth.to_index(stack.to_mm(corners))
    low = np.maximum(np.ceil(-beyond.min(0)), 0).astype(int)
    high = np.maximum(np.ceil(beyond.max(0) - truth.shape[::-1]), 0).astype(int) + 1
    padded = np.pad(truth.values, list(zip(low[::-1], high[::-1], strict=True)), mode="edge")
    x, y, z = (-int(n) for n in low)
    depth, height, width = padded.shape
    grid = VoxelGrid(truth.shape, truth.affine).part((x, y, z), (width, height, depth))
    return SliceAverages(grid, stack).predict(torch.from_numpy(padded)).numpy()
