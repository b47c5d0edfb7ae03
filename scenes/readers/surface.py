"""Surfaces from files: meshes (PLY, OBJ, STL, GLB, OFF) and points with or without normals (PLY, npz, npy, xyz)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.extras import import_extra
from nerfkit.scenes.surfaces import Mesh, PointCloud
from nerfkit.scenes.topology import consistently_oriented, topology

from .picture import array_names, load_array

__all__ = ["MESH_SUFFIXES", "SURFACE_SUFFIXES", "checked_mesh", "checked_points", "read_surface"]

MESH_SUFFIXES = (".ply", ".obj", ".stl", ".glb", ".gltf", ".off")
TEXT_SUFFIXES = (".xyz", ".txt", ".csv", ".pts")
SURFACE_SUFFIXES = (*MESH_SUFFIXES, ".npz", ".npy", *TEXT_SUFFIXES)
WANTED = "a mesh (PLY, OBJ, STL, GLB, OFF) or points (PLY without faces, npz, npy, xyz)"
# points or vertices: more than that fit no memory of a desk
MAX_POINTS = 20_000_000
# points that tell a surface at all
MIN_POINTS = 64
# a side below this fraction of the longest has no thickness that floats of a file could tell
FLAT = 1e-6
# a normal this short, of 1, has no direction
NO_LENGTH = 1e-6


def read_surface(path: str | Path) -> Mesh | PointCloud:
    """Read triangles or points.

    Parameters
    ----------
    path : str or Path
        PLY, OBJ, STL, GLB or OFF by trimesh (``pip install "nerfkit[mesh]"``); an npz with ``points`` [n, 3] and
        perhaps ``normals`` [n, 3], or ``vertices`` [n, 3] and ``faces`` [m, 3]; an npy [n, 3] or [n, 6]; a text of
        three or six columns. Coordinates are in whatever unit the file has.

    Returns
    -------
    surface : Mesh or PointCloud
        Vertices at one place are one, faces that then have one twice are left out, a mesh that is inside out is turned:
        ``said`` tells.

    Raises
    ------
    NerfkitError
        There is no such file, it cannot be read, holds no surface, or numbers that are not finite.
    MissingCapabilityError
        trimesh is not installed.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder; one file is wanted" if path.is_dir() else "there is no such file"
        raise NerfkitError(what, where=path, fix=f"give {WANTED}")
    suffix = path.suffix.lower()
    if suffix in MESH_SUFFIXES:
        return _of_trimesh(path)
    if suffix == ".npz":
        return _of_npz(path)
    if suffix == ".npy":
        return _of_columns(load_array(path), path)
    if suffix in TEXT_SUFFIXES:
        return _of_text(path)
    raise NerfkitError(f"has the suffix {suffix or 'of no kind'}", where=path, fix=f"give {WANTED}")


def checked_mesh(vertices: NDArray, faces: NDArray, path: str | Path, said: tuple[str, ...] = ()) -> Mesh:
    """The mesh of these arrays, as :func:`read_surface` gives it; ``path`` is for messages."""
    vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise NerfkitError(
            f"vertices have shape {vertices.shape}, faces {faces.shape}; [n, 3] and [m, 3] are wanted", where=path,
            fix="give triangles in space",
        )  # fmt: skip
    if not len(faces):
        raise NerfkitError(
            f"has {len(vertices)} vertices and no face", where=path, fix="give a mesh with triangles, or its points"
        )
    if faces.dtype.kind not in "iu" or faces.min() < 0 or faces.max() >= len(vertices):
        raise NerfkitError(
            f"its faces name vertices {faces.min()} to {faces.max()}; there are 0 to {len(vertices) - 1}", where=path,
            fix="save it anew: whole numbers, counted from 0",
        )  # fmt: skip
    _check_coordinates(vertices, "vertices", path)
    places, same = np.unique(vertices, axis=0, return_inverse=True)
    faces = same.ravel()[faces.astype(np.int64)]
    if not (Mesh(places, faces).areas > 0).any():
        raise NerfkitError(f"none of its {len(faces)} faces has an area", where=path, fix="give a mesh of triangles")
    # of three vertices on a line it stays: without it there would be a hole
    kept = (faces != faces[:, [1, 2, 0]]).all(1)
    if n_collapsed := int((~kept).sum()):
        said = (*said, f"{n_collapsed} faces that have one corner twice are left out")
    faces = faces[kept]
    _check_extent(Mesh(places, faces).bounds, path)
    return _outward(places, faces, said)


