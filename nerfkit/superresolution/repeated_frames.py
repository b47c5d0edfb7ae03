"""Frames that repeat another: a video that keeps its clock, files that were copied."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["find_repeats"]

# fraction of the pixels that have the very value of the frame before, from which on it is that one, compressed anew:
# two exposures with half a step of noise have it in 0.55 of theirs
SAME = 0.9


def find_repeats(images: NDArray[np.floating]) -> NDArray[np.int64]:
    """The earlier frame that each one repeats, -1 where it is an exposure of its own [n_frames].

    A pixel that is held out of one of two equal frames is known from the other, and what chooses by such pixels chooses
    too little smoothness.

    Parameters
    ----------
    images : ndarray, shape (n_frames, h, w) or (n_frames, h, w, n_channels)
        A copy may be of any frame before; one that is nearly a copy is looked for among neighbours.

    Examples
    --------
    >>> frames = np.random.default_rng(0).uniform(size=(4, 8, 8))
    >>> frames[3] = frames[1]
    >>> find_repeats(frames).tolist()
    [-1, -1, -1, 1]
    """
    seen: dict[bytes, int] = {}
    found = np.full(len(images), -1)
    for index, image in enumerate(images):
        first = seen.setdefault(image.tobytes(), index)
        if first != index:
            found[index] = first
        elif index and _fraction_equal(image, images[index - 1]) > SAME:
            found[index] = found[index - 1] if found[index - 1] >= 0 else index - 1
    return found


def _fraction_equal(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Fraction of the values that are equal; those at the ends of the range, which may be clipped, say nothing."""
    is_inside = (one > one.min()) & (one < one.max())
    return float((one == other)[is_inside].mean()) if is_inside.any() else 0.0
