"""Meshes and points as files: PLY by ourselves, OBJ, STL and GLB by trimesh; each read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.files import write_atomically
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.extras import import_extra
from nerfkit.scenes.readers.surface import read_surface
from nerfkit.scenes.surfaces import Mesh, PointCloud

__all__ = ["WRITTEN_MESHES", "check_mesh_name", "ply_bytes", "write_mesh", "write_points"]

WRITTEN_MESHES = (".ply", ".obj", ".stl", ".glb")
# a mesh this many times its size away from the origin needs more digits than float32 has
FAR_AWAY = 1e3


def write_mesh(path: str | Path, mesh: Mesh) -> Mesh:
    """Write a mesh, and give what its file has.

    Parameters
    ----------
    path : str or Path
        Its suffix, one of ``WRITTEN_MESHES``, says the format.
    mesh : Mesh
        In its own unit; GLB says metres. Where it has colours they are written, and normals of the vertices with them;
        STL has room for neither.

    Raises
    ------
    NerfkitError
        The suffix is none of these, the mesh has no faces, or the file cannot be written.
    """
    path = Path(path)
    suffix = check_mesh_name(path)
    if not len(mesh.faces):
        raise NerfkitError(
            "no surface to write: the field has one sign everywhere", where=path, fix="fit with more --steps"
        )
    if suffix == ".ply":
        payload = ply_bytes(mesh)
    else:
        payload = _by_trimesh(mesh, suffix[1:], import_extra("trimesh", "mesh", path))
    write_atomically(path, payload)
    written = read_surface(path)
    assert isinstance(written, Mesh)
    return written


def check_mesh_name(path: Path) -> str:
    """The one of ``WRITTEN_MESHES`` that a name ends in; raises NerfkitError where it is none."""
    suffix = path.suffix.lower()
    if suffix not in WRITTEN_MESHES:
        raise NerfkitError(
            f"meshes are written as {', '.join(WRITTEN_MESHES)}; got {suffix or 'a name without suffix'}", where=path,
            fix="end its name in .ply",
        )  # fmt: skip
    return suffix


def write_points(path: Path, cloud: PointCloud) -> PointCloud:
    """Write points as PLY with the normals and colours that they have, and give what the file has.

    Raises
    ------
    NerfkitError
        There are too few of them for a surface, or the file cannot be written.
    """
    write_atomically(path, ply_bytes(cloud))
    written = read_surface(path)
    assert isinstance(written, PointCloud)
    return written


def ply_bytes(surface: Mesh | PointCloud) -> bytes:
    """A binary PLY; coordinates are doubles where the surface is far away from the origin for its size."""
    points, faces, normals = _parts(surface)
    low, high = surface.bounds
    kind, code = ("double", "<f8") if _is_far(low, high) else ("float", "<f4")
    columns = {axis: (kind, code, points[:, i]) for i, axis in enumerate("xyz")}
    if normals is not None:
        columns |= {name: ("float", "<f4", normals[:, i]) for i, name in enumerate(("nx", "ny", "nz"))}
    if surface.colors is not None:
        columns |= {name: ("uchar", "u1", surface.colors[:, i]) for i, name in enumerate(("red", "green", "blue"))}
    rows = np.empty(len(points), np.dtype([(name, code) for name, (_, code, _) in columns.items()]))
    for name, (_, _, values) in columns.items():
        rows[name] = values
    lines = [
        "ply", "format binary_little_endian 1.0", f"element vertex {len(points)}",
        *(f"property {kind} {name}" for name, (kind, _, _) in columns.items()),
    ]  # fmt: skip
    triangles = np.empty(len(faces), np.dtype([("n", "u1"), ("vertices", "<i4", 3)]))
    if len(faces):
        triangles["n"], triangles["vertices"] = 3, faces
        lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    return "\n".join([*lines, "end_header", ""]).encode() + rows.tobytes() + triangles.tobytes()


def _parts(surface: Mesh | PointCloud) -> tuple[NDArray, NDArray, NDArray | None]:
    """Points, faces, and the normals that are written."""
    if isinstance(surface, PointCloud):
        return surface.points, np.empty((0, 3), np.int64), surface.normals
    return surface.vertices, surface.faces, None if surface.colors is None else surface.vertex_normals


def _is_far(low: NDArray, high: NDArray) -> bool:
    return bool(np.abs([low, high]).max() > FAR_AWAY * (high - low).max())


def _by_trimesh(mesh: Mesh, kind: str, trimesh: Any) -> bytes:
    """The file by trimesh; a GLB far away from the origin has its place in a node, whose numbers are doubles."""
    low, high = mesh.bounds
    middle = (low + high) / 2 if kind == "glb" and _is_far(low, high) else np.zeros(3)
    has_colors = mesh.colors is not None
    found = trimesh.Trimesh(
        mesh.vertices - middle, mesh.faces, process=False, vertex_colors=mesh.colors,
        vertex_normals=mesh.vertex_normals if has_colors else None,
    )  # fmt: skip
    if kind == "glb":
        place = np.eye(4)
        place[:3, 3] = middle
        scene = trimesh.Scene()
        scene.add_geometry(found, transform=place)
        found = scene
    found = found.export(file_type=kind, **({"include_normals": has_colors} if kind in ("obj", "glb") else {}))
    return found.encode() if isinstance(found, str) else found
