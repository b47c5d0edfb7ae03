"""Motions improved against an image, and compared by the held-out pixels that they predict."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from nerfkit.heldout import Trial
from nerfkit.limits import Limit
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.motion import Motion
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.scenes.transfer import Transfer
from nerfkit.solvers.grid import Prior

from .registration import FIRST, Registered, refine
from .trials import Trials

__all__ = ["PREDICTED", "Refiner"]

logger = logging.getLogger(__name__)

# the prior and the steps with which motions are compared
PREDICTED, PREDICTION_STEPS = Prior(0.5, 0.015), 120


@dataclass(frozen=True)
class Refiner:
    """What every refinement and comparison of the motions of a sequence has in common.

    Parameters
    ----------
    reference : int
        The frame whose axes they are on.
    model : {"shift", "similarity", "affine", "homography"}
        The motion model.
    seed : int
        Draws the pixels that are held out.
    transfer : Transfer
        How files hold the values.
    limit : Limit
    """

    reference: int
    model: str
    seed: int
    transfer: Transfer
    limit: Limit

    def with_model(self, model: str) -> Refiner:
        """The same with another motion model."""
        return replace(self, model=model)

    def refined(
        self, stack: FrameStack, view: LowresView, start: Registered, rounds: tuple[int, int],
        tv_weights: tuple[float, float], prior: Prior = FIRST,
    ) -> Registered:  # fmt: skip
        """Image and motions improved in turn, over (rounds, steps); see :func:`.registration.refine`."""
        return refine(
            stack, view.moved(start.motion), start, rounds=rounds[0], steps=rounds[1], tv_weights=tv_weights,
            reference=self.reference, prior=prior, model=self.model, limit=self.limit,
        )  # fmt: skip

    def predicts_better(
        self, stack: FrameStack, view: LowresView, motion: Motion, before: Motion, cells: int, factor: float, *,
        surely: bool = False,
    ) -> bool:  # fmt: skip
        """Whether motions predict held-out pixels with less than a factor of the error of those before."""
        trials = Trials(stack, view, view.grid(cells), self.seed, self.transfer, limit=self.limit)

        def predicted(by: Motion) -> Trial[Prior]:
            return trials.seen_by(view.moved(by)).first(PREDICTED, n_steps=PREDICTION_STEPS)

        now, then = predicted(motion), predicted(before)
        logger.debug("held-out error by %s: %.3g, before by %s: %.3g", motion.model, now.mse, before.model, then.mse)
        return now.mse < factor * then.mse and (not surely or now.is_surely_better(then))
