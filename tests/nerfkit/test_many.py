"""`nerfkit fit many`: from instances to a start, from a start to an instance, and what is refused."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import nerfkit
from nerfkit.cli import main
from nerfkit.cli.fit import _in_words
from nerfkit.scenes.errors import NerfkitError
from nerfkit.workbench.many.adaptation import learnt_steps, squared_errors
from nerfkit.workbench.many.components import principal_components
from nerfkit.workbench.many.instances import read_instances, split
from nerfkit.workbench.many.learned import make_start, read_start
from nerfkit.workbench.many.learning import Learning
from nerfkit.workbench.many.networks import Shape, evaluate, hold, lattice_points
from nerfkit.workbench.many.shapes import lattice_mesh, shaded_lattice

SIZE = (8, 6)
SMALL: dict[str, Any] = {"width": 12, "n_layers": 2, "n_latents": 4, "scale": 8.0, "steps": 40, "method": "meta"}


def waves(n=16, seed=0):
    """Pictures [n, 6, 8] of two waves whose strengths differ from one to the next."""
    strengths = np.random.default_rng(seed).uniform(-1, 1, (n, 2, 1, 1))
    y, x = np.mgrid[: SIZE[1], : SIZE[0]] / 8
    pictures = strengths[:, 0] * np.sin(4 * x + y) + strengths[:, 1] * np.cos(3 * y - x)
    return (0.5 + pictures / 4.2).astype(np.float32)


def folder_of(path, pictures):
    path.mkdir()
    for index, picture in enumerate(pictures):
        Image.fromarray(np.uint8(picture * 255)).save(path / f"p{index}.png")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A start that was learned from sixteen pictures; for reading only."""
    place = tmp_path_factory.mktemp("many")
    source = folder_of(place / "waves", waves())
    result = nerfkit.fit("many", source, place / "out.png", **SMALL)
    return place, result


@pytest.mark.parametrize("method", ["meta", "modulation"])
def test_a_step_is_a_gradient_times_its_rate_and_can_be_learned(method):
    shape = Shape(1, width=5, n_layers=2, scale=2.0)
    start = make_start(method, shape, 3, 0).double()
    points, values = lattice_points((3, 4)).double(), torch.rand(2, 12, 1, dtype=torch.float64) - 0.5

    def loss():
        free = learnt_steps(start, points, values, 2, is_learning=True)
        return squared_errors(evaluate(start.networks(free), points, 2.0, is_twice=True), values).sum()

    parameters = list(start.parameters())
    slopes = torch.autograd.grad(loss(), parameters)
    step = 1e-6
    for parameter, slope in zip(parameters, slopes, strict=True):
        direction = torch.randn_like(parameter)
        parameter.data += step * direction
        above = loss().item()
        parameter.data -= 2 * step * direction
        below = loss().item()
        parameter.data += step * direction
        assert (above - below) / (2 * step) == pytest.approx(float((slope * direction).sum()), rel=1e-4, abs=1e-8)
    # without learning, and by the kernels, the numbers are the same; float32, which these are compiled for already
    start, points, values = start.float(), points.float(), values.float()
    plain, learning = learnt_steps(start, points, values, 2), learnt_steps(start, points, values, 2, is_learning=True)
    for one, other in zip(plain, learning, strict=True):
        torch.testing.assert_close(one, other.detach(), atol=1e-5, rtol=1e-4)


def test_instances_of_a_modulated_network_are_sine_networks():
    shape = Shape(2, width=5, n_layers=2, scale=4.0)
    start = make_start("modulation", shape, 3, 0)
    latents = torch.randn(2, 3)
    networks = start.networks([latents])
    points = lattice_points((4, 6))
    held = hold(networks, 1, shape, (6, 4), [[-1.0, 1.0]] * 2)
    x = torch.stack(torch.meshgrid(torch.arange(6) + 0.5, torch.arange(4) + 0.5, indexing="xy"), -1).view(-1, 2)
    torch.testing.assert_close(held.field(x), evaluate(networks, points, 4.0)[1], atol=1e-5, rtol=1e-5)


