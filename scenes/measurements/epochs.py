"""Batches in which each measurement comes once before any comes twice."""

from __future__ import annotations

import torch
from torch import Tensor

from nerfkit.scenes.measurements.measurements import Measurements

__all__ = ["Epochs"]


class Epochs:
    """Measurements, drawn without replacement until all were seen, then in a new order.

    Parameters
    ----------
    measurements : Measurements
        All of them.

    Notes
    -----
    What is left of an order is not part of a fit's state: a resumed fit begins a new order.

    Examples
    --------
    >>> pixels = Epochs(Measurements(where=torch.arange(6.0)[:, None], values=torch.zeros(6, 1)))
    >>> generator = torch.Generator().manual_seed(0)
    >>> sorted(torch.cat([pixels.draw(3, generator).where for _ in range(2)])[:, 0].tolist())
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """

    def __init__(self, measurements: Measurements) -> None:
        self.measurements = measurements
        self._order: Tensor | None = None
        self._next = 0

    def __len__(self) -> int:
        return len(self.measurements)

    def draw(self, n: int, generator: torch.Generator) -> Measurements:
        """``n`` of them, or all, in their order, where there are no more."""
        if n >= len(self):
            return self.measurements
        if self._order is None or self._next + n > len(self):
            self._order = torch.randperm(len(self), generator=generator, device=generator.device)
            self._next = 0
        rows = self._order[self._next : self._next + n]
        self._next += n
        return self.measurements.take(rows)
