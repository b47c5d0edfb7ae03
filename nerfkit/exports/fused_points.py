"""Points of a trained scene's surface: where the rays of its views end, as far as views agree, evenly spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nerfkit.exports.depth_views import DepthView
from nerfkit.exports.fused_mesh import fuse
from nerfkit.exports.region import Region
from nerfkit.scenes.surfaces import PointCloud

__all__ = ["fused_points"]

# fused distance, in truncations, up to which a point of one view is one of all: a point that no other view has is at 1
AGREED = 0.5


def fused_points(
    views: Sequence[DepthView], region: Region, n_cells: int, *, keeps_floaters: bool = False, device: str = "cpu"
) -> tuple[PointCloud, int]:
    """One point, with normal and colour, for each cell of ``region`` that views see a surface in.

    Parameters
    ----------
    views, region, n_cells, keeps_floaters, device
        As :func:`nerfkit.exports.fused_mesh.fused_mesh` takes them; a floater is a point that other views look through.

    Returns
    -------
    cloud : PointCloud
        Normalised units.
    n_floaters : int
        Points that were left out because views do not agree on them.
    """
    parts = [_of_view(view) for view in views]
    points, normals, lengths = (np.concatenate(column) for column in zip(*parts, strict=True))
    inside = region.holds(points)
    points, normals, lengths = points[inside], normals[inside], lengths[inside]
    fused = fuse(views, region, n_cells, device)
    n_floaters = 0
    if not keeps_floaters:
        with np.errstate(invalid="ignore"):
            agreed = np.abs(fused.values(points)) < AGREED
        n_floaters = int((~agreed).sum())
        points, normals, lengths = points[agreed], normals[agreed], lengths[agreed]
    # of a cell's points the one that was seen from nearest
    nearest = np.argsort(lengths, kind="stable")
    cells = np.floor((points[nearest] - region.low) / (float((region.high - region.low).max()) / n_cells)).astype(
        np.int64
    )
    chosen = np.sort(nearest[np.unique(cells @ [n_cells**2 * 4, n_cells * 2, 1], return_index=True)[1]])
    points, normals = points[chosen], normals[chosen]
    return PointCloud(points.astype(np.float64), normals, (), fused.colors(points, normals)), n_floaters


def _of_view(view: DepthView) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float32]]:
    """Points [n, 3] of a view, their normals towards the camera, and how far away they are [n]."""
    normals = view.normals
    known = np.isfinite(normals).all(-1)
    return view.points[known], normals[known], view.depths[known]
