"""What is known of a picture carried to where it is not, by classical interpolation: baselines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["scattered_cubic"]


def scattered_cubic(values: NDArray, known: NDArray[np.bool_]) -> NDArray:
    """A picture [h, w, c] whose unknown pixels are Clough-Tocher cubics through the known ones, nearest beyond them."""
    from scipy.interpolate import CloughTocher2DInterpolator, NearestNDInterpolator

    unknown = np.argwhere(~known).astype(float)
    places = np.argwhere(known).astype(float)
    found = np.array(values, np.float64)
    if not len(unknown):
        return found
    nearest = NearestNDInterpolator(places, values[known])(unknown)
    if np.ptp(places[:, 0]) > 0 and np.ptp(places[:, 1]) > 0:
        cubic = CloughTocher2DInterpolator(places, values[known])(unknown)
        found[~known] = np.where(np.isnan(cubic), nearest, cubic)
    else:
        found[~known] = nearest
    return found
