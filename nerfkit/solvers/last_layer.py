"""The last layer of a field by least squares: exact in one step where residuals are linear in it, else Gauss-Newton.

The field is linear in its last layer (:class:`nerfkit.scenes.fields.sine_layer.SineLayer`), so the derivative of any
residual by the weights is that by the field's value, gradient and second derivatives, which one backward pass through
the residual alone gives, times theirs by the weights, which are known in closed form. Residuals are the plain Python
of :class:`nerfkit.problem.Term`; nothing differentiates through the field.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from nerfkit.problem import Term, squared_error
from nerfkit.scenes.fields.taylor import Taylor
from nerfkit.scenes.measurements.measurements import Measurements

__all__ = ["Batch", "LinearField", "NotLeastSquares", "Solved", "draw", "loss_of", "solve_last_layer"]

# rows of points for each weight; with 3 the residual of Burgers' front at points not seen doubled
ROWS_PER_WEIGHT = 5.0
# weight of the ridge beside columns of norm 1: its root is far above what rounding does to a QR decomposition, and from
# 1e-11 to here the residual of the heat equation fell by a factor of 20
RIDGE = 1e-15
# Gauss-Newton ends when a step lowers the loss by less than this fraction, or after so many steps
CONVERGED, MOST_STEPS, MOST_HALVINGS = 1e-3, 30, 10
# a loss after a step that is within this fraction of what a linear residual would have had: it is one
LINEAR = 1e-6
# least and most rows that are worked on at once
CHUNK = 2**11


class NotLeastSquares(ValueError):
    """A term's loss is not the squared error, which is all that least squares can do."""


class LinearField(Protocol):
    """What the solver needs to know of a field; ``SineLayer`` is one."""

    weights: torch.nn.Parameter
    n_features: int
    n_outputs: int

    def taylor(self, coords: Tensor, order: int | str) -> Taylor:
        """Values and derivatives."""
        ...

    def rows(self, coords: Tensor, by_value: Tensor, by_first: Tensor | None, by_second: Tensor | None) -> Tensor:
        """Derivatives by the weights of one output."""
        ...


@dataclass(frozen=True)
class Batch:
    """A term's points, all in float64, and the factor of their rows."""

    term: Term
    where: Tensor
    values: Tensor | None
    # roots of the measurements' weights [n]
    roots: Tensor | None

    def residual(self, field: Any, part: slice = slice(None)) -> Tensor:
        """Predicted less measured [n, k], the measurements' weights in it; the loss is the mean of the squares."""
        predicted = self.term.observation.predict(field, self.where[part])
        found = predicted if self.values is None else predicted - self.values[part].view_as(predicted)
        found = found.double().flatten(1) if found.ndim > 1 else found.double()[:, None]
        return found if self.roots is None else found * self.roots[part][:, None]


@dataclass(frozen=True)
class Solved:
    """How a solution ended.

    Parameters
    ----------
    loss : float
        Sum of the terms' weighted mean squares at the points of the solution.
    n_steps : int
        Of Gauss-Newton; 1 where the residuals are linear.
    is_converged, is_linear : bool
        Whether the last step changed nothing any more; whether the first was the solution.
    """

    loss: float
    n_steps: int
    is_converged: bool
    is_linear: bool


def draw(terms: Sequence[Term], n_rows: int, generator: torch.Generator) -> list[Batch]:
    """Points of each term, in proportion to its batches; of measurements all that there are.

    Raises
    ------
    NotLeastSquares
        A term has another loss than the squared error.
    """
    for term in terms:
        if term.loss is not squared_error:
            raise NotLeastSquares("the last layer by least squares takes squared errors alone; a term has another loss")
    total = sum(term.n for term in terms)
    batches = []
    for term in terms:
        source = term.measurements
        n = max(1, round(n_rows * term.n / total))
        batch = source if isinstance(source, Measurements) else source.draw(n, generator)
        device = generator.device
        values = None if batch.values is None else batch.values.to(device, torch.float64)
        roots = None if batch.weights is None else batch.weights.to(device, torch.float64).sqrt()
        batches.append(Batch(term, batch.where.to(device, torch.float64), values, roots))
    return batches


@torch.no_grad()
def loss_of(field: Any, batches: Sequence[Batch]) -> float:
    """Sum of the terms' weighted mean squares."""
    total = 0.0
    for batch in batches:
        squares = [batch.residual(field, part).square() for part in _parts(len(batch.where))]
        total += batch.term.weight * float(torch.cat(squares).mean())
    return total


