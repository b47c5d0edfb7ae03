"""Which frames of a video poses are found for: as far apart as the picture moved, and sharp beside their neighbours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.luminance import LUMINANCE
from nerfkit.scenes.opencv import load_cv2
from nerfkit.superresolution.frame_choice import sharpness

__all__ = ["FEWEST", "MOST", "SpacedSharpest"]

# widths of the frame by which the picture moves between two that are chosen: a tenth of what still matches well
SPACING = 0.05
# frames that are chosen at least, where there are as many, and at most
FEWEST, MOST = 40, 150
# side of the picture in which motion is measured, and of the middle part in which sharpness is
MOTION_SIDE, SHARP_SIDE = 128, 512


@dataclass(frozen=True)
class SpacedSharpest:
    """The sharpest frame of each of as many stretches, in each of which the picture moves as far.

    A camera that pauses gives few frames there, and one that swings gives more; frames that are blurred by motion lose
    to their neighbours. Frames that are black or of one colour are not chosen.

    Parameters
    ----------
    n_frames : int, optional
        How many; unless given by how far the picture moves, from :data:`FEWEST` to :data:`MOST`.

    Examples
    --------
    >>> sharp = np.kron(np.random.default_rng(0).uniform(size=(16, 16)), np.ones((8, 8)))
    >>> soft = (sharp + np.roll(sharp, 2, axis=0) + np.roll(sharp, 4, axis=0)) / 3
    >>> frames = [np.roll(sharp if i % 3 == 1 else soft, 2 * i, axis=1) for i in range(9)]
    >>> SpacedSharpest(3)(frames)
    [1, 4, 7]
    """

    n_frames: int | None = None

    def __call__(self, frames: Iterable[NDArray]) -> list[int]:
        """Indices of the chosen of ``frames``, [h, w] or [h, w, 3], each of which is looked at once."""
        cv2, scores, steps, is_flat = load_cv2(), [], [], []
        last: NDArray | None = None
        for frame in frames:
            middle = _grey(_middle(frame, SHARP_SIDE))
            scores.append(sharpness(middle))
            is_flat.append(not middle.std() > 0)
            small = _small(cv2, frame)
            steps.append(0.0 if last is None else _step(cv2, last, small))
            last = small
        return choose(np.array(scores), np.array(steps), np.array(is_flat, bool), self.n_frames)


def choose(scores: NDArray, steps: NDArray, is_flat: NDArray, n_frames: int | None) -> list[int]:
    """Indices by the sharpness of each frame and how far the picture moved from the one before, in widths."""
    path = np.cumsum(steps)
    wanted = n_frames or int(np.clip(round(path[-1] / SPACING), FEWEST, MOST))
    candidates = np.flatnonzero(~is_flat)
    if len(candidates) <= wanted:
        return candidates.tolist()
    # a share of the time keeps a stretch without motion from being empty
    place = path / max(path[-1], 1e-9) + 0.1 * np.linspace(0, 1, len(path))
    place = place[candidates]
    stretch = ((place - place[0]) / (place[-1] - place[0]) * wanted).astype(int).clip(max=wanted - 1)
    return [int(candidates[own[scores[candidates[own]].argmax()]]) for own in _members(stretch)]


def _members(stretch: NDArray) -> list[NDArray]:
    return [np.flatnonzero(stretch == number) for number in np.unique(stretch)]


def _middle(frame: NDArray, side: int) -> NDArray:
    top, left = (max(0, (n - side) // 2) for n in frame.shape[:2])
    return frame[top : top + side, left : left + side]


def _grey(frame: NDArray) -> NDArray[np.float32]:
    values = frame.astype(np.float32)
    return values if values.ndim == 2 else values[..., :3] @ np.array(LUMINANCE, np.float32)


def _small(cv2: Any, frame: NDArray) -> NDArray[np.float32]:
    return _grey(cv2.resize(frame, (MOTION_SIDE, MOTION_SIDE), interpolation=cv2.INTER_AREA))


def _step(cv2: Any, before: NDArray, after: NDArray) -> float:
    """How far the picture moved, in widths."""
    window = cv2.createHanningWindow((MOTION_SIDE, MOTION_SIDE), cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(before, after, window)
    return float(np.hypot(x, y)) / MOTION_SIDE
