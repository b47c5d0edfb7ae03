"""Registration: closed forms of the splines and det J, similarities, what is chosen, known warps, and bad inputs."""

import json
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import nerfkit
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.fields.splines import SplinePyramid, cubic_splines, refinement
from nerfkit.scenes.observations.warps import Warp
from nerfkit.scenes.volumes import Volume, affine_of_spacing
from nerfkit.tasks.fit import resume_fit
from nerfkit.volume_files import write_volume
from nerfkit.workbench.registration.baselines import USUAL, measure_baselines
from nerfkit.workbench.registration.choosing import Judged, choose_smoothest, held_out_blocks
from nerfkit.workbench.registration.images import Pair, Spatial
from nerfkit.workbench.registration.inputs import (
    Displacement,
    Landmarks,
    read_displacement,
    read_image_alone,
    read_landmarks,
)
from nerfkit.workbench.registration.outcome import _widths, displacement_errors, landmark_errors
from nerfkit.workbench.registration.problem import bending
from nerfkit.workbench.registration.similarities import box_mean, make_similarity
from nerfkit.workbench.registration.transform import LinearMap, Transform, jacobian_determinant

SIDE = 64


def texture(shape=(SIDE, SIDE), seed=0):
    from scipy.ndimage import gaussian_filter

    values = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return ((values - values.min()) / (values.max() - values.min())).astype(np.float32)


def picture(path, values):
    Image.fromarray(np.rint(values * 255).astype(np.uint8)).save(path)
    return path


def points(n=20):
    return torch.rand(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * SIDE


def test_splines_reproduce_a_straight_line():
    at = torch.linspace(0, 5, 11, dtype=torch.float64)
    nodes = 3 * torch.arange(-1, 7, dtype=torch.float64) + 1
    assert torch.allclose(cubic_splines(at, 5) @ nodes, 3 * at + 1)


def test_refined_nodes_are_the_same_spline():
    nodes = torch.rand(7, generator=torch.Generator().manual_seed(0))
    at = torch.linspace(0, 4, 33)
    fine = cubic_splines(2 * at, 8) @ (refinement(4) @ nodes)
    assert torch.allclose(fine, cubic_splines(at, 4) @ nodes, atol=1e-6)


def test_a_lattice_of_the_pyramid_is_its_points():
    field = SplinePyramid((12.0, 9.0), 3.0)
    for nodes in field.nodes:
        torch.nn.init.normal_(nodes, generator=torch.Generator().manual_seed(nodes.shape[1]))
    xs, ys = torch.linspace(0, 12, 5), torch.linspace(0, 9, 4)
    at = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1)
    found = field.evaluate_lattice(field.lattice([xs, ys])).permute(1, 2, 0)
    assert torch.allclose(found, field(at), atol=1e-5)


@pytest.mark.parametrize("n_dims", [2, 3])
def test_det_j_of_an_affine_map_is_that_of_its_matrix(n_dims):
    matrix = torch.eye(n_dims) + 0.3 * torch.rand(n_dims, n_dims, generator=torch.Generator().manual_seed(n_dims))
    axes = [torch.arange(4.0)] * n_dims
    at = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], -1)
    found = jacobian_determinant(at @ matrix.T, [1.0] * n_dims)
    assert torch.allclose(found, torch.linalg.det(matrix).expand_as(found), atol=1e-5)
    mirrored = at.clone()
    mirrored[..., 0] *= -1
    assert (jacobian_determinant(mirrored, [1.0] * n_dims) == -1).all()


def test_bending_of_a_parabola():
    y, x = torch.meshgrid(torch.arange(6.0) * 2, torch.arange(8.0) * 2, indexing="ij")
    # second derivatives 1 of the first part along x, and 0.5 mixed of the second, which counts twice
    found = bending(torch.stack([x * x / 2, x * y / 2]), [2.0, 2.0], 3.0)
    assert found.item() == pytest.approx((9 * 1 + 2 * 9 * 0.25) / 2)
    assert bending(torch.stack([2 * x + y, -x]), [2.0, 2.0], 3.0).item() == 0


