"""How noisy a picture is, from itself alone."""

from __future__ import annotations

import numpy as np

__all__ = ["contrast", "noise_level"]


def noise_level(frame: np.ndarray) -> float:
    """Standard deviation of the noise in a grey frame [h, w] (Immerkaer 1996, with the median for the mean).

    Examples
    --------
    >>> frame = np.random.default_rng(0).normal(0.5, 0.02, (80, 80))
    >>> bool(abs(noise_level(frame) - 0.02) < 0.002)
    True
    """
    if min(frame.shape) < 3:
        return 0.0
    rows = frame[:-2] - 2 * frame[1:-1] + frame[2:]
    twice = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    # the filter's weights have a norm of 6; a normal variable's median size is 0.6745 sigma
    return float(np.median(np.abs(twice)) / 6 / 0.6745)


def contrast(frame: np.ndarray) -> float:
    """Standard deviation of a grey frame [h, w] beyond that of its noise.

    Examples
    --------
    >>> contrast(np.full((8, 8), 0.7))
    0.0
    """
    if not np.ptp(frame):  # rounding of the mean would leave a little
        return 0.0
    variance = float(np.var(frame, dtype=np.float64)) - noise_level(frame) ** 2
    return float(np.sqrt(max(variance, 0.0)))
