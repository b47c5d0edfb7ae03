"""Derivatives of any field against closed forms and differences, and residuals made of them."""

import pytest
import torch

from nerfkit.scenes.fields import IMAGE_FIELDS, image_field_class
from nerfkit.scenes.fields.coordinate import CoordinateField
from nerfkit.scenes.fields.encodings import make_encoding
from nerfkit.scenes.fields.networks import FullyConnected
from nerfkit.scenes.fields.siren import SirenConfig
from nerfkit.scenes.fields.taylor import Taylor, propagate
from nerfkit.scenes.observations.derivatives import Derivatives, jet
from nerfkit.scenes.observations.observation import Observation
from nerfkit.scenes.observations.points import LatticeValues, PointValues
from nerfkit.scenes.observations.residuals import Residual

HARD = {"n_levels": 2, "log2_table_size": 8, "base_resolution": 4, "max_resolution": 8, "n_frequencies": 3}


def waves(coords):
    """Two outputs of three coordinates: sin(x) y^2 + z, exp(x z)."""
    x, y, z = coords.unbind(-1)
    return torch.stack([torch.sin(x) * y**2 + z, torch.exp(x * z)], -1)


def points(n=6, d=3):
    return torch.rand(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_a_jet_is_the_closed_form():
    at = points()
    x, y, z = at.unbind(-1)
    seen = jet(waves, at, 2)
    torch.testing.assert_close(seen.value, waves(at))
    assert seen.gradient is not None and seen.hessian is not None
    first = torch.stack([torch.cos(x) * y**2, 2 * y * torch.sin(x), torch.ones_like(x)], -1)
    torch.testing.assert_close(seen.gradient[:, 0], first)
    torch.testing.assert_close(seen.hessian[:, 0, 0, 1], 2 * y * torch.cos(x))
    torch.testing.assert_close(seen.hessian, seen.hessian.mT)
    torch.testing.assert_close(
        seen.laplacian, torch.stack([(2 - y**2) * torch.sin(x), (x**2 + z**2) * torch.exp(x * z)], -1)
    )


@pytest.mark.parametrize("kind", IMAGE_FIELDS)
def test_second_derivatives_of_sine_images_are_those_of_differences(kind):
    make = image_field_class(kind)
    field = make(SirenConfig(8), (12.0, 9.0), torch.tensor([[0.0, 1.0]]), torch.Generator().manual_seed(0)).double()
    at, step = points(5, 2) * 8, 1e-4
    around = [field(at + step * torch.tensor(e)) for e in ([1.0, 0], [-1.0, 0], [0, 1.0], [0, -1.0])]
    expected = (sum(around) - 4 * field(at)) / step**2
    torch.testing.assert_close(jet(field, at, 2).laplacian, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("encoding", ["hash", "identity"])
def test_a_relu_network_has_zero_unmixed_second_derivatives(encoding):
    generator = torch.Generator().manual_seed(0)
    parts = make_encoding(encoding, 2, generator, HARD)
    field = CoordinateField(parts, FullyConnected([parts.n_outputs, 8, 1], generator), [(0, 1), (0, 1)])
    assert not jet(field, points(9, 2).float(), 2).laplacian.any()


def test_derivatives_can_be_fitted_and_leave_no_history_where_none_is_wanted():
    generator = torch.Generator().manual_seed(0)
    network = FullyConnected([2, 8, 1], generator, activation="sine", scale=3.0)
    field = CoordinateField(make_encoding("identity", 2, generator, {}), network, [(0, 1), (0, 1)])
    jet(field, points(9, 2).float(), 2).laplacian.square().mean().backward()
    # the last bias has no part in a derivative
    assert all(weight.grad is not None and weight.grad.any() for weight in field.network.weights)
    with torch.no_grad():
        seen = Derivatives(2).predict(field, points(9, 2).float())
    assert not seen.value.requires_grad and not seen.laplacian.requires_grad and seen.laplacian.any()


def test_of_no_points_there_are_no_derivatives():
    seen = jet(waves, points(0), 2)
    assert seen.hessian is not None and seen.hessian.shape == (0, 2, 3, 3)


def test_a_field_without_slope_has_zero_derivatives():
    seen = jet(lambda coords: torch.ones(len(coords), 1), points(), 2)
    assert seen.gradient is not None and not seen.gradient.any() and not seen.laplacian.any()


def test_a_residual_is_zero_for_a_solution():
    # u = sin(x) exp(y) is harmonic
    equation = Residual(lambda at, u: u.laplacian[:, 0] + 0 * at[:, 0], order=2)
    solution = equation.predict(lambda at: torch.sin(at[:, :1]) * torch.exp(at[:, 1:]), points(7, 2))
    assert solution.shape == (7,) and float(solution.detach().abs().max()) < 1e-12
    other = equation.predict(lambda at: torch.sin(at[:, :1]) * torch.exp(2 * at[:, 1:]), points(7, 2))
    assert float(other.detach().abs().max()) > 0.1


def test_points_and_lattices_are_observed():
    at = points()
    assert torch.equal(PointValues().predict(waves, at), waves(at))
    image = image_field_class("single")(SirenConfig(8), (4.0, 2.0), torch.tensor([[0.0, 1.0]]), torch.Generator())
    lattice = image.lattice(torch.tensor([0.5, 1.5]), torch.tensor([0.5, 2.0, 3.0]))
    assert LatticeValues().predict(image, lattice).shape == (1, 2, 3)
    observations = (PointValues(), LatticeValues(), Derivatives(), Residual(lambda at, u: u.value))
    assert all(isinstance(observation, Observation) for observation in observations)


def test_what_a_jet_lacks_is_named():
    with pytest.raises(ValueError, match="order must be 0, 1, 2 or 'laplacian'; got 3"):
        jet(waves, points(), 3)
    with pytest.raises(ValueError, match="this jet has none: ask for order=2"):
        _ = jet(waves, points(), 1).laplacian
    assert jet(waves, points(), 0).gradient is None


def test_an_unknown_activation_has_no_derivatives():
    points = Taylor(torch.zeros(1, 2), torch.zeros(1, 2, 2), None)
    with pytest.raises(ValueError, match="activation must be one of relu, sine, gaussian, finer; got 'gelu'"):
        propagate(points, [torch.zeros(2, 1)], [None], "gelu", 1.0)
