"""Frames that show nothing of the scene: black, white, or all noise, as at the start of a fade."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.noise import contrast

__all__ = ["is_blank", "is_low"]

# fraction of the usual frame's contrast, noise taken off, and of its standard deviation, below which a frame does not
# show the scene; both, since texture as fine as a pixel counts as noise
LEAST_CONTRAST, LEAST_DEVIATION = 0.1, 0.5
# frames of a sequence that the usual ones are taken from: the upper half, since a fade may take the lower one
USUAL_QUANTILE = 0.75


def is_blank(grey: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which frames [n_frames] of grey ones [n_frames, h, w] have hardly any of the others' contrast.

    Examples
    --------
    >>> frames = np.tile(np.linspace(0, 1, 8), (4, 8, 1))
    >>> frames[0] = 0.0
    >>> is_blank(frames).tolist()
    [True, False, False, False]
    """
    deviations = np.array([np.std(frame, dtype=np.float64) if np.ptp(frame) else 0.0 for frame in grey])
    contrasts = np.array([contrast(frame) for frame in grey])
    return is_low(contrasts, deviations)


def is_low(contrasts: NDArray[np.floating], deviations: NDArray[np.floating]) -> NDArray[np.bool_]:
    """The same from the frames' contrasts and standard deviations [n_frames]."""
    is_faint = contrasts <= LEAST_CONTRAST * np.quantile(contrasts, USUAL_QUANTILE)
    return is_faint & (deviations <= LEAST_DEVIATION * np.quantile(deviations, USUAL_QUANTILE))
