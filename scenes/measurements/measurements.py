"""What was measured, as columns; it holds no field and no instrument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["Measurements", "Source"]


class Source(Protocol):
    """Where the batches of a fit come from."""

    def draw(self, n: int, generator: torch.Generator) -> Measurements:
        """A batch of about ``n`` measurements, by the generator, on its device."""
        ...


@dataclass(frozen=True)
class Measurements:
    """Measurements of one kind, or a batch of them; rows belong together.

    Examples
    --------
    >>> pixels = Measurements(where=torch.rand(100, 2), values=torch.rand(100, 3))
    >>> known, held_out = pixels.hold_out(0.1, torch.Generator().manual_seed(0))
    >>> len(known), len(held_out), len(known.draw(32, torch.Generator()))
    (90, 10, 32)
    """

    # what the observation takes: a tensor of n rows, or a named tuple of such and of None
    where: Any
    # what was measured, as the observation predicts it, such as [n, c]; None: nothing was, a residual is to be zero
    values: Any = None
    # how surely each was measured [n], factors of the loss; None: all alike
    weights: Tensor | None = None
    # what each belongs to [n], such as a photo or a frame; None: nothing
    ids: Tensor | None = None

    def __len__(self) -> int:
        columns = (self.values, *(self.where if isinstance(self.where, tuple) else (self.where,)))
        return len(next(column for column in columns if column is not None))

    def take(self, rows: Tensor | slice) -> Measurements:
        """The measurements ``rows``, int64 or bool [n], or a slice."""
        columns = (self.where, self.values, self.weights, self.ids)
        return Measurements(*(_take(column, rows) for column in columns))

    def draw(self, n: int, generator: torch.Generator) -> Measurements:
        """``n`` measurements, each with the same chance, with replacement."""
        return self.take(torch.randint(len(self), (n,), generator=generator, device=generator.device))

    def hold_out(self, fraction: float, generator: torch.Generator) -> tuple[Measurements, Measurements]:
        """The measurements to fit, and a ``fraction`` of them, at least one, that is held out to be predicted."""
        if not 0 < fraction < 1 or len(self) < 2:
            raise ValueError(
                f"to hold out takes a fraction between 0 and 1 of 2 or more measurements; got {fraction} of {len(self)}"
            )
        order = torch.randperm(len(self), generator=generator, device=generator.device)
        n_held_out = min(max(1, round(fraction * len(self))), len(self) - 1)
        return self.take(order[n_held_out:].sort().values), self.take(order[:n_held_out].sort().values)


def _take(column: Any, rows: Tensor | slice) -> Any:
    if isinstance(column, tuple):
        # what has parts that are no columns knows them
        if take := getattr(column, "take", None):
            return take(rows)
        parts = [_take(part, rows) for part in column]
        # a named tuple takes its parts one by one
        return type(column)(*parts) if hasattr(column, "_fields") else tuple(parts)
    return None if column is None else column[rows]
