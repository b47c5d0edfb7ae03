"""All measurements at every step, for observations of a whole picture."""

from __future__ import annotations

import torch

from nerfkit.scenes.measurements.measurements import Measurements

__all__ = ["Whole"]


class Whole:
    """One batch, all of it, at every step.

    Examples
    --------
    >>> everything = Whole(Measurements(where=torch.zeros(3, 2), values=torch.zeros(3, 1)))
    >>> len(everything.draw(1, torch.Generator()))
    3
    """

    def __init__(self, batch: Measurements) -> None:
        self.batch = batch

    def draw(self, n: int, generator: torch.Generator) -> Measurements:
        """The batch, whatever ``n``."""
        return self.batch
