"""The definition in numpy, a column of voxels and an angle at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..strips._reference import area_below, shadow

if TYPE_CHECKING:
    from . import Cone

__all__ = ["back_project_reference", "project_reference"]


def footprints(shape: tuple[int, ...], cone: Cone) -> Iterator[tuple[int, int, int, NDArray, NDArray]]:
    """Of each column (i, j) and angle k: the part along the bins [n_bins], that along the rows [n_rows, d]."""
    height, width, depth = shape
    levels = (np.arange(depth + 1) - depth / 2) * cone.height
    bins, rows = np.diff(cone.bin_edges), np.diff(cone.row_edges)
    for i in range(height):
        for j in range(width):
            x, y = (j - (width - 1) / 2) * cone.pixel, (i - (height - 1) / 2) * cone.pixel
            for k, angle in enumerate(cone.radians):
                corners, way = shadow(x, y, cone.pixel, angle, cone.source_distance, cone.detector_distance)
                along = np.diff([area_below(edge, corners) for edge in cone.bin_edges]) / bins * way
                nearness = cone.source_distance + x * np.sin(angle) - y * np.cos(angle)
                seen = levels * (cone.source_distance + cone.detector_distance) / nearness
                low = np.maximum(cone.row_edges[:-1, None], seen[:-1])
                high = np.minimum(cone.row_edges[1:, None], seen[1:])
                yield i, j, k, along, (high - low).clip(min=0) / rows[:, None]


def project_reference(volume: NDArray[np.floating], cone: Cone) -> NDArray[np.floating]:
    """Values [n_angles, n_bins, n_rows] of a volume [h, w, d]."""
    values = np.zeros(cone.shape)
    for i, j, k, along, up in footprints(volume.shape, cone):
        values[k] += np.outer(along, up @ volume[i, j])
    return (values * cone.lengthening).astype(volume.dtype)


def back_project_reference(
    values: NDArray[np.floating], shape: tuple[int, int, int], cone: Cone
) -> NDArray[np.floating]:
    """The transpose."""
    volume, weighed = np.zeros(shape), values * cone.lengthening
    for i, j, k, along, up in footprints(shape, cone):
        volume[i, j] += up.T @ (along @ weighed[k])
    return volume.astype(values.dtype)
