"""A lattice of voxels in space, without values: where a volume is reconstructed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.volumes import Volume

__all__ = ["VoxelGrid"]


@dataclass(frozen=True)
class VoxelGrid:
    """Voxels, and where they are.

    Parameters
    ----------
    shape : (int, int, int)
        Slices, rows, columns.
    affine : ndarray, shape (4, 4)
        From voxel (i, j, k, 1) to millimetres in RAS+; see :mod:`nerfkit.scenes.volumes`.

    Examples
    --------
    >>> grid = VoxelGrid((4, 4, 4), np.diag([1.0, 1.0, 2.0, 1.0]))
    >>> grid.resampled(1.0).shape
    (8, 4, 4)
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between voxel centres along i, j and k."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels along i, j and k."""
        depth, height, width = self.shape
        return width, height, depth

    def to_index(self, other: NDArray) -> NDArray[np.float64]:
        """What brings indices (i, j, k, 1) of a lattice with the affine ``other`` to indices of this one, [4, 4]."""
        return np.asarray(np.linalg.inv(self.affine) @ other, np.float64)

    def part(self, start: tuple[int, int, int], size: tuple[int, int, int]) -> VoxelGrid:
        """The voxels from ``start`` (i, j, k) on, ``size`` of them along i, j and k."""
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ np.asarray(start, np.float64)
        width, height, depth = size
        return VoxelGrid((depth, height, width), affine)

    def resampled(self, spacing: float) -> VoxelGrid:
        """Cubes of ``spacing`` mm over the same box, from the same corner; the last may end beside its side."""
        own = np.array(self.spacing)
        width, height, depth = (max(1, round(float(n))) for n in np.array(self.size) * own / spacing)
        affine = self.affine.copy()
        affine[:3, :3] *= spacing / own
        # the corner is half a voxel before the centre of the first one
        affine[:3, 3] += 0.5 * (affine[:3, :3] - self.affine[:3, :3]).sum(1)
        return VoxelGrid((depth, height, width), affine)

    def holding(self, values: NDArray) -> Volume:
        """These voxels with ``values`` of their shape."""
        return Volume(np.asarray(values, np.float32).reshape(self.shape), self.affine)
