"""What an instrument measures of a whole picture at once: a field, evaluated on the instrument's own grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["Instrument", "Measured", "WholePicture", "linear"]


def linear(picture: Tensor, forward: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor]) -> Tensor:
    """``forward(picture)`` of a linear map that torch cannot differentiate; its ``adjoint`` takes gradients back."""
    return _Linear.apply(picture, forward, adjoint)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, picture: Tensor, forward: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor]
    ) -> Tensor:
        ctx.adjoint = adjoint
        return forward(picture)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return ctx.adjoint(grads[0]), None, None


class Instrument(Protocol):
    """A linear map from pictures on a grid to values; line integrals, Fourier coefficients, averages."""

    def product(self, picture: Tensor) -> Tensor:
        """Values [..., *values_shape] of pictures [..., *shape]; :func:`linear` gives them a derivative."""
        ...

    def adjoint(self, values: Tensor) -> Tensor:
        """The transpose of :meth:`product`."""
        ...


class Measured(NamedTuple):
    """What an instrument would have measured, and the picture of which."""

    values: Tensor
    picture: Tensor


class WholePicture:
    """A field evaluated on a grid of points, then seen by an instrument.

    Parameters
    ----------
    instrument : Instrument
        Takes the picture.
    make : callable
        From the field's values [n, c] at the points to the instrument's picture.
    """

    def __init__(self, instrument: Instrument, make: Callable[[Tensor], Tensor]) -> None:
        self.instrument, self.make = instrument, make

    def predict(self, field: Callable[[Tensor], Tensor], where: Any) -> Measured:
        """What is measured of ``field`` at the points ``where`` [n, d] of the grid."""
        picture = self.make(field(where))
        # nothing but the picture has a derivative here, and the adjoint costs less than what torch would record
        values = linear(picture, self.instrument.product, self.instrument.adjoint)
        return Measured(values, picture)