def test_a_rigid_map_keeps_lengths_and_an_affine_one_has_an_inverse():
    rigid = LinearMap(np.array([3.0, 4.0, 5.0]), 10.0, is_rigid=True)
    torch.nn.init.normal_(rigid.turns)
    turn = rigid.matrix()[:3, :3].detach()
    assert torch.allclose(turn @ turn.T, torch.eye(3, dtype=torch.float64))
    affine = LinearMap(np.array([3.0, 4.0]), 10.0, is_rigid=False)
    torch.nn.init.normal_(affine.turns)
    fixed = Spatial(texture(), np.eye(3))
    transform = Transform(fixed, affine)
    axes = [torch.arange(float(SIDE))] * 2
    back = torch.linalg.inv(affine.matrix()).detach().numpy()
    there = transform.places(transform.pixels(axes), back).detach()
    assert torch.allclose(there, torch.stack(torch.meshgrid(*axes, indexing="xy"), -1), atol=1e-4)


def test_box_means_are_those_of_a_slow_loop():
    values = torch.rand(2, 7, 9, generator=torch.Generator().manual_seed(0))
    found = box_mean(values, 5)
    for row, col in ((0, 0), (3, 4), (6, 8)):
        window = values[:, max(0, row - 2) : row + 3, max(0, col - 2) : col + 3]
        assert torch.allclose(found[:, row, col], window.mean((1, 2)), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "change"),
    [("ssd", lambda v: v), ("ncc", lambda v: 0.3 + 0.5 * v), ("mi", lambda v: torch.sin(5 * v)), ("mind", lambda v: v)],
)
def test_each_similarity_is_best_where_the_images_lie_on_each_other(name, change):
    image = torch.from_numpy(texture())
    similarity = make_similarity(name, change(image), (0.0, 0.0))
    ones = torch.ones_like(image)
    aligned = similarity.loss(image, ones)
    assert all(similarity.loss(torch.roll(image, shift, axis), ones) > aligned for shift in (1, -1) for axis in (0, 1))


def test_a_window_does_not_look_at_what_is_held_out():
    image = torch.from_numpy(texture())
    known = torch.ones_like(image)
    known[20:30, 20:30] = 0
    similarity = make_similarity("ncc", image, (0.0, 0.0), known)
    other = image.clone()
    other[20:30, 20:30] += 5
    # its mean is taken off before the windows, which changes nothing but the last digits
    assert similarity.loss(other, known).item() == pytest.approx(similarity.loss(image, known).item(), abs=1e-4)


def test_the_smoothest_that_is_not_surely_worse_is_taken():
    noise = np.random.default_rng(0).normal(size=50)
    means = {1.0: 2.0, 0.3: 1.001, 0.1: 1.0, 0.03: 1.3, 0.01: 1.6}
    chosen, tried = choose_smoothest(
        lambda weight: Judged(weight, means[weight] + 0.1 * np.roll(noise, int(99 * weight)))
    )
    assert chosen.bending == 0.3
    assert [found.bending for found in tried] == list(means)


def test_blocks_hold_out_a_fifth():
    blocks = held_out_blocks((128, 96), 16, 0)
    assert blocks.shape == (96, 128)
    assert 0.1 < (blocks >= 0).mean() < 0.3
    assert len(np.unique(blocks[blocks >= 0])) == blocks.max() + 1


def test_places_outside_are_told_and_a_shift_is_exact():
    image = torch.from_numpy(texture())[None]
    y, x = torch.meshgrid(torch.arange(float(SIDE)), torch.arange(float(SIDE)), indexing="ij")
    found = Warp(image, is_cubic=True).at(torch.stack([x + 3, y - 2], -1))
    assert torch.allclose(found.values[0, 2:, :-3], image[0, :-2, 3:], atol=1e-5)
    assert found.is_inside[2:, :-3].all()
    assert not found.is_inside[:, -3:].any()
    assert not found.is_inside[:2].any()


