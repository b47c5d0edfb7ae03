"""A scan: what a tomograph measured, how surely, and the picture that is sought."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from nerfkit.scenes.observations.line_integrals import LineIntegrals
from nerfkit.scenes.scan_geometry import ScanGeometry

__all__ = ["Scan"]


@dataclass(frozen=True)
class Scan:
    """Line integrals and the grid of pixels that they are to be made a picture on.

    Parameters
    ----------
    geometry : ScanGeometry
        Where the rays ran.
    sinogram : Tensor, shape (n_angles, n_bins), float32
        Mean line integrals of each bin, attenuation times millimetres.
    deviations : Tensor, shape (n_angles, n_bins), float32
        Standard deviations of their noise; infinite where nothing was measured.
    side : int
        Pixels of the square picture along a side.
    pixel : float
        Side of a pixel, millimetres.
    """

    geometry: ScanGeometry
    sinogram: Tensor
    deviations: Tensor
    side: int
    pixel: float

    @cached_property
    def instrument(self) -> LineIntegrals:
        """Its line integrals of a picture."""
        return LineIntegrals(self.geometry, (self.side, self.side), self.pixel)

    @property
    def weights(self) -> Tensor:
        """1 / variance of each value."""
        return self.deviations.square().reciprocal()

    @cached_property
    def seen(self) -> Tensor:
        """Pixels [side, side], bool, that every angle sees: a disc round the axis of rotation."""
        middle = (self.side - 1) / 2
        rows, columns = torch.meshgrid(*[torch.arange(self.side) - middle] * 2, indexing="ij")
        return rows.square() + columns.square() < self.radius**2

    @property
    def radius(self) -> float:
        """Of the disc of :attr:`seen`, pixels."""
        return max(min(self.side / 2, self.geometry.field_of_view / self.pixel) - 1, 1.0)

    def scaled(self, factor: float) -> Self:
        """The same with values ``factor`` times as large."""
        found = replace(self, sinogram=self.sinogram * factor, deviations=self.deviations * factor)
        # the matrix is the same, and large
        found.__dict__["instrument"] = self.instrument
        return found
