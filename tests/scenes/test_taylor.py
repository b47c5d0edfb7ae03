"""Derivatives that travel forward agree with those by automatic differentiation and with differences."""

from typing import Any

import pytest
import torch

from nerfkit.scenes.fields.coordinate import CoordinateField
from nerfkit.scenes.fields.encodings import make_encoding
from nerfkit.scenes.fields.encodings.learned import LearnedEncoding
from nerfkit.scenes.fields.networks import FullyConnected
from nerfkit.scenes.fields.scaled import Scaled
from nerfkit.scenes.fields.taylor import DERIVATIVES
from nerfkit.scenes.observations.derivatives import jet

BOX = [(0.0, 3.0), (-1.0, 2.0)]
BOUNDS = torch.tensor([[0.0, 1.0], [-2.0, 5.0]])


def make(encoding, activation, bounds=None, n_dims=2, scale=2.0):
    generator = torch.Generator().manual_seed(0)
    settings = {"n_frequencies": 4, "sigma": 1.0}
    encode = (
        LearnedEncoding(n_dims, generator, n_features=6, width=5)
        if encoding == "learned"
        else make_encoding(encoding, n_dims, generator, settings)
    )
    network = FullyConnected([encode.n_outputs, 8, 8, 2], generator, activation=activation, scale=scale)
    return CoordinateField(encode, network, BOX[:n_dims], bounds).double()


def points(n=7, n_dims=2):
    low, high = torch.tensor(BOX[:n_dims], dtype=torch.float64).unbind(-1)
    return low + (high - low) * torch.rand(n, n_dims, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("bounds", [None, BOUNDS])
@pytest.mark.parametrize("activation", sorted(DERIVATIVES))
@pytest.mark.parametrize("encoding", ["identity", "gaussian", "dyadic", "learned"])
def test_forward_derivatives_are_those_of_autograd(encoding, activation, bounds):
    field, at = make(encoding, activation, bounds), points()
    forward, trace = jet(field, at, 2), jet(field, at, "laplacian")
    # a function has no way of its own: it is differentiated backwards
    backward = jet(lambda x: field(x), at, 2)
    for name in ("value", "gradient", "hessian"):
        torch.testing.assert_close(getattr(forward, name), getattr(backward, name), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(trace.laplacian, backward.laplacian, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(jet(field, at, 1).gradient, backward.gradient, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("n_dims", [1, 2])
def test_parameters_have_gradients_of_a_loss_of_derivatives(n_dims):
    """Central differences of the loss in every weight."""
    field, at = make("gaussian", "sine", n_dims=n_dims), points(5, n_dims)

    def loss():
        found = jet(field, at, 2)
        return (found.laplacian.square() + found.gradient.square().sum(-1) + found.value.square()).mean()

    loss().backward()
    for parameter in field.parameters():
        flat, step = parameter.detach().view(-1), 1e-6
        with torch.no_grad():
            flat[0] += step
            above = loss()
            flat[0] -= 2 * step
            below = loss()
            flat[0] += step
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad.view(-1)[0], (above - below) / (2 * step), rtol=1e-5, atol=1e-7)


def test_scaled_values_have_scaled_derivatives():
    inner = make("identity", "sine")
    bounds = torch.tensor([[0.0, 4.0], [100.0, 300.0]])
    outer = Scaled(inner, bounds).double()
    plain, scaled = jet(inner, points(), 2), jet(outer, points(), 2)
    span = torch.tensor([2.0, 100.0], dtype=torch.float64)
    torch.testing.assert_close(scaled.gradient, span[:, None] * plain.gradient)
    torch.testing.assert_close(scaled.hessian, span[:, None, None] * plain.hessian)


def test_a_field_without_the_way_is_differentiated_backwards():
    generator = torch.Generator().manual_seed(0)
    encoding: Any = make_encoding("hash", 2, generator, {"n_levels": 2, "log2_table_size": 8, "base_resolution": 4})
    field = CoordinateField(encoding, FullyConnected([encoding.n_outputs, 8, 1], generator), BOX).double()
    with torch.no_grad():
        encoding.table.uniform_(-1, 1, generator=generator)
    assert field.taylor(points(), 1) is None
    at, step = points(), 1e-6
    gradient = jet(field, at, 1).gradient.detach()
    for axis in range(2):
        move = torch.eye(2, dtype=torch.float64)[axis] * step
        slope = (field(at + move) - field(at - move)) / (2 * step)
        torch.testing.assert_close(gradient[..., axis], slope.detach(), rtol=1e-5, atol=1e-6)


def test_richardson_differences_of_a_siren():
    """The figures of the workbench: relative L2 below 1e-6 in float64 and below 1e-5 in float32."""
    field = make("identity", "sine", scale=30.0)
    single = make("identity", "sine", scale=30.0).float()
    at, h = points(200), 3e-4

    def differences(h) -> tuple[Any, Any]:
        moves = torch.eye(2, dtype=torch.float64) * h
        ahead, behind, here = [field(at + m) for m in moves], [field(at - m) for m in moves], field(at)
        slopes = torch.stack([(a - b) / (2 * h) for a, b in zip(ahead, behind, strict=True)], -1)
        return slopes, sum(a + b - 2 * here for a, b in zip(ahead, behind, strict=True)) / h**2

    with torch.no_grad():
        near, far = differences(h), differences(2 * h)
        slopes, laplacians = ((4 * a - b) / 3 for a, b in zip(near, far, strict=True))
        for tested, tolerance in ((jet(field, at, "laplacian"), 1e-6), (jet(single, at.float(), "laplacian"), 1e-5)):
            assert (tested.gradient - slopes).norm() < tolerance * slopes.norm()
            assert (tested.laplacian - laplacians).norm() < tolerance * laplacians.norm()


@pytest.mark.parametrize("encoding", ["identity", "gaussian", "hash"])
def test_second_derivatives_are_those_of_differences(encoding):
    """All of them, mixed ones too, to 1e-5 of their size in float64: SIREN, Fourier features, and a hash grid."""
    generator = torch.Generator().manual_seed(0)
    settings = {"identity": {}, "gaussian": {"n_frequencies": 8, "sigma": 2.0},
                "hash": {"n_levels": 3, "log2_table_size": 8, "base_resolution": 4, "max_resolution": 16}}  # fmt: skip
    encode: Any = make_encoding(encoding, 2, generator, settings[encoding])
    network = FullyConnected([encode.n_outputs, 8, 8, 2], generator, activation="sine", scale=3.0)
    field = CoordinateField(encode, network, BOX).double()
    if encoding == "hash":
        with torch.no_grad():
            encode.table.uniform_(-1, 1, generator=generator)
    # no point is within 2 h of a face of a cell, on which a hash grid has no second derivative
    at, h = points(), 2e-4
    axes = torch.eye(2, dtype=torch.float64) * h

    def second(i, j, by):
        a, b = axes[i] * by, axes[j] * by
        return (field(at + a + b) - field(at + a - b) - field(at - a + b) + field(at - a - b)) / (4 * (h * by) ** 2)

    with torch.no_grad():
        expected = torch.stack(
            [torch.stack([(4 * second(i, j, 1) - second(i, j, 2)) / 3 for j in range(2)], -1) for i in range(2)], -1
        )
    found = jet(field, at, 2).hessian.detach()
    assert (found - expected).norm() < 1e-5 * expected.norm()