def test_a_known_warp_is_found_and_goes_on_where_it_was_stopped(tmp_path):
    source = picture(tmp_path / "a.png", texture((56, 56)))
    out = tmp_path / "out.png"
    found = nerfkit.fit("register", source, out, simulate={"warp": 2}, steps=30, baselines=False, similarity="ssd")
    metrics, run = found.figures["metrics"], tmp_path / "out"
    assert metrics["error_median"] < 0.1
    assert metrics["folds"] == 0
    moves = np.load(run / "displacement.npy")
    assert moves.shape == (56, 56, 2)
    assert json.loads((run / "transform.json").read_text())["has_displacement"]
    assert (run / "report.html").is_file()
    shown = json.loads((run / "shown.json").read_text())
    assert any("folds nowhere" in text for text in shown["said"])
    losses, choice = shown["charts"]
    assert [series["name"] for series in losses["series"]][-1] == "displacement, whole" and choice["series"][0]["y"]
    steps = [step for series in losses["series"] for step in series["x"]]
    assert steps == sorted(steps) and len(set(steps)) == len(steps)
    again = resume_fit(run)
    assert json.loads((run / "shown.json").read_text())["charts"] == shown["charts"]
    assert again.figures["metrics"]["error_median"] == pytest.approx(metrics["error_median"], abs=0.05)
    assert again.figures["chosen"] == found.figures["chosen"]
    anew = nerfkit.fit("register", run / "measurements.npz", tmp_path / "b.npy", steps=30, similarity="ssd")
    assert np.allclose(np.load(tmp_path / "b.npy"), moves, atol=1e-4)
    assert "error_median" not in anew.figures["metrics"]


def test_a_rigid_turn_in_colour_with_landmarks(tmp_path):
    from scipy.ndimage import rotate

    whole = texture((96, 96))
    angle = 4.0
    turned = rotate(whole, angle, reshape=False, order=3, mode="nearest")[16:80, 16:80]
    fixed = picture(tmp_path / "f.png", whole[16:80, 16:80].clip(0, 1))
    moving = picture(tmp_path / "m.png", np.repeat(turned[..., None].clip(0, 1), 3, -1))
    centre, at = 31.5, np.array([[10.0, 12.0], [50.0, 20.0], [40.0, 55.0]])
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    there = (at - centre) @ np.array([[c, s], [-s, c]]).T + centre
    rows = ["x_fixed,y_fixed,x_moving,y_moving", *(",".join(map(str, row)) for row in np.hstack([at, there]))]
    (tmp_path / "l.csv").write_text("\n".join(rows))
    found = nerfkit.fit(
        "register", [fixed, moving], tmp_path / "o.png", transform="rigid", similarity="ssd", steps=80,
        landmarks=str(tmp_path / "l.csv"),
    )  # fmt: skip
    told = json.loads((tmp_path / "o" / "shown.json").read_text())["said"]
    assert any(text.startswith("3 landmarks: mean distance") for text in told)
    marks = found.figures["metrics"]["landmarks"]
    assert marks["before"] > 1
    assert marks["after"] < 0.2
    matrix = np.array(json.loads((tmp_path / "o" / "transform.json").read_text())["fixed_to_moving"])
    assert np.allclose(matrix[:2, :2] @ matrix[:2, :2].T, np.eye(2))
    assert np.asarray(Image.open(tmp_path / "o.png")).shape == (64, 64, 3)