def test_components_predict_what_is_linear():
    rng = torch.Generator().manual_seed(0)
    directions = torch.randn(2, 10, generator=rng, dtype=torch.float64)
    values = torch.randn(30, 2, generator=rng, dtype=torch.float64) @ directions + 3
    found = principal_components(values, 5)
    assert len(found.directions) == 2
    torch.testing.assert_close(found.project(values), values)
    seen = torch.arange(10) < 5
    assert (found.predict(values, seen) - values).abs().max() < 0.02
    # what is not seen is not looked at
    spoiled = torch.where(seen, values, torch.full_like(values, 1e6))
    torch.testing.assert_close(found.predict(spoiled, seen), found.predict(values, seen))


def test_learning_goes_on_where_it_was_stopped():
    points, values = lattice_points((6, 8)), torch.from_numpy(waves(6)).view(6, -1, 1) * 2 - 1

    def problem():
        return Learning(make_start("meta", Shape(1, 6, 1, 4.0), 0, 0), points, values, is_whole=False, seed=3)

    first = problem()
    first.loss(0)
    state = first.state_dict()
    other = problem()
    other.load_state_dict(state)
    assert first.loss(1)[0].item() == other.loss(1)[0].item()


def test_parts_of_a_split_are_apart():
    parts = split(100, 0)
    every = np.concatenate([parts.learned, parts.choosing, parts.new])
    assert sorted(every) == list(range(100)) and [len(p) for p in (parts.choosing, parts.new)] == [8, 16]
    assert [len(part) for part in (split(8, 0).learned, split(8, 0).choosing, split(8, 0).new)] == [4, 2, 2]
    assert (split(100, 1).new != parts.new).any()


def test_a_start_is_learned_and_measured(run, tmp_path, monkeypatch):
    place, result = run
    figures = result.figures
    metrics, baselines = figures["metrics"], figures["baselines"]
    assert metrics["psnr_3"] > baselines["fresh"]["psnr_3"] + 3
    assert metrics["psnr_3"] < metrics["psnr_10"] + 1 < metrics["psnr_100"] + 2
    assert metrics["unseen"] > 10 and metrics["holdout"] > 0
    assert {"fresh", "pca", "pca, all components"} <= set(baselines)
    # two waves: two components are all there is, but for the rounding to eight bits
    assert baselines["pca"]["psnr"] > 40
    folder = place / "out"
    tensors = load_file(folder / "start.safetensors")
    assert {name.split(".")[0] for name in tensors} == {"whole", "part"}
    facts = json.loads((folder / "start.json").read_text())
    assert facts["method"] == "meta" and facts["size"] == list(SIZE) and facts["scale"] == 8.0
    # the figure again, from the files alone
    start = read_start(folder)
    parts = split(16, 0)
    data = read_instances(place / "waves")
    values = torch.from_numpy(data.values[parts.new]).view(len(parts.new), -1, 1) * 2 - 1
    points = lattice_points((SIZE[1], SIZE[0]))
    found = evaluate(start.whole.networks(learnt_steps(start.whole, points, values, 3)), points, 8.0)
    psnr = (-10 * torch.log10(squared_errors(found, values) / 4)).mean().item()
    assert metrics["psnr_3"] == pytest.approx(psnr, abs=0.01)
    assert Image.open(place / "out.png").size[0] > 300
    assert (folder / "interpolation.mp4").stat().st_size > 1000
    page = (folder / "report.html").read_text()
    for words in ("After 3 steps", "New instances, over the steps", "a new instance after 3 steps"):
        assert words in page
    assert nerfkit.load(folder).render().shape == (SIZE[1], SIZE[0])


