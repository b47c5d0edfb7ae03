"""Frames that show nothing of the scene: black, white, or all noise, as at the start of a fade."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.noise import contrast

__all__ = ["is_blank"]

# fraction of the usual frame's contrast, least of which a frame shows the scene
LEAST_CONTRAST = 0.1
# frames of a sequence that the usual contrast is taken from: the upper half, since a fade may take the lower one
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
    found = np.array([contrast(frame) for frame in grey])
    return found <= LEAST_CONTRAST * np.quantile(found, USUAL_QUANTILE)
