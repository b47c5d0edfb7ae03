"""Points of a trained scene's surface: where the rays of its views end, as far as views agree, evenly spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nerfkit.exports.depth_views import DepthView
from nerfkit.exports.fused_mesh import fuse
from nerfkit.exports.region import Region
from nerfkit.scenes.surfaces import PointCloud
from nerfkit.workbench.shapes.frame import LONGEST, Frame

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
    frame = Frame.around(np.stack([region.low, region.high]))
    parts = [_of_view(view) for view in views]
    points, normals, lengths = (np.concatenate(column) for column in zip(*parts, strict=True))
    inside = region.holds(points)
    points, normals, lengths = points[inside], normals[inside], lengths[inside]
    fused = fuse(views, frame, n_cells, device)
    n_floaters = 0
    if not keeps_floaters:
        with np.errstate(invalid="ignore"):
            agreed = np.abs(fused.values(points)) < AGREED
        n_floaters = int((~agreed).sum())
        points, normals, lengths = points[agreed], normals[agreed], lengths[agreed]
    # of a cell's points the one that was seen from nearest
    nearest = np.argsort(lengths, kind="stable")
    cells = np.floor((points[nearest] - region.low) / (frame.scale * LONGEST / n_cells)).astype(np.int64)
    chosen = np.sort(nearest[np.unique(cells @ [n_cells**2 * 4, n_cells * 2, 1], return_index=True)[1]])
    points, normals = points[chosen], normals[chosen]
    return PointCloud(points.astype(np.float64), normals, (), fused.colors(points, normals)), n_floaters


def _of_view(view: DepthView) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float32]]:
    """Points [n, 3] of a view, their normals towards the camera, and how far away they are [n]."""
    points = view.points
    down, right = (_step(points, axis) for axis in (0, 1))
    normals = np.cross(down, right)
    lengths = np.linalg.norm(normals, axis=-1)
    known = np.isfinite(lengths) & (lengths > 0)
    return points[known], normals[known] / lengths[known, None], view.depths[known]


def _step(points: NDArray[np.float32], axis: int) -> NDArray[np.float64]:
    """From each point [h, w, 3] along ``axis`` to the next or from the one before, whichever is the shorter way."""
    lines = np.moveaxis(points, axis, 0).astype(np.float64)
    with np.errstate(invalid="ignore"):
        steps = np.diff(lines, axis=0)
    outside = np.full_like(lines[:1], np.inf)
    ahead, behind = np.concatenate([steps, outside]), np.concatenate([outside, steps])
    a, b = (np.nan_to_num(np.linalg.norm(part, axis=-1), nan=np.inf) for part in (ahead, behind))
    return np.moveaxis(np.where((a <= b)[..., None], ahead, behind), 0, axis)