def test_a_fit_begins_with_a_start(run, tmp_path):
    place, _ = run
    picture = place / "waves" / "p0.png"
    settings: dict[str, Any] = {"holdout": 0.0, "steps": 5}
    begun = nerfkit.fit("image", picture, tmp_path / "begun.png", start=str(place / "out"), **settings)
    fresh = nerfkit.fit(
        "image", picture, tmp_path / "fresh.png", field="siren", scale=8.0, n_params=begun.figures["n_params"],
        **settings,
    )  # fmt: skip
    assert begun.figures["field"] == "siren"
    assert begun.figures["metrics"]["fitted_psnr"] > fresh.figures["metrics"]["fitted_psnr"] + 3
    # the run has a copy of it
    assert (tmp_path / "begun" / "start" / "start.safetensors").is_file()
    code = main(["fit", "inpaint", str(picture), "--simulate", "keep=0.5", "--start", str(place / "out"),
                 "--steps", "2", "--set", "variation=0.01", "-o", str(tmp_path / "filled.png"), "--quiet"])  # fmt: skip
    assert code == 0 and nerfkit.load(tmp_path / "filled").held.recipe["knob"] == 8.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 9.0}, "the start's scale is 8.0, 9.0 is asked for; leave scale out, or give 8.0"),
        ({"n_params": 500}, "the start's n_params is 205, 500 is asked for"),
        ({"field": "hash"}, "a start is of the field siren, not hash"),
    ],
)
def test_a_start_that_does_not_match(run, tmp_path, settings, message):
    place, _ = run
    with pytest.raises(NerfkitError, match=message):
        nerfkit.fit("image", place / "waves" / "p0.png", tmp_path / "o.png", start=str(place / "out"), **settings)


def test_a_start_of_other_channels_or_none(run, tmp_path):
    place, _ = run
    Image.new("RGB", (8, 6), (9, 99, 200)).save(tmp_path / "rgb.png")
    with pytest.raises(NerfkitError, match="learned from pictures of 1 channels, this one has 3"):
        nerfkit.fit("image", tmp_path / "rgb.png", tmp_path / "o.png", start=str(place / "out"))
    with pytest.raises(NerfkitError, match="there is no such file"):
        nerfkit.fit("image", place / "waves" / "p0.png", tmp_path / "o2.png", start=str(tmp_path))
    (tmp_path / "start.safetensors").write_bytes(b"nothing")
    (tmp_path / "start.json").write_text((place / "out" / "start.json").read_text())
    with pytest.raises(NerfkitError, match="is no start, or damaged"):
        read_start(tmp_path)
    (tmp_path / "start.json").write_text("{}")
    with pytest.raises(NerfkitError, match=r"start\.json lacks field, method"):
        read_start(tmp_path)


def test_pictures_of_other_sizes_are_cut_and_said(tmp_path):
    pictures = [np.kron(picture, np.ones((2, 2), np.float32)) for picture in waves(9)]
    folder = folder_of(tmp_path / "mixed", pictures)
    Image.fromarray(np.full((40, 20), 77, np.uint8)).save(folder / "p10.png")
    found = read_instances(folder)
    assert found.values.shape == (10, 12, 16, 1) and found.names[-1] == "p10.png"
    assert "1 of 10 pictures are not 16x12 pixels" in found.said[0] and "p10.png" in found.said[0]
    np.testing.assert_allclose(found.values[-1], 77 / 255, atol=1e-5)
    small = read_instances(folder, SIZE)
    np.testing.assert_allclose(small.values[0, ..., 0], waves(9)[0], atol=0.08)


