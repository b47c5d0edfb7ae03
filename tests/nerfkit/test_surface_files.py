"""Coloured meshes and points as files: trimesh reads of them what they are, far away from the origin as well."""

import json
from typing import Any

import numpy as np
import pytest

pytest.importorskip("trimesh", reason="needs the extra nerfkit[mesh]")

import trimesh
from closed_surfaces import torus

from nerfkit.scenes.surfaces import Mesh, PointCloud
from nerfkit.surface_files import write_mesh, write_points


def coloured(at=(0.0, 0.0, 0.0)):
    mesh = torus(24)
    colors = np.random.default_rng(0).integers(0, 255, (len(mesh.vertices), 3)).astype(np.uint8)
    return Mesh(mesh.vertices + np.array(at), mesh.faces, (), colors)


@pytest.mark.parametrize("at", [(0.0, 0.0, 0.0), (4e5, 5e6, 120.0)])
@pytest.mark.parametrize("kind", ["ply", "obj", "glb"])
def test_places_colours_and_normals_come_back(tmp_path, kind, at):
    mesh = coloured(at)
    write_mesh(tmp_path / f"a.{kind}", mesh)
    parts: list[Any] = list(trimesh.load_scene(tmp_path / f"a.{kind}", process=False).dump())
    (found,) = parts
    # a float's step in the file's own frame: GLB has its place in a node
    np.testing.assert_allclose(found.vertices, mesh.vertices, rtol=0, atol=2e-7)
    np.testing.assert_array_equal(found.faces, mesh.faces)
    np.testing.assert_array_equal(np.asarray(found.visual.vertex_colors)[:, :3], mesh.colors)


def normals_in_ply(path):
    data = trimesh.load_mesh(path, process=False).metadata["_ply_raw"]["vertex"]["data"]
    return np.stack([data[name].ravel() for name in ("nx", "ny", "nz")], 1)


def normals_in_obj(path):
    return np.array([line.split()[1:] for line in path.read_text().splitlines() if line.startswith("vn ")], float)


def normals_in_glb(path):
    content = path.read_bytes()
    # a header of 12 bytes, then chunks of a length, a kind and their bytes: JSON, then numbers
    n_json = int.from_bytes(content[12:16], "little")
    told, numbers = json.loads(content[20 : 20 + n_json]), content[28 + n_json :]
    accessor = told["accessors"][told["meshes"][0]["primitives"][0]["attributes"]["NORMAL"]]
    start = told["bufferViews"][accessor["bufferView"]].get("byteOffset", 0)
    return np.frombuffer(numbers, "<f4", 3 * accessor["count"], start).reshape(-1, 3)


@pytest.mark.parametrize("read", [normals_in_ply, normals_in_obj, normals_in_glb])
def test_normals_are_in_the_file(tmp_path, read):
    # trimesh makes normals anew when it reads
    path = tmp_path / f"a.{read.__name__[-3:]}"
    mesh = coloured()
    write_mesh(path, mesh)
    np.testing.assert_allclose(read(path), mesh.vertex_normals, atol=1e-6)


def test_vertex_normals_are_means_of_faces_by_area():
    mesh = torus(48)
    ring = mesh.vertices * [1, 1, 0]
    centre = 0.6 * ring / np.linalg.norm(ring, axis=1, keepdims=True)
    outward = (mesh.vertices - centre) / np.linalg.norm(mesh.vertices - centre, axis=1, keepdims=True)
    assert (mesh.vertex_normals * outward).sum(1).min() > 0.98
    np.testing.assert_allclose(np.linalg.norm(mesh.vertex_normals, axis=1), 1)


def test_some_faces_keep_their_vertices_and_colours():
    mesh = coloured()
    kept = np.arange(len(mesh.faces)) % 3 == 0
    part = mesh.of_faces(kept)
    np.testing.assert_array_equal(part.vertices[part.faces], mesh.vertices[mesh.faces[kept]])
    assert part.colors is not None and mesh.colors is not None
    np.testing.assert_array_equal(part.colors[part.faces], mesh.colors[mesh.faces[kept]])


def test_points_with_colours(tmp_path):
    rng = np.random.default_rng(1)
    points = rng.standard_normal((100, 3))
    normals = points / np.linalg.norm(points, axis=1, keepdims=True)
    colors = rng.integers(0, 255, (100, 3)).astype(np.uint8)
    written = write_points(tmp_path / "p.ply", PointCloud(points, normals, (), colors))
    assert written.normals is not None
    np.testing.assert_allclose(written.normals, normals, atol=1e-6)
    found = trimesh.load(tmp_path / "p.ply")
    np.testing.assert_array_equal(np.asarray(found.colors)[:, :3], colors)  # pyright: ignore[reportAttributeAccessIssue]
