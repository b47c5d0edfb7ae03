"""Images of any resolution: fields of the plane that evaluate a lattice of points faster than a list.

Points are (x, y), x to the right and y down, in the unit of the size that a field was made with. A lattice has rows at
heights ys and columns at xs: what depends on it alone is a :class:`Lattice`, made once by ``lattice(ys, xs)`` and used
in every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nerfkit.scenes.fields.field import Field

__all__ = ["ImageField", "Lattice", "render_lattice"]

# points that a chunk of a rendering asks for, which bounds the memory it takes
CHUNK_POINTS = 2**19


@dataclass(frozen=True)
class Lattice:
    """What a field needs to know of points before it can evaluate them: rows and columns of them, or a list."""

    # rows and columns of points; a list has one column
    shape: tuple[int, int]
    # [n_points, 2] inputs (x, y) of the single network, or [n_networks, n_points, 2] of each, in [-1, 1] of its square
    points: Tensor
    # of each network's points: which one of the lattice, and its weight in the blend; None for the single network
    index: Tensor | None = None
    blend: Tensor | None = None
    # which networks have points at all; None: every one
    networks: Tensor | None = None


class ImageField(Field, Protocol):
    """An image of any resolution."""

    size: tuple[float, float]

    def lattice(self, ys: Tensor, xs: Tensor) -> Lattice:
        """Prepare the points at heights ``ys`` [n_rows] and ``xs`` [n_cols]."""
        ...

    def evaluate_lattice(self, lattice: Lattice) -> Tensor:
        """Values [n_channels, n_rows, n_cols] at the points."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that is saved."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """All weights."""
        ...


@torch.no_grad()
def render_lattice(field: ImageField, ys: Tensor, xs: Tensor) -> Tensor:
    """Values [n_channels, n_rows, n_cols] of a lattice of any size, in chunks of rows that fit in memory."""
    rows = max(1, CHUNK_POINTS // len(xs))
    return torch.cat([field.evaluate_lattice(field.lattice(part, xs)).cpu() for part in ys.split(rows)], dim=1)
