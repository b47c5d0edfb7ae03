"""Meshes as files: PLY by ourselves, OBJ, STL and GLB by trimesh; each read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nerfkit.files import write_atomically
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.extras import import_extra
from nerfkit.scenes.readers.surface import read_surface
from nerfkit.scenes.surfaces import Mesh

__all__ = ["WRITTEN_MESHES", "check_mesh_name", "ply_bytes", "write_mesh"]

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
        In its own unit; GLB says metres.

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
        trimesh: Any = import_extra("trimesh", "mesh", path)
        found = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(file_type=suffix[1:])
        payload = found.encode() if isinstance(found, str) else found
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


def ply_bytes(mesh: Mesh) -> bytes:
    """A binary PLY; coordinates are doubles where the mesh is far away from the origin for its size."""
    low, high = mesh.bounds
    is_far = np.abs([low, high]).max() > FAR_AWAY * (high - low).max()
    kind, code = ("double", "<f8") if is_far else ("float", "<f4")
    lines = [
        "ply", "format binary_little_endian 1.0", f"element vertex {len(mesh.vertices)}",
        *(f"property {kind} {axis}" for axis in "xyz"), f"element face {len(mesh.faces)}",
        "property list uchar int vertex_indices", "end_header", "",
    ]  # fmt: skip
    faces = np.empty(len(mesh.faces), np.dtype([("n", "u1"), ("vertices", "<i4", 3)]))
    faces["n"], faces["vertices"] = 3, mesh.faces
    return "\n".join(lines).encode() + mesh.vertices.astype(code).tobytes() + faces.tobytes()
