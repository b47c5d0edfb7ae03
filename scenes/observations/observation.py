"""What every observation can do: predict what an instrument would have measured of a field."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

__all__ = ["LinearObservation", "Observation"]


@runtime_checkable
class Observation(Protocol):
    """An instrument: it holds what it is, and neither a field nor measurements."""

    def predict(self, field: Any, where: Any) -> Any:
        """What it would have measured of ``field`` at ``where``, differentiable in the field's parameters.

        ``where`` is what the measurements' column of that name holds: points, rays, pixels of frames. A tensor comes
        back, a row a measurement, or a tuple or dataclass of tensors of which the term's loss takes what was measured.
        """
        ...


@runtime_checkable
class LinearObservation(Observation, Protocol):
    """One that is linear in the values of a grid: solvers need its adjoint as well."""

    def adjoint(self, values: Any, grid: Any) -> Any:
        """The transpose of :meth:`predict`: values laid back on the cells of ``grid``.

        <predict(x), y> = <x, adjoint(y)> for all images x on the grid and all measurements y.
        """
        ...