def test_two_volumes_with_their_places_in_space(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    values = texture((24, 28, 32))
    affine = affine_of_spacing((2.0, 2.0, 2.0))
    # the same body two voxels further along x in space, and its table moved back by three: (4 - 6) mm remain
    moved = affine.copy()
    moved[0, 3] = -6.0
    write_volume(tmp_path / "f.nii.gz", Volume(values, affine))
    write_volume(tmp_path / "m.nii.gz", Volume(np.roll(values, 2, 2), moved))
    found = nerfkit.fit(
        "register", [tmp_path / "f.nii.gz", tmp_path / "m.nii.gz"], tmp_path / "o.nii.gz", transform="rigid",
        similarity="ssd", steps=60,
    )  # fmt: skip
    matrix = np.array(json.loads((tmp_path / "o" / "transform.json").read_text())["fixed_to_moving"])
    assert np.allclose(matrix[:3, 3], [-2, 0, 0], atol=0.1)
    vectors = nibabel.load(tmp_path / "o" / "displacement.nii.gz")
    assert vectors.shape == (32, 28, 24, 1, 3)
    assert np.allclose(np.asarray(vectors.dataobj)[16, 14, 12, 0], [-2, 0, 0], atol=0.2)
    assert np.allclose(np.load(tmp_path / "o" / "displacement.npy")[12, 14, 16], [2, 0, 0], atol=0.1)
    assert found.figures["metrics"]["folds"] == 0
    pair = Pair(Spatial(values, affine), Spatial(values, moved))
    truth = read_displacement(tmp_path / "o" / "displacement.nii.gz")
    assert np.allclose(truth.in_pixels(pair), np.load(tmp_path / "o" / "displacement.npy"), atol=1e-4)
    again = nerfkit.fit(
        "register", [tmp_path / "f.nii.gz", tmp_path / "m.nii.gz"], tmp_path / "again.nii.gz", transform="rigid",
        similarity="ssd", steps=60, baselines=False, truth=tmp_path / "o" / "displacement.nii.gz",
    )  # fmt: skip
    assert again.figures["metrics"]["error_95"] < 0.01
    scales = json.loads((tmp_path / "o" / "shown.json").read_text())["scales"]
    # det J is between the pixels
    assert scales.pop("jacobian")["mm_wide"] == 62
    assert {"result", "fixed", "moving", "overlay_before", "checkerboard_after", "grid"} <= set(scales)
    assert {scale["mm_wide"] for scale in scales.values()} == {64}
    assert 0 <= scales["fixed"]["black"] < scales["fixed"]["white"] <= 1


def test_a_slice_has_a_width_where_its_pixels_are_squares():
    square, oblong = (Spatial(texture((4, 8, 10)), affine_of_spacing((2.0, y, 5.0))) for y in (2.0, 3.0))
    small, flat = Spatial(texture((4, 8, 5)), affine_of_spacing((1.0, 1.0, 1.0))), Spatial(texture(), np.eye(3))
    assert _widths(Pair(square, square)) == (20, 20, 20)
    assert _widths(Pair(square, small)) == (20, 20, 20)
    assert _widths(Pair(square, oblong)) == (20, None, None)
    assert _widths(Pair(flat, flat)) == (None, None, None)


@pytest.mark.parametrize("name", ["v.npz", "v.npy", "v.tif"])
def test_volumes_are_read_from_every_format(tmp_path, name):
    values = texture((8, 16, 20))
    path, affine = tmp_path / name, np.diag([2.0, 2.0, 3.0, 1.0])
    if name == "v.npz":
        np.savez(path, volume=values, affine=affine)
    else:
        write_volume(path, Volume(values, affine))
    image, spatial = read_image_alone(path)
    assert isinstance(image, Volume) and spatial.n_dims == 3
    np.testing.assert_allclose(image.values, values)
    np.testing.assert_allclose(spatial.spacing, [1, 1, 1] if name == "v.npy" else [2, 2, 3], rtol=1e-4)
    assert bool(image.said) == (name == "v.npy")


@pytest.mark.parametrize("suffix", [".tif", ".npz"])
def test_pictures_stay_pictures(tmp_path, suffix):
    path = tmp_path / f"p{suffix}"
    if suffix == ".npz":
        np.savez(path, image=texture())
    else:
        picture(path, texture())
    assert read_image_alone(path)[1].n_dims == 2


def test_a_truth_in_millimetres_must_be_of_the_fixed_image(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    values = texture((8, 16, 16))
    for name in ("f.nii", "m.nii"):
        write_volume(tmp_path / name, Volume(values, np.eye(4)))
    vectors, path = np.zeros((16, 16, 8, 1, 3), np.float32), tmp_path / "truth.nii.gz"

    def refuse(match):
        with pytest.raises(NerfkitError, match=match):
            nerfkit.fit("register", [tmp_path / "f.nii", tmp_path / "m.nii"], tmp_path / "o.nii", truth=path)

    refuse("no such file")
    nibabel.save(nibabel.Nifti1Image(vectors, np.diag([2.0, 1.0, 1.0, 1.0])), path)
    refuse("15 mm from those of the fixed")
    nibabel.save(nibabel.Nifti1Image(vectors[:, :, :, 0, 0], np.eye(4)), path)
    refuse("a vector for each voxel")
    vectors[3, 2, 1] = np.nan
    nibabel.save(nibabel.Nifti1Image(vectors, np.eye(4)), path)
    refuse(r"voxel \(2, 1, 0\)|voxel \(3, 2, 1\)")
    path.write_bytes(b"no gzip")
    refuse("cannot be read as NIfTI")
    with pytest.raises(NerfkitError, match="neither npy nor NIfTI"):
        read_displacement(tmp_path / "truth.csv")
    flat = Pair(Spatial(texture(), np.eye(3)), Spatial(texture(), np.eye(3)))
    moves = np.zeros((SIDE, SIDE, 2), np.float32)
    assert Displacement(moves).in_pixels(flat) is moves


def test_baselines_find_a_shift_and_say_what_is_missing(monkeypatch):
    fixed = texture()
    pair = Pair(Spatial(fixed, np.eye(3)), Spatial(np.roll(fixed, 1, 1), np.eye(3)))
    truth, said = np.broadcast_to(np.array([1.0, 0.0]), (SIDE, SIDE, 2)), []

    def measure():
        return measure_baselines(
            fixed, pair.moving.values, lambda moves: displacement_errors(moves, truth, pair), said.append,
            lambda: None, USUAL | {"bspline": (8,)},
        )  # fmt: skip

    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    assert set(measure()) == {"tvl1", "ilk"}
    assert "pip install simpleitk" in said[0]
    monkeypatch.undo()
    pytest.importorskip("SimpleITK")
    found = measure()
    assert set(found) == {"tvl1", "ilk", "demons", "bspline"}
    assert all(found[name]["error_median"] < 0.5 for name in ("tvl1", "ilk", "demons"))


def test_the_truth_chooses_from_a_ladder_and_is_said_to():
    fixed = texture()
    pair, truth = Pair(Spatial(fixed, np.eye(3)), Spatial(fixed, np.eye(3))), np.zeros((SIDE, SIDE, 2))
    moving = np.roll(fixed, 1, 1)
    truth[..., 0] = 1

    def measure(*radii):
        return measure_baselines(
            fixed, moving, lambda moves: displacement_errors(moves, truth, pair), print, lambda: None, {"ilk": radii}
        )["ilk"]

    best, small, large = measure(2, 7), measure(2), measure(7)
    assert best["error_median"] == min(small["error_median"], large["error_median"])
    assert "oracle of 2, 7" in best["how"] and "oracle on a plain warp" in small["how"]


@pytest.mark.parametrize("suffix", ["png", "nii"])
def test_either_kind_of_image_has_either_kind_of_file(tmp_path, suffix):
    quick = {"transform": "affine", "similarity": "ssd", "steps": 2}
    np.save(tmp_path / "v.npy", texture((8, 16, 16)))
    picture(tmp_path / "p.png", texture())
    for name in ("v.npy", "p.png"):
        out = tmp_path / f"{name[0]}_out.{suffix}"
        nerfkit.fit("register", [tmp_path / name] * 2, out, **quick)
        assert out.stat().st_size > 0


def test_errors_count_where_there_is_something_to_see():
    values = texture()
    values[:, 32:] = 0
    pair, moves = Pair(Spatial(values, np.eye(3)), Spatial(values, np.eye(3))), np.zeros((SIDE, SIDE, 2))
    truth = moves.copy()
    truth[:, 40:] = 9.0
    assert displacement_errors(moves, truth, pair)["error_mean"] == 0
    truth[:, :32] = [3.0, 4.0]
    assert displacement_errors(moves, truth, pair)["error_median"] == 5


def test_landmarks_before_and_after():
    pair = Pair(Spatial(texture(), np.eye(3)), Spatial(texture(), np.eye(3)))
    marks = Landmarks(np.array([[5.0, 6.0]]), np.array([[8.0, 10.0]]))
    found = landmark_errors(marks, pair, np.broadcast_to(np.array([3.0, 4.0]), (SIDE, SIDE, 2)))
    assert (found["before"], found["after"]) == (5.0, 0.0)


def refused(match, tmp_path, fixed, moving, **settings):
    with pytest.raises(NerfkitError, match=match):
        nerfkit.fit("register", [fixed, moving], tmp_path / "never.png", **settings)
    assert not (tmp_path / "never").exists()


def test_bad_inputs_are_named(tmp_path):
    good = picture(tmp_path / "good.png", texture())
    refused("64x48.*64x64|64x64.*64x48", tmp_path, good, picture(tmp_path / "small.png", texture((48, 64))))
    refused("everywhere", tmp_path, good, picture(tmp_path / "flat.png", np.full((SIDE, SIDE), 0.5)))
    refused("1x1 pixels", tmp_path, good, picture(tmp_path / "one.png", np.full((1, 1), 0.5)))
    bad = texture()
    bad[3, 4] = np.nan
    np.save(tmp_path / "nan.npy", bad)
    refused("row 3, column 4", tmp_path, good, tmp_path / "nan.npy")
    np.save(tmp_path / "volume.npy", texture((16, 16, 16)))
    refused("a volume.*a picture", tmp_path, good, tmp_path / "volume.npy")
    with pytest.raises(NerfkitError, match="two are registered"):
        nerfkit.fit("register", good, tmp_path / "never.png")
    with pytest.raises(NerfkitError, match="no kind"):
        nerfkit.fit("register", good, tmp_path / "never.png", simulate={"kind": "other"})
    np.save(tmp_path / "truth.npy", np.zeros((SIDE, SIDE, 3)))
    refused("has shape", tmp_path, good, good, truth=tmp_path / "truth.npy")


def test_bad_landmarks_are_named(tmp_path):
    pair = Pair(Spatial(texture(), np.eye(3)), Spatial(texture(), np.eye(3)))
    path = tmp_path / "l.csv"
    for text, match in (
        ("x,y\n1,2", "wanted are the columns"),
        ("x_fixed,y_fixed,x_moving,y_moving\n1,2,3,99", "line 2.*outside the moving"),
        ("x_fixed,y_fixed,x_moving,y_moving\n1,2,3,a", "no number"),
    ):
        path.write_text(text)
        with pytest.raises(NerfkitError, match=match):
            read_landmarks(path, pair)
    with pytest.raises(NerfkitError, match="no such file"):
        read_landmarks(tmp_path / "none.csv", pair)


def test_a_small_picture_of_another_modality_is_told_by_mutual_information(tmp_path):
    """A quarter of 128 pixels does not tell it from the local correlation."""
    image = pytest.importorskip("skimage.data").astronaut()[::4, ::4]
    found = nerfkit.fit(
        "register", picture(tmp_path / "a.png", image.mean(-1) / 255), tmp_path / "o.png", baselines=False, steps=2,
        simulate={"kind": "modal", "warp": 2.5}, bending=1.0, seconds=600,
    )  # fmt: skip
    assert found.figures["chosen"]["similarity"] == "mi"
