"""Meshes and points from files: areas, borders, what is mended and what is refused."""

import numpy as np
import pytest
from closed_surfaces import cube

from nerfkit.scenes.errors import MissingCapabilityError, NerfkitError
from nerfkit.scenes.readers.surface import checked_mesh, checked_points, read_surface
from nerfkit.scenes.surfaces import Mesh, PointCloud
from nerfkit.scenes.topology import Topology, consistently_oriented, face_components, topology

POINTS = np.random.default_rng(0).standard_normal((100, 3))
NORMALS = POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)


def test_area_volume_and_normals_of_a_cube():
    mesh = cube(2.0)
    assert mesh.area == pytest.approx(24) and mesh.volume == pytest.approx(8)
    np.testing.assert_allclose(np.abs(mesh.normals).sum(1), 1)
    centres = mesh.vertices[mesh.faces].mean(1)
    assert ((centres * mesh.normals).sum(1) > 0).all()


def test_samples_are_spread_over_the_area():
    mesh = cube()
    points, normals = mesh.sample(6000, np.random.default_rng(0))
    np.testing.assert_allclose(np.abs(points).max(1), 0.5)
    np.testing.assert_allclose((points * normals).sum(1), 0.5)
    counts = np.bincount(np.argmax(normals, 1)[normals.max(1) > 0.5], minlength=3)
    assert (np.abs(counts - 1000) < 150).all()


def test_topology_counts_holes_parts_and_what_branches():
    faces = cube().faces
    assert topology(faces) == Topology(0, 0, 0, 0, 1) and topology(faces).is_closed
    assert topology(faces[2:]) == Topology(4, 1, 0, 0, 1)
    # two faces that share one edge leave a border each where they do not touch
    assert topology(np.delete(faces, [0, 2], 0)).n_holes == 2
    assert topology(np.concatenate([faces, faces + 8])).n_components == 2
    assert topology(np.concatenate([faces, [[0, 1, 9]]])).n_branching_edges == 1
    assert face_components(np.concatenate([faces, faces + 8])).tolist() == [0] * 12 + [1] * 12


def test_faces_are_brought_to_agree():
    faces = cube().faces.copy()
    faces[[1, 4, 7]] = faces[[1, 4, 7], ::-1]
    assert topology(faces).n_turned_edges > 0
    assert topology(consistently_oriented(faces)).n_turned_edges == 0


def test_a_face_that_touches_no_other_stays_as_it_is():
    mesh = cube()
    n = len(mesh.vertices)
    faces = np.concatenate([mesh.faces, [[n, n + 1, n + 2]]])
    faces[1] = faces[1, ::-1]
    found = consistently_oriented(faces)
    assert topology(found).n_turned_edges == 0 and found[-1].tolist() == [n, n + 1, n + 2]


def test_what_is_mended_is_said():
    mesh = cube()
    faces = mesh.faces[:, ::-1].copy()
    faces[3] = faces[3, ::-1]
    # a vertex for each corner of each face, as STL has it, and a face without area
    soup, soup_faces = mesh.vertices[faces].reshape(-1, 3), np.arange(36).reshape(12, 3)
    found = checked_mesh(soup, np.concatenate([soup_faces, [[0, 0, 1]]]), "f")
    assert len(found.vertices) == 8 and found.volume == pytest.approx(1) and topology(found.faces).is_closed
    assert [text.split()[0] for text in found.said] == ["1", "at", "faces"] or len(found.said) >= 2
    assert "1 faces that have one corner twice are left out" in found.said


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".stl", ".glb", ".off"])
def test_meshes_of_trimesh(suffix, tmp_path):
    trimesh = pytest.importorskip("trimesh", reason="needs the extra nerfkit[mesh]")
    mesh = cube()
    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(tmp_path / f"a{suffix}")
    found = read_surface(tmp_path / f"a{suffix}")
    assert isinstance(found, Mesh) and found.volume == pytest.approx(1) and topology(found.faces).is_closed


def test_points_of_every_format(tmp_path):
    np.savez(tmp_path / "a.npz", points=POINTS, normals=3 * NORMALS)
    np.save(tmp_path / "a.npy", np.concatenate([POINTS, NORMALS], 1))
    np.savetxt(tmp_path / "a.xyz", np.concatenate([POINTS, NORMALS], 1), header="x y z nx ny nz")
    np.savetxt(tmp_path / "a.csv", POINTS, delimiter=",")
    for name in ("a.npz", "a.npy", "a.xyz"):
        found = read_surface(tmp_path / name)
        assert isinstance(found, PointCloud)
        np.testing.assert_allclose(found.points, POINTS)
        assert found.normals is not None
        np.testing.assert_allclose(found.normals, NORMALS, atol=1e-12)
    bare = read_surface(tmp_path / "a.csv")
    assert isinstance(bare, PointCloud) and bare.normals is None
    np.savez(tmp_path / "m.npz", vertices=cube().vertices, faces=cube().faces)
    assert isinstance(read_surface(tmp_path / "m.npz"), Mesh)


