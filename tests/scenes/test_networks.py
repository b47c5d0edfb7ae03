"""Fully connected networks: initial weights as their papers have them, groups of the optimiser."""

import math

import pytest
import torch

from nerfkit.scenes.fields.encodings import make_encoding
from nerfkit.scenes.fields.networks import NETWORK_FRACTION, FullyConnected, encoded_groups


def generator():
    return torch.Generator().manual_seed(0)


def test_relu_weights_have_the_variance_of_he_and_their_gain():
    for gain in (2.0, 0.1):
        first, last = FullyConnected([32, 64, 400], generator(), last_gain=gain).weights
        assert first.var().item() == pytest.approx(2 / 32, rel=0.05)
        assert last.shape == (64, 400) and last.requires_grad
        assert last.var().item() == pytest.approx(gain / 64, rel=0.03)


def test_relu_biases_start_at_zero_and_draw_nothing():
    with_biases, without = (FullyConnected([3, 8, 2], generator(), has_biases=flag) for flag in (True, False))
    assert all(not bias.any() for bias in with_biases.biases) and not len(without.biases)
    x = torch.rand(5, 3)
    assert torch.equal(with_biases(x), without(x))


def test_sine_weights_keep_every_sine_alike():
    network = FullyConnected([2, 256, 256, 256, 1], generator(), activation="sine", scale=30)
    first, *hidden = (weight.detach() for weight in network.weights)
    assert 0.45 < float(first.abs().max()) <= 0.5
    for weight in hidden:
        bound = math.sqrt(6 / 256) / 30
        assert 0.95 * bound < float(weight.abs().max()) <= bound
    # arXiv:2006.09661, section 3.2: arguments of the sines are normal with standard deviation 1
    points = torch.rand(4000, 2) * 2 - 1
    hidden_values = torch.sin(30 * (points @ first + network.biases[0]))
    argument = 30 * (hidden_values @ network.weights[1])
    assert float(argument.detach().std()) == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("activation", ["relu", "sine", "gaussian"])
def test_many_networks_are_so_many_single_ones(activation):
    many = FullyConnected([2, 8, 3], generator(), activation=activation, scale=5.0, n_networks=4)
    x = torch.rand(4, 6, 2)
    out = many(x)
    assert out.shape == (4, 6, 3)
    torch.testing.assert_close(many(x[[2, 0]], torch.tensor([2, 0])), out[[2, 0]])
    one = FullyConnected([2, 8, 3], generator(), activation=activation, scale=5.0)
    one.load_state_dict({name: value[1] for name, value in many.state_dict().items()})
    torch.testing.assert_close(one(x[1]), out[1])


def test_networks_behind_a_trained_encoding_have_a_fraction_of_its_rate():
    network = FullyConnected([4, 8, 1], generator())
    (alone,) = encoded_groups(make_encoding("identity", 2, generator(), {}), [network], 0.1)
    assert alone["lr"] == 0.1 and len(alone["params"]) == 4
    table, networks = encoded_groups(make_encoding("hash", 2, generator(), {}), [network], 0.1)
    assert table["lr"] == 0.1 and networks["lr"] == pytest.approx(0.1 * NETWORK_FRACTION)


def test_an_unknown_activation_is_an_error():
    with pytest.raises(ValueError, match="activation must be one of relu, sine, finer, gaussian; got 'gelu'"):
        FullyConnected([2, 8, 1], generator(), activation="gelu")
