"""The winding number of points with normals: their fields as dipoles, added by a hierarchy (Barill et al. 2018)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from nerfkit.scenes.extras import import_extra

__all__ = ["point_areas", "winding"]

Floats = NDArray[np.float64]
# neighbours whose disc tells how much of the surface is a point's
N_AREA = 8


def point_areas(points: Floats, tree: KDTree) -> Floats:
    """Area of the surface that belongs to each of ``points`` [n, 3]: of the disc to its eighth neighbour, an eighth."""
    n = min(N_AREA, len(points) - 1)
    return math.pi * tree.query(points, n + 1)[0][:, -1] ** 2 / n


def winding(points: Floats, normals: Floats, areas: Floats, where: Floats) -> Floats:
    """Winding number at ``where`` [m, 3] of ``points`` [n, 3]: about 1 within, 0 outside."""
    igl: Any = import_extra("igl", "mesh", "nerfkit fit shape")
    rows = [np.ascontiguousarray(array, np.float64) for array in (points, normals, areas, where)]
    return np.asarray(igl.fast_winding_number(*rows)).ravel()
