"""Which frames of a long sequence are used: the sharpest of each stretch, so that they are spread over all of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.luminance import LUMINANCE
from nerfkit.scenes.noise import contrast

from .blank_frames import is_low
from .repeated_frames import RepeatFinder

__all__ = ["SharpestOfEachStretch", "sharpness"]

# side of a frame's middle part that is looked at
SIDE = 512


@dataclass(frozen=True)
class SharpestOfEachStretch:
    """The sharpest frame of each of ``most`` equal stretches of a sequence; none that repeats another or shows nothing.

    Parameters
    ----------
    most : int
        Number of stretches.
    kept : str, optional
        Name of a frame that is chosen from its stretch in any case.

    Examples
    --------
    >>> sharp = np.kron(np.random.default_rng(0).uniform(size=(8, 8)), np.ones((4, 4)))
    >>> soft = (sharp + np.roll(sharp, 1, axis=0) + np.roll(sharp, 2, axis=0)) / 3
    >>> SharpestOfEachStretch(2)([("a", soft), ("b", sharp), ("c", sharp), ("d", soft[::-1])])
    [1, 3]
    """

    most: int
    kept: str | None = None

    def __call__(self, frames: Iterable[tuple[str, NDArray]]) -> list[int]:
        """Indices of the chosen frames; each is looked at once."""
        repeats, looked_at = RepeatFinder(), []
        for name, pixels in frames:
            middle = _middle(pixels)
            is_kept = self.kept is not None and PurePath(self.kept).name == PurePath(name).name
            is_out = repeats.earlier(pixels) >= 0 and not is_kept
            looked_at.append((np.inf if is_kept else sharpness(middle), contrast(middle), middle.std(), is_out))
        scores, contrasts, deviations, is_repeat = map(np.array, zip(*looked_at, strict=True))
        is_out = (is_repeat | is_low(contrasts, deviations)) & np.isfinite(scores)
        candidates = np.flatnonzero(~is_out) if not is_out.all() else np.arange(len(scores))
        stretches = np.array_split(candidates, min(self.most, len(candidates)))
        return [int(stretch[scores[stretch].argmax()]) for stretch in stretches]


def sharpness(grey: NDArray[np.floating]) -> float:
    """Variance of the Laplacian of a grey picture, smoothed by a binomial of 3 x 3 pixels, over that of the picture.

    Examples
    --------
    >>> picture = np.kron(np.random.default_rng(0).uniform(size=(8, 8)), np.ones((4, 4)))
    >>> sharpness(picture) > sharpness((picture + np.roll(picture, 1, axis=0)) / 2)
    True
    """
    variance = float(grey.var(dtype=np.float64))
    if min(grey.shape) < 5 or not variance:
        return 0.0
    smooth = grey[:-2] + 2 * grey[1:-1] + grey[2:]
    smooth = (smooth[:, :-2] + 2 * smooth[:, 1:-1] + smooth[:, 2:]) / 16
    around = smooth[:-2, 1:-1] + smooth[2:, 1:-1] + smooth[1:-1, :-2] + smooth[1:-1, 2:]
    return float((around - 4 * smooth[1:-1, 1:-1]).var(dtype=np.float64)) / variance


def _middle(pixels: NDArray) -> NDArray[np.float32]:
    """Grey middle part of a frame of any type, as it is in the file."""
    top, left = (max(0, (n - SIDE) // 2) for n in pixels.shape[:2])
    part = pixels[top : top + SIDE, left : left + SIDE].astype(np.float32)
    return part if part.ndim == 2 else part[..., :3] @ np.array(LUMINANCE, np.float32)
