"""Guides: classical estimates of the clean picture, and how each answers to small changes of the noisy one.

An estimate's error is known without the clean picture (Stein 1981, SURE): its distance from the noisy picture, plus
twice the noise's variance times its mean derivative to the own pixel, which random signs measure (Ramani et al. 2008).
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .colours import opponent_colours
from .nonlocal_bayes import NonlocalBayes, nonlocal_bayes

__all__ = ["ESTIMATES", "Guides", "estimated_mse", "make_guides"]

# size of the change that is answered, of the noise's standard deviation: some estimates are not smooth
PROBE = 0.1
# side of the part of a picture on which an estimate's parameter is chosen
CHOICE_SIDE = 256
# steps of the total variation's solver, always all of them: one that stops on a tolerance is no smooth function
TV_STEPS = 60
# probes of a picture of 256 x 256; a larger one has as many pixels for its mean with fewer
N_PROBES, MIN_PROBES = 4, 2
# those that are worth their time; the others cost three times as much as this one and bring nothing beside it
DEFAULT_NAMES = ("non-local Bayes",)

Estimate = Callable[[NDArray[np.float32], float], NDArray[np.float32]]


def _non_local_means(patch_size: int, h: float) -> Estimate:
    from skimage.restoration import denoise_nl_means

    def estimate(picture: NDArray[np.float32], std: float) -> NDArray[np.float32]:
        result = denoise_nl_means(
            picture, patch_size=patch_size, patch_distance=9, h=h * std, sigma=std, fast_mode=True, channel_axis=-1
        )
        return np.asarray(result, np.float32).reshape(picture.shape)

    return estimate


def _total_variation(weight: float) -> Estimate:
    from skimage.restoration import denoise_tv_chambolle

    def estimate(picture: NDArray[np.float32], std: float) -> NDArray[np.float32]:
        result = denoise_tv_chambolle(picture, weight * std, channel_axis=-1, eps=0.0, max_num_iter=TV_STEPS)
        return np.asarray(result, np.float32)

    return estimate


def _nonlocal_bayes(side: int) -> Estimate:
    settings = NonlocalBayes((side, side), (60, 60))
    return lambda picture, std: nonlocal_bayes(picture, std, settings)


@dataclass(frozen=True)
class _Family:
    """One kind of estimate, with the parameters to choose from; lengths are in standard deviations of the noise."""

    make: Callable[..., Estimate]
    choices: tuple[dict[str, Any], ...]


def _choices(**values: tuple[Any, ...]) -> tuple[dict[str, Any], ...]:
    return tuple(dict(zip(values, row, strict=True)) for row in itertools.product(*values.values()))


# the kinds of estimates
ESTIMATES: dict[str, _Family] = {
    "total variation": _Family(_total_variation, _choices(weight=(0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 1.9, 2.4))),
    "non-local means": _Family(_non_local_means, _choices(patch_size=(3, 5, 7), h=(0.35, 0.45, 0.6, 0.75))),
    "non-local Bayes": _Family(_nonlocal_bayes, _choices(side=(5,))),
}


@dataclass(frozen=True)
class Guides:
    """Estimates of one picture.

    Parameters
    ----------
    names : tuple of str
        Kinds, in the order of the arrays.
    values : ndarray, shape (n_guides, h, w, c)
        The estimates.
    slopes : ndarray, shape (n_guides, h, w, c)
        Derivative of each value to the noisy value of the own pixel, in the channels of opponent colours. A single
        one is far off, as few probes tell it; means over many pixels, as in a loss, are right.
    chosen : dict
        Parameters of each estimate, by SURE.
    mses : dict
        SURE of each estimate: its mean squared error, as far as the noisy picture tells.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]
    slopes: NDArray[np.float32]
    chosen: dict[str, dict[str, Any]]
    mses: dict[str, float]


