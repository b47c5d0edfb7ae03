"""What frames can be expected to give: the sums behind it, what limits a scale, and that it comes true."""

import numpy as np
import pytest
import torch
from lowres_scenes import FINE, fine_scene, make_frames, means, measured, turned_frames

from nerfkit.scenes.observations.psf import Psf
from nerfkit.superresolution.expectation import (
    _cubic_transfer,
    _even_shifts,
    _Spectrum,
    _transfer,
    expect,
    expect_at,
    places,
    scene_power,
)

RNG = np.random.default_rng(0)
# power of a scene of edges, 1 / f^3 beyond the size of its parts
FREQUENCIES = np.linspace(0.02, 6, 200)
POWER = (FREQUENCIES, 4e-3 / (0.15 + FREQUENCIES) ** 3)


def found(n_frames, scale, sigma=0.01, psf=None, shifts=None):
    shifts = RNG.uniform(-1, 1, (n_frames, 2)) if shifts is None else shifts
    return expect([shifts], psf or Psf(), scale, sigma, POWER)


def test_psfs_pass_what_their_closed_forms_say():
    f = np.array([0.0, 0.3, 0.8, 1.0, 1.4])
    np.testing.assert_allclose(_transfer(Psf(), f, np.zeros(1))[0], np.sinc(f), atol=2e-3)
    bell = np.exp(-2 * (np.pi * f * 0.4) ** 2)
    np.testing.assert_allclose(_transfer(Psf("gaussian", 0.4), np.zeros(1), f)[:, 0], bell, atol=3e-3)
    # cubics keep what is slow and nothing at the distance of the samples
    np.testing.assert_allclose(_cubic_transfer(np.array([0.0, 1.0, 2.0])), [1, 0, 0], atol=1e-4)


def test_one_frame_leaves_the_scene_known_as_one_equation_for_all_aliases_can():
    spectrum = _Spectrum(Psf(), 2.0, 0.01, POWER)
    left = spectrum.errors(np.zeros((1, 2)))
    signal = np.abs(spectrum.passed) ** 2 * spectrum.power
    want = spectrum.power * (1 - signal / (signal.sum(1, keepdims=True) + 0.01**2))
    np.testing.assert_allclose(left, want, rtol=1e-6)
    # the same frame again and again tells one thing better
    again = spectrum.errors(np.zeros((10, 2)))
    np.testing.assert_allclose(again, spectrum.power * (1 - signal / (signal.sum(1, keepdims=True) + 1e-5)), rtol=1e-6)


def test_frames_on_a_lattice_of_shifts_tell_all_aliases_apart():
    shifts = np.stack(np.meshgrid(np.arange(3), np.arange(3)), -1).reshape(-1, 2) / 3
    spectrum = _Spectrum(Psf(), 3.0, 0.02, POWER)
    np.testing.assert_allclose(spectrum.errors(shifts), spectrum.errors_of_many(9), rtol=1e-6)


@pytest.mark.parametrize("scale", [1.5, 2, 3.98, 4, 8])
def test_more_frames_and_less_noise_are_never_worse(scale):
    shifts = RNG.uniform(-1, 1, (64, 2))
    shares = [found(n, scale, shifts=shifts[:n]).measured_share for n in (1, 4, 16, 64)]
    assert shares == sorted(shares) and shares[0] < shares[-1] <= 1
    assert found(16, scale, 0.05, shifts=shifts[:16]).gain_db < found(16, scale, 0.005, shifts=shifts[:16]).gain_db


def test_what_is_missing_is_named_and_nothing_where_nothing_is():
    for scale, n in ((4, 64), (2, 16), (3.98, 64), (4, 16)):
        assert found(n, scale).limit == "" == found(n, scale).warning()
    few = found(8, 8)
    assert few.limit == "frames" and "8 frames measure" in few.warning() and "too few" in few.warning()
    assert "--scale" in few.warning() and few.frames_per_pixel == 0.125
    same = found(64, 4, shifts=np.tile(RNG.integers(-2, 3, (64, 2)), (1, 1)))
    assert same.limit == "shifts" and "sub-pixel positions leave gaps" in same.warning()
    blurred = found(64, 4, psf=Psf("gaussian", 1.0))
    assert blurred.limit == "blur" and "PSF and noise hide it" in blurred.warning()
    assert "add frames" not in blurred.warning()
    noisy = found(64, 8, sigma=0.3)
    assert noisy.limit == "blur"
    assert set(few.as_dict()) == {"gain_db", "measured_share", "frames_per_pixel", "limit"}
    assert "1 frame (0.25 values for a pixel of the output) measures" in found(1, 2).sentence()


def test_even_shifts_leave_no_gap():
    spots = np.floor(_even_shifts(64) * 4).astype(int)
    assert len(np.unique(spots, axis=0)) == 16


def test_power_of_an_image_is_that_of_its_area_whatever_its_cells():
    rng = np.random.default_rng(1)
    # white cells of 1/4 low-res pixel: variance x area of a cell
    frequencies, power = scene_power(rng.normal(0, 0.2, (256, 256)), 4)
    np.testing.assert_allclose(power[4:].mean(), 0.04 / 16, rtol=0.05)
    assert frequencies.max() < 2


