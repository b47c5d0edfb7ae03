"""A layer of fixed sines: derivatives by coordinates and by weights against automatic differentiation."""

import pytest
import torch

from nerfkit.scenes.fields.sine_layer import SineLayer, ball_frequencies
from nerfkit.scenes.observations.derivatives import jet

BOX = [(0.0, 3.0), (-1.0, 2.0), (5.0, 6.0)]


def make(n_features=7, n_outputs=2, n_dims=2):
    generator = torch.Generator().manual_seed(0)
    freqs = ball_frequencies(n_features, n_dims, 4.0, generator)
    layer = SineLayer(freqs, torch.rand(n_features, generator=generator), BOX[:n_dims], n_outputs)
    with torch.no_grad():
        layer.weights.normal_(generator=generator)
    return layer


def points(n=5, n_dims=2):
    return 3 * torch.rand(n, n_dims, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("n_dims", [1, 2, 3])
def test_derivatives_by_the_coordinates_are_those_of_autograd(n_dims):
    layer, at = make(n_dims=n_dims), points(n_dims=n_dims)
    forward, backward = jet(layer, at, 2), jet(lambda x: layer(x), at, 2)
    for name in ("value", "gradient", "hessian"):
        torch.testing.assert_close(getattr(forward, name), getattr(backward, name), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(jet(layer, at, "laplacian").laplacian, backward.laplacian, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(layer.taylor(at, 0).value, backward.value)


@pytest.mark.parametrize("order", [0, 1, 2, "laplacian"])
@pytest.mark.parametrize("n_dims", [1, 2, 3])
def test_derivatives_by_the_weights_are_those_of_autograd(order, n_dims):
    layer, at = make(n_dims=n_dims), points(n_dims=n_dims)
    found = layer.taylor(at, order)
    generator = torch.Generator().manual_seed(2)
    # any linear function of the values and derivatives of output 1
    parts = [part[..., 1] for part in found if part is not None]
    factors = [torch.rand(part.shape, generator=generator, dtype=torch.float64) for part in parts]
    asked = torch.stack([(p * f).reshape(len(at), -1).sum(-1) for p, f in zip(parts, factors, strict=True)]).sum(0)
    expected = torch.stack([torch.autograd.grad(one, layer.weights, retain_graph=True)[0][:, 1] for one in asked])
    by_first = factors[1] if factors[1].shape[1] else None
    rows = layer.rows(at, factors[0], by_first, factors[2] if len(factors) > 2 else None)
    torch.testing.assert_close(rows.detach(), expected, rtol=1e-10, atol=1e-10)


def test_single_precision_points_give_single_precision_values():
    layer, at = make(), points()
    assert layer(at).dtype == torch.float64 and layer(at.float()).dtype == torch.float32
    torch.testing.assert_close(layer(at.float()), layer(at).float(), rtol=1e-5, atol=1e-5)
    assert layer(at.view(5, 1, 2)).shape == (5, 1, 2)


def test_frequencies_fill_the_ball():
    radii = ball_frequencies(4000, 2, 3.0, torch.Generator().manual_seed(0)).norm(dim=-1)
    assert float(radii.max()) <= 3.0
    # a quarter of the area is within half the radius
    assert abs(float((radii < 1.5).double().mean()) - 0.25) < 0.03


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="box must have 2 pairs"):
        SineLayer(torch.ones(3, 2), torch.zeros(3), [(0, 1)], 1)
    with pytest.raises(ValueError, match=r"phases must have shape \(3,\); got \(2,\)"):
        SineLayer(torch.ones(3, 1), torch.zeros(2), [(0, 1)], 1)
    with pytest.raises(ValueError, match=r"coords must have shape \(..., 2\)"):
        make()(torch.zeros(4, 3))