def test_arrays_are_instances(tmp_path):
    np.savez(tmp_path / "i.npz", other=np.zeros(3), images=np.uint8(waves(8) * 255))
    found = read_instances(tmp_path / "i.npz")
    assert found.values.shape == (8, 6, 8, 1) and found.bounds == (0.0, 1.0) and found.names[:2] == ("0", "1")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "nowhere", "there is no such folder"),
        (lambda path: folder_of(path / "few", waves(3)), "has 3 instances; 8 at least are wanted"),
        (lambda path: folder_of(path / "none", []), "has no pictures or meshes in it, but nothing"),
        (lambda path: _saved(path, np.zeros((9, 4))), r"has shape \[9, 4\]; \[n, h, w\] or \[n, h, w, c\] is wanted"),
        (lambda path: _saved(path, np.zeros((9, 4, 4))), "all values are the same"),
        (lambda path: _saved(path, np.ones((9, 1, 4))), "4x1 pixels; two a side at least"),
        (lambda path: _saved(path, np.where(np.arange(9) == 5, np.nan, 1.0)[:, None, None] + np.zeros((9, 3, 3))),
         r"i\.npy\[5\]: 9 of its 9 values are NaN"),
        (lambda path: folder_of(path / "f", waves(8)) / "p0.png", "is one file; many instances are wanted"),
        (lambda path: _with_colour(folder_of(path / "c", waves(9))), "1 channels of 8 bits, z.png not"),
    ],
)  # fmt: skip
def test_what_is_no_set_of_instances(tmp_path, make, message):
    with pytest.raises(NerfkitError, match=message):
        read_instances(make(tmp_path))


def _saved(path, array):
    np.save(path / "i.npy", array)
    return path / "i.npy"


def _with_colour(folder):
    Image.new("RGB", SIZE).save(folder / "z.png")
    return folder


def ellipsoid(sides):
    """A closed mesh."""
    igl = pytest.importorskip("igl")
    assert igl
    trimesh = pytest.importorskip("trimesh")
    sphere = trimesh.creation.icosphere(2)
    return trimesh.Trimesh(sphere.vertices * sides, sphere.faces)


@pytest.fixture(scope="module")
def ellipsoids(tmp_path_factory):
    """Twelve meshes of a kind, in natural order."""
    folder = tmp_path_factory.mktemp("ellipsoids")
    for index, sides in enumerate(np.random.default_rng(0).uniform(0.4, 1, (12, 3))):
        ellipsoid(10 * sides).export(folder / f"m{index}.ply")
    return folder


SHAPES: dict[str, Any] = SMALL | {"lattice": 10, "scale": 4.0, "steps": 60}


def test_shapes_are_distances_on_a_lattice(ellipsoids, tmp_path):
    data = read_instances(ellipsoids, n_cells=10)
    assert (
        data.is_shapes and data.values.shape == (12, 10, 10, 10, 1) and data.names[:3] == ("m0.ply", "m1.ply", "m2.ply")
    )
    assert data.size == (10, 10, 10) and np.abs(data.values).max() <= data.bounds[1]
    # x is the last axis of the lattice: a long thin body along x
    long = tmp_path / "long"
    long.mkdir()
    for index in range(8):
        ellipsoid([1.0, 0.3, 0.3]).export(long / f"{index}.stl")
    values = read_instances(long, n_cells=24).values[0, ..., 0]
    inside = values < 0
    assert inside.any((0, 1)).sum() > 2 * inside.any((1, 2)).sum()
    # the surface is where it was: within a cell of 0.083
    mesh = lattice_mesh(values)
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.9 * 0.27**2, rel=0.15)
    np.testing.assert_allclose(mesh.bounds[1] - mesh.bounds[0], [1.8, 0.54, 0.54], atol=0.083)
    assert not len(lattice_mesh(np.ones((4, 4, 4))).faces) and shaded_lattice(np.ones((4, 4, 4))).min() == 1


