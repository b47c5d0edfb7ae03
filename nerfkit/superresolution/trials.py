"""Solutions of frames without some of their pixels, each judged by how well it predicts those."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from nerfkit.heldout import Trial
from nerfkit.limits import Limit
from nerfkit.scenes.fields.grid import Grid
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.scenes.transfer import LINEAR, Transfer
from nerfkit.solvers.grid import COLD_RATE, WARM_RATE, Prior, solve

__all__ = ["HELD_OUT", "MIN_SIGMA", "SHARP_TRIAL_STEPS", "Trials", "trusted"]

# fraction of the low-res pixels that are held out of a fit and predicted
HELD_OUT = 0.1
# steps of a trial from another's image, of one that drives values to two ends, and from a rough image
TRIAL_STEPS, SHARP_TRIAL_STEPS, FIRST_STEPS = 60, 60, 100
# 8-bit frames without noise still have the error of rounding
MIN_SIGMA = 5e-4


def trusted(stack: FrameStack, transfer: Transfer) -> Tensor:
    """Weights [n_frames, h, w] of pixels whose file values are equally sure, for errors of their linear radiance."""
    slope = transfer.slope(stack.values)
    return stack.weights if slope is None else stack.weights * slope.square()


class Trials:
    """Solves without the pixels that are held out, and judges by them.

    Parameters
    ----------
    stack, view : FrameStack, LowresView
        What was measured, and how; pixels of weight 0 neither fit nor judge.
    grid : Grid
        Where it is solved.
    seed : int
        Draws the pixels that are held out.
    transfer : Transfer
        How files hold the values: errors, their weights and the total variation are those of file values.
    fold, n_folds : int
        Hold out whole frames instead, one of so many equal parts of them, and judge by each frame; 0: pixels.
    limit : Limit, optional
        What it does not allow is not attempted.
    """

    def __init__(
        self, stack: FrameStack, view: LowresView, grid: Grid, seed: int, transfer: Transfer = LINEAR, *,
        fold: int = 0, n_folds: int = 0, limit: Limit | None = None,
    ) -> None:  # fmt: skip
        self.stack, self.view, self.grid, self.transfer = stack, view, grid, transfer
        self.limit = Limit() if limit is None else limit
        self.n_steps = TRIAL_STEPS
        self.whole_frames = n_folds > 0
        generator = torch.Generator().manual_seed(seed)
        self.fitted, self.is_out = (
            stack.hold_out_frames(fold, n_folds, generator) if n_folds else stack.hold_out(HELD_OUT, generator)
        )
        self._prepare()

    def _prepare(self) -> None:
        self.equations = self.view.equations(self.grid, self.stack.values, trusted(self.fitted, self.transfer))

    def seen_by(self, view: LowresView, cells: int | None = None, n_steps: int | None = None) -> Trials:
        """The same pixels held out, with another view, on other cells, or with other steps of a trial."""
        other = copy.copy(self)
        other.n_steps = self.n_steps if n_steps is None else n_steps
        other.view, other.grid = view, view.grid(self.grid.cells if cells is None else cells)
        other._prepare()
        return other

    def fitting(self, fitted: FrameStack) -> Trials:
        """The same pixels held out, with other weights of those that are fitted."""
        other = copy.copy(self)
        other.fitted = fitted
        other._prepare()
        return other

    @property
    def start(self) -> Tensor:
        """The used frame that lies best over the picture, enlarged."""
        return self.grid.enlarge(self.stack.values[self.view.nearest(self.stack.is_used)])

    def errors(self, image: Tensor) -> Tensor:
        """Errors of file values [n_frames, h, w], NaN where the grid does not reach."""
        samples, is_known = self.view.sample(self.grid, image)
        errors = self.transfer.encode(samples.values) - self.transfer.encode(self.stack.values)
        return torch.where(is_known, errors, math.nan)

    def sigma(self, image: Tensor) -> float:
        """Root mean squared error of what was fitted.

        Not the median: where most of a scene is plain, it would tell nothing of the edges that are hard to explain.
        """
        squares = self.errors(image)[self.fitted.weights > 0].square()
        return max(float(squares.nanmean().sqrt()), MIN_SIGMA)

    def seen(self, image: Tensor) -> Tensor:
        """What the fitted low-res pixels would be of ``image``."""
        samples, is_known = self.view.sample(self.grid, image)
        return samples.values[is_known & (self.fitted.weights > 0)]

    def solve(self, prior: Prior, start: Tensor, n_steps: int, rate: float = WARM_RATE) -> Trial[Prior]:
        """A solution from an image on any grid of the same extent, judged."""
        start = self.grid.resize(start)
        image = solve(
            self.equations, start, self.view.point_psf, self.grid, prior, n_steps, learning_rate=rate,
            tv_map=self.transfer.slope(start), limit=self.limit,
        )  # fmt: skip
        squares = self.errors(image).square()
        if self.whole_frames:
            frames = self.is_out.any(2).any(1)
            told = torch.where(self.is_out, squares, math.nan)[frames]
            return Trial(prior, image, told.nanmean((1, 2)))
        return Trial(prior, image, squares[self.is_out])

    def first(self, prior: Prior, start: Tensor | None = None, n_steps: int = FIRST_STEPS) -> Trial[Prior]:
        """A solution from a rough image."""
        return self.solve(prior, self.start if start is None else start, n_steps, COLD_RATE)

    def attempt(self, prior: Prior, best: Trial[Prior]) -> Trial[Prior] | None:
        """A solution from another's image; None where there is no time for it."""
        if not self.limit.allows(self.n_steps * math.prod(self.grid.shape), "trials of priors"):
            return None
        return self.solve(prior, best.image, self.n_steps)
