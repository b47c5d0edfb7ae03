"""What `nerfkit fit shape` works on: a surface, its frame, and what is to be said of it before anything is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.surface import checked_points
from nerfkit.scenes.surfaces import Mesh, PointCloud
from nerfkit.scenes.topology import topology
from nerfkit.workbench.shapes.frame import Frame
from nerfkit.workbench.shapes.mesh_distance import WITHIN, MeshDistance

__all__ = ["ShapeData", "check_truth", "make_data", "simulate_points"]

# points of a mesh at which it is asked whether other parts of it are there, how far beside it, and what is not told
N_BURIED, BESIDE, FEW_BURIED = 4000, 1e-3, 0.01
# a truth is as large as the input but for this factor
SAME_SIZE = 1.5


@dataclass(frozen=True)
class ShapeData:
    """A surface in its own unit, the frame round it, and sentences about it."""

    surface: Mesh | PointCloud
    frame: Frame
    said: list[str]


def make_data(surface: Mesh | PointCloud) -> ShapeData:
    """What is to be fitted of a surface."""
    frame = Frame.around(surface.bounds)
    sides = " x ".join(f"{side:.5g}" for side in frame.sides * frame.scale)
    if isinstance(surface, Mesh):
        first = f"a mesh of {len(surface.faces):,} faces, {sides} in the file's unit"
        return ShapeData(surface, frame, [first, *surface.said, *_openings(surface), *_buried(surface, frame)])
    kind = "without normals: they are estimated" if surface.normals is None else "with normals"
    return ShapeData(
        surface, frame, [f"{len(surface.points):,} points {kind}, {sides} in the file's unit", *surface.said]
    )


def _openings(mesh: Mesh) -> list[str]:
    found = topology(mesh.faces)
    if found.is_closed:
        return []
    branching = f", {found.n_branching_edges} edges of three faces or more" * (found.n_branching_edges > 0)
    return [
        f"not watertight: {found.n_boundary_edges} boundary edges round {found.n_holes} holes{branching}; what is "
        "within is told by the winding number"
    ]  # fmt: skip


def _buried(mesh: Mesh, frame: Frame) -> list[str]:
    """Whether parts of the surface lie within others."""
    distances = MeshDistance(frame.mesh_inward(mesh))
    points, normals = distances.mesh.sample(N_BURIED, np.random.default_rng(0))
    fraction = float((distances.winding(points + BESIDE * normals) > WITHIN).mean())
    if fraction < FEW_BURIED:
        return []
    return [
        f"{100 * fraction:.0f} % of the surface lies within other parts of it: it intersects itself or has walls "
        "inside; what is within any part counts as within"
    ]  # fmt: skip


def check_truth(truth: Mesh | PointCloud | None, data: ShapeData) -> None:
    """Raise NerfkitError where a truth is no mesh, or not of the input's size."""
    if truth is None:
        return
    if not isinstance(truth, Mesh):
        raise NerfkitError("holds points; a mesh is wanted", where="--truth", fix="give the true surface as a mesh")
    longest, wanted = (
        float((truth.bounds[1] - truth.bounds[0]).max()),
        float((data.frame.sides * data.frame.scale).max()),
    )
    if not 1 / SAME_SIZE < longest / wanted < SAME_SIZE:
        raise NerfkitError(
            f"its longest side is {longest:.5g}, the input's {wanted:.5g}, a factor of {longest / wanted:.4g}",
            where="--truth", fix="bring both to one unit: of 1000 one is in millimetres, the other in metres",
        )  # fmt: skip


def simulate_points(surface: Mesh | PointCloud, path: Path, keys: dict[str, Any], seed: int) -> dict[str, NDArray]:
    """Arrays of an npz of points that a scanner would have measured of a mesh.

    Parameters
    ----------
    surface : Mesh
        The truth.
    path : Path
        Its file, for messages.
    keys : dict
        ``points``, how many; ``noise``, standard deviation along each axis as a fraction of the longest side;
        ``normals``, 0 to leave them out; ``tilt``, standard deviation of each component of the normals.
    seed : int
        Of the draws.
    """
    if not isinstance(surface, Mesh):
        raise NerfkitError("points are drawn from a mesh; this file has points", where=path, fix="leave --simulate out")
    if keys["points"] < 1 or not 0 <= keys["noise"] < 1 or not 0 <= keys["tilt"] < 10:
        raise NerfkitError(
            f"points={keys['points']}, noise={keys['noise']}, tilt={keys['tilt']}; points of 1 or more, noise within 0 "
            "to 1 and tilt within 0 to 10 are wanted", where="--simulate", fix="points=100000,noise=0.005",
        )  # fmt: skip
    rng = np.random.default_rng(seed)
    points, normals = surface.sample(keys["points"], rng)
    longest = float((surface.bounds[1] - surface.bounds[0]).max())
    points = points + keys["noise"] * longest * rng.standard_normal(points.shape)
    if not keys["normals"]:
        found = checked_points(points, None, path)
        return {"points": found.points}
    normals = normals + keys["tilt"] * rng.standard_normal(normals.shape)
    found = checked_points(points, normals, path)
    assert found.normals is not None
    return {"points": found.points, "normals": found.normals}
