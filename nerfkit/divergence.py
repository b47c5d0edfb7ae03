"""Why a loss is NaN or infinite: the parameters were before, or something that was measured, or what was predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from nerfkit.scenes.measurements.measurements import Measurements

__all__ = ["Cause", "Explaining", "cause_in_batch"]

# ids that are named; of more, their number
MAX_NAMED = 3


class Cause(NamedTuple):
    """What made a loss that is no number, and what to do about it; empty words where that is not known."""

    what: str = ""
    fix: str = ""


@runtime_checkable
class Explaining(Protocol):
    """A problem that can tell why its last loss was no number."""

    def explain(self) -> Cause:
        """The cause of the loss that :meth:`nerfkit.fitting.Fittable.loss` gave last, its parameters being finite."""
        ...


def cause_in_batch(batch: Measurements, predicted: Any, errors: Tensor, name: Callable[[int], str]) -> Cause:
    """What of a batch made errors that are no numbers.

    Parameters
    ----------
    batch : Measurements
        What was compared.
    predicted : Tensor or named tuple of them
        What the observation predicted.
    errors : Tensor, shape (n, ...)
        One for each measurement.
    name : callable
        From an id of the measurements to what a user calls it, such as a photo's file.

    Examples
    --------
    >>> batch = Measurements(torch.zeros(3, 1), torch.tensor([[0.0], [torch.nan], [1.0]]), ids=torch.tensor([4, 5, 5]))
    >>> cause_in_batch(batch, torch.zeros(3, 1), batch.values, lambda index: f"photo {index}").what
    'values of 1 of the 3 measurements of the batch are NaN or infinite, of photo 5'
    """
    is_bad = _bad_rows(errors)
    if not bool(is_bad.any()):
        return Cause()
    for column, values in _columns(batch):
        if len(values) == len(is_bad) and bool((found := is_bad & _bad_rows(values)).any()):
            what = f"{column} of {int(found.sum())} of the {len(found)} measurements of the batch are NaN or infinite"
            named = "" if batch.ids is None else _named(batch.ids[found.to(batch.ids.device)], name)
            return Cause(f"{what}, of {named}" if named else what, f"look at {named}, or leave it out" if named else "")
    what = "parameters and measurements are finite, "
    parts = predicted if isinstance(predicted, tuple) else (predicted,)
    if all(bool(part.isfinite().all()) for part in parts if isinstance(part, Tensor) and part.is_floating_point()):
        return Cause(f"{what}and so is what was predicted: its error is too large for a number")
    return Cause(f"{what}what was predicted of them is not, in {int(is_bad.sum())} of {len(is_bad)} measurements")


def _bad_rows(values: Tensor) -> Tensor:
    """Which rows [n] of a tensor [n, ...] hold a number that is NaN or infinite."""
    bad = ~values.detach().isfinite()
    return bad.reshape(len(bad), -1).any(1) if bad.ndim else bad[None]


def _columns(batch: Measurements) -> Iterator[tuple[str, Tensor]]:
    """Columns of floats by name; those of places by their own names where they have some."""
    places = batch.where if isinstance(batch.where, tuple) else (batch.where,)
    names = getattr(batch.where, "_fields", ["places"] * len(places))
    for name, column in (("values", batch.values), ("weights", batch.weights), *zip(names, places, strict=True)):
        if isinstance(column, Tensor) and column.ndim and (column.is_floating_point() or column.is_complex()):
            yield name, column


def _named(ids: Tensor, name: Callable[[int], str]) -> str:
    found = torch.unique(ids).tolist()
    names = ", ".join(name(int(index)) for index in found[:MAX_NAMED])
    return names + (f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else "")