def test_a_start_of_shapes_is_learned_and_a_shape_begins_with_it(ellipsoids, tmp_path):
    result = nerfkit.fit("many", ellipsoids, tmp_path / "out.png", **SHAPES)
    assert "IoU after 3 steps 0." in _in_words(result.figures["metrics"])
    metrics, baselines = result.figures["metrics"], result.figures["baselines"]
    assert metrics["psnr_3"] > baselines["fresh"]["psnr_3"] + 1.5 and metrics["iou_100"] > 0.8
    assert metrics["iou_3"] > baselines["fresh"]["iou_3"] + 0.1
    assert 0 < baselines["pca"]["iou"] <= 1
    assert (tmp_path / "out/interpolation.mp4").stat().st_size > 1000
    start = read_start(tmp_path / "out")
    assert start.shape.n_inputs == 3 and start.size == (10, 10, 10)
    # a step that changes nothing: what is measured is what the field began with
    settings: dict[str, Any] = {"n_samples": 3000, "resolution": 16, "steps": 1, "learning_rate": 1e-9}
    mesh = ellipsoids / "m3.ply"
    given: dict[str, Any] = settings | {"start": str(tmp_path / "out")}
    begun = nerfkit.fit("shape", mesh, tmp_path / "begun.ply", **given).figures["metrics"]
    fresh = nerfkit.fit("shape", mesh, tmp_path / "fresh.ply", **settings, field="siren").figures["metrics"]
    assert begun["holdout"] < 0.8 * fresh["holdout"]
    # what it began with, from the files alone
    samples = load_file(tmp_path / "begun/stages/samples.safetensors")
    points, distances = samples["points"].float(), samples["distances"].float()
    free = learnt_steps(start.whole, points, torch.tanh(distances / 0.1)[None, :, None], 3)
    places = 2 * torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) - 1
    expected = evaluate(start.whole.networks(free), places, 4.0)[0, :, 0]
    shape = nerfkit.load(tmp_path / "begun")
    torch.testing.assert_close(
        torch.from_numpy(shape.held.values(places.numpy())), expected.detach(), atol=1e-4, rtol=1e-3
    )
    # distances are in the input's unit
    frame = shape.held.frame
    found = shape.held.distances(frame.outward(places.double().numpy())) / frame.scale
    np.testing.assert_allclose(found, 0.1 * np.arctanh(expected.detach().double().numpy().clip(-0.99, 0.99)), atol=1e-4)


def test_starts_of_pictures_and_of_shapes_are_told_apart(run, ellipsoids, tmp_path):
    place, _ = run
    with pytest.raises(NerfkitError, match="learned from pictures, and this is for shapes") as caught:
        nerfkit.fit("shape", ellipsoids / "m0.ply", tmp_path / "a.ply", n_samples=2000, start=str(place / "out"))
    assert "nerfkit fit many" in caught.value.fix
    with pytest.raises(NerfkitError, match="a start is of distances, not of the loss occupancy"):
        nerfkit.fit("shape", ellipsoids / "m0.ply", tmp_path / "b.ply", loss="occupancy", start=str(place / "out"))
    Image.new("L", (8, 6)).save(tmp_path / "p.png")
    brief: dict[str, Any] = SHAPES | {"steps": 1}
    nerfkit.fit("many", ellipsoids, tmp_path / "many.png", **brief)
    with pytest.raises(NerfkitError, match="learned from shapes, and this is for pictures"):
        nerfkit.fit("image", tmp_path / "p.png", tmp_path / "c.png", start=str(tmp_path / "many"))


def test_what_is_no_set_of_shapes(ellipsoids, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for index in range(3):
        ellipsoid([1, 1, 1]).export(few / f"{index}.ply")
    with pytest.raises(NerfkitError, match="has 3 instances; 8 at least"):
        read_instances(few)
    Image.new("L", (8, 6)).save(few / "p.png")
    with pytest.raises(NerfkitError, match=r"has meshes .* and pictures"):
        read_instances(few)
    with pytest.raises(NerfkitError, match="--size is of pictures"):
        read_instances(ellipsoids, (8, 8))
    with pytest.raises(NerfkitError, match=r"more than .* values") as caught:
        read_instances(ellipsoids, n_cells=1000)
    assert "lattice=500" in caught.value.fix
    (few / "p.png").unlink()
    rng = np.random.default_rng(0)
    for index in range(8):
        ball = rng.normal(size=(80, 3))
        header = (
            "ply\nformat ascii 1.0\nelement vertex 80\nproperty float x\nproperty float y\nproperty float z\nend_header"
        )
        np.savetxt(few / f"{index}.ply", ball / np.linalg.norm(ball, axis=1, keepdims=True), header=header, comments="")
    with pytest.raises(NerfkitError, match="holds points; many shapes are learned from meshes") as caught:
        read_instances(few)
    assert "nerfkit fit shape 0.ply" in caught.value.fix
