"""cpu_baselines: NeRF's formulas as published, and networks that learn; a lame baseline would flatter nerfkit."""

import dataclasses
import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.synthetic import camera_poses

SCRIPT = Path(__file__).parents[2] / "scripts" / "cpu_baselines.py"
METHODS = ("tiny_nerf", "dense_nerf")


@pytest.fixture(scope="module")
def baselines():
    spec = importlib.util.spec_from_file_location("cpu_baselines", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cpu_baselines"] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules["cpu_baselines"]


def ball_photos(baselines, n=6, side=16):
    """Views of an orange ball of radius 0.8 before black; cameras 3.2 to 3.6 away, so inside near and far."""
    camera = Camera(side, side, 1.4 * side, 1.4 * side, side / 2, side / 2)
    photos = []
    for c2w in camera_poses(n):
        blank = baselines.photo_rays(camera, c2w, torch.zeros(side, side, 3))
        rays_d = torch.nn.functional.normalize(blank.rays_d, dim=-1)
        along = -(blank.rays_o * rays_d).sum(-1)
        distance = (blank.rays_o + along[:, None] * rays_d).norm(dim=-1)
        rgb = (distance < 0.8)[:, None] * torch.tensor([0.9, 0.5, 0.1])
        photos.append(blank._replace(rgb=rgb))
    return photos


def test_encoding_is_that_of_the_paper(baselines):
    x, n_octaves = 0.3, 4
    got = baselines.encode(torch.tensor([[x, -2 * x, 0.0]], dtype=torch.float64), n_octaves)[0]
    assert got.shape == (3 + 3 * 2 * n_octaves,)
    torch.testing.assert_close(got[:3], torch.tensor([x, -2 * x, 0.0], dtype=torch.float64))
    for octave in range(n_octaves):
        block = got[3 + 6 * octave :][:6]
        waves = [math.sin(2**octave * x), math.sin(-(2**octave) * 2 * x), 0.0]
        waves += [math.cos(2**octave * x), math.cos(2**octave * 2 * x), 1.0]
        torch.testing.assert_close(block, torch.tensor(waves, dtype=torch.float64))


def test_compositing_by_hand(baselines):
    # half of the light ends in each interval of length ln 2, and all that is left in the last
    ts = torch.tensor([[0.0, math.log(2), 2 * math.log(2)]])
    sigmas = torch.ones(1, 3)
    rgbs = torch.eye(3)[None]
    torch.testing.assert_close(baselines.composite(sigmas, rgbs, ts), torch.tensor([[0.5, 0.25, 0.25]]))
    torch.testing.assert_close(baselines.composite(sigmas * 0, rgbs, ts), torch.zeros(1, 3))


def test_rays_pass_through_their_pixels(baselines):
    camera = Camera(6, 4, 5.0, 5.0, 3.0, 2.0)
    c2w = camera_poses(1)[0]
    rgb = torch.rand(4, 6, 3)
    photo = baselines.photo_rays(camera, c2w, rgb)
    assert photo.rays_o.shape == photo.rays_d.shape == photo.rgb.shape == (24, 3) and photo.size == (4, 6)
    # row 1, column 4: half a pixel off its corner, y against the rows
    wanted = c2w[:3, :3] @ np.array([(4.5 - 3.0) / 5.0, -(1.5 - 2.0) / 5.0, -1.0])
    np.testing.assert_allclose(photo.rays_d[6 + 4].numpy(), wanted, atol=1e-6)
    np.testing.assert_allclose(photo.rays_o[7].numpy(), c2w[:3, 3], atol=1e-6)
    torch.testing.assert_close(photo.rgb[6 + 4], rgb[1, 4])


@pytest.mark.parametrize("method", METHODS)
def test_shapes_and_ranges(baselines, method):
    model = baselines.BaselineNerf(baselines.BASELINES[method])
    sigmas, rgbs = model(torch.randn(5, 7, 3), torch.nn.functional.normalize(torch.randn(5, 3), dim=-1))
    assert sigmas.shape == (5, 7) and rgbs.shape == (5, 7, 3)
    assert (sigmas >= 0).all() and (rgbs > 0).all() and (rgbs < 1).all()


def test_networks_are_those_that_they_are_named_after(baselines):
    tiny = baselines.BaselineNerf(baselines.BASELINES["tiny_nerf"])
    assert [(layer.in_features, layer.out_features) for layer in tiny.layers] == [(39, 128), (128, 128)]
    assert tiny.output.out_features == 4
    dense = baselines.BaselineNerf(baselines.BASELINES["dense_nerf"])
    assert [layer.in_features for layer in dense.layers] == [63, 128, 128, 128, 128, 63 + 128, 128, 128]
    # 24 numbers of the direction and itself
    assert dense.view_layer.in_features == 128 + 27 and dense.color.in_features == 64


def test_only_the_dense_network_looks_at_the_direction(baselines):
    xyzs = torch.randn(4, 3, 3)
    for method, has_views in (("tiny_nerf", False), ("dense_nerf", True)):
        model = baselines.BaselineNerf(baselines.BASELINES[method])
        one, other = (model(xyzs, torch.eye(3)[[i] * 4]) for i in (0, 1))
        torch.testing.assert_close(one[0], other[0])
        assert torch.equal(one[1], other[1]) != has_views


@pytest.mark.parametrize("method", METHODS)
def test_learns_a_ball(baselines, method):
    config = dataclasses.replace(baselines.BASELINES[method], n_rays=256, n_samples=24, n_crop_steps=0)
    fit = baselines.BaselineFit(config, ball_photos(baselines), seed=0)
    losses = [fit.step() for _ in range(30)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_same_seed_same_run_and_the_view_has_the_photos_shape(baselines):
    photos = ball_photos(baselines, n=2)
    config = dataclasses.replace(baselines.BASELINES["tiny_nerf"], n_rays=32, n_samples=8)
    losses = []
    for seed in (0, 0, 1):
        fit = baselines.BaselineFit(config, photos, seed)
        losses.append([fit.step() for _ in range(3)])
    assert losses[0] == losses[1] != losses[2]
    view = fit.render(photos[0])
    assert view.shape == (16, 16, 3) and float(view.min()) >= 0 and float(view.max()) <= 1
    torch.testing.assert_close(view, fit.render(photos[0]))  # nothing is drawn in a rendering


def test_first_steps_see_the_middle_only(baselines):
    photos = ball_photos(baselines, n=1)
    config = dataclasses.replace(baselines.BASELINES["dense_nerf"], n_rays=4000, n_crop_steps=1)
    fit = baselines.BaselineFit(config, photos, seed=0)
    for is_cropped in (True, False):
        _, pixels = fit._draw()
        rows, columns = pixels // 16, pixels % 16
        wanted = set(range(4, 12)) if is_cropped else set(range(16))
        assert set(rows.tolist()) == set(columns.tolist()) == wanted
        fit.n_steps += 1
