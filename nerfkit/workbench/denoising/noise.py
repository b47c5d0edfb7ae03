"""Noise of a picture: what kind, how strong, made for simulations, and brought to the normal noise of one strength.

Levels are ``std`` over the range for normal noise, ``1 / peak`` for Poisson noise, where ``peak`` is the number of
photons of a pixel of value 1, and the fraction of pixels for impulses.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError

from .colours import opponent_colours

__all__ = ["KINDS", "Kind", "Noise", "add_noise", "estimate_noise", "find_impulses", "stabilise", "unstabilise"]

Kind = Literal["gaussian", "poisson", "impulse"]
KINDS: tuple[str, ...] = get_args(Kind)

# side of the patches whose least variances are the noise's
PATCH = 8
# fraction of the patches, those with the least of structure
QUIET = 0.2
# patches that are looked at, at most
MAX_PATCHES = 2**15
# steps to the level of Poisson noise, each of which leaves a small part of the error
POISSON_STEPS = 5
# least difference of an impulse from the median around it, and the same in standard deviations of the noise
IMPULSE_STEP, IMPULSE_STDS = 0.1, 4.0
# of the windows, of side 2 radius + 1, whose median an impulse is compared with
MEDIAN_RADII = (1, 2, 3)
# impulses to other values that are as far from their medians, at least: edges and strong noise have as many of both
IMPULSES_TO_OTHERS = 2.0
# of the values: fewer impulses are taken for what the picture shows
LEAST_IMPULSES = 0.003
# classes of brightness in which the variance of the noise is looked at, and least pixels of one
N_CLASSES, LEAST_PIXELS = 12, 100


@dataclass(frozen=True)
class Noise:
    """What a picture's values are off by.

    Examples
    --------
    >>> Noise("poisson", 1 / 30).peak
    30.0
    """

    # gaussian: the same everywhere; poisson: variance proportional to the value; impulse: some pixels are 0 or 1
    kind: Kind
    # gaussian: standard deviation over the range; poisson: 1 / photons of a pixel of value 1; impulse: fraction
    level: float

    def __post_init__(self) -> None:
        _check_noise(self.kind, self.level)

    @property
    def peak(self) -> float:
        """Photons of a pixel of value 1, of Poisson noise."""
        return 1 / self.level


def _check_noise(kind: str, level: float) -> None:
    if kind not in KINDS:
        raise NerfkitError(f"noise of kind {kind!r} is not known", fix=f"give one of {', '.join(KINDS)}")
    if not 0 < level < math.inf or (kind == "impulse" and level >= 1):
        unit = {
            "gaussian": "a standard deviation as a fraction of the range, such as 0.1",
            "poisson": "1 / photons of a white pixel, such as 0.03",
            "impulse": "a fraction of the pixels below 1, such as 0.1",
        }[kind]
        raise NerfkitError(f"the level of {kind} noise is {level}", fix=f"give {unit}")


def add_noise(picture: NDArray[np.float32], kind: str, level: float, seed: int = 0) -> NDArray[np.float32]:
    """A noisy copy of a picture in [0, 1]; normal and Poisson noise go beyond that range and are not clipped.

    Examples
    --------
    >>> noisy = add_noise(np.full((50, 50, 1), 0.5, np.float32), "impulse", 0.2)
    >>> bool(0.15 < np.mean(noisy != 0.5) < 0.25)
    True
    """
    _check_noise(kind, level)
    rng = np.random.default_rng(seed)
    if kind == "gaussian":
        noisy = picture + rng.normal(0, level, picture.shape)
    elif kind == "poisson":
        noisy = rng.poisson(np.clip(picture, 0, None) / level) * level
    else:
        hit = rng.random((*picture.shape[:2], 1)) < level
        noisy = np.where(hit, rng.integers(0, 2, hit.shape), picture)
    return noisy.astype(np.float32)


def estimate_noise(picture: NDArray[np.float32]) -> Noise:
    """Kind and level of a picture's noise, from itself alone.

    Parameters
    ----------
    picture : ndarray, shape (h, w, c)
        Noisy values, [0, 1] where there is no noise.

    Returns
    -------
    noise : Noise
        A mixture is taken for its strongest kind. A level of 1e-4 means that no noise was seen.

    Notes
    -----
    Impulses are values at the ends of the range far from the median around them. The level of normal noise is the
    variance of patches without texture in the directions where patches vary least (after Liu, Tanaka and Okutomi 2013).
    That of Poisson noise is the one after whose stabilisation the noise has a standard deviation of 1.
    """
    hit = find_impulses(picture)
    fraction = float(hit.mean())
    if fraction > LEAST_IMPULSES:
        return Noise("impulse", fraction)
    if _varies_with_brightness(picture):
        return Noise("poisson", _poisson_level(picture))
    return Noise("gaussian", max(_normal_std(picture), 1e-4))


def find_impulses(picture: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Values [h, w, c] that are the picture's least or greatest and far from the median around them.

    The window grows from 3 to 7 pixels until its median is no such value (adaptive median, Hwang and Haddad 1995).
    Where other values are as often as far from their medians, that is how the picture is, and none is an impulse.
    """
    found = np.zeros(picture.shape, bool)
    low, high = float(picture.min()), float(picture.max())
    if high - low < IMPULSE_STEP:
        return found
    for channel in range(picture.shape[2]):
        values = picture[..., channel]
        ends = (values <= low) | (values >= high)
        away = np.abs(values - _adaptive_median(values, low, high))
        # of what is no impulse; half of the values are nearer to their median than 0.6745 standard deviations
        std = np.median(away[~ends]) / 0.6745 if not ends.all() else 0.0
        is_far = away > max(IMPULSE_STEP, IMPULSE_STDS * std)
        if (is_far & ends).sum() > IMPULSES_TO_OTHERS * (is_far & ~ends).sum():
            found[..., channel] = is_far & ends
    return found


