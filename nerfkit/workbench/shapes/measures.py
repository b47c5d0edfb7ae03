"""What a shape is like, and how far it is from another: volumes, overlaps, distances, normals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.surfaces import Mesh, PointCloud
from nerfkit.scenes.topology import topology
from nerfkit.workbench.shapes.frame import Frame
from nerfkit.workbench.shapes.mesh_distance import MeshDistance

__all__ = ["compare_meshes", "describe", "distances_to"]

# points of the overlap in the box and near the surface, and of the distances from one surface to the other
N_BOX, N_NEAR, N_SURFACE = 200_000, 100_000, 50_000
# standard deviation of points near the surface, frame units
NEAR = 0.01
# seed of the points: not the fit's
SEED = 12345


def describe(mesh: Mesh) -> dict[str, Any]:
    """Volume and area in the unit of the mesh, its parts and holes."""
    found = topology(mesh.faces)
    return {
        "volume": float(f"{mesh.volume:.6g}"), "area": float(f"{mesh.area:.6g}"), "faces": len(mesh.faces),
        "components": found.n_components, "holes": found.n_holes, "boundary_edges": found.n_boundary_edges,
    }  # fmt: skip


def compare_meshes(mesh: Mesh, truth: Mesh, frame: Frame, *, fewer: int = 1) -> dict[str, float]:
    """Overlap and distances of two meshes of one unit.

    Parameters
    ----------
    mesh, truth : Mesh
        What was made, and what is right.
    frame : Frame
        Of the truth: its longest side is 1.8 in it.
    fewer : int
        Divides the numbers of points.

    Returns
    -------
    figures : dict
        ``iou`` of points in the truth's box and ``iou_near`` of points about the truth's surface (standard deviation
        0.01 of the frame); ``chamfer``, the mean of both mean distances from points of one surface to the other, and
        ``farthest``, the greatest of them, in the unit of the meshes; ``normals``, the mean absolute cosine between
        normals at nearest points.
    """
    made, right = (MeshDistance(frame.mesh_inward(surface)) for surface in (mesh, truth))
    rng = np.random.default_rng(SEED)
    low, high = right.mesh.bounds
    box = rng.uniform(low, high, (N_BOX // fewer, 3))
    near = right.sample(N_NEAR // fewer, rng) + NEAR * rng.standard_normal((N_NEAR // fewer, 3))
    there, back = _apart(made, right, rng, fewer), _apart(right, made, rng, fewer)
    return {
        "iou": round(_iou(made, right, box), 5), "iou_near": round(_iou(made, right, near), 5),
        "chamfer": float(f"{frame.scale * (there[0].mean() + back[0].mean()) / 2:.5g}"),
        "farthest": float(f"{frame.scale * max(there[0].max(), back[0].max()):.5g}"),
        "normals": round(float(there[1].mean() + back[1].mean()) / 2, 5),
    }  # fmt: skip


def distances_to(mesh: Mesh, cloud: PointCloud, frame: Frame) -> NDArray[np.float64]:
    """Distances [n] of points to a mesh, in their unit."""
    return frame.scale * MeshDistance(frame.mesh_inward(mesh)).nearest(frame.inward(cloud.points))[0]


def _apart(
    one: MeshDistance, other: MeshDistance, rng: np.random.Generator, fewer: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """Distances of points of one mesh to the other, and the absolute cosine between the normals there."""
    points, normals = one.mesh.sample(N_SURFACE // fewer, rng)
    distances, faces = other.nearest(points)
    return distances, np.abs((normals * other.mesh.normals[faces]).sum(1))


def _iou(made: MeshDistance, right: MeshDistance, points: NDArray[np.float64]) -> float:
    a, b = made.inside(points), right.inside(points)
    return float((a & b).sum() / max(1, (a | b).sum()))
