"""The value of a field at a point, the simplest observation: pixels of an image, voxels, samples of a signal."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from nerfkit.scenes.fields.image_field import ImageField, Lattice

__all__ = ["LatticeValues", "PointValues"]


class PointValues:
    """Values at points of any field."""

    def predict(self, field: Callable[[Tensor], Tensor], where: Tensor) -> Tensor:
        """Values [n, c] at ``where`` [n, d], in the unit of the field's coordinates."""
        return field(where)


class LatticeValues:
    """Values at a lattice of points of an image."""

    def predict(self, field: ImageField, where: Lattice) -> Tensor:
        """Values [n_channels, n_rows, n_cols]."""
        return field.evaluate_lattice(where)
