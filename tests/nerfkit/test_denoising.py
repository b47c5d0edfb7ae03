"""Denoising: noise from the picture alone, guides and their derivatives, the guided field, and the whole of it."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from nerfkit.checkpoints import CheckpointFolder
from nerfkit.fitting import Budget, FitSchedule, fit
from nerfkit.scenes.errors import NerfkitError
from nerfkit.workbench.denoising import baselines
from nerfkit.workbench.denoising.coordinate_field import fit_coordinate_field
from nerfkit.workbench.denoising.denoise import denoise
from nerfkit.workbench.denoising.guided_field import GuidedField, GuidedFieldConfig, GuidedFit
from nerfkit.workbench.denoising.guides import ESTIMATES, Guides, estimated_mse, make_guides
from nerfkit.workbench.denoising.impulses import NeighbourConfig, fill_by_neighbours
from nerfkit.workbench.denoising.noise import (
    KINDS,
    Noise,
    add_noise,
    estimate_noise,
    find_impulses,
    stabilise,
    unstabilise,
)
from nerfkit.workbench.denoising.nonlocal_bayes import nonlocal_bayes

SMALL = GuidedFieldConfig(radius=2, width=16, batch=256, n_steps=60, judge_every=20)


def scene(height=48, width=64, n_channels=1):
    """Discs, a ramp and stripes in [0.1, 0.9]."""
    y, x = np.mgrid[:height, :width] / 48
    picture = 0.3 + 0.2 * x + 0.3 * (np.hypot(x - 0.5, y - 0.5) < 0.25) - 0.15 * ((x > 0.9) & (np.sin(40 * y) > 0))
    tints = np.array([1.0, 0.8, 0.6])[:n_channels]
    return (picture[..., None] * tints).astype(np.float32)


def psnr(image, truth):
    return -10 * math.log10(np.square(np.asarray(image, np.float64) - truth).mean())


# noise


@pytest.mark.parametrize("level", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_normal_noise_is_estimated_within_a_tenth(level, n_channels):
    noise = estimate_noise(add_noise(scene(96, 96, n_channels), "gaussian", level))
    assert noise.kind == "gaussian"
    assert noise.level == pytest.approx(level, rel=0.1)


@pytest.mark.parametrize("peak", [20, 60])
def test_poisson_noise_is_estimated_within_a_fifth(peak):
    picture = np.tile(np.linspace(0.05, 0.9, 128, dtype=np.float32), (96, 1))[..., None]
    noise = estimate_noise(add_noise(picture, "poisson", 1 / peak))
    assert noise.kind == "poisson"
    assert noise.peak == pytest.approx(peak, rel=0.2)


@pytest.mark.parametrize("fraction", [0.05, 0.3])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_impulses_are_found_and_nothing_else(fraction, n_channels):
    clean = scene(96, 96, n_channels)
    noisy = add_noise(clean, "impulse", fraction)
    noise = estimate_noise(noisy)
    assert noise.kind == "impulse" and noise.level == pytest.approx((noisy != clean).mean(), rel=0.1)
    found = find_impulses(noisy)
    assert found[noisy != clean].mean() > 0.98
    assert found[noisy == clean].mean() < 0.002


def test_clipped_noise_holds_no_impulses():
    noisy = np.clip(add_noise(scene(96, 96), "gaussian", 0.2), 0, 1)
    assert estimate_noise(noisy).kind == "gaussian"


def test_a_picture_without_noise_has_next_to_none():
    noise = estimate_noise(np.full((40, 40, 1), 0.5, np.float32))
    assert noise.kind == "gaussian" and noise.level <= 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_simulated_noise_is_a_function_of_its_seed(kind):
    first, again, other = (add_noise(scene(), kind, 0.1, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_levels_of_simulated_noise():
    grey = np.full((200, 200, 1), 0.5, np.float32)
    assert (add_noise(grey, "gaussian", 0.1) - grey).std() == pytest.approx(0.1, rel=0.02)
    # the variance of photons is their mean
    assert add_noise(grey, "poisson", 1 / 30).var() == pytest.approx(0.5 / 30, rel=0.03)
    assert (add_noise(grey, "impulse", 0.1) != grey).mean() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("mean", [0.1, 1.0, 5.0, 40.0, 300.0])
def test_inverse_of_the_stabilisation_is_unbiased(mean):
    photons = np.random.default_rng(0).poisson(mean, 400_000)
    error = 4 * math.sqrt(mean / len(photons))  # four standard errors
    assert float(unstabilise(stabilise(photons, 1.0).mean(), 1.0)) == pytest.approx(mean, abs=error + 1e-3 * mean)


def test_stabilised_photons_have_a_noise_of_one():
    photons = np.random.default_rng(0).poisson(20.0, 100_000)
    assert stabilise(photons, 1.0).std() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("kind", "level"), [("gaussian", 0.0), ("poisson", math.nan), ("impulse", 1.0), ("salt", 0.1)])
def test_a_level_that_is_none_is_refused_with_the_next_step(kind, level):
    with pytest.raises(NerfkitError, match=f"{kind}.*give "):
        add_noise(scene(), kind, level)


# guides


@pytest.mark.parametrize("shape", [(48, 64, 1), (37, 29, 3), (9, 50, 2)])
def test_nonlocal_bayes_removes_noise_of_any_shape(shape):
    clean = scene(shape[0], shape[1], shape[2])
    noisy = add_noise(clean, "gaussian", 0.1)
    image = nonlocal_bayes(noisy, 0.1)
    assert image.shape == shape and image.dtype == np.float32
    assert psnr(image, clean) > psnr(noisy, clean) + 3


def test_sure_tells_the_error_without_the_clean_picture():
    clean = scene(96, 96)
    noisy = add_noise(clean, "gaussian", 0.1)
    guides = make_guides(noisy, 0.1, names=tuple(ESTIMATES))
    for name, values in zip(guides.names, guides.values, strict=True):
        assert guides.mses[name] == pytest.approx(np.square(values - clean).mean(), abs=4e-4)


def test_sure_of_a_constant_estimate():
    noisy = add_noise(np.full((200, 200, 1), 0.5, np.float32), "gaussian", 0.1)
    constant = np.full_like(noisy, 0.7)
    # wrong by 0.2 everywhere, and nothing follows the noise
    zero = np.zeros_like(noisy)
    assert estimated_mse(noisy, constant, np.ones_like(noisy), zero, 0.1) == pytest.approx(0.04, abs=1e-3)


# the guided field


def linear_guide(noisy):
    """The mean over three rows as a guide: its derivative to the own pixel is a third."""
    padded = np.pad(noisy, ((1, 1), (0, 0), (0, 0)), mode="wrap")
    values = (padded[:-2] + padded[1:-1] + padded[2:])[None] / 3
    return Guides(
        ("mean",), values.astype(np.float32), np.full_like(values, 1 / 3, np.float32), {"mean": {}}, {"mean": 0.0}
    )


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("flip", [0, 5])
def test_slope_is_the_derivative_to_the_own_pixel(n_channels, flip):
    noisy = add_noise(scene(12, 16, n_channels), "gaussian", 0.1)
    pixel = 5 * 16 + 7
    generator = torch.Generator().manual_seed(1)
    field = GuidedField(SMALL, noisy, linear_guide(noisy), 0.1, generator)
    for weight in field.network.weights:
        weight.data = torch.randn(weight.shape, generator=generator) / math.sqrt(len(weight))
    direction = torch.ones(1, n_channels)

    def value(step):
        changed = noisy.copy()
        changed[5, 7] += step * (direction[0] @ field.rotation).numpy()
        other = GuidedField(SMALL, changed, linear_guide(changed), 0.1, torch.Generator())
        other.network, other.mean = field.network, field.mean
        return other(torch.tensor([pixel]), flip=flip)[0]

    slope = field(torch.tensor([pixel]), direction, flip)[1]
    expected = (value(1e-2) - value(-1e-2)) / 2e-2  # float32: rounding of 1e-7 over 2e-2
    assert torch.allclose(slope, expected, rtol=2e-2, atol=2e-3)


def test_a_resumed_fit_goes_on_as_one_that_was_not_interrupted(tmp_path):
    noisy = add_noise(scene(24, 24), "gaussian", 0.1)
    schedule = FitSchedule()

    def problem():
        field = GuidedField(SMALL, noisy, linear_guide(noisy), 0.1, torch.Generator().manual_seed(0))
        return GuidedFit(field, 0.1)

    state = problem()
    fit(state, Budget(steps=40), schedule=schedule, checkpoints=CheckpointFolder(tmp_path))
    again = problem()
    again.load_state_dict(CheckpointFolder(tmp_path).load_newest()["task"])
    assert again.best_step == state.best_step and again.best_mse == state.best_mse
    assert torch.equal(again.loss(40)[0], state.loss(40)[0])


# the whole


@pytest.mark.parametrize("shape", [(48, 64, 1), (41, 33, 3)])
def test_denoised_is_better_than_noisy_and_no_worse_than_guides(shape):
    clean = scene(*shape)
    noisy = add_noise(clean, "gaussian", 0.1)
    done = denoise(noisy, noise=Noise("gaussian", 0.1), config=dataclasses.replace(SMALL, n_steps=200))
    assert done.image.shape == shape and done.image.min() >= 0 and done.image.max() <= 1
    guides = [picture for name, picture in done.pictures.items() if name.startswith("guide: ")]
    assert psnr(done.image, clean) > psnr(noisy, clean) + 5
    assert psnr(done.image, clean) > max(psnr(guide, clean) for guide in guides) - 0.2


def test_result_is_a_function_of_picture_settings_and_seed():
    noisy = add_noise(scene(24, 32), "gaussian", 0.1)
    first, again, other = (denoise(noisy, config=SMALL, seed=seed).image for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_photons_are_denoised():
    clean = scene()
    noisy = add_noise(clean, "poisson", 1 / 30)
    done = denoise(noisy, noise=Noise("poisson", 1 / 30), config=SMALL)
    assert psnr(done.image, clean) > psnr(noisy, clean) + 5
    # the inverse of the stabilisation does not change the brightness
    assert done.image.mean() == pytest.approx(clean.mean(), rel=0.02)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_impulses_are_replaced_and_the_rest_stays(n_channels):
    clean = scene(48, 64, n_channels)
    noisy = add_noise(clean, "impulse", 0.1)
    done = denoise(noisy, config=NeighbourConfig(radius=2, width=16, batch=256, n_steps=100))
    assert done.noise.kind == "impulse"
    kept = ~find_impulses(noisy)
    assert np.array_equal(done.image[kept], noisy[kept])
    mean = psnr(done.pictures["guide: neighbours' mean"], clean)
    assert psnr(done.image, clean) > mean - 0.3 and mean > psnr(noisy, clean) + 10


def test_what_is_filled_lies_between_its_neighbours():
    picture = scene(20, 20)
    is_known = np.random.default_rng(0).random(picture.shape) > 0.9
    filled = fill_by_neighbours(picture, is_known)
    assert np.array_equal(filled[is_known], picture[is_known])
    assert filled.min() >= picture[is_known].min() - 1e-6 and filled.max() <= picture[is_known].max() + 1e-6


def test_seconds_are_a_limit_and_the_result_says_that_it_was_met():
    noisy = add_noise(scene(24, 24), "gaussian", 0.1)
    done = denoise(noisy, seconds=1e-3, config=dataclasses.replace(SMALL, n_steps=10**7))
    assert done.is_cut and done.figures["steps"] < 10**7
    assert np.isfinite(done.image).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_named_with_the_next_step(value):
    noisy = scene()
    noisy[3, 4] = value
    with pytest.raises(NerfkitError, match=r"1 values.*(nan|inf) in row 3, column 4, channel 0; .*inpaint"):
        denoise(noisy)


@pytest.mark.parametrize(("picture", "message"), [(scene() * 255, r"\[0, 1\]"), (scene()[:4], "8 pixels")])
def test_pictures_of_another_unit_or_too_small_are_refused(picture, message):
    with pytest.raises(NerfkitError, match=message):
        denoise(picture)


def test_coordinate_field_is_better_than_the_noise():
    clean = scene(32, 32)
    noisy = add_noise(clean, "gaussian", 0.2)
    beside = fit_coordinate_field(noisy, width=32, n_layers=2, scales=(8.0,), steps=150)
    assert beside.scale == 8.0 and beside.step <= 150
    assert psnr(beside.picture, clean) > psnr(noisy, clean) + 3


def test_baselines_say_how_their_parameter_was_chosen(monkeypatch):
    monkeypatch.setattr(baselines, "bm3d_missing", lambda: "not installed")
    clean = scene(24, 24)
    noise = Noise("impulse", 0.1)
    found = baselines.measure_baselines(add_noise(clean, "impulse", 0.1), clean, noise)
    assert set(found) == {"total variation", "non-local means", "median"}
    assert all("clean picture" in baseline.chosen["by"] for baseline in found.values())


def test_a_missing_bm3d_is_told_with_the_command(monkeypatch):
    monkeypatch.setattr(baselines.importlib.util, "find_spec", lambda name: None)
    assert "pip install bm3d" in baselines.bm3d_missing()