def checked_points(
    points: NDArray, normals: NDArray | None, path: str | Path, said: tuple[str, ...] = ()
) -> PointCloud:  # fmt: skip
    """The points of these arrays, as :func:`read_surface` gives them; ``path`` is for messages."""
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise NerfkitError(f"points have shape {points.shape}; [n, 3] is wanted", where=path, fix="give x, y and z")
    _check_coordinates(points, "points", path)
    if len(points) < MIN_POINTS:
        raise NerfkitError(
            f"has {len(points)} points; {MIN_POINTS} at least are wanted", where=path, fix="give a denser cloud"
        )
    _check_extent(np.stack([points.min(0), points.max(0)]), path)
    if normals is not None:
        normals = np.asarray(normals, np.float64)
        if normals.shape != points.shape:
            raise NerfkitError(
                f"normals have shape {normals.shape}, points {points.shape}", where=path, fix="give one a point"
            )
        lengths = np.linalg.norm(normals, axis=1)
        if not np.isfinite(lengths).all() or (lengths < NO_LENGTH).all():
            n_bad = int((~np.isfinite(lengths) | (lengths < NO_LENGTH)).sum())
            raise NerfkitError(
                f"{n_bad} of its {len(normals)} normals are NaN, infinite or 0", where=path,
                fix="leave the normals out: they are estimated then",
            )  # fmt: skip
        if n_zero := int((lengths < NO_LENGTH).sum()):
            said = (*said, f"{n_zero} points whose normal is 0 are left out")
        kept = lengths >= NO_LENGTH
        points, directions = points[kept], normals[kept] / lengths[kept, None]
        # the flux of points that are spread evenly: their volume's sign
        normals = directions
        if ((points - points.mean(0)) * directions).sum() < 0:
            normals, said = -directions, (*said, "normals pointed inward: all turned")
    _, first = np.unique(points, axis=0, return_index=True)
    if n_double := len(points) - len(first):
        first = np.sort(first)
        points, normals = points[first], None if normals is None else normals[first]
        said = (*said, f"{n_double} points that are there twice are left out")
    return PointCloud(points, normals, said)


def _check_coordinates(values: NDArray[np.float64], what: str, path: str | Path) -> None:
    if not len(values):
        raise NerfkitError(f"has no {what}: it is empty", where=path, fix=f"give {WANTED}")
    if len(values) > MAX_POINTS:
        raise NerfkitError(
            f"has {len(values):,} {what}; at most {MAX_POINTS:,} are read", where=path, fix="thin it out"
        )
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise NerfkitError(
            f"{int(bad.sum())} of its {len(values)} {what} are NaN or infinite, the first is number {first}: "
            f"{values[first].tolist()}", where=path, fix="leave them out",
        )  # fmt: skip


def _check_extent(bounds: NDArray[np.float64], path: str | Path) -> None:
    sides = bounds[1] - bounds[0]
    if sides.min() <= FLAT * sides.max() or not np.isfinite(sides).all():
        raise NerfkitError(
            "is {:.6g} x {:.6g} x {:.6g}: it lies in a plane, on a line or at a point".format(*sides), where=path,
            fix="give a surface that encloses something",
        )  # fmt: skip


def _outward(vertices: NDArray[np.float64], faces: NDArray[np.int64], said: tuple[str, ...]) -> Mesh:
    """The mesh with faces that agree, outside out."""
    if n_turned := topology(faces).n_turned_edges:
        faces = consistently_oriented(faces)
        left = topology(faces).n_turned_edges
        rest = f"; at {left} they cannot be brought to agree" if left else ""
        said = (*said, f"at {n_turned} edges neighbouring faces looked to opposite sides: turned{rest}")
    mesh = Mesh(vertices, faces, said)
    if mesh.volume < 0:
        return Mesh(vertices, faces[:, ::-1], (*said, "faces looked inward: all turned"))
    return mesh


