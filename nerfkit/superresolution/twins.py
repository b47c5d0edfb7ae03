"""Twins: pictures that are solved without the frames that judge them, as they are or in a simpler way.

The judges are frames that were held out whole (:mod:`.whole_frames`). They choose no prior: chosen by them, its weight
is far too large.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from nerfkit.heldout import Trial
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.motion import Motion
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.solvers.grid import Prior

from .aligned_mean import aligned_mean
from .alignment import COARSE_CELLS, SIMPLER_ROUNDS, SIMPLER_WEIGHTS
from .chain import Chain
from .flow import displaced_by_flow
from .refiner import PREDICTED, Refiner
from .registration import find_outliers
from .trials import Trials
from .whole_frames import WholeFrames

__all__ = ["PICTURE", "Bench", "Twin", "Way", "with_detail_of"]


@dataclass(frozen=True)
class Way:
    """How a picture is solved.

    Parameters
    ----------
    to : str
        What it is called.
    factor : float
        On the weight of the prior.
    model : str, optional
        Motion model that the frames are registered by anew.
    scale : int, optional
        Pixels along a low-res one whose detail it has.
    """

    to: Literal["picture", "neighbours' motions", "simpler motion", "stronger prior", "smaller scale"]
    factor: float = 1.0
    model: str | None = None
    scale: int | None = None


PICTURE = Way("picture")


@dataclass(frozen=True)
class Twin:
    """A picture solved without the frames that judge it, and its mean squared error of these."""

    way: Way
    trial: Trial[Prior]
    error: float


def with_detail_of(image: Tensor, scale: int, cells: int) -> Tensor:
    """An image [.., rows, cols] on ``cells`` cells a low-res pixel with the detail of ``scale``: averaged, enlarged.

    Examples
    --------
    >>> with_detail_of(torch.ones(1, 8, 12), 2, 4).shape
    torch.Size([1, 8, 12])
    """
    rows, cols = image.shape[-2:]
    whole = image.view(1, -1, rows, cols)
    low = interpolate(whole, (rows * scale // cells, cols * scale // cells), mode="area")
    return interpolate(low, (rows, cols), mode="bicubic").view(image.shape)


class Bench:
    """The frames that judge, where neighbours have them, and the pictures that are made without them."""

    def __init__(self, trials: Trials, chain: Chain, refiner: Refiner) -> None:
        self.trials, self.grid, self.refiner = trials, trials.grid, refiner
        self.is_placed = torch.from_numpy(chain.is_placed)
        onto = trials.view.motion.matrices[refiner.reference] @ torch.from_numpy(chain.matrices)
        motion = Motion.of_matrices(onto)
        if trials.view.motion.displacement is not None:
            # by the frames alone, as the chain: the displacement that the picture was solved with has no part in it
            motion = displaced_by_flow(trials.stack.values.cpu().numpy(), motion, refiner.reference)
        self.neighbours = trials.view.moved(motion)
        self.is_used = trials.stack.is_used.cpu()
        self.is_out = trials.is_out.amax((1, 2)).cpu()

    @cached_property
    def judges(self) -> WholeFrames:
        """Used frames that are held out stand for all used ones; all that are left out count as well."""
        held_out, left_out = self.is_out & self.is_placed, ~self.is_used & self.is_placed
        shares = held_out / held_out.sum().clamp(min=1) * self.is_used.sum() + left_out.float()
        chosen = held_out | left_out
        stack = self.trials.stack
        on_device = chosen.to(stack.values.device)
        measured = None if stack.measured is None else stack.measured[on_device]
        values, shares = stack.values[on_device], shares[chosen]
        return WholeFrames(
            FrameStack.of(values, None, measured), self.neighbours[chosen], (shares / shares.sum()).to(values)
        )

    def errors_of_means(self) -> tuple[float, float]:
        """Of the mean of the frames by the picture's own motions, and by those that neighbours tell."""
        return self._of_mean(self.is_used, self.trials.view), self._of_mean(self.is_placed, self.neighbours)

    def _of_mean(self, is_laid: Tensor, view: LowresView) -> float:
        values, cells = self.trials.stack.values, self.grid.cells
        laid = FrameStack.of(values, (is_laid & ~self.is_out).float())
        mean = aligned_mean(laid, view, (self.grid.width * COARSE_CELLS, self.grid.height * COARSE_CELLS))
        size = self.grid.height * cells, self.grid.width * cells
        return self.judges.error(interpolate(mean[None, None], size, mode="bilinear")[0, 0].to(values), cells)

    def twin(self, way: Way, prior: Prior) -> Twin:
        """The picture of a prior, solved in some way without the frames that judge it."""
        trials = self.trials
        if way.to == "neighbours' motions":
            trials = self._by_neighbours()
            # by wrong motions another prior is chosen than by right ones
            prior = PREDICTED
        elif way.model is not None:
            trials = trials.seen_by(self._refined(way.model))
        nearest = trials.view.nearest(trials.fitted.is_used)
        trial = trials.first(prior.scaled(way.factor), trials.grid.enlarge(trials.stack.values[nearest]))
        image, cells = trials.grid.crop(trial.image).contiguous(), trials.grid.cells
        if way.scale is not None:
            image = with_detail_of(image, way.scale, cells)
        return Twin(way, trial, self.judges.error(image, cells))

    def _by_neighbours(self) -> Trials:
        """All pixels of the frames that neighbours place: what seemed to move was judged by other motions."""
        stack = self.trials.stack
        fitted = FrameStack.of(stack.values, (self.is_placed & ~self.is_out).float(), stack.measured)
        return self.trials.fitting(fitted).seen_by(self.neighbours)

    def _refined(self, model: str) -> LowresView:
        """The frames that do not judge, registered anew by a motion model."""
        fitted, size = self.trials.fitted, self.trials.view.size
        kept = fitted.is_used.cpu()
        on_device = kept.to(fitted.values.device)
        measured = None if fitted.measured is None else fitted.measured[on_device]
        motion = self.trials.view.motion.nearest(model, size)
        view = replace(self.trials.view, motion=motion[kept], most_points=1)
        stack = FrameStack(fitted.values[on_device], fitted.weights[on_device], measured)
        first = view.nearest(torch.ones(len(view)) > 0)
        refiner = replace(self.refiner, model=model, reference=first)
        start = find_outliers(stack, view, view.grid(COARSE_CELLS), limit=refiner.limit)
        found = refiner.refined(stack, view, start, SIMPLER_ROUNDS, SIMPLER_WEIGHTS).motion
        matrices = motion.matrices.clone()
        matrices[kept] = motion.matrices[kept][first] @ found.matrices
        return self.trials.view.moved(Motion(matrices / matrices[:, 2:, 2:], model))
