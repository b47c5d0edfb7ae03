"""Pictures that show a registration: checkerboards, overlays, the warped grid, differences, det J."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["checkerboard", "determinant_map", "overlay", "shown_range", "unit_range", "warped_grid"]

# squares along the longer side of a checkerboard; lines of the warped grid along it
SQUARES, LINES = 8, 24
# determinants that are black and white: half and twice the area
LEAST, GREATEST = 0.5, 2.0


def shown_range(values: NDArray) -> tuple[float, float]:
    """What is black and white: the half and the 99.5th percent of the values."""
    low, high = (float(value) for value in np.quantile(values, [0.005, 0.995]))
    return low, max(high, low + 1e-12)


def unit_range(values: NDArray) -> NDArray[np.float64]:
    """Values with their half and 99.5th percent at 0 and 1."""
    low, high = shown_range(values)
    return (values.astype(np.float64) - low) / (high - low)


def checkerboard(first: NDArray, second: NDArray) -> NDArray:
    """Squares of one and of the other image [h, w] in turn: edges go on across them where they fit."""
    side = max(2, max(first.shape) // SQUARES)
    rows, cols = np.indices(first.shape) // side
    return np.where((rows + cols) % 2 == 0, first, second)


def overlay(fixed: NDArray, warped: NDArray) -> NDArray:
    """One in green and the other in magenta [h, w, 3]: grey where they agree."""
    return np.stack([warped, fixed, warped], -1)


def warped_grid(places: NDArray) -> NDArray[np.float64]:
    """Lines of the moving image as the fixed one sees them [h, w], from places [h, w, 2], white on black."""
    step = max(4.0, max(places.shape[:2]) / LINES)
    apart = np.abs((places / step + 0.5) % 1 - 0.5) * step
    return np.clip(1.5 - apart.min(-1), 0, 1)


def determinant_map(determinants: NDArray) -> NDArray[np.float64]:
    """det J [h, w, 3]: grey 1, bright larger, dark smaller, on the scale of logarithms; red where it is 0 or less."""
    logs = np.log(np.maximum(determinants, 1e-6))
    shown = np.clip((logs - np.log(LEAST)) / (np.log(GREATEST) - np.log(LEAST)), 0, 1)
    picture = np.repeat(shown[..., None], 3, -1)
    picture[determinants <= 0] = [1, 0, 0]
    return picture
