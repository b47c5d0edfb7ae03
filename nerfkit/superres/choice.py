"""How smooth the image is and which values it takes, chosen by how well pixels that were kept out are predicted."""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from nerfkit.kernels.lowres import NormalEquations
from nerfkit.scenes.observations.lowres_frames import Grid, LowresFrames

from .grid_solve import COLD_RATE, Deadline, Prior, solve
from .light import Light

__all__ = [
    "AS_FILES",
    "HOLDOUT_SHARE",
    "MIN_SIGMA",
    "Choice",
    "RangePercentiles",
    "Trials",
    "choose_contrast",
    "choose_local",
    "choose_prior",
    "choose_weight",
    "trusted",
]

logger = logging.getLogger(__name__)

# share of the low-res pixels that are kept out of a fit and predicted
HOLDOUT_SHARE = 0.1
# share of the frames instead, where these are kept out whole, and how many it takes
FRAMES_SHARE, MIN_WHOLE = 1 / 6, 8
# steps of the first solution, of the one that the error is estimated from, and of each candidate
FIRST_STEPS, NOISE_STEPS, TRIAL_STEPS = 100, 150, 100
# the prior that everything starts from, and the weights that are tried
START = Prior(tv_weight=0.5, sigma=0.02)
WEIGHTS = (0.01, 40.0)
# 8-bit frames without noise still have the error of rounding
MIN_SIGMA = 5e-4
# percentiles of the low-res values at which the upper end of the range is tried, from above
UPPER_PERCENTILES = (99.9, 99.0, 97.0, 94.0, 90.0, 80.0, 70.0)
LOWER_PERCENTILE, LOWER_STEP, N_LOWER_STEPS = 0.5, 0.03, 3
# factors on the weight with which a total variation that is weaker where the image is busy is tried
LOCAL_FACTORS = (1.5, 2.25)
# standard errors by which a scene of two values must predict better: a smooth one can be halftoned nearly as well
SURE = 4.0
# contrasts that are tried on cells of half the side, first the one that text of 8 frames chose, and one for when they
# fail; the factor on the total variation that goes with them
CONTRASTS, WEAK_CONTRAST, CONTRAST_FACTOR = (10.0, 5.0), 2.0, 1.5
# values that are averaged as files have them: grey, floats, alpha
AS_FILES = Light("linear", 1)


def trusted(weights: Tensor, values: Tensor, light: Light) -> Tensor:
    """Weights [n_frames, h, w] of pixels whose file values are equally sure, for errors of their light ``values``."""
    slope = light.slope(values)
    return weights if slope is None else weights * slope.square()


@dataclass(frozen=True)
class RangePercentiles:
    """Where the chosen range lies among the values of the image (low) and of its low-res pixels (high)."""

    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """The prior that predicts best what was kept out, the image that it gave, and its error there."""

    prior: Prior
    image: Tensor
    mse: float
    # cells along a low-res pixel of the image
    cells: int = 0
    # squared errors [n_kept_out], NaN beyond the grid
    squares: Tensor | None = None

    def is_surely_better(self, other: Choice) -> bool:
        """Whether it predicts better by more than chance would have it, pixel for pixel."""
        assert self.squares is not None and other.squares is not None
        gains = (other.squares - self.squares).double()
        gains = gains[gains.isfinite()]
        return bool(gains.mean() > SURE * gains.std() / math.sqrt(len(gains)))


