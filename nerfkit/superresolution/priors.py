"""How smooth the image is and which values it takes, chosen by pixels that are held out."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import Tensor

from nerfkit.heldout import Trial, improve, lowest_of_parabola, search_line
from nerfkit.solvers.grid import Prior

from .trials import Trials

__all__ = [
    "NOISE_STEPS",
    "START",
    "RangePercentiles",
    "choose_contrast",
    "choose_local",
    "choose_prior",
    "choose_two_values",
    "choose_weight",
    "range_at",
]

logger = logging.getLogger(__name__)

# the prior that everything starts from, and the regularisation weights that are tried
START = Prior(tv_weight=0.5, sigma=0.02)
WEIGHTS = (0.01, 40.0)
# steps of the solution that the error is estimated from
NOISE_STEPS = 150
# percentiles of the low-res values at which the upper end of the range is tried, from above
UPPER_PERCENTILES = (99.9, 99.0, 97.0, 94.0, 90.0, 80.0, 70.0)
# where the lower end starts, and steps of it that are tried, as a fraction of the range
LOWER_PERCENTILE, LOWER_STEP, N_LOWER_STEPS = 0.5, 0.03, 4
# factors on the weight with which a total variation that is weaker where the image is busy is tried
LOCAL_FACTORS = (1.5, 2.25)
# contrasts that are tried until one predicts better, the factor on the total variation that goes with them, and steps
# of the lower end that are tried then
CONTRASTS, CONTRAST_FACTOR, N_ENDS = (10.0, 5.0, 2.0), 1.5, 6

Found = Trial[Prior]


@dataclass(frozen=True)
class RangePercentiles:
    """Where the chosen range lies among the values of the image (low) and of its low-res pixels (high)."""

    low: float
    high: float


def choose_prior(trials: Trials, start: Tensor | None = None) -> tuple[Found, RangePercentiles | None]:
    """Noise, weight of the total variation and range of values, in this order.

    Returns
    -------
    found : Trial
        The best.
    percentiles : RangePercentiles or None
        Where its range lies, for other channels; None when no range predicts better than all values.
    """
    first = trials.first(START, start)
    again = trials.solve(replace(START, sigma=trials.sigma(first.image)), first.image, NOISE_STEPS)
    prior = replace(START, sigma=trials.sigma(again.image))
    best = choose_weight(trials, trials.attempt(prior, again) or replace(again, setting=prior))
    best, percentiles = _choose_range(trials, best)
    if percentiles is not None:
        found = choose_weight(trials, best)
        best = found if found.mse <= best.mse else best
    logger.debug(
        "error of a pixel %.4f, weight of the total variation %.3g, range %s",
        best.setting.sigma, best.setting.tv_weight,
        best.setting.bounds and "{:.3f} to {:.3f}".format(*best.setting.bounds),
    )  # fmt: skip
    return best, percentiles


def choose_weight(trials: Trials, first: Found) -> Found:
    """Halve and double the weight while that helps, then the lowest point of a parabola through the best three."""

    def at(octave: float) -> Prior | None:
        prior = first.setting.scaled(2.0**octave)
        return prior if WEIGHTS[0] < prior.tv_weight < WEIGHTS[1] else None

    found = search_line(first, at, trials.attempt)
    best = min(found.values(), key=lambda trial: trial.mse)
    return replace(best, setting=at(lowest_of_parabola(found)) or best.setting)


def range_at(trials: Trials, image: Tensor, percentiles: RangePercentiles) -> tuple[float, float]:
    """The range at percentiles of ``image`` and of its low-res pixels."""
    low, high = _percentile(image, percentiles.low), _percentile(trials.seen(image), percentiles.high)
    least = LOWER_STEP * float(image.max() - image.min())
    return low, max(high, low + least)


def _lower_step(prior: Prior) -> float:
    low, high = prior.bounds or (0.0, 0.0)
    return LOWER_STEP * (high - low)


def _choose_range(trials: Trials, free: Found) -> tuple[Found, RangePercentiles | None]:
    """Lower the upper end of the range from the greatest low-res value, then raise the lower end, while that helps."""
    # an image of few values reaches the brightest one over whole low-res pixels, so those say what it may be
    seen = trials.seen(free.image)
    low = _percentile(free.image, LOWER_PERCENTILE)
    best, high_percentile = free, None
    for percentile in UPPER_PERCENTILES:
        high = _percentile(seen, percentile)
        if not low < high:
            break
        weights = (1.0, 0.6) if best is free else (1.0,)
        tried = [trials.attempt(best.setting.scaled(weight).within(low, high), best) for weight in weights]
        nearest = min((one for one in tried if one is not None), key=lambda one: one.mse, default=None)
        if nearest is None or not nearest.is_better(best):
            break
        best, high_percentile = nearest, percentile
    if best.setting.bounds is None or high_percentile is None:
        return free, None
    best = _choose_lower_end(trials, best)
    assert best.setting.bounds is not None
    low_percentile = float((free.image < best.setting.bounds[0]).float().mean()) * 100
    return best, RangePercentiles(low_percentile, high_percentile)


def _choose_lower_end(trials: Trials, best: Found) -> Found:
    """The lower end of the range raised while that helps."""
    assert best.setting.bounds is not None
    (low, high), step = best.setting.bounds, _lower_step(best.setting)
    ends = (best.setting.within(low + n * step, high) for n in range(1, N_LOWER_STEPS + 1) if low + n * step < high)
    return improve(best, ends, trials.attempt)


def choose_local(trials: Trials, best: Found) -> Found:
    """A total variation that is weaker where the image is busy, if it predicts better."""
    settings = (replace(best.setting.scaled(factor), is_local=True) for factor in LOCAL_FACTORS)
    # each starts from the image without a map of what is busy, and so does the next solution
    found = improve(best, settings, lambda prior, _: trials.attempt(prior, best))
    return replace(found, image=best.image)


def choose_contrast(trials: Trials, smooth: Found, ratio: float) -> Found:
    """Values driven to the ends of their range, where that surely predicts better: scenes of two values.

    Parameters
    ----------
    trials : Trials
        The judge, on finer cells, with the same pixels held out as ``smooth``.
    smooth : Trial
        With a range of values, on coarser cells; every solution starts from it.
    ratio : float
        Cells of the finer grid along one of the coarser.
    """
    prior = smooth.setting.on_finer(ratio).scaled(CONTRAST_FACTOR)
    for contrast in CONTRASTS:
        tried = trials.attempt(replace(prior, contrast=contrast), smooth)
        if tried is None or tried.is_better(smooth):
            return tried if tried is not None and tried.is_surely_better(smooth) else smooth
    return smooth


def choose_two_values(trials: Trials, best: Found, smooth: Found) -> Found:
    """The lower of two values raised, and the weight grown, while that helps; every solution starts from ``smooth``.

    A value that the scene does not have costs more now that values are driven to it.
    """
    assert best.setting.bounds is not None

    def tried(best: Found, priors: Iterable[Prior]) -> Found:
        return improve(best, priors, lambda prior, _: trials.attempt(prior, smooth))

    (low, high), step = best.setting.bounds, _lower_step(best.setting)
    ends = (best.setting.within(low + n * step, high) for n in range(1, N_ENDS + 1) if low + n * step < high)
    best = tried(best, list(ends))
    best = tried(best, [best.setting.scaled(CONTRAST_FACTOR)])
    logger.debug("two values, %.3f and %.3f: contrast %.3g", *(best.setting.bounds or ()), best.setting.contrast)
    return best


def _percentile(values: Tensor, percent: float) -> float:
    """Percentile of any number of values (torch.quantile stops at 16 million)."""
    ordered = values.flatten().sort().values
    return float(ordered[min(int(percent / 100 * len(ordered)), len(ordered) - 1)])
