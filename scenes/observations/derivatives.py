"""Value, gradient and second derivatives of any field at points, exact.

They travel forward through the layers of a field that can do so (its ``taylor``), and backwards, by automatic
differentiation, through any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nerfkit.scenes.fields.taylor import Taylor

__all__ = ["Derivatives", "Jet", "grid_jet", "jet"]


@dataclass(frozen=True)
class Jet:
    """A field's value at points and its derivatives by the coordinates, in their unit."""

    # [n, c]
    value: Tensor
    # [n, c, d]; None below order 1. Typed as always there: whoever writes a residual knows the order that it asks for
    gradient: Tensor = None  # pyright: ignore[reportAssignmentType]
    # [n, c, d, d]; None below order 2, and where the Laplacian alone was asked for
    hessian: Tensor = None  # pyright: ignore[reportAssignmentType]
    # sum of the unmixed second derivatives [n, c], where it was asked for alone
    trace: Tensor | None = None

    @property
    def laplacian(self) -> Tensor:
        """Sum of the unmixed second derivatives [n, c]."""
        if self.trace is not None:
            return self.trace
        if self.hessian is None:
            raise ValueError("the Laplacian needs second derivatives; this jet has none: ask for order=2")
        return self.hessian.diagonal(dim1=-2, dim2=-1).sum(-1)


def jet(field: Callable[[Tensor], Tensor], coords: Tensor, order: int | str = 1) -> Jet:
    """Value and derivatives of ``field``.

    Parameters
    ----------
    field : Field or callable
        Any function of a point that torch can differentiate so often.
    coords : Tensor, shape (n, d)
        Points; each of them must have influence on its own values alone.
    order : {0, 1, 2, "laplacian"}
        Derivatives up to this order; "laplacian" is the second without the mixed ones, summed. Forward, each
        derivative costs what the value does. Backwards the first costs a pass for each of the c outputs, the second d
        more for each.

    Notes
    -----
    Differentiable in the field's parameters, and in ``coords`` where these require it; under ``torch.no_grad`` the jet
    has no history. A ReLU network of the point itself, or of a hash grid, has no unmixed second derivatives.

    Examples
    --------
    >>> wave = lambda x: torch.sin(x[:, :1]) * x[:, 1:]
    >>> jet(wave, torch.tensor([[0.0, 2.0]]), 2).gradient.detach()
    tensor([[[2., 0.]]])
    """
    if order not in (0, 1, 2, "laplacian"):
        raise ValueError(f"order must be 0, 1, 2 or 'laplacian'; got {order!r}")
    has_history = torch.is_grad_enabled()
    if order and (forward := getattr(field, "taylor", lambda coords, order: None)(coords, order)) is not None:
        return _jet_of(forward, order)
    order = 2 if order == "laplacian" else order
    with torch.enable_grad():
        coords = coords if coords.requires_grad and has_history else coords.detach().requires_grad_()
        value = field(coords)
        gradient = _gradient(value, coords, order > 1 or has_history) if order > 0 else None
        hessian = _gradient(gradient.flatten(1), coords, has_history) if gradient is not None and order > 1 else None
    if hessian is not None and gradient is not None:
        hessian = hessian.view(*gradient.shape, coords.shape[-1])
    parts: list[Any] = [value, gradient, hessian]
    parts = [part if has_history or part is None else part.detach() for part in parts]
    return Jet(*parts)


def grid_jet(field: Any, ys: Tensor, xs: Tensor, order: int | str = 1) -> Jet:
    """As :func:`jet`, at the points of a lattice, row by row, with rows at ``ys`` and columns at ``xs``, ascending."""
    if order and getattr(field, "has_lattice_taylor", False):
        return _jet_of(field.lattice_taylor(field.lattice(ys, xs), order), order)
    points = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1).view(-1, 2)
    return jet(field, points.float().to(next(field.parameters()).device), order)


def _jet_of(found: Taylor, order: int | str) -> Jet:
    """Derivatives that travelled forward, coordinates last."""
    gradient = found.first.transpose(1, 2)
    if found.second is None:
        return Jet(found.value, gradient)
    if order == "laplacian":
        return Jet(found.value, gradient, trace=found.second[:, 0])
    d = gradient.shape[-1]
    rows, cols = torch.triu_indices(d, d)
    place = torch.empty(d, d, dtype=torch.int64)
    place[rows, cols] = place[cols, rows] = torch.arange(len(rows))
    return Jet(found.value, gradient, found.second.transpose(1, 2)[..., place])


def _gradient(values: Tensor, coords: Tensor, create_graph: bool) -> Tensor:
    """Derivatives [n, k, d] of ``values`` [n, k]."""

    def of(column: Tensor) -> Tensor:
        if not column.requires_grad:
            return torch.zeros_like(coords)
        return torch.autograd.grad(
            column.sum(), coords, retain_graph=True, create_graph=create_graph, materialize_grads=True
        )[0]

    return torch.stack([of(column) for column in values.unbind(-1)], dim=1)


class Derivatives:
    """Observes the value and the derivatives of any field.

    Parameters
    ----------
    order : {0, 1, 2, "laplacian"}
        As :func:`jet` takes it.
    """

    def __init__(self, order: int | str = 1) -> None:
        self.order = order

    def predict(self, field: Callable[[Tensor], Tensor], where: Tensor) -> Jet:
        """The jet at ``where`` [n, d]."""
        return jet(field, where, self.order)