class Trials:
    """Solutions without the kept-out pixels, each judged by them.

    Parameters
    ----------
    frames : LowresFrames
        What was measured.
    grid : Grid
        Where it is solved.
    weights : Tensor, shape (n_frames, h, w)
        Weight of each pixel; those of weight 0 neither fit nor judge.
    generator : torch.Generator
        Draws the pixels that are kept out.
    light : Light
        How files hold the frames' values: errors, their weights and the total variation are those of file values.
    is_whole : bool
        Keep out whole frames, if there are at least ``MIN_WHOLE``. Neighbours in its frame help to predict a pixel
        whatever the footprint; frames are the harder judge, and fewer.
    """

    def __init__(
        self, frames: LowresFrames, grid: Grid, weights: Tensor, generator: torch.Generator,
        light: Light = AS_FILES, *, is_whole: bool = False,
    ) -> None:  # fmt: skip
        self.frames, self.grid, self.light = frames, grid, light
        used = (weights.amax((1, 2)) > 0).nonzero()[:, 0].cpu()
        if is_whole and len(used) >= MIN_WHOLE:
            is_out = torch.zeros(weights.shape, dtype=torch.bool)
            is_out[used[torch.randperm(len(used), generator=generator)[: round(len(used) * FRAMES_SHARE)]]] = True
        else:
            is_out = torch.rand(weights.shape, generator=generator) < HOLDOUT_SHARE
        self.is_out = is_out.to(weights.device) & (weights > 0)
        self.weights = weights * ~self.is_out
        self.equations = self._equations()
        self.n_trials = 0

    def _equations(self) -> NormalEquations:
        return self.frames.equations(self.grid, trusted(self.weights, self.frames.frames, self.light))

    def on(self, grid: Grid) -> Trials:
        """The same pixels kept out, on another grid."""
        other = copy.copy(self)
        other.grid, other.n_trials = grid, 0
        other.equations = other._equations()
        return other

    def errors(self, image: Tensor, chosen: Tensor) -> Tensor:
        """Errors of the pixels where ``chosen`` [n_frames, h, w] holds and that the grid covers."""
        samples, is_known = self.frames.predict(self.grid, image)
        chosen = chosen & is_known
        return self.light.encode(samples.values[chosen]) - self.light.encode(self.frames.frames[chosen])

    def image(self, start: Tensor, prior: Prior, n_steps: int, learning_rate: float = 0.02) -> Tensor:
        """A solution from ``start``."""
        return solve(
            self.equations, start, self.frames.psf, self.grid, prior, n_steps, learning_rate=learning_rate,
            tv_map=self.light.slope(start),
        )  # fmt: skip

    def squares(self, image: Tensor) -> Tensor:
        """Squared errors [n] of the kept-out pixels, NaN where the grid does not reach."""
        samples, is_known = self.frames.predict(self.grid, image)
        is_out = self.is_out
        errors = self.light.encode(samples.values[is_out]) - self.light.encode(self.frames.frames[is_out])
        return torch.where(is_known[is_out], errors, math.nan).square()

    def seen(self, image: Tensor) -> Tensor:
        """What the used low-res pixels would be of ``image``."""
        samples, is_known = self.frames.predict(self.grid, image)
        return samples.values[is_known & (self.weights > 0)]

    def range_at(self, image: Tensor, percentiles: RangePercentiles) -> tuple[float, float]:
        """The range at percentiles of ``image`` and of its low-res pixels."""
        low, high = _percentile(image, percentiles.low), _percentile(self.seen(image), percentiles.high)
        return low, max(high, low + LOWER_STEP)

    def attempt(self, prior: Prior, start: Tensor) -> Choice:
        """Solve with ``prior`` from ``start``, an image of another prior, and judge."""
        self.n_trials += 1
        return self._judged(prior, self.image(start, prior, TRIAL_STEPS))

    def first(self, start: Tensor, prior: Prior, n_steps: int) -> Choice:
        """Solve with ``prior`` from a rough ``start`` and judge."""
        return self._judged(prior, self.image(start, prior, n_steps, COLD_RATE))

    def _judged(self, prior: Prior, image: Tensor) -> Choice:
        squares = self.squares(image)
        return Choice(prior, image, float(squares.nanmean()), self.grid.cells, squares)


def choose_prior(trials: Trials, start: Tensor, deadline: Deadline) -> tuple[Choice, RangePercentiles | None]:
    """Noise, weight of the total variation and range of values, in this order.

    Parameters
    ----------
    trials : Trials
        The judge.
    start : Tensor, shape grid.shape
        A first image.
    deadline : Deadline
        No candidate is begun after it.

    Returns
    -------
    choice : Choice
        The best.
    percentiles : RangePercentiles or None
        Where its range lies, for other channels; None when no range predicts better than all values.
    """
    image = trials.image(start, START, FIRST_STEPS, COLD_RATE)
    errors = trials.errors(image, trials.weights > 0)
    sigma = max(float(errors.square().mean().sqrt()), MIN_SIGMA)
    image = trials.image(image, replace(START, sigma=sigma), NOISE_STEPS)
    errors = trials.errors(image, trials.weights > 0)
    # not the median: where most of a scene is plain, it would tell nothing of the edges that are hard to explain
    prior = replace(START, sigma=max(float(errors.square().mean().sqrt()), MIN_SIGMA))
    choice = choose_weight(trials, trials.attempt(prior, image), deadline)
    choice, percentiles = _search_range(trials, choice, deadline)
    if percentiles is not None and deadline.left > 0:
        found = choose_weight(trials, choice, deadline)
        choice = found if found.mse <= choice.mse else choice
    logger.info(
        "error of a pixel %.4f, weight of the total variation %.3g, range %s (%d trials)",
        choice.prior.sigma, choice.prior.tv_weight,
        choice.prior.bounds and "{:.3f} to {:.3f}".format(*choice.prior.bounds), trials.n_trials,
    )  # fmt: skip
    return choice, percentiles


def choose_weight(trials: Trials, first: Choice, deadline: Deadline) -> Choice:
    """Halve and double the weight while that helps, then the lowest point of a parabola through the best three."""
    found = {0: first}

    def best() -> int:
        return min(found, key=lambda octave: found[octave].mse)

    for direction in (-1, 1):
        while deadline.left > 0:
            octave = best() + direction
            prior = replace(first.prior, tv_weight=first.prior.tv_weight * 2.0**octave)
            if octave in found or not WEIGHTS[0] < prior.tv_weight < WEIGHTS[1]:
                break
            found[octave] = trials.attempt(prior, found[best()].image)
            if best() != octave:
                break
        if best() != 0:
            break
    octave = best()
    if octave - 1 in found and octave + 1 in found:
        below, here, above = (found[octave + offset].mse for offset in (-1, 0, 1))
        offset = 0.5 * (below - above) / (below - 2 * here + above + 1e-30)
        prior = found[octave].prior.scaled(2 ** max(-0.5, min(0.5, offset)))
        return replace(found[octave], prior=prior)
    return found[octave]


