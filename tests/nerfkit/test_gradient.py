"""Derivatives alone: the series and their exact solution, forward derivatives of tiles, and the task."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nerfkit
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.fields.named import make_named_field
from nerfkit.scenes.fields.scaled import Scaled
from nerfkit.scenes.observations import spectral_derivatives as series
from nerfkit.scenes.observations.derivatives import grid_jet, jet
from nerfkit.tasks.fit import resume_fit
from nerfkit.tasks.gradient import GradientConfig
from nerfkit.workbench.given_derivatives import mixed_differences

SIDE = 16
QUICK = {"steps": 60, "n_params": 4000, "holdout": 0.0}


class Wave(nn.Module):
    """cos(k x) cos(l y) with 3 and 2 half waves on 9 x 7 pixels."""

    n_outputs = 1

    def __init__(self):
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(1))

    def forward(self, points):
        x, y = points.double().unbind(-1)
        return (torch.cos(math.pi * 3 / 9 * x) * torch.cos(math.pi * 2 / 7 * y) + self.offset)[..., None]

    def pixels(self):
        ys, xs = torch.meshgrid(torch.arange(7) + 0.5, torch.arange(9) + 0.5, indexing="ij")
        return self(torch.stack([xs, ys], -1)).detach()


def noise(height=7, width=9, n_channels=2):
    return torch.rand(height, width, n_channels, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def smooth(side=SIDE, n_channels=1):
    ys, xs = np.mgrid[:side, :side] / side
    return np.stack([0.5 + 0.3 * np.cos(4 * xs + k) * np.cos(3 * ys) for k in range(n_channels)], -1)


def write(path, values):
    Image.fromarray(np.rint(np.squeeze(values) * 255).astype(np.uint8)).save(path)
    return path


def fit(*args, **kwargs):
    return nerfkit.fit("gradient", *args, **kwargs)


def test_bases_are_orthonormal():
    cosines, sines = series.cosine_basis(6)
    torch.testing.assert_close(cosines.T @ cosines, torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(sines.T @ sines, torch.diag(torch.tensor([0.0, 1, 1, 1, 1, 1]).double()))


@pytest.mark.parametrize("shape", [(2, 2), (7, 9), (8, 5)])
def test_poisson_inverts_derivatives(shape):
    picture = noise(*shape)
    level = picture - picture.mean((0, 1))
    torch.testing.assert_close(series.poisson_of_gradient(series.picture_gradient(picture)), level)
    torch.testing.assert_close(series.poisson_of_laplacian(series.picture_laplacian(picture)), level)


def test_derivatives_of_a_wave_are_exact():
    wave = Wave()
    where = torch.tensor([[0.5 + x, 0.5 + y] for y in range(7) for x in range(9)], dtype=torch.float64)
    found = jet(wave, where, 2)
    gradient = series.picture_gradient(wave.pixels()).view(-1, 1, 2)
    torch.testing.assert_close(gradient, found.gradient.detach().double())
    laplacian = series.picture_laplacian(wave.pixels()).view(-1, 1)
    torch.testing.assert_close(laplacian, found.laplacian.detach().double())


def test_poisson_is_nearest_in_the_mean_square():
    # the residual of the nearest gradient is orthogonal to every gradient: a dot product that is 0
    given = torch.randn(7, 9, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    residual = series.picture_gradient(series.poisson_of_gradient(given)) - given
    other = series.picture_gradient(noise(n_channels=1))
    assert abs(float((residual * other).sum())) < 1e-10


def test_differences_are_integrals_of_the_gradient():
    picture = noise()
    differences = torch.zeros(7, 9, 2, 2, dtype=torch.float64)
    differences[:, :-1, :, 0] = picture.diff(dim=1)
    differences[:-1, :, :, 1] = picture.diff(dim=0)
    torch.testing.assert_close(series.gradient_of_differences(differences), series.picture_gradient(picture))


@pytest.mark.parametrize("over", ["point", "pixel"])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.3, -0.2)])
def test_spectra_are_zero_at_the_solution_and_the_picture_itself_elsewhere(offset, over):
    wave, where = Wave(), torch.tensor([offset], dtype=torch.float64)
    picture = wave.pixels()
    pairs = [
        (series.GradientSpectrum, series.picture_gradient(picture)),
        (series.LaplacianSpectrum, series.picture_laplacian(picture)),
    ]
    for observation, target in pairs:
        assert observation(target, over=over).predict(wave, where).abs().max() < 1e-5, observation.__name__
        errors = observation(0 * target, over=over).predict(wave, where).detach().square().sum().item()
        # exactly the picture's squares where the grid is not moved (Parseval), near them where it is
        tolerance = 1e-5 if offset == (0.0, 0.0) else 0.2
        assert errors == pytest.approx(float(picture.square().sum()), rel=tolerance), observation.__name__
    nowhere = torch.zeros(7, 9, dtype=torch.bool)
    hidden = series.GradientSpectrum(0 * pairs[0][1], nowhere, over).predict(wave, where)
    assert not hidden.any(), "pixels that are not known have no errors"


def test_what_is_compared_is_one_of_two():
    with pytest.raises(ValueError, match="over must be 'point' or 'pixel'; got 'line'"):
        series.GradientSpectrum(torch.zeros(4, 4, 1, 2), over="line")


def test_moved_grids_stay_within_their_pixels():
    generator = torch.Generator().manual_seed(0)
    offsets = torch.cat([series.MovedGrids().draw(1, generator).where for _ in range(50)])
    assert offsets.shape == (50, 2) and offsets.abs().max() <= 0.5 and offsets.std() > 0.2


@pytest.mark.parametrize("order", [1, 2, "laplacian"])
def test_tiles_carry_their_derivatives_forward(order):
    inner: Any = make_named_field("tiled", [(0, 20), (0, 16)], 2, 3000, torch.Generator().manual_seed(0), width=6)
    assert min(inner.counts) > 2
    field = Scaled(inner, torch.tensor([[0.0, 3.0], [-1.0, 1.0]])).double()
    ys, xs = torch.linspace(-0.5, 16.5, 14).double(), torch.linspace(-0.5, 20.5, 17).double()
    points = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1).view(-1, 2)
    expected = jet(lambda at: field(at), points, order)
    for found in (jet(field, points, order), grid_jet(field, ys, xs, order)):
        torch.testing.assert_close(found.value, expected.value, rtol=0, atol=1e-7)
        torch.testing.assert_close(found.gradient, expected.gradient, rtol=1e-5, atol=1e-5)
        if order != 1:
            torch.testing.assert_close(found.laplacian, expected.laplacian, rtol=1e-5, atol=1e-4)
        if order == 2:
            torch.testing.assert_close(found.hessian, expected.hessian, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("order", [1, 2, "laplacian"])
def test_their_weights_can_be_trained_by_derivatives(order):
    field = make_named_field("tiled", [(0, 8), (0, 8)], 1, 400, torch.Generator().manual_seed(0), width=4).double()
    points = torch.rand(11, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 8
    first = next(field.parameters())

    def loss(of):
        return of.gradient.square().sum() + (of.laplacian if order != 1 else of.value).square().sum()

    forward = torch.autograd.grad(loss(jet(field, points, order)), first)[0]
    backward = torch.autograd.grad(loss(jet(lambda at: field(at), points, order)), first)[0]
    torch.testing.assert_close(forward, backward, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("of", "floor"), [("gradient", 30), ("laplacian", 22)])
def test_a_smooth_picture_comes_back(tmp_path, of, floor):
    source = write(tmp_path / "a.png", smooth(n_channels=1 if of == "laplacian" else 3))
    over = "point" if of == "laplacian" else "pixel"
    figures = fit(source, tmp_path / "out.png", of=of, over=over, **QUICK).figures
    assert figures["metrics"]["psnr"] > floor
    # 8 bits; nothing but the mean is aligned
    assert figures["baselines"]["poisson"]["psnr"] > 100 and "exact" in figures["baselines"]["poisson"]["how"]
    assert (tmp_path / "out" / "pictures" / "given.png").is_file()


def test_arrays_of_derivatives(tmp_path):
    picture = torch.from_numpy(smooth())
    gradient = series.picture_gradient(picture).numpy()[:, :, 0]
    np.save(tmp_path / "g.npy", gradient)
    np.savez(tmp_path / "g.npz", gradient=gradient)
    np.savez(tmp_path / "l.npz", laplacian=series.picture_laplacian(picture).numpy()[..., 0])
    settings = QUICK | {"mean": float(picture.mean())}
    first = fit(tmp_path / "g.npy", tmp_path / "g1.npy", **settings)
    fit(tmp_path / "g.npz", tmp_path / "g2.npy", **settings)
    found = np.load(tmp_path / "g1.npy")
    assert np.array_equal(found, np.load(tmp_path / "g2.npy")) and "psnr" not in first.figures["metrics"]
    assert found.mean() == pytest.approx(settings["mean"], abs=1e-4)
    assert np.abs(found - picture.numpy()[..., 0]).mean() < 0.02
    truth = tmp_path / "t.npy"
    np.save(truth, picture.numpy()[..., 0])
    assert fit(tmp_path / "l.npz", tmp_path / "l1.npy", truth=truth, **settings).figures["metrics"]["psnr"] > 20


def test_two_pictures_are_blended(tmp_path):
    first, second = np.zeros((SIDE, SIDE, 1)), np.zeros((SIDE, SIDE, 1))
    first[4:8, 3:7] = 0.5
    second[9:13, 9:13] = 0.7
    mixed = mixed_differences(first, second)
    # apart from each other, both are there: the differences are those of the sum
    both = first + second
    assert np.array_equal(mixed[:, :-1, :, 0], np.diff(both, axis=1))
    assert np.array_equal(mixed[:-1, :, :, 1], np.diff(both, axis=0)) and not mixed[:, -1, :, 0].any()
    a, b = write(tmp_path / "a.png", first), write(tmp_path / "b.png", second)
    figures = fit([a, b], tmp_path / "out.png", **QUICK).figures
    assert "psnr" not in figures["metrics"] and figures["metrics"]["psnr_to_exact"] > 20
    assert (tmp_path / "out" / "pictures" / "second.png").is_file()


def test_held_out_derivatives_and_resume(tmp_path):
    source = write(tmp_path / "a.png", smooth())
    settings = QUICK | {"holdout": 0.1, "field": "siren", "scale": 8.0, "n_params": 1500}
    result = fit(source, tmp_path / "out.png", **settings)
    assert result.figures["metrics"]["holdout_psnr"] > 15
    before = (tmp_path / "out.png").read_bytes()
    (tmp_path / "out.png").unlink()
    resume_fit(tmp_path / "out")
    assert (tmp_path / "out.png").read_bytes() == before


def test_mistakes(tmp_path):
    grey, colour = write(tmp_path / "a.png", smooth()), write(tmp_path / "c.png", smooth(n_channels=3))
    arrays = {
        "shape": ({"gradient": np.zeros((4, 4))}, "gradient has shape"),
        "last": ({"gradient": np.zeros((4, 4, 3))}, "gradient has shape"),
        "flat": ({"laplacian": np.zeros(4)}, "laplacian has shape"),
        "nan": ({"laplacian": np.full((4, 4), np.nan)}, "laplacian: 16 of its 16 values are NaN"),
        "thin": ({"laplacian": np.zeros((1, 4))}, "two a side at least"),
        "large": ({"laplacian": np.zeros((1025, 1025), np.float32)}, "at most 1,048,576 are fitted"),
    }
    for name, (content, message) in arrays.items():
        np.savez(tmp_path / f"{name}.npz", **content)
        with pytest.raises(NerfkitError, match=message):
            fit(tmp_path / f"{name}.npz", tmp_path / "out.png")
    with pytest.raises(NerfkitError, match="the first picture"):
        fit([grey, colour], tmp_path / "out.png")
    with pytest.raises(NerfkitError, match="blended by their gradients"):
        fit([grey, grey], tmp_path / "out.png", of="laplacian")
    with pytest.raises(NerfkitError, match=r"has shape .*; that of the output is"):
        fit(grey, tmp_path / "out.png", truth=colour)
    with pytest.raises(NerfkitError, match="measures nothing that could be simulated"):
        fit(grey, tmp_path / "out.png", simulate={"keep": 0.1})
    for name in ("of", "over"):
        with pytest.raises(NerfkitError, match=f"{name} must be '"):
            fit(grey, tmp_path / "out.png", **{name: "curl"})
    wrong: dict[str, Any] = {"holdout": 0.7, "mean": 1e20}
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=name):
            GradientConfig(**{name: value})
