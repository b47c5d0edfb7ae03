"""What every field can do: coordinates in, values out."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

__all__ = ["Field"]


@runtime_checkable
class Field(Protocol):
    """A function of a point: an image, a volume, a signed distance, a displacement.

    Coordinates are in the data's own unit, in the order x, y(, z)(, t): of an image x is to the right and y down.
    """

    @property
    def n_dims(self) -> int:
        """Coordinates d of a point."""
        ...

    @property
    def n_outputs(self) -> int:
        """Values c at a point."""
        ...

    def __call__(self, coords: Tensor) -> Tensor:
        """Values [..., c] at ``coords`` [..., d], differentiable in the coordinates and in the parameters."""
        ...

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Groups for the optimiser, with the learning rates that suit this field."""
        ...
