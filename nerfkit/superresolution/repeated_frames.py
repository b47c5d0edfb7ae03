"""Frames that repeat another: a video that keeps its clock, files that were copied."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["RepeatFinder", "find_repeats"]

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
    finder = RepeatFinder()
    return np.array([finder.earlier(image) for image in images], dtype=np.int64)


class RepeatFinder:
    """Finds repeats in frames that come one after the other; of those before, only the last is kept."""

    def __init__(self) -> None:
        self.seen: dict[bytes, int] = {}
        self.index, self.found, self.last = -1, -1, np.empty(0)

    def earlier(self, image: NDArray) -> int:
        """Index of the frame that the next one repeats; -1 for none."""
        self.index += 1
        first = self.seen.setdefault(hashlib.blake2b(image.tobytes()).digest(), self.index)
        if first != self.index:
            self.found = first
        elif image.shape == self.last.shape and _fraction_equal(image, self.last) > SAME:
            self.found = self.found if self.found >= 0 else self.index - 1
        else:
            self.found = -1
        self.last = image
        return self.found


def _fraction_equal(one: NDArray, other: NDArray) -> float:
    """Fraction of the values that are equal; those at the ends of the range, which may be clipped, say nothing."""
    is_inside = (one > one.min()) & (one < one.max())
    return float((one == other)[is_inside].mean()) if is_inside.any() else 0.0
