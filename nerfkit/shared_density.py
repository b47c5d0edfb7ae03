"""The density of a field at positions that several processes ask for together."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nerfkit.ranks import Ranks

__all__ = ["SharedDensity"]


class SharedDensity:
    """The density of a field, asked for by several processes, each its part of the positions.

    Parameters
    ----------
    field : RadianceField
        The same in each.
    ranks : Ranks
        The processes, which all ask for the same positions.
    """

    def __init__(self, field: Any, ranks: Ranks) -> None:
        self.field, self.ranks = field, ranks

    def density(self, xyzs: Tensor) -> Tensor:
        """Densities [n] at positions [n, 3]."""
        found, own = xyzs.new_zeros(len(xyzs)), self.ranks.part(len(xyzs))
        found[own] = self.field.density(xyzs[own]).to(found)
        return self.ranks.sum_(found)