def test_power_falls_no_faster_than_that_of_scenes_where_a_prior_has_smoothed_it():
    rows = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)) * 4
    white = np.fft.rfft2(np.random.default_rng(3).normal(0, 0.2, (256, 256)))
    frequencies, power = scene_power(np.fft.irfft2(white * (rows < 0.7), (256, 256)), 4)
    tail = frequencies > 0.8
    level = power[(frequencies > 0.35) & (frequencies < 0.5)].mean()
    np.testing.assert_allclose(power[tail], level * (0.425 / frequencies[tail]) ** 2.5, rtol=0.1)


def test_expected_gain_comes_true_where_a_linear_method_is_the_best_there_is():
    rng = np.random.default_rng(2)
    n, cells, scale, sigma = 32, 8, 4, 0.01
    shifts = np.vstack([[0, 0], rng.uniform(-1, 1, (15, 2))])
    stack, view = measured(torch.zeros(16, n, n), shifts)
    grid = view.grid(cells)
    # Gaussian noise of a scene's power, within the band of the output
    f = np.hypot(np.fft.fftfreq(grid.shape[0])[:, None], np.fft.rfftfreq(grid.shape[1])) * cells
    power = np.where((f > 0) & (f < scale / 2), 2e-3 / (0.2 + f) ** 3, 0)
    white = np.fft.rfft2(rng.normal(0, 1, grid.shape))
    scene = torch.from_numpy(np.fft.irfft2(white * np.sqrt(power) * cells, grid.shape)).float()
    samples, _ = view.sample(grid, scene)
    noise = sigma * torch.randn(samples.values.shape, generator=torch.Generator().manual_seed(0))
    stack = stack.with_values(samples.values + noise)
    lattice = np.linspace(0.01, 3, 600)
    expected = expect(
        [shifts], Psf(), scale, sigma, (lattice, np.where(lattice < 2, 2e-3 / (0.2 + lattice) ** 3, 1e-9))
    )

    def pixels(image):
        return torch.nn.functional.avg_pool2d(grid.crop(image)[None, None], cells // scale)[0, 0, 12:-12, 12:-12]

    errors = [
        float((pixels(image) - pixels(scene)).square().mean())
        for image in (grid.enlarge(stack.values[0]), wiener(stack, view, grid, power, sigma))
    ]
    assert 10 * np.log10(errors[0] / errors[1]) == pytest.approx(expected.gain_db, abs=0.7)


def wiener(stack, view, grid, power, sigma):
    """Conjugate gradients on squared errors and the scene's power."""
    from nerfkit.kernels.lowres import filter_valid
    from nerfkit.kernels.lowres._reference import apply_reference

    equations, taps = view.equations(grid, stack.values, stack.weights), Psf().taps(grid.cells)
    rows, cols = grid.shape
    inverse = torch.from_numpy(1 / np.maximum(power, 1e-7) / grid.cells**2).float()

    def normal(x):
        residual = apply_reference(equations.stencil, filter_valid(x, taps, impl="reference"))
        padded = torch.nn.functional.pad(residual, (len(taps) - 1,) * 4)
        prior = torch.fft.irfft2(torch.fft.rfft2(x) * inverse, (rows, cols))
        return filter_valid(padded, taps, impl="reference") / sigma**2 + prior

    rhs = filter_valid(torch.nn.functional.pad(equations.rhs, (len(taps) - 1,) * 4), taps, impl="reference") / sigma**2
    x = torch.zeros(grid.shape)
    r = rhs - normal(x)
    p, rr = r.clone(), float(r.square().sum())
    for _ in range(200):
        ap = normal(p)
        step = rr / float((p * ap).sum())
        x, r = x + step * p, r - step * ap
        new = float(r.square().sum())
        p, rr = r + new / rr * p, new
    return x


@pytest.mark.parametrize(("n", "noise", "supported"), [(16, 0.005, {2, 3, 4}), (4, 0.005, {2, 3}), (16, 0.3, set())])
def test_first_look_says_what_the_solution_will(n, noise, supported):
    frames, shifts, _ = make_frames(n, noise=noise, side=40)
    found = expect_at((2, 3, 4), *measured(frames, shifts), 1.1 * noise)
    assert {each.scale for each in found if not each.limit} == supported
    # of the scene itself, and the noise that was added
    power = scene_power(means(fine_scene(side=40), 0, 0, 40, 1), FINE)
    for first in found:
        known = expect([shifts], Psf(), first.scale, noise, power)
        assert first.limit == known.limit and first.measured_share == pytest.approx(known.measured_share, abs=0.1)


def test_turned_frames_are_shifted_otherwise_in_each_place():
    frames, matrices = turned_frames(n=6)
    turned = measured(frames, matrices)[1]
    used = np.array([True, True, False, True, True, True])
    there = places(turned, used)
    assert len(there) == 3 and there[0].shape == (5, 2) and np.abs(there[0] - there[1]).max() > 0.05
    np.testing.assert_allclose(there[0][0], 0, atol=1e-9)
    plain = measured(frames, make_frames(6)[1])[1]
    assert len(places(plain, used)) == 1