def estimated_mse(
    picture: NDArray[np.float32], values: NDArray[np.float32], probe: NDArray[np.float32],
    response: NDArray[np.float32], std: float,
) -> float:  # fmt: skip
    """SURE of the estimate ``values`` by its ``response`` to the change ``probe``; arrays of one shape.

    Examples
    --------
    The noisy picture itself is wrong by the noise:

    >>> noisy = np.random.default_rng(0).normal(0.5, 0.1, (64, 64, 1)).astype(np.float32)
    >>> signs = np.sign(noisy - 0.5)
    >>> round(estimated_mse(noisy, noisy, signs, signs, 0.1), 4)
    0.01
    """
    distance = np.square(values - picture, dtype=np.float64).mean()
    return float(distance + 2 * std**2 * np.multiply(probe, response, dtype=np.float64).mean() - std**2)


def make_guides(
    picture: NDArray[np.float32], std: float, *, names: tuple[str, ...] = DEFAULT_NAMES, seed: int = 0,
    n_probes: int | None = None, on_estimate: Callable[[int, int], None] = lambda done, total: None,
) -> Guides:  # fmt: skip
    """Estimates of ``picture`` [h, w, c] with white normal noise of ``std``, parameters by SURE on its middle.

    Parameters
    ----------
    picture : ndarray, shape (h, w, c)
        Noisy values.
    std : float
        Standard deviation of the noise, positive.
    names : tuple of str
        Which estimates: keys of ``ESTIMATES``.
    seed : int
        Of the probes.
    n_probes : int, optional
        How many; None: by the number of pixels.
    on_estimate : callable
        Called with the number of estimates that are made and that there will be.
    """
    rng = np.random.default_rng(seed)
    if n_probes is None:
        n_probes = max(MIN_PROBES, min(N_PROBES, math.ceil(N_PROBES * 2**16 / picture[..., 0].size)))
    middle = _middle(picture)
    n_tried = sum(len(ESTIMATES[name].choices) for name in names if len(ESTIMATES[name].choices) > 1)
    counter = iter(range(1, 10**9))
    total = 2 * n_tried + len(names) * (1 + n_probes)

    def counted(estimate: Estimate, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        with warnings.catch_warnings():
            # scikit-image's remark on float32 and small sides
            warnings.simplefilter("ignore")
            result = estimate(picture, std)
        on_estimate(next(counter), total)
        return result

    chosen = {
        name: _choose(ESTIMATES[name], middle, std, np.random.default_rng(seed), counted) for name in names
    }  # fmt: skip
    estimates = [ESTIMATES[name].make(**chosen[name]) for name in names]
    values = np.stack([counted(estimate, picture) for estimate in estimates])
    step, rotation = np.float32(PROBE * std), opponent_colours(picture.shape[2]).numpy()
    slopes, mses = np.zeros_like(values), np.zeros(len(names))
    for _ in range(n_probes):
        probe = _signs(rng, picture.shape)
        for index, estimate in enumerate(estimates):
            response = (counted(estimate, (picture + step * probe).astype(np.float32)) - values[index]) / step
            slopes[index] += (probe @ rotation.T) * (response @ rotation.T) / n_probes
            mses[index] += estimated_mse(picture, values[index], probe, response, std) / n_probes
    return Guides(names, values, slopes, chosen, dict(zip(names, map(float, mses), strict=True)))


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return rng.choice(np.array([-1, 1], np.float32), shape)


def _middle(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Its middle part, of at most ``CHOICE_SIDE`` pixels a side."""
    starts = [max(0, (count - CHOICE_SIDE) // 2) for count in picture.shape[:2]]
    return picture[starts[0] : starts[0] + CHOICE_SIDE, starts[1] : starts[1] + CHOICE_SIDE]


def _choose(
    family: _Family, picture: NDArray[np.float32], std: float, rng: np.random.Generator,
    counted: Callable[[Estimate, NDArray[np.float32]], NDArray[np.float32]],
) -> dict[str, Any]:  # fmt: skip
    """The parameters of least SURE."""
    if len(family.choices) == 1:
        return family.choices[0]
    probe, step = _signs(rng, picture.shape), np.float32(PROBE * std)

    def errors() -> Iterator[float]:
        for choice in family.choices:
            estimate = family.make(**choice)
            values = counted(estimate, picture)
            response = (counted(estimate, (picture + step * probe).astype(np.float32)) - values) / step
            yield estimated_mse(picture, values, probe, response, std)

    return family.choices[int(np.argmin(list(errors())))]