def test_points_of_ply_keep_their_normals(tmp_path):
    pytest.importorskip("trimesh", reason="needs the extra nerfkit[mesh]")
    header = "ply\nformat ascii 1.0\nelement vertex 100\n" + "".join(
        f"property float {name}\n" for name in ("x", "y", "z", "nx", "ny", "nz")
    )
    rows = "\n".join(" ".join(map(str, row)) for row in np.concatenate([POINTS, NORMALS], 1))
    (tmp_path / "a.ply").write_text(f"{header}end_header\n{rows}\n")
    found = read_surface(tmp_path / "a.ply")
    assert isinstance(found, PointCloud)
    assert found.normals is not None
    np.testing.assert_allclose(found.normals, NORMALS, atol=1e-5)


def test_normals_that_point_inward_are_turned():
    found = checked_points(POINTS, -NORMALS, "f")
    assert found.normals is not None
    np.testing.assert_allclose(found.normals, NORMALS)
    assert found.said == ("normals pointed inward: all turned",)


def test_points_that_are_double_or_have_no_normal_are_left_out():
    normals = NORMALS.copy()
    normals[3] = 0
    found = checked_points(np.concatenate([POINTS, POINTS[:2]]), np.concatenate([normals, normals[:2]]), "f")
    assert len(found.points) == 99 and len(found.said) == 2


NAN = np.where(np.arange(300).reshape(100, 3) == 7, np.nan, POINTS)
BAD = {
    "nan vertex": (lambda: checked_mesh(NAN, np.array([[0, 1, 2]]), "f"), "1 of its 100 vertices are NaN"),
    "nan point": (lambda: checked_points(NAN, None, "f"), "the first is number 2"),
    "no faces": (lambda: checked_mesh(POINTS, np.zeros((0, 3), int), "f"), "no face"),
    "no vertices": (lambda: checked_points(np.zeros((0, 3)), None, "f"), "it is empty"),
    "index": (lambda: checked_mesh(POINTS, np.array([[0, 1, 100]]), "f"), "there are 0 to 99"),
    "quads": (lambda: checked_mesh(POINTS, np.array([[0, 1, 2, 3]]), "f"), r"\[m, 3\]"),
    "no area": (lambda: checked_mesh(POINTS, np.array([[0, 0, 1]]), "f"), "none of its 1 faces"),
    "flat": (lambda: checked_mesh(POINTS * [1, 1, 0], np.array([[0, 1, 2]]), "f"), "lies in a plane"),
    "flat points": (lambda: checked_points(POINTS * [1, 0, 0], None, "f"), "lies in a plane"),
    "few": (lambda: checked_points(POINTS[:9], None, "f"), "has 9 points"),
    "columns": (lambda: checked_points(POINTS[:, :2], None, "f"), r"\[n, 3\]"),
    "normals": (lambda: checked_points(POINTS, NORMALS[:9], "f"), "normals have shape"),
    "nan normals": (lambda: checked_points(POINTS, NAN, "f"), "normals are NaN"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_surfaces_are_named(name):
    make, words = BAD[name]
    with pytest.raises(NerfkitError, match=words) as error:
        make()
    assert error.value.fix


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.ply", "no ply", "cannot be read"), ("a.obj", "# nothing\n", "cannot be read|empty"),
        ("a.doc", "x", "suffix .doc"), ("a.xyz", "1 2 x\n", "cannot be read as numbers"), ("a.xyz", "1 2\n", "shape"),
        ("a.npz", "x", "has the arrays"), ("a.xyz", "# x y z\n", "shape"),
    ],
)  # fmt: skip
def test_files_that_hold_no_surface(name, text, words, tmp_path):
    if name.endswith((".ply", ".obj")):
        pytest.importorskip("trimesh", reason="needs the extra nerfkit[mesh]")
    (tmp_path / name).write_text(text)
    with pytest.raises(NerfkitError, match=words):
        read_surface(tmp_path / name)
    with pytest.raises(NerfkitError, match="no such file"):
        read_surface(tmp_path / "none.ply")
    with pytest.raises(NerfkitError, match="is a folder"):
        read_surface(tmp_path)


def test_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "trimesh", None)
    (tmp_path / "a.ply").write_text("ply")
    with pytest.raises(MissingCapabilityError, match=r'pip install "nerfkit\[mesh\]"'):
        read_surface(tmp_path / "a.ply")
