"""Fields by name: as many parameters as asked for, values and gradients everywhere, weights that come back."""

from typing import Any

import pytest
import torch

from nerfkit.scenes.fields.gabor import GaborNetwork
from nerfkit.scenes.fields.named import FIELD_NAMES, RECIPES, count_parameters, make_named_field, widest
from nerfkit.scenes.fields.plain_grid import PlainGrid
from nerfkit.scenes.fields.scaled import Scaled
from nerfkit.tasks.compare import SEED_SHAPES

BOX = [(0.0, 400.0), (0.0, 240.0)]


@pytest.mark.parametrize("n_params", [3000, 70_000])
@pytest.mark.parametrize("name", FIELD_NAMES)
def test_a_field_has_nearly_the_parameters_asked_for(name, n_params):
    field: Any = make_named_field(name, BOX, 3, n_params, torch.Generator().manual_seed(0))
    count = count_parameters(field)
    # tables come in powers of two and tiles in whole numbers
    assert (0.4 if name == "tiled" else 0.85) * n_params < count <= n_params
    at = torch.rand(9, 2) * torch.tensor([400.0, 240.0])
    values = field(at)
    assert values.shape == (9, 3) and values.isfinite().all()
    (values - 1).square().sum().backward()
    groups = field.parameter_groups(RECIPES[name].learning_rate)
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    assert trained == {id(parameter) for parameter in field.parameters()}
    # of the tiles only those that have points learn; the ReLU's last bias always does
    assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in field.parameters())


@pytest.mark.parametrize("name", FIELD_NAMES)
def test_the_same_seed_gives_the_same_field(name):
    a, b, other = (make_named_field(name, BOX, 1, 3000, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    at = torch.rand(5, 2) * 240
    torch.testing.assert_close(a(at), b(at), rtol=0, atol=0)
    assert name == "grid" or not torch.equal(a(at), other(at))


def test_the_original_comparison_has_its_numbers():
    for name, parts in (("exp-fourier", [263_683]), ("hash", [70_770, 206_595])):
        n_params, options = SEED_SHAPES[name]
        field = make_named_field(name, [(0, 256), (0, 256)], 3, n_params, torch.Generator(), **options)
        assert [n for part in field.children() if (n := count_parameters(part))] == parts


def test_widest_is_the_widest():
    sizes = widest(lambda width: [2, width, width, 3], 1000)
    width = sizes[1]
    assert 3 * width + (width + 1) * width + (width + 1) * 3 <= 1000
    width += 1
    assert 3 * width + (width + 1) * width + (width + 1) * 3 > 1000


def test_an_unknown_field_is_named():
    with pytest.raises(ValueError, match="unknown field 'sirene'; there are tiled, hash"):
        make_named_field("sirene", BOX, 1, 1000, torch.Generator())


def test_a_wavelet_network_is_its_formula():
    network = GaborNetwork([2, 4, 1], torch.Generator().manual_seed(0), scale=3.0, spread=0.5)
    x = torch.rand(6, 2)
    hidden = x @ network.weights[0] + network.biases[0]
    wave = torch.exp(3j * hidden) * torch.exp(-((0.5 * hidden) ** 2))
    last = network.weights[1][..., 0] + 1j * network.weights[1][..., 1]
    bias = network.biases[1][..., 0] + 1j * network.biases[1][..., 1]
    torch.testing.assert_close(network(x), (wave @ last + bias).real)


def test_wavelets_behind_the_first_layer_take_complex_numbers():
    network = GaborNetwork([2, 4, 3, 1], torch.Generator().manual_seed(0), scale=3.0, spread=0.5).double()
    x = torch.rand(6, 2, dtype=torch.float64)
    hidden = x @ network.weights[0] + network.biases[0]
    for weight, bias in zip(list(network.weights)[1:], list(network.biases)[1:], strict=True):
        wave = torch.exp(3j * hidden - (0.5 * hidden).abs().square())
        hidden = wave @ torch.view_as_complex(weight) + torch.view_as_complex(bias)
    torch.testing.assert_close(network(x), hidden.real)
    assert torch.autograd.gradcheck(network, x.requires_grad_())


def test_a_plain_grid_goes_through_its_knots_and_holds_parabolas():
    grid = PlainGrid((6, 8), 1, [(0.0, 8.0), (0.0, 6.0)])
    ys, xs = torch.meshgrid(torch.arange(6) + 0.5, torch.arange(8) + 0.5, indexing="ij")
    with torch.no_grad():
        grid.values.copy_((xs**2 - 3 * ys)[None])
    at = torch.stack([xs, ys], -1).view(-1, 2)
    torch.testing.assert_close(grid(at)[:, 0], (xs**2 - 3 * ys).view(-1), rtol=1e-5, atol=1e-5)
    # two knots from the border on, where the border's repetition does not bend it
    inside = torch.tensor([[3.2, 2.7], [5.1, 3.4]])
    torch.testing.assert_close(grid(inside)[:, 0], inside[:, 0] ** 2 - 3 * inside[:, 1], rtol=1e-5, atol=1e-5)


def test_a_grid_needs_a_knot():
    with pytest.raises(ValueError, match=r"a knot at least along each of two axes; got \(0, 3\)"):
        PlainGrid((0, 3), 1, BOX)


def test_bounds_of_a_scaled_field_are_checked():
    with pytest.raises(ValueError, match=r"bounds must be \[1, 2\], least before greatest"):
        Scaled(PlainGrid((2, 2), 1, BOX), torch.tensor([[1.0, 0.0]]))
