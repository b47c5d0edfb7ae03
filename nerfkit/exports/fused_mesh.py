"""A mesh of a trained scene: the depth of its views fused, and where that is 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nerfkit.exports.depth_views import DepthView
from nerfkit.exports.fusion import FusedDepth
from nerfkit.exports.region import Region
from nerfkit.scenes.surfaces import Mesh
from nerfkit.scenes.topology import face_components
from nerfkit.workbench.shapes.frame import LONGEST, Frame
from nerfkit.workbench.shapes.marching import level_set

__all__ = ["FusedMesh", "fuse", "fused_mesh"]

# truncation in cells of the mesh, and in pixels of the views: what is thinner than it may be lost, what is less than
# that apart in two views is not fused
CELLS, PIXELS = 4.0, 2.0
# a part whose bounding box is this much smaller than that of the region is a floater
FLOATER = 0.03


@dataclass(frozen=True)
class FusedMesh:
    """What was made.

    Parameters
    ----------
    mesh : Mesh
        Normalised units, with colours.
    n_floaters, n_floater_faces : int
        Parts that were left out, and their faces.
    """

    mesh: Mesh
    n_floaters: int
    n_floater_faces: int


def fuse(views: Sequence[DepthView], region: Region, n_cells: int, device: str = "cpu") -> FusedDepth:
    """The views' depths, with a truncation that suits ``n_cells`` along the longest side and the views' pixels."""
    cell = float((region.high - region.low).max()) / n_cells
    return FusedDepth(views, max(CELLS * cell, PIXELS * _pixel(views, region)), device)


def fused_mesh(
    views: Sequence[DepthView], region: Region, n_cells: int, *, keeps_floaters: bool = False, device: str = "cpu"
) -> FusedMesh:
    """The surface that views agree on.

    Parameters
    ----------
    views : sequence of DepthView
        What is fused.
    region : Region
        Where.
    n_cells : int
        Cells along its longest side.
    keeps_floaters : bool
        Whether small parts stay.
    device : str
        Where to compute.
    """
    frame = Frame.around(np.stack([region.low, region.high]))
    fused, cell = fuse(views, region, n_cells, device), frame.scale * LONGEST / n_cells
    points = np.concatenate([view.surface_points for view in views]).astype(np.float64)

    def evaluate(where: NDArray[np.float32]) -> NDArray[np.float32]:
        places = frame.outward(where.astype(np.float64))
        # the grid reaches beyond the box by more than the cell that its sides go through
        return np.where(region.holds(places, cell), fused.values(places), np.float32(np.nan))

    found = level_set(
        evaluate, frame.sides, n_cells, near=frame.inward(points[region.holds(points)]),
        reach=_pixel(views, region) / frame.scale,
    )  # fmt: skip
    mesh = Mesh(frame.outward(found.vertices), found.faces)
    n_floaters = n_floater_faces = 0
    if len(mesh.faces) and not keeps_floaters:
        mesh, n_floaters, n_floater_faces = _without_floaters(mesh, FLOATER * float((region.high - region.low).max()))
    colors = fused.colors(mesh.vertices, mesh.vertex_normals) if len(mesh.faces) else None
    return FusedMesh(Mesh(mesh.vertices, mesh.faces, (), colors), n_floaters, n_floater_faces)


def _pixel(views: Sequence[DepthView], region: Region) -> float:
    """Median width, normalised, of a pixel on the surface within the region."""
    return float(np.median(np.concatenate([v.depths[region.holds(v.points)] / v.camera.fx for v in views])))


def _without_floaters(mesh: Mesh, least: float) -> tuple[Mesh, int, int]:
    """Without parts whose bounding box has no side of ``least``; how many parts and faces these are."""
    parts = face_components(mesh.faces)
    corners = mesh.vertices[mesh.faces]
    low, high = corners.min(1), corners.max(1)
    n_parts = int(parts.max()) + 1
    ends = np.full((2, n_parts, 3), np.inf)
    np.minimum.at(ends[0], parts, low)
    np.minimum.at(ends[1], parts, -high)
    sizes = (-ends[1] - ends[0]).max(1)
    # the largest stays, whatever its size
    kept = (sizes >= least) | (sizes == sizes.max())
    is_kept = kept[parts]
    return mesh.of_faces(is_kept), int((~kept).sum()), int((~is_kept).sum())
