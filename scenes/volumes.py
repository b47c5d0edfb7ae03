"""A volume of voxels with its place in space.

Voxel (i, j, k) has i along the last axis of the array, j along the middle one and k along the first; its centre is at
whole numbers. Millimetres are RAS+: x to the patient's right, y to the front, z to the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_VOXELS", "Volume", "affine_of_spacing"]

# voxels of a volume: 1024 ** 3, 4 GiB of floats; more than that is worked on by nothing here
MAX_VOXELS = 2**30
# cosine between two axes up to which they count as perpendicular
PERPENDICULAR = 1e-3


def affine_of_spacing(spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    """The affine [4, 4] of voxels ``spacing`` (x, y, z) mm apart, with axes along RAS+ and voxel (0, 0, 0) at 0."""
    return np.diag([*spacing, 1.0]).astype(np.float64)


@dataclass(frozen=True)
class Volume:
    """Values on a lattice of voxels.

    Parameters
    ----------
    values : ndarray of float32, shape (d, h, w)
        In the unit of the file, such as Hounsfield units; z slowest.
    affine : ndarray of float64, shape (4, 4)
        From voxel (i, j, k, 1) to millimetres (x, y, z, 1) in RAS+.
    thickness : float or None
        What a slice averages over along k, mm; it may be more or less than :attr:`pitch`. None: not known.
    said : tuple of str
        What was left unread, and what was assumed because the file does not say it.
    is_inverted : bool
        Whether small values are to be shown bright (MONOCHROME1).
    """

    values: NDArray[np.float32]
    affine: NDArray[np.float64]
    thickness: float | None = None
    said: tuple[str, ...] = ()
    is_inverted: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        depth, height, width = self.values.shape
        return depth, height, width

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between voxel centres along i, j and k."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def pitch(self) -> float:
        """Millimetres between slices, across them: less than ``spacing[2]`` where a gantry was tilted."""
        across = np.cross(self.affine[:3, 0], self.affine[:3, 1])
        return float(abs(self.affine[:3, 2] @ across) / np.linalg.norm(across))

    @property
    def directions(self) -> NDArray[np.float64]:
        """Unit vectors [3, 3] of i, j and k in RAS+, as columns."""
        return self.affine[:3, :3] / np.array(self.spacing)

    @property
    def is_sheared(self) -> bool:
        """Whether the axes are not perpendicular, as of a tilted gantry."""
        cosines = self.directions.T @ self.directions - np.eye(3)
        return bool(np.abs(cosines).max() > PERPENDICULAR)

    @property
    def range(self) -> tuple[float, float]:
        """Least and greatest value; half a unit more on each side where all are equal."""
        low, high = float(self.values.min()), float(self.values.max())
        return (low, high) if low < high else (low - 0.5, low + 0.5)

    def to_mm(self, index: NDArray) -> NDArray[np.float64]:
        """Places [..., 3] in mm of voxel indices [..., 3] (i, j, k), fractions too."""
        return index @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, xyz: NDArray) -> NDArray[np.float64]:
        """The inverse of :meth:`to_mm`."""
        return (xyz - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T
