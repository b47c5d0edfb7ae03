"""The last layer of a field by least squares: exact in one step where residuals are linear in it, else Gauss-Newton.

The field is linear in its last layer (:class:`nerfkit.scenes.fields.sine_layer.SineLayer`), so the derivative of any
residual by the weights is that by the field's value, gradient and second derivatives, which one backward pass through
the residual alone gives, times theirs by the weights, which are known in closed form. Residuals are the plain Python
of :class:`nerfkit.problem.Term`; nothing differentiates through the field. Numbers that a residual reads and nobody
knows (:class:`nerfkit.solvers.unknowns.Unknowns`) are columns beside the weights.
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
from nerfkit.solvers.unknowns import Unknowns

__all__ = [
    "Batch", "Factorised", "LinearField", "NotLeastSquares", "Solved", "draw", "loss_of", "solve_last_layer",
    "spread_of_unknowns",
]  # fmt: skip

# rows of points for each weight; with 3 the residual of Burgers' front at points not seen doubled
ROWS_PER_WEIGHT = 5.0
# weight of the ridge beside columns of norm 1: its root is far above what rounding does to a QR decomposition, and from
# 1e-11 to here the residual of the heat equation fell by a factor of 20
RIDGE = 1e-15
# Gauss-Newton ends when a step lowers the loss by less than this fraction, or after so many steps
CONVERGED, MOST_STEPS, MOST_HALVINGS = 1e-3, 30, 10
# a loss after a step that is within this fraction of what a linear residual would have had: it is one
LINEAR = 1e-6
# a column of a smaller norm is one that nothing depends on
TINY = 1e-150
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
    unknowns: Unknowns | None = None, on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Solved:  # fmt: skip
    """Minimise the sum of the terms' losses over the field's weights, and numbers that they read, from their values.

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
    unknowns : Unknowns, optional
        Numbers that the terms read; they are changed. The ridge is on their steps.
    on_step : callable
        Called with the number of steps that are done and the loss; may raise.

    Notes
    -----
    Each step d from weights w solves min |r + J d|^2 + ridge |D (w + d)|^2 by a QR decomposition, D the norms of J's
    columns, and is halved until the loss falls (Nocedal and Wright 2006, sections 10.2 and 10.3).
    """
    loss = loss_of(field, batches)
    for step in range(1, most_steps + 1):
        before, start, numbers = loss, field.weights.detach().clone(), None if unknowns is None else unknowns.values
        move, numbers_move, expected = _step(field, batches, ridge, unknowns)
        if not bool(move.isfinite().all() and numbers_move.isfinite().all()):
            return Solved(loss, step - 1, False, False)
        for halving in range(MOST_HALVINGS + 1):
            _set(field, start + move * 0.5**halving, unknowns, numbers, numbers_move * 0.5**halving)
            loss = loss_of(field, batches)
            if loss < before:
                break
        else:
            _set(field, start, unknowns, numbers, torch.zeros_like(numbers_move))
            # no way down is left, and none was expected: this is the least
            return Solved(before, step, before - expected < CONVERGED * before, False)
        on_step(step, loss)
        # unknowns that stand beside a field of 0 do nothing in the first step
        if unknowns is None and step == 1 and halving == 0 and abs(loss - expected) <= LINEAR * before:
            return Solved(loss, step, True, True)
        # with unknowns a step that had to be shortened says nothing of the least: the way to it bends
        if before - loss < CONVERGED * before and (unknowns is None or halving == 0):
            return Solved(loss, step, True, False)
    return Solved(loss, most_steps, False, False)


@torch.no_grad()
def _set(field: LinearField, weights: Tensor, unknowns: Unknowns | None, numbers: Tensor | None, move: Tensor) -> None:
    field.weights.copy_(weights)
    if unknowns is not None and numbers is not None:
        unknowns.values = numbers + move.to(numbers)


def spread_of_unknowns(field: LinearField, batches: Sequence[Batch], unknowns: Unknowns) -> Tensor:
    """Standard deviations [n_unknowns] of unknowns that were solved for, from the noise of what was measured.

    Notes
    -----
    The last step's unknowns are G [J, -r] with G the rows of the pseudo-inverse of J; noise of variance s^2 in the rows
    of a term of measurements adds s^2 G G^T over these rows (the Gauss-Newton covariance: Nocedal and Wright 2006,
    section 10.1). s^2 is what is left at them, over their number less that of the unknowns. Equations hold without
    noise.
    """
    n_weights, n_unknowns = field.weights.numel(), len(unknowns)
    system, spans = _system(field, batches, unknowns)
    norms = _scale_columns(system, n_weights, RIDGE)
    upper = torch.linalg.qr(system[:, :-1], mode="r").R
    total = torch.zeros(n_unknowns, n_unknowns, dtype=torch.float64, device=system.device)
    for batch, span in zip(batches, spans, strict=True):
        if batch.values is None:
            continue
        rows = system[span]
        # rows of the inverse of J^T J that belong to the unknowns, times J^T
        inner = torch.linalg.solve_triangular(upper.T, rows[:, :-1].T, upper=False)
        gains = torch.linalg.solve_triangular(upper, inner, upper=True)[n_weights:]
        noise = rows[:, -1].square().sum() / max(1, len(rows) - n_unknowns)
        total += noise * gains @ gains.T
    return total.diagonal().clamp(min=0).sqrt() / norms[n_weights:]


class Factorised:
    """Terms whose residuals are linear in a field, factorised once: each set of values takes two products more.

    Parameters
    ----------
    field : LinearField
        Its weights do not matter.
    batches : sequence of Batch
        Of :func:`draw`. Those with ``values``, one residual a point, are what :meth:`solve` is given anew; the others
        must be 0 for the field that is 0.
    ridge : float
        As of :func:`solve_last_layer`.
    """

    def __init__(self, field: LinearField, batches: Sequence[Batch], ridge: float = RIDGE) -> None:
        self._shape = (field.n_outputs, field.n_features)
        with torch.no_grad():
            field.weights.zero_()
        n_weights = field.weights.numel()
        system, spans = _system(field, batches, None)
        self._norms = _scale_columns(system, n_weights, ridge)
        self._upper = torch.linalg.qr(system[:, :-1], mode="r").R
        # Q^T for the rows of measured values alone: Q of all rows would take as much memory as the system
        self._gains, self._factors = [], []
        for batch, span in zip(batches, spans, strict=True):
            if batch.values is None:
                continue
            rows = system[span, :-1]
            self._gains.append(torch.linalg.solve_triangular(self._upper.T, rows.T, upper=False))
            factor = math.sqrt(batch.term.weight / len(rows))
            self._factors.append(factor if batch.roots is None else factor * batch.roots)

    def solve(self, *values: Tensor) -> Tensor:
        """Weights [n_features, n_outputs] for ``values`` [n] of each batch that has such."""
        inner = sum(
            gains @ (factor * value) for gains, factor, value in zip(self._gains, self._factors, values, strict=True)
        )
        assert isinstance(inner, Tensor)
        weights = torch.linalg.solve_triangular(self._upper, inner[:, None], upper=True)[:, 0]
        return (weights / self._norms).view(self._shape).T


def _step(
    field: LinearField, batches: Sequence[Batch], ridge: float, unknowns: Unknowns | None
) -> tuple[Tensor, Tensor, float]:
    """Steps of weights [n_features, n_outputs] and unknowns, to the least linearised loss, and what that would be."""
    n_weights = field.weights.numel()
    system, _ = _system(field, batches, unknowns)
    norms = _scale_columns(system, n_weights, ridge)
    weights = field.weights.detach().T.flatten() * norms[:n_weights]
    system[:n_weights, -1] = -math.sqrt(ridge) * weights
    # R of [J, -r] holds that of J, and Q^T (-r) in its last column
    upper = torch.linalg.qr(system, mode="r").R
    scaled = torch.linalg.solve_triangular(upper[:-1, :-1], upper[:-1, -1:], upper=True)[:, 0]
    penalty = ridge * float((weights + scaled[:n_weights]).square().sum())
    move, numbers = (scaled / norms).split([n_weights, len(scaled) - n_weights])
    return move.view(field.n_outputs, field.n_features).T, numbers, float(upper[-1, -1] ** 2) - penalty


def _scale_columns(system: Tensor, n_weights: int, ridge: float) -> Tensor:
    """Bring the columns of [J, -r] to norm 1, put the ridge above them, and give the norms."""
    n_ridge = system.shape[1] - 1
    norms = system[n_ridge:, :-1].norm(dim=0)
    # what nothing depends on stays where it is
    norms = torch.where(norms > TINY, norms, 1.0)
    system[:, :-1] /= norms
    system[:n_ridge, :-1].fill_diagonal_(math.sqrt(ridge))
    return norms


def _system(
    field: LinearField, batches: Sequence[Batch], unknowns: Unknowns | None
) -> tuple[Tensor, list[slice]]:  # fmt: skip
    """Rows [n, n + 1] for a ridge, zero, [J, -r] below, and where each batch's rows are.

    Columns are the weights, those of an output side by side, then the unknowns.
    """
    n, n_weights = field.n_features, field.weights.numel()
    n_columns = n_weights + (0 if unknowns is None else len(unknowns))
    widths = [len(batch.where) * _n_residuals(field, batch) for batch in batches]
    system = torch.zeros(n_columns + sum(widths), n_columns + 1, dtype=torch.float64, device=field.weights.device)
    at, spans = n_columns, []
    if unknowns is not None:
        unknowns.values = unknowns.values.to(system.device).detach().requires_grad_()
    for batch, width in zip(batches, widths, strict=True):
        scale = math.sqrt(batch.term.weight / width)
        spans.append(slice(at, at + width))
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
                if unknowns is not None:
                    rows[:, n_weights:-1] = unknowns.columns(column) * scale
    if unknowns is not None:
        unknowns.values = unknowns.values.detach()
    return system, spans


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