def _of_trimesh(path: Path) -> Mesh | PointCloud:
    trimesh = import_extra("trimesh", "mesh", path)
    try:
        # a scene's parts in their places; vertices stay as they are
        with path.open("rb") as file:
            found: Any = trimesh.load_scene(
                file, path.suffix[1:].lower(), resolver=_buffers_beside(path), process=False
            )  # fmt: skip
        unit = f"the file's unit: {found.units}" if found.units else ""
        parts = list(found.dump())
    # trimesh's readers raise whatever their parsers do
    except Exception as error:
        raise NerfkitError(
            f"cannot be read ({type(error).__name__}: {error})", where=path, fix=f"save it anew, or give {WANTED}"
        ) from error
    said = (unit,) if unit else ()
    meshes = [part for part in parts if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    if meshes:
        starts = np.cumsum([0, *(len(part.vertices) for part in meshes[:-1])])
        faces = np.concatenate([part.faces + start for part, start in zip(meshes, starts, strict=True)])
        return checked_mesh(np.concatenate([part.vertices for part in meshes]), faces, path, said)
    clouds = [part for part in parts if hasattr(part, "vertices") and len(part.vertices)]
    if not clouds:
        raise NerfkitError("holds no faces and no points: it is empty", where=path, fix=f"give {WANTED}")
    points = np.concatenate([np.asarray(cloud.vertices) for cloud in clouds])
    return checked_points(points, _ply_normals(clouds), path, said)


def _buffers_beside(path: Path) -> Any:
    """What gives trimesh the buffers of a glTF, which lie beside it; no material, and no file of another folder."""
    from trimesh.resolvers import FilePathResolver

    class Beside(FilePathResolver):
        def get(self, name: str) -> bytes:
            if Path(name).name != name or Path(name).suffix.lower() != ".bin":
                raise FileNotFoundError(f"{name!r} is no buffer beside {path.name}, and is not read")
            return (path.parent / name).read_bytes()

    return Beside(str(path))


def _ply_normals(clouds: list[Any]) -> NDArray | None:
    """Normals of points, which trimesh leaves among what it did not read."""
    if len(clouds) > 1:
        return None
    raw = clouds[0].metadata.get("_ply_raw", {}).get("vertex", {}).get("data")
    names = ("nx", "ny", "nz")
    try:
        return np.stack([np.asarray(raw[name], np.float64).ravel() for name in names], 1)
    except (TypeError, KeyError, ValueError, IndexError):
        return None


def _of_npz(path: Path) -> Mesh | PointCloud:
    names = array_names(path)
    if {"vertices", "faces"} <= set(names):
        return checked_mesh(load_array(path, "vertices"), load_array(path, "faces"), path)
    if "points" in names:
        normals = load_array(path, "normals") if "normals" in names else None
        return checked_points(load_array(path, "points"), normals, path)
    raise NerfkitError(
        f"has the arrays {', '.join(names) or 'of no npz'}; points [n, 3] and perhaps normals [n, 3], or vertices "
        "[n, 3] and faces [m, 3] are wanted", where=path, fix="numpy.savez(FILE, points=points, normals=normals)",
    )  # fmt: skip


def _of_columns(values: NDArray, path: Path) -> PointCloud:
    if values.ndim != 2 or values.shape[1] not in (3, 6) or values.dtype.kind not in "fiu":
        raise NerfkitError(
            f"has shape {values.shape} of {values.dtype}; [n, 3], or [n, 6] with normals, is wanted", where=path,
            fix="give x, y, z and perhaps the normal's x, y, z",
        )  # fmt: skip
    return checked_points(values[:, :3], values[:, 3:] if values.shape[1] == 6 else None, path)


def _of_text(path: Path) -> PointCloud:
    try:
        text = path.read_text(encoding="utf-8").replace(",", " ")
        values = np.array([line.split() for line in text.splitlines() if line.strip()[:1] not in ("", "#")], np.float64)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise NerfkitError(
            f"cannot be read as numbers ({error})", where=path, fix="give lines of three or six numbers"
        ) from error
    return _of_columns(values, path)
