"""`nerfkit fit shape`: distances of closed forms, meshes of any resolution, and the task from its file to its mesh."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from closed_surfaces import RING, TUBE, cube, torus, torus_distance

pytest.importorskip("igl", reason="needs the extra nerfkit[mesh]")
pytest.importorskip("trimesh", reason="needs the extra nerfkit[mesh]")

import nerfkit
from nerfkit.cli import main
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.fields.coordinate import CoordinateField
from nerfkit.scenes.fields.encodings.identity import IdentityEncoding
from nerfkit.scenes.fields.networks import FullyConnected
from nerfkit.scenes.readers.surface import read_surface
from nerfkit.scenes.surfaces import Mesh, PointCloud
from nerfkit.scenes.topology import topology
from nerfkit.surface_files import write_mesh
from nerfkit.tasks.shape import ShapeConfig, read
from nerfkit.workbench.shapes import measures, views
from nerfkit.workbench.shapes.bandwidth import choose_bandwidth
from nerfkit.workbench.shapes.cloud_distance import CloudDistance, sphere_distances
from nerfkit.workbench.shapes.eikonal import eikonal_terms
from nerfkit.workbench.shapes.frame import Frame
from nerfkit.workbench.shapes.marching import level_set
from nerfkit.workbench.shapes.measures import compare_meshes
from nerfkit.workbench.shapes.mesh_distance import MeshDistance
from nerfkit.workbench.shapes.normals import estimated_normals
from nerfkit.workbench.shapes.samples import truncated, untruncated

VOLUME = 2 * np.pi**2 * RING * TUBE**2
SMALL: dict[str, Any] = {"steps": 150, "n_samples": 20_000, "resolution": 64, "n_params": 60_000}


@pytest.fixture(autouse=True)
def fewer_points(monkeypatch):
    """What is measured and drawn of every result, of fewer points."""
    for name, n in (("N_BOX", 20_000), ("N_NEAR", 5000), ("N_SURFACE", 3000)):
        monkeypatch.setattr(measures, name, n)
    monkeypatch.setattr(views, "N_DRAWN", 40_000)
    monkeypatch.setattr(views, "SIDE", 64)


def ring_points(n=4000, seed=0):
    """Points of the torus, evenly over two angles, and their normals."""
    a, b = np.random.default_rng(seed).uniform(0, 2 * np.pi, (2, n))
    normals = np.stack([np.cos(b) * np.cos(a), np.cos(b) * np.sin(a), np.sin(b)], 1)
    return np.stack([RING * np.cos(a), RING * np.sin(a), 0 * a], 1) + TUBE * normals, normals


def asked(n=500, seed=1):
    return np.random.default_rng(seed).uniform(-0.9, 0.9, (n, 3))


def write(path, mesh):
    write_mesh(path, mesh)
    return path


@pytest.mark.parametrize("n_cells", [24, 130])
def test_a_level_set_has_the_volume_of_its_closed_form(n_cells):
    found = torus(n_cells)
    assert found.volume == pytest.approx(VOLUME, rel=0.03 if n_cells == 24 else 0.002)
    assert topology(found.faces).is_closed and topology(found.faces).n_components == 1


def test_blocks_without_a_surface_are_not_evaluated():
    n_asked = []

    def evaluate(points):
        n_asked.append(len(points))
        return torus_distance(points)

    sparse = level_set(evaluate, np.array([1.76, 1.76, 0.56]), 128, bound=lambda d: d)
    dense = level_set(torus_distance, np.array([1.76, 1.76, 0.56]), 128, bound=lambda d: np.inf)
    np.testing.assert_allclose(sparse.volume, dense.volume, rtol=1e-9)
    assert sum(n_asked) < 0.75 * 132 * 132 * 47


@pytest.mark.parametrize("n_cells", [4, 2000])
def test_cells_out_of_range_are_named(n_cells):
    with pytest.raises(NerfkitError, match="8 to 1024"):
        torus(n_cells)


def test_distances_to_a_mesh():
    distances = MeshDistance(torus(48))
    points = asked()
    np.testing.assert_allclose(distances.signed(points), torus_distance(points), atol=0.004)


def test_a_mesh_with_holes_has_an_inside():
    mesh = torus(48)
    rng = np.random.default_rng(0)
    holed = Mesh(mesh.vertices, mesh.faces[rng.random(len(mesh.faces)) > 0.1])
    points = asked()
    clear = np.abs(torus_distance(points)) > 0.03
    np.testing.assert_array_equal(MeshDistance(holed).inside(points)[clear], torus_distance(points)[clear] < 0)


def test_the_sphere_through_points_of_a_sphere_is_that_sphere():
    rng = np.random.default_rng(0)
    normals = rng.standard_normal((50, 9, 3)) * 0.2 + np.array([0, 0, 1])
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    where = rng.uniform(-0.2, 0.2, (50, 3)) + np.array([0, 0, 2])
    found = sphere_distances(where, 2 * normals, normals, rng.random((50, 9)))
    np.testing.assert_allclose(found, np.linalg.norm(where, axis=1) - 2, atol=1e-9)


def test_distances_to_points():
    points, normals = ring_points()
    cloud = PointCloud(points, normals)
    width = choose_bandwidth(cloud, np.random.default_rng(0))
    assert width.noise < 0.002
    where = asked()
    found, truth = CloudDistance(cloud, width.width).signed(where), torus_distance(where)
    assert (np.sign(found) == np.sign(truth)).mean() > 0.99
    near = np.abs(truth) < 0.1
    assert np.abs(found - truth)[near].mean() < 0.004


@pytest.mark.parametrize("noise", [0.005, 0.02])
def test_noise_of_points_is_found(noise):
    points, normals = ring_points(8000)
    points = points + noise * np.random.default_rng(1).standard_normal(points.shape)
    found = choose_bandwidth(PointCloud(points, normals), np.random.default_rng(0))
    assert found.noise == pytest.approx(noise, rel=0.3)


def test_normals_are_estimated_outward():
    points, normals = ring_points(3000)
    found = estimated_normals(points, 12)
    cosines = (found * normals).sum(1)
    assert (cosines > 0).mean() > 0.995 and np.median(cosines) > 0.99


def test_truncation_is_undone_near_the_surface():
    distances = np.linspace(-0.12, 0.12, 9)
    np.testing.assert_allclose(untruncated(truncated(distances)), distances, rtol=1e-9)


def test_the_eikonal_loss_is_least_for_a_distance():
    """A field that is a distance to a plane has no loss but that of being near it."""
    network = FullyConnected([3, 1], torch.Generator().manual_seed(0), activation="sine", scale=1.0)
    field = CoordinateField(IdentityEncoding(3), network, [(-1, 1)] * 3)
    with torch.no_grad():
        network.weights[0].copy_(torch.tensor([[0.0], [0.0], [1.0]]))
        network.biases[0].zero_()
    points = torch.rand(64, 3) * torch.tensor([1.0, 1.0, 0.0])
    normals = torch.tensor([[0.0, 0.0, 1.0]]).expand(64, 3)
    terms = eikonal_terms(points, normals, 64)
    generator = torch.Generator().manual_seed(0)
    assert float(terms[0].compare(field, generator).loss.detach()) < 1e-4
    with torch.no_grad():
        network.weights[0].mul_(2)
    assert float(terms[0].compare(field, generator).loss.detach()) == pytest.approx(0.5, abs=1e-4)
    assert float(terms[1].compare(field, generator).loss.detach()) > 0.49


def test_a_mesh_is_itself_and_no_other():
    mesh = torus(32)
    frame = Frame.around(mesh.bounds)
    same = compare_meshes(mesh, mesh, frame, fewer=50)
    assert same["iou"] == same["iou_near"] == 1 and same["chamfer"] < 1e-9 and same["normals"] == pytest.approx(1)
    moved = compare_meshes(Mesh(mesh.vertices + np.array([0.05, 0, 0]), mesh.faces), mesh, frame, fewer=50)
    assert moved["iou"] < 0.95 and 0.01 < moved["chamfer"] < 0.05


def test_from_a_mesh_with_a_hole_to_a_closed_one(tmp_path, capsys):
    mesh = torus(40)
    # millimetres, away from the origin
    holed = Mesh(1000 * mesh.vertices + 5000, mesh.faces[30:])
    path = write(tmp_path / "scan.stl", holed)
    command = ["fit", "shape", str(path), "-o", str(tmp_path / "a.ply"), "--truth", str(path), "--size", "64"]
    assert main([*command, "--params", "60000", "--steps", "150", "--set", "n_samples=20000", "--json"]) == 0
    printed = capsys.readouterr()
    figures = json.loads(printed.out.splitlines()[-1])
    metrics = figures["metrics"]
    assert metrics["volume"] == pytest.approx(VOLUME * 1e9, rel=0.03) and metrics["iou"] > 0.95
    assert metrics["holes"] == 0 and metrics["chamfer"] < 10 and metrics["normals"] > 0.95
    assert figures["field"] == "hash" and figures["chosen"]["loss"] == "distance"
    assert figures["chosen"]["input_holes"] == 1 and figures["chosen"]["input_boundary_edges"] > 10
    assert "not watertight" in printed.err and "boundary edges round" in printed.err
    run = tmp_path / "a"
    for name in ("result", "input", "slices"):
        assert (run / "pictures" / f"{name}.png").is_file()
    assert "not watertight" in (run / "report.html").read_text(encoding="utf-8").lower()
    # the run holds the field: any resolution, any format
    assert main(["render", str(run), "--size", "40", "--out", str(tmp_path / "b.obj"), "--json"]) == 0
    coarse = read_surface(tmp_path / "b.obj")
    assert isinstance(coarse, Mesh) and coarse.volume == pytest.approx(metrics["volume"], rel=0.02)
    assert main(["render", str(run), "--size", "40x40", "--out", str(tmp_path / "c.ply")]) == 2
    assert main(["render", str(run), "--size", "40", "--out", str(tmp_path / "c.png")]) == 2
    distances = nerfkit.load(run).distances(np.array([[5600.0, 5000, 5000], [5000.0, 5000, 5000]]))
    assert distances[0] < -5 and distances[1] > 5
    # a finished run goes through at once
    assert nerfkit.resume_fit(run).figures["metrics"]["volume"] == pytest.approx(metrics["volume"])


def test_simulated_and_from_its_measurements(tmp_path):
    path = write(tmp_path / "torus.ply", torus(40))
    simulate = {"points": 3000, "noise": 0.002, "normals": 0}
    found = nerfkit.fit("shape", path, tmp_path / "a.ply", simulate=simulate, **SMALL)
    assert found.figures["metrics"]["iou"] > 0.93
    assert 0 < found.figures["metrics"]["holdout"] < 0.02
    assert set(np.load(tmp_path / "a" / "measurements.npz").files) == {"points"}
    nerfkit.fit("shape", tmp_path / "a" / "measurements.npz", tmp_path / "b.ply", **SMALL)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


@pytest.mark.parametrize(("field", "loss"), [("siren", "auto"), ("hash", "occupancy")])
def test_other_fields_and_losses(field, loss, tmp_path):
    path = write(tmp_path / "torus.ply", torus(32))
    settings: dict[str, Any] = SMALL | {"steps": 80, "resolution": 32}
    settings |= {"n_params": 2500} if field == "siren" else {}
    found = nerfkit.fit("shape", path, tmp_path / "a.ply", field=field, loss=loss, **settings)
    assert found.figures["metrics"]["iou"] > 0.6
    assert found.figures["chosen"]["loss"] == ("eikonal" if field == "siren" else "occupancy")


def test_what_is_odd_about_a_mesh_is_said(tmp_path):
    two = cube(), Mesh(cube().vertices + 0.4, cube().faces)
    mesh = Mesh(np.concatenate([m.vertices for m in two]), np.concatenate([two[0].faces, two[1].faces + 8]))
    said = read([write(tmp_path / "a.ply", mesh)], ShapeConfig()).said
    assert any("intersects itself" in text for text in said)
    assert any("1.4 x 1.4 x 1.4 in the file's unit" in text for text in said)


def test_a_truth_in_another_unit_is_named(tmp_path):
    metres, millimetres = torus(24), Mesh(1000 * torus(24).vertices, torus(24).faces)
    paths = write(tmp_path / "m.ply", metres), write(tmp_path / "mm.ply", millimetres)
    with pytest.raises(NerfkitError, match="millimetres"):
        nerfkit.fit("shape", paths[0], tmp_path / "a.ply", truth=paths[1], **SMALL)
    np.savez(tmp_path / "p.npz", points=ring_points(100)[0])
    with pytest.raises(NerfkitError, match="a mesh is wanted"):
        nerfkit.fit("shape", paths[0], tmp_path / "b.ply", truth=tmp_path / "p.npz", **SMALL)


@pytest.mark.parametrize("keys", [{"points": 0}, {"noise": -1}, {"points": 20}, {"angles": 3}])
def test_bad_simulations_are_named(keys, tmp_path):
    path = write(tmp_path / "torus.ply", torus(16))
    with pytest.raises(NerfkitError):
        nerfkit.fit("shape", path, tmp_path / "a.ply", simulate=keys)


def test_points_are_not_simulated_of_points(tmp_path):
    np.savez(tmp_path / "p.npz", points=ring_points(100)[0])
    with pytest.raises(NerfkitError, match="drawn from a mesh"):
        nerfkit.fit("shape", tmp_path / "p.npz", tmp_path / "a.ply", simulate={})


@pytest.mark.parametrize("settings", [{"field": "tiled"}, {"resolution": 4}, {"n_samples": 3}, {"loss": "l2"}])
def test_bad_settings_are_named(settings: dict[str, Any], tmp_path):
    path = write(tmp_path / "torus.ply", torus(16))
    with pytest.raises(NerfkitError):
        nerfkit.fit("shape", path, tmp_path / "a.ply", **settings)


def test_a_mesh_far_away_keeps_its_digits(tmp_path):
    mesh = Mesh(cube().vertices + 5e6, cube().faces)
    assert write_mesh(tmp_path / "a.ply", mesh).volume == pytest.approx(1, rel=1e-6)
    with pytest.raises(NerfkitError, match="no surface"):
        write_mesh(tmp_path / "b.ply", Mesh(np.zeros((0, 3)), np.zeros((0, 3), int)))
    with pytest.raises(NerfkitError, match=r"written as \.ply"):
        write_mesh(tmp_path / "b.doc", mesh)