def solve_last_layer(
    field: LinearField, batches: Sequence[Batch], *, most_steps: int = MOST_STEPS, ridge: float = RIDGE,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Solved:  # fmt: skip
    """Minimise the sum of the terms' losses over the field's weights, from those that it has.

    Parameters
    ----------
    field : LinearField
        Its weights are changed.
    batches : sequence of Batch
        Of :func:`draw`.
    most_steps : int
        Of Gauss-Newton.
    ridge : float
        Factor of the squared norm of the weights, columns scaled to norm 1. It is on the weights, not on the step:
        those that a step far from the solution has made large would take many steps to come back.
    on_step : callable
        Called with the number of steps that are done and the loss; may raise.

    Notes
    -----
    Each step d from weights w solves min |r + J d|^2 + ridge |D (w + d)|^2 by a QR decomposition, D the norms of J's
    columns, and is halved until the loss falls (Nocedal and Wright 2006, sections 10.2 and 10.3).
    """
    loss = loss_of(field, batches)
    for step in range(1, most_steps + 1):
        before, start = loss, field.weights.detach().clone()
        move, expected = _step(field, batches, ridge)
        if not bool(move.isfinite().all()):
            return Solved(loss, step - 1, False, False)
        for halving in range(MOST_HALVINGS + 1):
            with torch.no_grad():
                field.weights.copy_(start + move * 0.5**halving)
            loss = loss_of(field, batches)
            if loss < before:
                break
        else:
            with torch.no_grad():
                field.weights.copy_(start)
            # no way down is left, and none was expected: this is the least
            return Solved(before, step, before - expected < CONVERGED * before, False)
        on_step(step, loss)
        if step == 1 and halving == 0 and abs(loss - expected) <= LINEAR * before:
            return Solved(loss, step, True, True)
        if before - loss < CONVERGED * before:
            return Solved(loss, step, True, False)
    return Solved(loss, most_steps, False, False)


def _step(field: LinearField, batches: Sequence[Batch], ridge: float) -> tuple[Tensor, float]:
    """The step [n_features, n_outputs] that minimises the linearised loss, and what that would be."""
    n_weights = field.weights.numel()
    system = _system(field, batches)
    norms = system[n_weights:, :-1].norm(dim=0).clamp(min=1e-150)
    system[:, :-1] /= norms
    system[:n_weights, :-1].fill_diagonal_(math.sqrt(ridge))
    weights = field.weights.detach().T.flatten() * norms
    system[:n_weights, -1] = -math.sqrt(ridge) * weights
    # R of [J, -r] holds that of J, and Q^T (-r) in its last column
    upper = torch.linalg.qr(system, mode="r").R
    move = torch.linalg.solve_triangular(upper[:-1, :-1], upper[:-1, -1:], upper=True)[:, 0]
    penalty = ridge * float((weights + move).square().sum())
    return (move / norms).view(field.n_outputs, field.n_features).T, float(upper[-1, -1] ** 2) - penalty


def _system(field: LinearField, batches: Sequence[Batch]) -> Tensor:
    """Rows [n_weights, n_weights + 1] for a ridge, zero, and [J, -r] below, weights of an output side by side."""
    n, n_weights = field.n_features, field.weights.numel()
    widths = [len(batch.where) * _n_residuals(field, batch) for batch in batches]
    system = torch.zeros(n_weights + sum(widths), n_weights + 1, dtype=torch.float64, device=field.weights.device)
    at = n_weights
    for batch, width in zip(batches, widths, strict=True):
        scale = math.sqrt(batch.term.weight / width)
        for part in _parts(len(batch.where)):
            probe = Probe(field)
            with torch.enable_grad():
                residual = batch.residual(probe, part)
            for column in residual.unbind(-1):
                rows = system[at : at + len(column)]
                at += len(column)
                rows[:, -1] = column.detach() * -scale
                for output in range(field.n_outputs):
                    rows[:, output * n : (output + 1) * n] = probe.rows(column, output).mul_(scale)
    return system


def _n_residuals(field: LinearField, batch: Batch) -> int:
    with torch.no_grad():
        return batch.residual(field, slice(0, 1)).shape[1]


class Probe:
    """A field whose values and derivatives are leaves of the graph, so that one knows how a residual depends on them.

    What is predicted of a point may depend on the field at that point, and at others that belong to it alone.
    """

    def __init__(self, field: LinearField) -> None:
        self.field = field
        self._asked: list[tuple[Tensor, list[Tensor]]] = []

    def __call__(self, coords: Tensor) -> Tensor:
        """Values [n, c]."""
        return self.taylor(coords, 0).value

    def taylor(self, coords: Tensor, order: int | str) -> Taylor:
        """Values and derivatives that a graph begins with."""
        with torch.no_grad():
            found = self.field.taylor(coords, order)
        leaves = [part.detach().requires_grad_() for part in found if part is not None]
        # a jet of order 0 asks with coordinates that require gradients
        self._asked.append((coords.detach(), leaves))
        return Taylor(*leaves)

    def rows(self, column: Tensor, output: int) -> Tensor:
        """Derivatives [n, n_features] of a residual [n] by the weights of an output."""
        total = torch.zeros(len(column), self.field.n_features, dtype=torch.float64, device=column.device)
        if not column.requires_grad:
            return total
        for coords, leaves in self._asked:
            slopes = torch.autograd.grad(column.sum(), leaves, retain_graph=True, materialize_grads=True)
            # zeros for what is not used come as variables
            by_value, by_first, by_second = [*(slope.detach()[..., output] for slope in slopes), None][:3]
            by_first = by_first if by_first is not None and by_first.shape[1] else None
            total += self.field.rows(coords, by_value, by_first, by_second)
        return total


def _parts(n: int) -> list[slice]:
    return [slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]
