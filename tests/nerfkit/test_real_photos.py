"""What real photos need in training: an exposure each, corrected cameras, known distances, a box by hand."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerfkit.adam_optimizer import Adam
from nerfkit.aligned_score import align_pose
from nerfkit.config import override
from nerfkit.known_distances import KnownDistances
from nerfkit.presets import PRESETS
from nerfkit.radiance_fit import CHOICE_STEP, RadianceFit
from nerfkit.refined_cameras import describe_moves, refined_cameras
from nerfkit.runs import Run
from nerfkit.scene import RadianceScene
from nerfkit.scenes.bounds import boxed_scene
from nerfkit.scenes.pose_corrections import rotations
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.training import load_scene, prepare


def fit_of(folder, small_hash, **settings):
    config = dataclasses.replace(override(PRESETS["hash"], small_hash[3::2]), **settings)
    prepared = prepare(read_posed_photos(folder), config, "cpu")
    return RadianceFit(RadianceScene(config, prepared.bounds, prepared.background), prepared.data)


@pytest.fixture
def exposed_folder(scene_folder, tmp_path):
    """The scene with each photo up to 30 % brighter or darker."""
    folder = Path(shutil.copytree(scene_folder, tmp_path / "exposed"))
    rng = np.random.default_rng(0)
    for file in sorted(folder.glob("*/*.png")):
        rgba = np.asarray(Image.open(file)).astype(float)
        rgba[..., :3] *= 1 + 0.3 * rng.uniform(-1, 1)
        Image.fromarray(rgba.clip(0, 255).round().astype(np.uint8)).save(file)
    return folder


def test_photos_of_changing_brightness_get_an_exposure_each(nerfkit, exposed_folder, small_hash, tmp_path):
    run = tmp_path / "run"
    arguments = ["train", exposed_folder, *small_hash, "--steps", CHOICE_STEP + 30, "--out", run]
    answer = nerfkit(*arguments)
    assert answer.code == 0 and "photos differ in brightness by" in answer.err
    assert "on right halves aligned on the left" in answer.out
    assert Run(run).read_config()[0].exposure == "each"
    evaluated = nerfkit("eval", run, "--json").json
    results = evaluated["results"]
    # what the mean exposure misses
    assert results["psnr_aligned"] > results["psnr"] + 1 and 0 < results["ssim_aligned"] < 1
    assert {"psnr", "ssim", "psnr_aligned", "ssim_aligned"} < set(evaluated["images"][0])
    resumed = nerfkit("train", "--resume", run, "--steps", CHOICE_STEP + 32, "--json").json
    assert resumed["psnr_aligned"] > resumed["psnr"]


def test_photos_exposed_alike_have_one(trained_run):
    assert Run(trained_run).read_config()[0].exposure == "common"
    assert "psnr_aligned" not in json.loads((trained_run / "metrics.json").read_text())["train"]


def test_an_exposure_goes_on_where_it_was(scene_folder, small_hash):
    one, other = (fit_of(scene_folder, small_hash) for _ in range(2))
    assert one.is_choosing and one.is_exposed
    one.exposure.gain_changes.data[0] = 0.5
    other.load_state_dict(one.state_dict())
    assert other.is_choosing and torch.equal(other.exposure.gains(), one.exposure.gains())
    one._choose_exposure()
    other.load_state_dict(one.state_dict())
    assert not other.is_choosing and other.is_exposed == one.is_exposed
    # a run of before
    old = {key: value for key, value in one.state_dict().items() if key not in ("exposure", "is_exposed")}
    other.load_state_dict(old)
    assert not (other.is_choosing or other.is_exposed)


def test_refining_brings_cameras_back(trained_run, scene_folder, small_hash):
    """The scene is known: cameras that were disturbed by a degree are found again."""
    task = fit_of(scene_folder, small_hash, refine_poses=True, exposure="common")
    task.scene.load_state_dict(load_scene(Run(trained_run), "cpu")[0].state_dict())
    corrections = task.corrections
    assert corrections is not None
    turns = torch.nn.functional.normalize(torch.randn(len(corrections.c2w), 3, generator=task.generator), dim=-1)
    moved = corrections.together.new_zeros(len(turns), 6)
    moved[:, :3] = np.radians(1.0) * turns
    # of what all turn together nothing is to be found
    moved = (moved.reshape(-1) - corrections.together @ (corrections.together.T @ moved.reshape(-1))).view(-1, 6)
    corrections.c2w[:, :3, :3] = rotations(-moved[:, :3]) @ corrections.c2w[:, :3, :3]
    corrections.c2w[:, :3, 3] -= moved[:, 3:]
    optimizer = Adam([{"params": list(corrections.parameters()), "lr": 2e-3}], (0.9, 0.99), 1e-15)
    for _ in range(40):
        optimizer.zero_grad()
        task.compare(2000)[0].backward()
        optimizer.step()
    left = (corrections.moved() - moved).detach()
    assert left[:, :3].norm(dim=1).median() < 0.6 * moved[:, :3].norm(dim=1).median()
    refined = refined_cameras(corrections, task.data, task.scene.bounds)
    assert 0.2 < np.median([photo["turned"] for photo in refined["photos"]]) < 2
    assert "cameras moved by" in describe_moves(refined) and abs(refined["focal_factor"] - 1) < 0.02


def test_a_view_that_was_held_out_is_aligned(trained_run, scene_folder):
    scene = load_scene(Run(trained_run), "cpu")[0]
    photos = read_posed_photos(scene_folder)
    camera, c2w = photos.cameras[0], photos.c2w[0]
    truth, counted = scene.render(camera, c2w).rgb, torch.ones(32, 32, dtype=torch.bool)
    disturbed = c2w.copy()
    disturbed[:3, :3] = rotations(torch.tensor([[0.0, 0.02, 0.01]]).double())[0].numpy() @ disturbed[:3, :3]
    aligned = align_pose(scene, camera, disturbed, truth, counted)
    errors = [float((scene.render(camera, pose).rgb - truth).square().mean()) for pose in (disturbed, aligned)]
    assert errors[1] < 0.2 * errors[0]


def test_refined_cameras_are_told_kept_and_used(nerfkit, scene_folder, small_hash, tmp_path):
    run = tmp_path / "run"
    answer = nerfkit("train", scene_folder, *small_hash, "--steps", 3, "--refine-poses", "--out", run)
    assert answer.code == 0 and "cameras moved by" in answer.err and "focal lengths times" in answer.err
    assert Run(run).read_config()[0].refine_poses
    refined = json.loads((run / "refined_cameras.json").read_text())
    assert len(refined["photos"]) == 24 and 0 < refined["photos"][0]["turned"] < 1
    assert set(refined["photos"][0]) == {"file", "moved", "turned", "pixels", "transform_matrix"}
    results = nerfkit("eval", run, "--split", "val", "--json").json["results"]
    assert "psnr_aligned" in results
    assert nerfkit("train", "--resume", run, "--steps", 4, "--quiet").code == 0
    refused = nerfkit("train", "--resume", run, "--refine-poses")
    assert refused.code == 2 and "--refine-poses cannot change a run that goes on" in refused.err


def test_known_distances_count_and_fade(scene_folder, small_hash):
    config = dataclasses.replace(override(PRESETS["hash"], small_hash[3::2]), depth_weight=0.5, depth_half_steps=10)
    prepared = prepare(read_posed_photos(scene_folder), config, "cpu")
    bounds = prepared.bounds
    pixels, distances = np.full((6, 2), 16.0), np.full(6, 3.4)
    known = KnownDistances(np.arange(6), pixels, distances, "a test")
    assert "depth: 6 distances by a test" in dataclasses.replace(prepared, distances=known).describe()
    tasks = [
        RadianceFit(RadianceScene(config, bounds, prepared.background), prepared.data, distances=which)
        for which in (None, known)
    ]
    losses = [float(task.compare(64)[0].detach()) for task in tasks]
    # a thin fog is not opaque at any distance
    assert losses[1] > losses[0] + 0.5 * 0.05
    tasks[1].after_step(9)
    assert float(tasks[1].distance_weight) == pytest.approx(0.25)


def test_a_box_by_hand(nerfkit, scene_folder, small_hash, tmp_path):
    arguments = ["train", scene_folder, *small_hash, "--steps", 2, "--out", tmp_path / "run", "--quiet"]
    assert nerfkit(*arguments, "--box=-1,-1,-0.5,1,1,1.5").code == 0
    bounds = Run(tmp_path / "run").read_scene()[0]
    assert (bounds.center, bounds.scale, bounds.contract) == ((0.0, 0.0, 0.5), 1.0, False)
    assert Run(tmp_path / "run").read_config()[0].box == (-1, -1, -0.5, 1, 1, 1.5)


@pytest.mark.parametrize(
    "box, message",
    [
        ("1,2,3", "must be six numbers"),
        ("0,0,0,1,1,nan", "must be six numbers"),
        ("0,0,0,1,-1,1", "box must be x0,y0,z0,x1,y1,z1 with x0 < x1"),
        ("0,0,100,1,1,101", "no photo shows any of it; the cameras' middle is ("),
    ],
)
def test_a_box_that_cannot_be(nerfkit, scene_folder, tmp_path, box, message):
    answer = nerfkit("train", scene_folder, "--steps", 2, "--out", tmp_path / "run", f"--box={box}")
    assert answer.code == 2 and message in answer.err


def test_a_box_of_an_unbounded_scene_is_contracted_round(scene_folder):
    c2w = read_posed_photos(scene_folder).c2w
    bounds = boxed_scene(c2w, (-2, -2, -1, 2, 2, 1), contract=True)
    assert bounds.contract and bounds.scale == 2 and bounds.aabb == (-1, -1, -1, 1, 1, 1)
