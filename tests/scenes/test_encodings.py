"""Encodings of points: what every one of them keeps, and the frequencies of the Fourier features."""

import math
from typing import Any

import pytest
import torch
from support import DEVICE

from nerfkit.scenes.fields.encodings import ENCODINGS, Encoding, FusableEncoding, make_encoding
from nerfkit.scenes.fields.encodings.fourier import FourierEncoding, dyadic_frequencies, gaussian_frequencies

SETTINGS = {"n_levels": 3, "log2_table_size": 8, "base_resolution": 4, "max_resolution": 16, "n_frequencies": 4}


def make(name, n_dims=3, seed=0):
    encoding: Any = make_encoding(name, n_dims, torch.Generator().manual_seed(seed), SETTINGS)
    return encoding.to(DEVICE)


def points(n, n_dims=3):
    return torch.rand(n, n_dims, generator=torch.Generator().manual_seed(0)).to(DEVICE)


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("n_dims", [1, 2, 3, 4])
def test_every_encoding_says_how_many_features_it_has(name, n_dims):
    if name == "hash" and n_dims not in (2, 3):
        with pytest.raises(ValueError, match=f"n_dims must be 2 or 3; got {n_dims}"):
            make(name, n_dims)
        return
    encoding = make(name, n_dims)
    assert isinstance(encoding, Encoding) and encoding.n_dims == n_dims
    for n in (7, 0):
        assert encoding(points(n, n_dims)).shape == (n, encoding.n_outputs)


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_trained_tensor_is_in_one_group(name):
    encoding = make(name)
    listed = [id(p) for group in encoding.parameter_groups(0.5) for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in encoding.parameters())
    assert all(group["lr"] == 0.5 for group in encoding.parameter_groups(0.5))


@pytest.mark.parametrize("name", ENCODINGS)
def test_an_encoding_is_made_again_from_its_seed_and_from_its_state(name):
    x = points(9)
    first, other = make(name), make(name, seed=5)
    assert torch.equal(first(x), make(name)(x))
    other.load_state_dict(first.state_dict())
    assert torch.equal(first(x), other(x))


def test_a_maker_takes_its_own_settings_and_has_a_default_for_the_others():
    encoding = make_encoding("gaussian", 2, torch.Generator(), {"n_frequencies": 3, "n_levels": 5, "width": 64})
    assert encoding.n_outputs == 2 + 2 * 3
    assert make_encoding("gaussian", 2, torch.Generator(), {}).n_outputs == 2 + 2 * 64


def test_an_unknown_encoding_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="unknown encoding 'sines'; there are hash, gaussian, dyadic, identity"):
        make("sines")


def test_the_fused_kernels_take_what_puts_the_point_first():
    freqs = dyadic_frequencies(2, 3)
    assert FourierEncoding(freqs).fused() == (freqs, None)
    assert FourierEncoding(freqs, has_coords=False).fused() is None
    assert not isinstance(make("identity"), FusableEncoding)


def test_features_without_the_point_are_those_after_it():
    freqs, x = dyadic_frequencies(2, 3), torch.rand(5, 3)
    alone = FourierEncoding(freqs, has_coords=False)
    assert alone.n_outputs == 12
    torch.testing.assert_close(torch.cat([2 * x - 1, alone(x)], -1), FourierEncoding(freqs)(x))


def test_dyadic_frequencies_are_nerfs_positional_encoding_up_to_sign():
    x = torch.rand(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    v = 2 * x - 1  # the paper's cube
    octaves = 2.0 ** torch.arange(4, dtype=torch.float64)
    phases = torch.pi * octaves[:, None] * v[:, None]  # [50, 4, 3]
    cosines, sines = FourierEncoding(dyadic_frequencies(4, 3), has_coords=False)(x).chunk(2, -1)
    torch.testing.assert_close(cosines.abs(), phases.cos().abs().reshape(50, -1))
    torch.testing.assert_close(sines.abs(), phases.sin().abs().reshape(50, -1))
    # one sign a column
    ratio = sines / phases.sin().reshape(50, -1)
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio).sign())


def test_dyadic_rows_double_from_octave_to_octave():
    assert dyadic_frequencies(3, 2).tolist() == [[1, 0], [0, 1], [2, 0], [0, 2], [4, 0], [0, 4]]


def test_gaussian_frequencies_have_the_configured_spread():
    freqs = gaussian_frequencies(5000, 3, 6.0, torch.Generator().manual_seed(0))
    assert freqs.shape == (5000, 3)
    assert freqs.std().item() == pytest.approx(6.0, rel=0.03) and abs(freqs.mean().item()) < 0.2


def test_frequencies_are_saved_and_not_trained():
    encoding = make("gaussian")
    assert "freqs" in encoding.state_dict() and not dict(encoding.named_parameters())


def test_the_identity_spans_minus_1_to_1():
    assert make("identity", 2)(torch.tensor([[0.0, 1.0], [0.5, 0.25]])).tolist() == [[-1, 1], [0, -0.5]]
    assert math.prod(make("identity", 2)(points(0, 2)).shape) == 0
