"""Loops of numba: every pixel counts its bins, then fills in its row."""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

__all__ = ["area_below", "shadow", "strips_cpu"]


@njit(cache=True, inline="always")
def area_below(t: float, low: float, high: float) -> float:
    """Integral up to ``t`` of what rises from 0 at ``low`` to 1 at ``high``."""
    if t <= low:
        return 0.0
    if t >= high:
        return t - 0.5 * (low + high)
    return 0.5 * (t - low) ** 2 / (high - low)


@njit(cache=True)
def shadow(
    x: float, y: float, pixel: float, cos: float, sin: float, source: float, detector: float, corners: NDArray
) -> float:
    """Fill ``corners`` [4] with where they are seen, rising; gives the way through the pixel's middle."""
    half, n = 0.5 * pixel, 0
    for a in (-half, half):
        for b in (-half, half):
            along = (x + a) * cos + (y + b) * sin
            if source > 0:
                along *= (source + detector) / (source + (x + a) * sin - (y + b) * cos)
            # kept sorted by insertion
            k = n
            while k > 0 and corners[k - 1] > along:
                corners[k] = corners[k - 1]
                k -= 1
            corners[k] = along
            n += 1
    if source > 0:
        dx, dy = x + source * sin, y - source * cos
        norm = np.sqrt(dx * dx + dy * dy)
        return pixel / (max(abs(dx), abs(dy)) / norm)
    return pixel / max(abs(cos), abs(sin))


@njit(cache=True, parallel=True)
def _fill(
    height: int, width: int, pixel: float, cos: NDArray, sin: NDArray, first: float, spacing: float, n_bins: int,
    source: float, detector: float, starts: NDArray, columns: NDArray, values: NDArray, is_counting: bool,
) -> None:  # fmt: skip
    for p in prange(height * width):
        x = (p % width - 0.5 * (width - 1)) * pixel
        y = (0.5 * (height - 1) - p // width) * pixel
        corners = np.empty(4)
        at = 0 if is_counting else starts[p]
        for k in range(len(cos)):
            way = shadow(x, y, pixel, cos[k], sin[k], source, detector, corners)
            a, b, c, d = corners[0], corners[1], corners[2], corners[3]
            begin = max(0, int(np.floor((a - first) / spacing)))
            end = min(n_bins - 1, int(np.floor((d - first) / spacing)))
            below = 0.0
            if begin <= end:
                edge = first + begin * spacing
                below = area_below(edge, a, b) - area_below(edge, c, d)
            for m in range(begin, end + 1):
                edge = first + (m + 1) * spacing
                until = area_below(edge, a, b) - area_below(edge, c, d)
                if until > below:
                    if not is_counting:
                        columns[at] = k * n_bins + m
                        values[at] = (until - below) * way / spacing
                    at += 1
                below = until
        if is_counting:
            starts[p + 1] = at


def strips_cpu(
    height: int, width: int, pixel: float, radians: NDArray, edges: NDArray, source: float, detector: float
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """As :func:`strips_reference`."""
    cos, sin = np.cos(radians), np.sin(radians)
    # a ray along the pixels must see them as wide as they are, not as wide as the rounding of pi has it
    cos[np.abs(cos) < 1e-12] = 0.0
    sin[np.abs(sin) < 1e-12] = 0.0
    starts = np.zeros(height * width + 1, np.int64)
    shape = (height, width, pixel, cos, sin, edges[0], edges[1] - edges[0], len(edges) - 1, source, detector)
    nothing, none = np.zeros(0, np.int32), np.zeros(0, np.float32)
    _fill(*shape, starts, nothing, none, True)
    np.cumsum(starts, out=starts)
    columns, values = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.float32)
    _fill(*shape, starts, columns, values, False)
    return starts, columns, values
