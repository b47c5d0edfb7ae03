"""Fields made of an encoding and a network: any data's unit, any number of axes, what is wrong is named."""

import pytest
import torch

from nerfkit.scenes.fields.coordinate import CoordinateField
from nerfkit.scenes.fields.encodings import ENCODINGS, make_encoding
from nerfkit.scenes.fields.field import Field
from nerfkit.scenes.fields.networks import FullyConnected

SETTINGS = {"n_levels": 3, "log2_table_size": 8, "base_resolution": 4, "max_resolution": 16, "n_frequencies": 4}


def make(name="gaussian", box=((0, 1), (0, 1)), bounds=None, n_outputs=2, activation="relu", seed=0):
    generator = torch.Generator().manual_seed(seed)
    encoding = make_encoding(name, len(box), generator, SETTINGS)
    network = FullyConnected([encoding.n_outputs, 16, n_outputs], generator, activation=activation, scale=5.0)
    return CoordinateField(encoding, network, box, bounds)


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("n_dims", [2, 3])
def test_coordinates_of_any_shape_have_a_value_each(name, n_dims):
    field = make(name, [(0, 1)] * n_dims)
    assert isinstance(field, Field) and (field.n_dims, field.n_outputs) == (n_dims, 2)
    coords = torch.rand(4, 5, n_dims)
    values = field(coords)
    assert values.shape == (4, 5, 2) and field(coords[:0]).shape == (0, 5, 2)
    torch.testing.assert_close(field(coords[2, 3]), values[2, 3])


@pytest.mark.parametrize("name", ENCODINGS)
def test_the_box_decides_what_a_coordinate_means(name):
    x = torch.rand(20, 2, dtype=torch.float64)
    here, there = make(name), make(name, [(1e5, 1e5 + 640), (-3, 0)])
    moved = torch.stack([1e5 + 640 * x[:, 0], -3 + 3 * x[:, 1]], -1)
    torch.testing.assert_close(here(x), there(moved), rtol=1e-6, atol=1e-6)


def test_values_keep_to_their_bounds():
    bounds = torch.tensor([[0.0, 1.0], [-2.0, 3.0]])
    field = make(bounds=bounds)
    with torch.no_grad():
        field.network.weights[-1] *= 100
    values = field(torch.rand(200, 2))
    assert ((values >= bounds[:, 0]) & (values <= bounds[:, 1])).all() and values[:, 1].min() < -1


@pytest.mark.parametrize("activation", ["sine", "gaussian"])
@pytest.mark.parametrize("name", ["dyadic", "identity"])
def test_first_and_second_derivatives_are_exact(name, activation):
    field = make(name, [(0, 2), (-1, 1)], torch.tensor([[0.0, 1.0]] * 2), activation=activation).double()
    points = (torch.rand(4, 2, dtype=torch.float64) - 0.1).requires_grad_()
    assert torch.autograd.gradcheck(field, (points,))
    assert torch.autograd.gradgradcheck(field, (points,))


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_parameter_is_in_one_group_of_the_optimiser(name):
    field = make(name)
    listed = [id(p) for group in field.parameter_groups(0.1) for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in field.parameters())


def test_a_restored_field_has_its_box_and_values():
    field, other = make(box=[(0, 5), (0, 7)]), make(box=[(0, 1), (0, 1)], seed=3)
    other.load_state_dict(field.state_dict())
    x = torch.rand(6, 2) * 5
    assert torch.equal(field(x), other(x))


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make()(torch.rand(5, 3)), r"coords must have shape \(\.\.\., 2\); got \(5, 3\)"),
        (lambda: make(box=[(0, 1), (2, 2)]), r"box must have 2 pairs .*; got \[\(0, 1\), \(2, 2\)\]"),
        (lambda: make(bounds=torch.zeros(3, 2)), r"bounds must be \[2, 2\], a pair an output; got \[3, 2\]"),
        (
            lambda: CoordinateField(
                make_encoding("identity", 2, generator(), {}), FullyConnected([3, 1], generator()), [(0, 1)] * 2
            ),
            "the network must take the 2 features of the encoding; it takes 3",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
