"""What the report says of a super-resolution: residuals, spectrum, and an uncertainty that is near the true error."""

import numpy as np
import pytest
import torch
from lowres_scenes import measured

from nerfkit.solvers.grid import Prior, solve
from nerfkit.superresolution.diagnosis import power_spectrum, residual_map, uncertainty

SIDE, CELLS, MARGIN = 24, 8, 3


def made(n_frames=24, noise=0.02, seed=0):
    """Frames of a smooth scene whose right half is seen with four times the noise, and the scene on the grid."""
    rng = np.random.default_rng(seed)
    shifts = np.vstack([[0, 0], rng.uniform(-1, 1, (n_frames - 1, 2))])
    stack, view = measured(torch.zeros(n_frames, SIDE, SIDE), shifts)
    grid = view.grid(CELLS)
    y, x = np.mgrid[: grid.shape[0], : grid.shape[1]] / CELLS
    scene = torch.from_numpy(0.5 + 0.2 * np.sin(0.9 * x) * np.cos(0.7 * y)).float()
    samples, _ = view.sample(grid, scene)
    sigma = np.where(np.arange(SIDE) < SIDE // 2, noise, 4 * noise)
    values = samples.values + torch.from_numpy(rng.normal(0, 1, samples.values.shape) * sigma).float()
    return stack.with_values(values), view, grid, scene


def test_uncertainty_is_as_large_as_the_true_error_where_noise_makes_it():
    stack, view, grid, scene = made()
    prior = Prior(0.02, 0.03)
    equations = view.equations(grid, stack.values, stack.weights)
    image = solve(equations, grid.enlarge(stack.values[0]), view.psf, grid, prior, 120, learning_rate=0.03)
    sure = uncertainty(stack, view, prior, torch.Generator().manual_seed(0))
    assert sure is not None and sure.shape == (SIDE, SIDE)
    errors = torch.nn.functional.avg_pool2d(grid.crop((image - scene).square())[None, None], CELLS)[0, 0]
    for half in (slice(2, 10), slice(14, 22)):
        told, true = (float(part[2:-2, half].mean().sqrt()) for part in (sure.square(), errors))
        assert 0.6 < told / true < 1.6
    assert sure[:, 14:].mean() > 2 * sure[:, :10].mean()


def test_too_few_frames_tell_no_uncertainty():
    stack, view, _, _ = made(3)
    assert uncertainty(stack, view, Prior(0.5, 0.02), torch.Generator()) is None


def test_residuals_are_the_noise_and_left_out_pixels_do_not_count():
    stack, view, grid, scene = made()
    stack.values[5] += 1
    stack.weights[5] = 0
    found = residual_map(stack, view, grid, scene)
    assert float(found[:, :12].mean()) == pytest.approx(0.02, rel=0.1)
    assert float(found[:, 12:].mean()) == pytest.approx(0.08, rel=0.1)


def test_spectrum_has_its_peak_where_the_stripes_are():
    stripes = np.broadcast_to(np.sin(2 * np.pi * 0.75 * (np.arange(256) + 0.5) / 4), (256, 256))
    frequencies, power = power_spectrum(stripes, 4)
    assert frequencies[int(np.argmax(power))] == pytest.approx(0.75, abs=0.05)
    assert max(frequencies) < 2
