"""The definition in numpy, a pixel and an angle at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["strips_reference"]


def shadow(
    x: float, y: float, pixel: float, angle: float, source: float, detector: float
) -> tuple[NDArray[np.float64], float]:
    """Images [4] of the corners on the detector, rising, and the way through the middle of a pixel round (x, y)."""
    cos, sin = np.cos(angle), np.sin(angle)
    corners = np.array([(x + a * pixel / 2, y + b * pixel / 2) for a in (-1, 1) for b in (-1, 1)])
    along, depth = corners @ [cos, sin], corners @ [sin, -cos]
    direction = np.array([sin, -cos])
    if source:
        along = along * (source + detector) / (source + depth)
        direction = np.array([x, y]) + source * direction
        direction /= np.linalg.norm(direction)
    return np.sort(along), pixel / np.abs(direction).max()


def area_below(t: float, corners: NDArray[np.float64]) -> float:
    """Integral from minus infinity to ``t`` of the trapezoid of height 1 over ``corners`` [4]."""
    # a side without width is a step, which np.interp does not know: a width that float32 does not see
    points = corners + 1e-10 * max(1.0, np.abs(corners).max()) * np.arange(4)
    inside = np.clip(t, points[0], points[3])
    knots = np.append(points[points < inside], inside)
    return float(np.trapezoid(np.interp(knots, points, [0.0, 1.0, 1.0, 0.0]), knots))


def strips_reference(
    height: int, width: int, pixel: float, radians: NDArray, edges: NDArray, source: float, detector: float
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Starts of the rows, columns and values of the transposed matrix."""
    n_bins, spacing = len(edges) - 1, edges[1] - edges[0]
    starts, columns, values = [0], [], []
    for i in range(height):
        for j in range(width):
            x, y = (j - (width - 1) / 2) * pixel, ((height - 1) / 2 - i) * pixel
            for k, angle in enumerate(radians):
                corners, way = shadow(x, y, pixel, angle, source, detector)
                areas = np.diff([area_below(edge, corners) for edge in edges]) * way / spacing
                seen = np.flatnonzero(areas > 0)
                columns.append(k * n_bins + seen)
                values.append(areas[seen])
            starts.append(starts[-1] + sum(len(part) for part in columns[-len(radians) :]))
    return (
        np.array(starts, np.int64), np.concatenate(columns).astype(np.int32),
        np.concatenate(values).astype(np.float32),
    )  # fmt: skip
