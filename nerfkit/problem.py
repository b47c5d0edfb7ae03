"""A problem is a field and terms: what is observed of it, what was measured, how the two are compared.

The general problem is to find a field Phi with C_m(a(x), Phi(x), grad Phi(x), lap Phi(x), ...) = 0 on Omega_m for all
m, by losses over samples of each domain Omega_m (arXiv:2006.09661, section 3). A constraint C_m is a :class:`Term`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nerfkit.divergence import Cause, cause_in_batch
from nerfkit.scenes.generators import restore_generator
from nerfkit.scenes.measurements.measurements import Measurements, Source
from nerfkit.scenes.observations.observation import Observation

__all__ = ["Compared", "Problem", "Term", "squared_error"]


def squared_error(predicted: Tensor, values: Tensor) -> Tensor:
    """Squared differences, of the shape of both."""
    return (predicted - values).square()


class Compared(NamedTuple):
    """A batch, predicted."""

    # the term's part of the loss, differentiable
    loss: Tensor
    # what the observation predicted
    predicted: Any
    batch: Measurements


@dataclass(frozen=True)
class Term:
    """One kind of measurement of a field, or one equation that it is to satisfy."""

    # what an instrument would have measured of the field, or the residual of an equation
    observation: Observation
    # where batches come from: measurements, or a domain whose points are drawn anew at every step
    measurements: Source
    # from what was predicted and the values, zero on a domain, to the error of each, [n, ...]; the loss is their mean
    loss: Callable[[Any, Any], Tensor] = squared_error
    # factor of this term's loss
    weight: float = 1.0
    # measurements in a batch
    n: int = 2**14

    def compare(self, field: Any, generator: torch.Generator, n: int | None = None, **options: Any) -> Compared:
        """Draw ``n`` measurements (None: the term's own number), predict them with ``options``, and compare."""
        batch = self.measurements.draw(n or self.n, generator)
        predicted = self.observation.predict(field, batch.where, **options)
        return Compared(self.errors(predicted, batch).mean() * self.weight, predicted, batch)

    def errors(self, predicted: Any, batch: Measurements) -> Tensor:
        """The error of each measurement of a batch, [n, ...]."""
        errors = self.loss(predicted, torch.zeros_like(predicted) if batch.values is None else batch.values)
        return errors if batch.weights is None else errors * batch.weights.view(-1, *[1] * (errors.ndim - 1))


class Problem:
    """What :func:`nerfkit.fitting.fit` works on; see :class:`nerfkit.fitting.Fittable`.

    Parameters
    ----------
    field : Field or RadianceField
        What is sought: a torch module with parameters.
    terms : sequence of Term
        Their losses are added.
    learning_rate : float
        Adam's peak rate.
    seed : int
        Of everything that is drawn.
    validate : callable, optional
        Figures on held-out measurements.

    Examples
    --------
    The equation u' = u with u(0) = 1, whose solution is exp(x):

    >>> from nerfkit.fitting import Budget, FitSchedule, fit
    >>> from nerfkit.scenes.fields.networks import FullyConnected
    >>> from nerfkit.scenes.fields.coordinate import CoordinateField
    >>> from nerfkit.scenes.fields.encodings import make_encoding
    >>> from nerfkit.scenes.measurements.domains import Box
    >>> from nerfkit.scenes.observations.points import PointValues
    >>> from nerfkit.scenes.observations.residuals import Residual
    >>> generator = torch.Generator().manual_seed(0)
    >>> network = FullyConnected([1, 16, 16, 1], generator, activation="sine", scale=1.0)
    >>> u = CoordinateField(make_encoding("identity", 1, generator, {}), network, [(0, 1)])
    >>> equation = Residual(lambda x, u: u.gradient[:, 0] - u.value, order=1)
    >>> start = Measurements(where=torch.zeros(1, 1), values=torch.ones(1, 1))
    >>> terms = [Term(equation, Box([(0, 1)]), n=64), Term(PointValues(), start, n=1)]
    >>> done = fit(Problem(u, terms, learning_rate=1e-2), Budget(steps=300), schedule=FitSchedule())
    >>> round(u(torch.ones(1, 1)).item(), 1)
    2.7
    """

    def __init__(
        self, field: Any, terms: Sequence[Term], *, learning_rate: float = 1e-3, seed: int = 0,
        validate: Callable[[], dict[str, float]] = dict,
    ) -> None:  # fmt: skip
        if not terms:
            raise ValueError("a problem needs a term at least: what is observed and what was measured; got none")
        self.field, self.terms, self.learning_rate = field, list(terms), learning_rate
        # where the field is: what it draws never crosses to the device
        self.generator = torch.Generator(next(field.parameters()).device).manual_seed(seed)
        self._validate = validate
        # what the last loss came from, to be explained
        self.compared: list[tuple[Term, Compared]] = []

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The field's groups."""
        return self.field.parameter_groups(self.learning_rate)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The sum of the terms' losses, each on a new batch."""
        # let go first: no two batches are in memory
        self.compared = []
        self.compared = [(term, term.compare(self.field, self.generator)) for term in self.terms]
        return torch.stack([compared.loss for _, compared in self.compared]).sum(), {}

    def explain(self) -> Cause:
        """What made the last loss, where it is NaN or infinite."""
        with torch.no_grad():
            causes = (self._explain(term, compared) for term, compared in self.compared)
            return next((cause for cause in causes if cause.what), Cause())

    def _explain(self, term: Term, compared: Compared) -> Cause:
        errors = term.errors(compared.predicted, compared.batch)
        return cause_in_batch(compared.batch, compared.predicted, errors, self.name_of)

    def name_of(self, index: int) -> str:
        """What a user calls what an id of the measurements stands for."""
        return f"number {index}"

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""

    def validate(self) -> dict[str, float]:
        """Figures on held-out measurements."""
        return self._validate()

    def state_dict(self) -> dict[str, Any]:
        """The field and the generator."""
        return {"field": self.field.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.field.load_state_dict(state["field"])
        restore_generator(self.generator, state["generator"])
