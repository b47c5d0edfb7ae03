"""A cone's scan: what was measured, how surely, and the volume that is sought."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.scenes.cone_geometry import ConeGeometry
from nerfkit.scenes.observations.cone_integrals import ConeIntegrals
from nerfkit.workbench.tomography.scan import Scan

__all__ = ["ConeScan"]


@dataclass(frozen=True)
class ConeScan:
    """Line integrals under a cone of rays and the voxels that they are to be made a volume of.

    Parameters
    ----------
    geometry : ConeGeometry
        Where the rays ran.
    sinogram : Tensor, shape (n_angles, n_rows, n_bins), float32
        Mean line integrals of each pixel of the detector, attenuation times millimetres.
    deviations : Tensor, shape (n_angles, n_rows, n_bins), float32
        Standard deviations of their noise; infinite where nothing was measured.
    shape : (int, int, int)
        Of the volume [d, h, w], z rising along the first axis, y along the second; h and w are equal.
    pixel, height : float
        Sides of a voxel across the axis and along it, millimetres.
    affine : ndarray, shape (4, 4)
        From voxels to millimetres in RAS+.
    """

    geometry: ConeGeometry
    sinogram: Tensor
    deviations: Tensor
    shape: tuple[int, int, int]
    pixel: float
    height: float
    affine: NDArray[np.float64]

    @cached_property
    def instrument(self) -> ConeIntegrals:
        """Its line integrals of a volume."""
        return ConeIntegrals(self.geometry, self.shape, self.pixel, self.height)

    @property
    def weights(self) -> Tensor:
        """1 / variance of each value."""
        return self.deviations.square().reciprocal()

    def row(self, number: int) -> Scan:
        """A row of the detector as a fan's scan of a slice, which it is in the source's plane."""
        parts = self.sinogram[:, number].contiguous(), self.deviations[:, number].contiguous()
        return Scan(self.geometry.fan, *parts, self.shape[2], self.pixel)

    def middle_rows(self, n: int) -> list[int]:
        """Numbers of the ``n`` rows that are nearest to the source's plane, rising."""
        away = np.abs(np.arange(self.geometry.n_rows) - self.geometry.center_row)
        return sorted(np.argsort(away, kind="stable")[:n].tolist())

    @cached_property
    def middle(self) -> Scan:
        """The row in the source's plane."""
        return self.row(self.middle_rows(1)[0])

    @property
    def disc(self) -> Tensor:
        """Pixels [h, w], bool, that every angle sees across the axis."""
        return self.middle.seen

    @cached_property
    def seen(self) -> Tensor:
        """Voxels [d, h, w], bool, that every angle sees."""
        depth, side, _ = self.shape
        axis = (np.arange(side) - (side - 1) / 2) * self.pixel
        low, high = self.geometry.reach(np.hypot(axis[:, None], axis))
        z = ((np.arange(depth) - (depth - 1) / 2) * self.height)[:, None, None]
        return torch.from_numpy((z > low) & (z < high)) & self.disc

    def scaled(self, factor: float) -> Self:
        """The same with values ``factor`` times as large."""
        return replace(self, sinogram=self.sinogram * factor, deviations=self.deviations * factor)
