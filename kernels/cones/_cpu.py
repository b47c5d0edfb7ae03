"""Loops of numba: over views going there, over lines of voxels coming back, so that no two threads write one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from ..strips._cpu import area_below, shadow

if TYPE_CHECKING:
    from . import Cone

__all__ = ["back_project_cpu", "project_cpu"]


class _Numbers(NamedTuple):
    """What the loops know of a :class:`Cone`: plain floats."""

    pixel: float
    height: float
    first: float
    spacing: float
    first_row: float
    row_spacing: float
    source: float
    detector: float


@njit(cache=True)
def _resample(values: NDArray, start: float, step: float, total: NDArray, found: NDArray) -> None:
    """Integrals of ``values``, each one unit wide, from ``start`` on over intervals of length ``step``.

    ``total`` [n + 1] is working space, in double precision: integrals are differences of sums over a whole column.
    """
    n = len(values)
    total[0] = 0.0
    for k in range(n):
        total[k + 1] = total[k] + values[k]
    at = min(max(start, 0.0), float(n))
    k = min(int(at), n - 1)
    before = total[k] + (at - k) * values[k]
    for r in range(len(found)):
        at = min(max(start + (r + 1) * step, 0.0), float(n))
        k = min(int(at), n - 1)
        after = total[k] + (at - k) * values[k]
        found[r] = after - before
        before = after


@njit(cache=True)
def _add(values: NDArray, factor: float, more: NDArray) -> None:
    """``values`` [n] += factor * more [n], a loop of its own that compilers make vectors of."""
    for r in range(len(values)):
        values[r] += factor * more[r]


@njit(cache=True)
def _along(
    x: float, y: float, cos: float, sin: float, cone: _Numbers, n_bins: int, corners: NDArray, parts: NDArray
) -> tuple[int, int]:
    """Fill ``parts`` with the means of a column's trapezoid over the bins that it meets; the first of them and the
    last but one.
    """
    way = shadow(x, y, cone.pixel, cos, sin, cone.source, cone.detector, corners)
    first, spacing = cone.first, cone.spacing
    a, b, c, d = corners[0], corners[1], corners[2], corners[3]
    begin = max(0, int(np.floor((a - first) / spacing)))
    end = min(n_bins, int(np.floor((d - first) / spacing)) + 1)
    edge = first + begin * spacing
    below = area_below(edge, a, b) - area_below(edge, c, d)
    for m in range(begin, end):
        edge = first + (m + 1) * spacing
        until = area_below(edge, a, b) - area_below(edge, c, d)
        parts[m - begin] = (until - below) * way / spacing
        below = until
    return begin, end


@njit(cache=True)
def _project_view(volume: NDArray, cos: float, sin: float, cone: _Numbers, found: NDArray) -> None:
    n_lines, width, depth = volume.shape
    n_bins, n_rows = found.shape
    corners, parts, total = np.empty(4), np.empty(n_bins), np.empty(depth + 1)
    seen = np.empty(n_rows, volume.dtype)
    for i in range(n_lines):
        y = (i - 0.5 * (n_lines - 1)) * cone.pixel
        for j in range(width):
            x = (j - 0.5 * (width - 1)) * cone.pixel
            begin, end = _along(x, y, cos, sin, cone, n_bins, corners, parts)
            # what a row covers of the column, in voxels
            nearness = cone.source + x * sin - y * cos
            step = cone.row_spacing * nearness / ((cone.source + cone.detector) * cone.height)
            _resample(volume[i, j], 0.5 * depth + cone.first_row / cone.row_spacing * step, step, total, seen)
            for m in range(begin, end):
                _add(found[m], volume.dtype.type(parts[m - begin] / step), seen)


@njit(cache=True, parallel=True)
def _project(volume: NDArray, cos: NDArray, sin: NDArray, cone: _Numbers, found: NDArray) -> None:
    for k in prange(len(cos)):
        _project_view(volume, cos[k], sin[k], cone, found[k])


@njit(cache=True)
def _back_project_line(values: NDArray, y: float, cos: NDArray, sin: NDArray, cone: _Numbers, found: NDArray) -> None:
    width, depth = found.shape
    _, n_bins, n_rows = values.shape
    corners, parts, total = np.empty(4), np.empty(n_bins), np.empty(n_rows + 1)
    seen, column = np.empty(n_rows, values.dtype), np.empty(depth, values.dtype)
    for k in range(len(cos)):
        for j in range(width):
            x = (j - 0.5 * (width - 1)) * cone.pixel
            begin, end = _along(x, y, cos[k], sin[k], cone, n_bins, corners, parts)
            seen[:] = 0
            for m in range(begin, end):
                _add(seen, values.dtype.type(parts[m - begin]), values[k, m])
            # what a voxel covers of the detector, in rows
            nearness = cone.source + x * sin[k] - y * cos[k]
            step = (cone.source + cone.detector) * cone.height / (cone.row_spacing * nearness)
            _resample(seen, -0.5 * depth * step - cone.first_row / cone.row_spacing, step, total, column)
            _add(found[j], values.dtype.type(1), column)


@njit(cache=True, parallel=True)
def _back_project(values: NDArray, cos: NDArray, sin: NDArray, cone: _Numbers, found: NDArray) -> None:
    for i in prange(len(found)):
        y = (i - 0.5 * (len(found) - 1)) * cone.pixel
        _back_project_line(values, y, cos, sin, cone, found[i])


def _numbers(cone: Cone) -> tuple[NDArray, NDArray, _Numbers]:
    cos, sin = np.cos(cone.radians), np.sin(cone.radians)
    # as in strips: a ray along the voxels sees them as wide as they are
    cos[np.abs(cos) < 1e-12] = 0.0
    sin[np.abs(sin) < 1e-12] = 0.0
    (first, second), (first_row, second_row) = cone.bin_edges[:2], cone.row_edges[:2]
    lengths = cone.pixel, cone.height, first, second - first, first_row, second_row - first_row
    return cos, sin, _Numbers(*map(float, (*lengths, cone.source_distance, cone.detector_distance)))


def project_cpu(volume: NDArray[np.floating], cone: Cone) -> NDArray[np.floating]:
    """As :func:`project_reference`."""
    found = np.zeros(cone.shape, volume.dtype)
    _project(volume, *_numbers(cone), found)
    found *= cone.lengthening.astype(volume.dtype)
    return found


def back_project_cpu(values: NDArray[np.floating], shape: tuple[int, int, int], cone: Cone) -> NDArray[np.floating]:
    """As :func:`back_project_reference`."""
    found = np.zeros(shape, values.dtype)
    _back_project(values * cone.lengthening.astype(values.dtype), *_numbers(cone), found)
    return found
