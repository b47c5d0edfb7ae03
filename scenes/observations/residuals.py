"""The residual of an equation that a field is to satisfy: a user's function of the point, the value and derivatives."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from nerfkit.scenes.observations.derivatives import Jet, jet

__all__ = ["Residual"]


class Residual:
    """How far a field is from satisfying an equation at points.

    Parameters
    ----------
    equation : callable
        From points [n, d] and the field's :class:`nerfkit.scenes.observations.derivatives.Jet` there to the residual,
        [n] or [n, m] for m equations: left side minus right side.
    order : {0, 1, 2, "laplacian"}
        Highest derivative that the equation has; "laplacian": of second ones, no other than that.

    Examples
    --------
    Poisson's equation, the Laplacian equal to 1:

    >>> poisson = Residual(lambda points, u: u.laplacian - 1, order=2)
    """

    def __init__(self, equation: Callable[[Tensor, Jet], Tensor], order: int | str = 2) -> None:
        self.equation, self.order = equation, order

    def predict(self, field: Callable[[Tensor], Tensor], where: Tensor) -> Tensor:
        """The residual at ``where`` [n, d]: zero where the equation holds."""
        return self.equation(where, jet(field, where, self.order))