def _search_range(trials: Trials, free: Choice, deadline: Deadline) -> tuple[Choice, RangePercentiles | None]:
    """Lower the upper end of the range from the greatest low-res value, then raise the lower end, while that helps."""
    # an image of few values reaches the brightest one over whole low-res pixels, so those say what it may be
    seen = trials.seen(free.image)
    low = _percentile(free.image.flatten(), LOWER_PERCENTILE)
    best, high_percentile = free, math.nan
    for percentile in UPPER_PERCENTILES:
        high = _percentile(seen, percentile)
        if deadline.left <= 0 or not low < high:
            break
        factors = (1.0, 0.6) if best is free else (1.0,)
        bounds = (low, high)
        tried = [trials.attempt(replace(best.prior.scaled(factor), bounds=bounds), best.image) for factor in factors]
        nearest = min(tried, key=lambda choice: choice.mse)
        if nearest.mse >= best.mse:
            break
        best, high_percentile = nearest, percentile
    if best is free:
        return free, None
    for direction in (1, -1):
        is_moved = False
        for _ in range(N_LOWER_STEPS):
            assert best.prior.bounds is not None
            low, high = best.prior.bounds
            if deadline.left <= 0 or not low + direction * LOWER_STEP < high:
                break
            prior = replace(best.prior, bounds=(low + direction * LOWER_STEP, high))
            tried = trials.attempt(prior, best.image)
            if tried.mse >= best.mse:
                break
            best, is_moved = tried, True
        if is_moved:
            break
    assert best.prior.bounds is not None
    low_percentile = float((free.image < best.prior.bounds[0]).float().mean()) * 100
    return best, RangePercentiles(low_percentile, high_percentile)


def choose_local(trials: Trials, choice: Choice, deadline: Deadline) -> Choice:
    """A total variation that is weaker where the image is busy, if it predicts better than ``choice``."""
    best = choice
    for factor in LOCAL_FACTORS:
        if deadline.left <= 0:
            break
        tried = trials.attempt(replace(choice.prior.scaled(factor), is_local=True), choice.image)
        if tried.mse >= best.mse:
            break
        best = tried
    if best is not choice:
        logger.info("total variation %.3g, less where the image is busy", best.prior.tv_weight)
        # the next solution takes its map of what is busy from the image without one
        best = replace(best, image=choice.image)
    return best


def choose_contrast(trials: Trials, choice: Choice, deadline: Deadline) -> Choice:
    """Finer cells, and values driven to the ends of their range, where that predicts better: scenes of two values.

    Parameters
    ----------
    trials : Trials
        The judge, on the finer grid, with the same pixels kept out as ``choice``.
    choice : Choice
        With a range of values, on a coarser grid.
    deadline : Deadline
        No candidate is begun after it.
    """
    start = interpolate(choice.image[None, None], trials.grid.shape, mode="bilinear")[0, 0]
    prior = choice.prior.on_finer(trials.grid.cells / choice.cells).scaled(CONTRAST_FACTOR)

    def improve(best: Choice, priors: list[Prior]) -> Choice:
        for prior in priors:
            if deadline.left <= 0:
                break
            tried = trials.attempt(prior, start)
            if tried.mse >= best.mse:
                break
            best = tried
        return best

    best = improve(choice, [replace(prior, contrast=contrast) for contrast in CONTRASTS])
    if best is choice:
        best = improve(choice, [replace(prior, contrast=contrast) for contrast in CONTRASTS[1:]])
    if best is choice:
        best = improve(choice, [replace(prior, contrast=WEAK_CONTRAST)])
    if best is choice or not best.is_surely_better(choice):
        return choice
    assert best.prior.bounds is not None
    low, high = best.prior.bounds
    # a value that the scene does not have costs more now that values are driven to it
    ends = [(low + n * LOWER_STEP, high) for n in range(1, N_LOWER_STEPS + 2) if low + n * LOWER_STEP < high]
    best = improve(best, [replace(best.prior, bounds=bounds) for bounds in ends])
    for factor in (1 / CONTRAST_FACTOR, CONTRAST_FACTOR):
        best = improve(best, [best.prior.scaled(factor)])
    logger.info(
        "two values, %.3f and %.3f: contrast %.3g on %d cells a low-res pixel",
        *(best.prior.bounds or ()), best.prior.contrast, best.cells,
    )  # fmt: skip
    return best


def _percentile(values: Tensor, percent: float) -> float:
    """Percentile of any number of values (torch.quantile stops at 16 million)."""
    ordered = values.flatten().sort().values
    return float(ordered[min(int(percent / 100 * len(ordered)), len(ordered) - 1)])
