"""Standing waves: derivatives by coordinates and by weights against automatic differentiation, borders, lattices."""

import math

import pytest
import torch

from nerfkit.scenes.fields.standing_waves import StandingWaves
from nerfkit.scenes.observations.derivatives import jet


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make(n_dims=3, n_outputs=2, n_features=6):
    draw = generator()
    freqs, phases = (3 * torch.rand(n_features, n_dims, generator=draw) for _ in range(2))
    field = StandingWaves(freqs, phases, [0.5] * n_dims, n_outputs)
    with torch.no_grad():
        field.weights.normal_(generator=draw)
    return field


def points(n_dims=3, n=5):
    return 2 * torch.rand(n, n_dims, dtype=torch.float64, generator=generator(1))


@pytest.mark.parametrize("n_dims", [1, 2, 3])
def test_derivatives_by_the_coordinates_are_those_of_autograd(n_dims):
    field, at = make(n_dims), points(n_dims)
    forward, backward = jet(field, at, 2), jet(lambda x: field(x), at, 2)
    for name in ("value", "gradient", "hessian"):
        torch.testing.assert_close(getattr(forward, name), getattr(backward, name), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(jet(field, at, "laplacian").laplacian, backward.laplacian, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("order", [0, 1, 2, "laplacian"])
def test_derivatives_by_the_weights_are_those_of_autograd(order):
    field, at = make(), points()
    found = field.taylor(at, order)
    derivatives = [part for part in found[1:] if part is not None]
    factors = [torch.randn(part.shape[:2], dtype=torch.float64, generator=generator(2)) for part in derivatives]
    by_value = torch.randn(len(at), dtype=torch.float64, generator=generator(3))
    asked = by_value * found.value[:, 1]
    for factor, part in zip(factors, derivatives, strict=True):
        asked = asked + (factor * part[..., 1]).sum(1)
    by_first, by_second = [*(factors if order else []), None, None][:2]
    rows = field.rows(at, by_value, by_first, by_second)
    expected = torch.stack([torch.autograd.grad(one, field.weights, retain_graph=True)[0][:, 1] for one in asked])
    torch.testing.assert_close(rows, expected, rtol=1e-10, atol=1e-10)


def test_weights_of_each_point_stand_for_the_fields():
    field, at = make(n_outputs=1), points()
    own = field.weights[:, 0].expand(len(at), -1)
    for ours, theirs in zip(field.taylor(at, 2, own), field.taylor(at, 2), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("order", [0, 1, 2, "laplacian"])
def test_weights_of_zero_have_derivatives_of_the_same_shapes(order):
    field, at = make(), points()
    expected = field.taylor(at, order)
    with torch.no_grad():
        field.weights.zero_()
    for ours, theirs in zip(field.taylor(at, order), expected, strict=True):
        if theirs is None:
            assert ours is None
        else:
            assert ours is not None and not ours.any()
            assert ours.shape == theirs.shape and ours.dtype == theirs.dtype


@pytest.mark.parametrize("n_dims", [2, 3])
def test_a_lattice_has_the_values_of_its_points(n_dims):
    field = make(n_dims, n_outputs=1)
    axes = [torch.linspace(0, 1, 3 + i) for i in range(n_dims)]
    grids = torch.meshgrid(*axes[::-1], indexing="ij")
    at = torch.stack(grids[::-1], -1).double()
    found = field.on_lattice(axes, field.weights[:, 0])
    torch.testing.assert_close(found, field(at)[..., 0])
    slope = field.on_lattice(axes, field.weights[:, 0], is_slope=True)
    expected = jet(field, at.view(-1, n_dims), 1).gradient[:, 0, -1]
    torch.testing.assert_close(slope.flatten(), expected)


def test_multiples_of_pi_hold_the_border():
    freqs = torch.tensor([[1.0, 2.0], [3.0, 1.0]], dtype=torch.float64) * (math.pi / 2)
    fixed = StandingWaves(freqs, torch.zeros_like(freqs), [1.0, 1.0], 1)
    free = StandingWaves(freqs, torch.full_like(freqs, math.pi / 2), [1.0, 1.0], 1)
    corner = torch.tensor([[1.0, 1.7], [3.0, 2.2]], dtype=torch.float64)
    for field in (fixed, free):
        torch.nn.init.ones_(field.weights)
    assert fixed(corner).abs().max() < 1e-12
    assert jet(free, corner, 1).gradient[:, 0, 0].abs().max() < 1e-12 and free(corner).abs().max() > 0.1


def test_shapes_that_do_not_match_are_named():
    with pytest.raises(ValueError, match=r"got \(3, 1\) and 2"):
        StandingWaves(torch.zeros(3, 2), torch.zeros(3, 1), [0.0, 0.0], 1)
    with pytest.raises(ValueError, match=r"coords must have shape \(..., 3\); got \(4, 2\)"):
        make()(torch.zeros(4, 2))