def _adaptive_median(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Median [h, w] around each value in the least window whose median is between the ends; else the value itself."""
    result = values.copy()
    is_sought = np.ones(values.shape, bool)
    for radius in MEDIAN_RADII:
        padded = np.pad(values, radius, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1, 2 * radius + 1))
        rows, cols = np.nonzero(is_sought)
        median = np.median(windows[rows, cols].reshape(len(rows), -1), axis=1)
        is_told = (median > low) & (median < high)
        result[rows[is_told], cols[is_told]] = median[is_told]
        # in a wider window only values that may be impulses are looked at again
        is_sought[rows[is_told], cols[is_told]] = False
        is_sought &= (values <= low) | (values >= high)
        if not is_sought.any():
            break
    return result


def _normal_std(picture: NDArray[np.floating]) -> float:
    """Standard deviation of white normal noise, the root mean square over the channels of opponent colours."""
    turned = picture @ opponent_colours(picture.shape[2]).numpy().T
    return float(np.sqrt(np.mean([_std_of_channel(turned[..., channel]) ** 2 for channel in range(turned.shape[2])])))


def _std_of_channel(channel: NDArray[np.floating]) -> float:
    """Of the directions in which patches vary least, among the patches that vary least in the other directions.

    White noise is independent in all of them: to choose patches by some leaves it as it is in the others.
    """
    side = min(PATCH, *channel.shape)
    windows = np.lib.stride_tricks.sliding_window_view(channel, (side, side)).reshape(-1, side * side)
    patches = windows[:: max(1, len(windows) // MAX_PATCHES)].astype(np.float64)
    patches = patches - patches.mean(1, keepdims=True)
    _, directions = np.linalg.eigh(patches.T @ patches)
    energies = np.square(patches @ directions)
    # the first direction is the mean, which was taken away
    n_values = side * side
    least, most = energies[:, 1 : n_values // 2], energies[:, n_values * 3 // 4 :]
    told = most.sum(1)
    quiet = least[told <= np.quantile(told, QUIET)]
    return float(np.sqrt(max(quiet.mean(), 0.0))) if quiet.size else 0.0


def _varies_with_brightness(picture: NDArray[np.floating]) -> bool:
    """Whether the noise's variance is rather proportional to the value than the same everywhere."""
    from scipy.ndimage import correlate, gaussian_filter

    logs, means, weights = [], [], []
    for channel in np.moveaxis(np.asarray(picture, np.float64), -1, 0):
        if min(channel.shape) < PATCH:
            return False
        # Immerkaer's filter, which plane and step along an axis leave alone, and what smooth parts of the picture are
        fine = correlate(channel, np.outer([1, -2, 1], [1, -2, 1]) / 6, mode="reflect")
        smooth = gaussian_filter(channel, 2.0)
        down, right = np.gradient(smooth)
        slope = np.hypot(down, right)
        flat = slope <= np.quantile(slope, 0.5)
        edges = np.quantile(smooth[flat], np.linspace(0, 1, N_CLASSES + 1))
        for low, high in itertools.pairwise(edges):
            inside = flat & (smooth >= low) & (smooth <= high) & (smooth > 0.02) & (smooth < 0.95)
            if inside.sum() >= LEAST_PIXELS:
                logs.append(2 * math.log(np.median(np.abs(fine[inside])) / 0.6745 + 1e-6))
                means.append(math.log(smooth[inside].mean()))
                weights.append(float(inside.sum()))
    if len(logs) < 2:
        return False
    # of the line log variance = a + b log mean, b is 0 for normal and 1 for Poisson noise
    spread = np.asarray(means) - np.average(means, weights=weights)
    slope = np.average(spread * logs, weights=weights) / max(float(np.average(spread**2, weights=weights)), 1e-12)
    return bool(slope > 0.5 and np.ptp(means) > 0.3)


def _poisson_level(picture: NDArray[np.floating]) -> float:
    """1 / peak such that the stabilised picture has a noise of 1."""
    level = max(_normal_std(picture) ** 2 / max(float(picture.mean()), 1e-6), 1e-6)
    for _ in range(POISSON_STEPS):
        # the variance of values stabilised for another level is the ratio of the levels, for many photons
        level = min(max(level * _normal_std(stabilise(picture, level)) ** 2, 1e-6), 10.0)
    return level


def stabilise(picture: NDArray[np.number], level: float) -> NDArray[np.float64]:
    """Anscombe's transform: photons of a Poisson distribution to values with a standard deviation of about 1."""
    return 2 * np.sqrt(np.maximum(np.asarray(picture, np.float64) / level, 0) + 3 / 8)


def unstabilise(values: NDArray[np.floating], level: float) -> NDArray[np.float64]:
    """The exact unbiased inverse of :func:`stabilise` (Mäkitalo and Foi 2011): from its mean to the mean photon count.

    Examples
    --------
    Four photons a pixel, averaged after the transform:

    >>> photons = np.random.default_rng(0).poisson(4.0, 100_000)
    >>> mean = stabilise(photons, 1.0).mean()
    >>> round(float(unstabilise(mean, 1.0)), 1), round(float((mean / 2) ** 2 - 3 / 8), 1)
    (4.0, 3.8)
    """
    means, transformed = _expectation_of_anscombe()
    values = np.asarray(values, np.float64)
    inside = np.interp(values, transformed, means)
    # for many photons the expectation is the transform of the mean less its curvature
    beyond = (values / 2) ** 2 - 1 / 8
    return np.where(values > transformed[-1], beyond, inside) * level


def _expectation_of_anscombe() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of a Poisson variable, 0 to 100, and of its Anscombe transform: the sum over counts."""
    from scipy.special import gammaln

    means = np.concatenate([[0.0], np.geomspace(1e-3, 100, 600)])
    counts = np.arange(260.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(means[:, None] > 0, counts * np.log(means[:, None]), 0.0)
    probabilities = np.exp(logs - means[:, None] - gammaln(counts + 1))
    probabilities[0] = counts == 0
    return means, probabilities @ (2 * np.sqrt(counts + 3 / 8))
