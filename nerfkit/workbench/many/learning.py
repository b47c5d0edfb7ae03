"""Learning a start: steps on a few instances at a time, and what they lead to made better."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nerfkit.scenes.generators import restore_generator
from nerfkit.workbench.many.adaptation import learnt_steps, squared_errors
from nerfkit.workbench.many.networks import evaluate
from nerfkit.workbench.many.starts import Start

__all__ = ["N_STEPS", "Learning"]

# steps that a start is learned for
N_STEPS = 3
# instances of a batch, fewer where they have more points than this together, two at least
BATCH, BATCH_POINTS = 8, 2**13
# of instances that are seen in part, the fraction of the points is drawn between these
PARTS = (0.3, 0.8)
# mean squared error of values in [-1, 1] below which nothing is gained: 76 dB
NOTHING = 1e-7


class Learning:
    """What :func:`nerfkit.fitting.fit` works on to learn a start; see :class:`nerfkit.fitting.Fittable`.

    The loss is the mean over the instances of the logarithm of the squared error after the steps, that is their PSNR:
    it goes on falling where errors are small already, which the error itself hardly does.

    Parameters
    ----------
    start : Start
        What is learned.
    points : Tensor, shape (n_points, d)
        The same of every instance.
    values : Tensor, shape (n, n_points, c)
        Of the instances.
    is_whole : bool
        Whether the steps see all points, and are to remember them; else they see a part, and are to predict the others.
    seed : int
        Of everything that is drawn.
    """

    def __init__(self, start: Start, points: Tensor, values: Tensor, *, is_whole: bool, seed: int) -> None:
        self.start, self.points, self.values, self.is_whole = start, points, values, is_whole
        self.n_batch = min(len(values), max(2, min(BATCH, BATCH_POINTS // len(points))))
        self.generator = torch.Generator().manual_seed(seed)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The start's."""
        return self.start.parameter_groups()

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Of a batch of instances, at points that are few enough."""
        chosen = torch.randperm(len(self.values), generator=self.generator)[: self.n_batch]
        order = torch.randperm(len(self.points), generator=self.generator)[: BATCH_POINTS // 2]
        seen, judged = order, order
        if not self.is_whole:
            part = PARTS[0] + (PARTS[1] - PARTS[0]) * float(torch.rand(1, generator=self.generator))
            n_seen = min(max(round(len(order) * part), 1), len(order) - 1)
            seen, judged = order[:n_seen], order[n_seen:]
        values = self.values[chosen]
        free = learnt_steps(self.start, self.points[seen], values[:, seen], N_STEPS, is_learning=True)
        predicted = evaluate(self.start.networks(free), self.points[judged], self.start.shape.scale, is_twice=True)
        return (squared_errors(predicted, values[:, judged]) / NOTHING + 1).log().mean(), {}

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""

    def validate(self) -> dict[str, float]:
        """Nothing: instances that were not seen are judged at the end."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The start and the generator."""
        return {"start": self.start.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.start.load_state_dict(state["start"])
        restore_generator(self.generator, state["generator"])
