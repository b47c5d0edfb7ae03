"""Radiance fields: what every one of them keeps, and the range of their settings."""

import math

import pytest
import torch
from support import DEVICE

from nerfkit.scenes.fields import FIELDS, field_class
from nerfkit.scenes.fields.configs import FourierFieldConfig, HashFieldConfig
from nerfkit.scenes.fields.radiance import MAX_LOG_DENSITY, RadianceField, truncated_exp

SMALL_HASH = HashFieldConfig(n_levels=3, log2_table_size=10, base_resolution=4, max_resolution=32, width=16)
CONFIGS = {
    "hash": SMALL_HASH,
    "hash-1-layer": HashFieldConfig(
        n_levels=2, n_features=2, log2_table_size=8, max_resolution=32, n_color_layers=1, harmonics_degree=0
    ),
    "dyadic": FourierFieldConfig(n_frequencies=4, width=32),
    "gaussian": FourierFieldConfig(encoding="gaussian", n_frequencies=16, width=32, n_layers=1),
    # the baseline of all encodings, and one that has no place in the fused kernels
    "identity": FourierFieldConfig(encoding="identity", width=32),
}
SETTINGS = {"hash": HashFieldConfig, "fourier": FourierFieldConfig}
EVERY_FIELD = pytest.mark.parametrize("name", CONFIGS)


def make(name, seed=0, config=None):
    cls = field_class("hash" if name.startswith("hash") else "fourier")
    return cls(config or CONFIGS[name], torch.Generator().manual_seed(seed)).to(DEVICE)


def trained(name):
    """A field whose parts all matter: at the start the hash table is 1e-4 small."""
    field = make(name)
    if name.startswith("hash"):
        with torch.no_grad():
            field.encoding.table.mul_(1e4)
    return field


def inputs(n_samples=60, n_rays=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    xyzs = torch.rand(n_samples, 3, generator=generator)
    viewdirs = torch.nn.functional.normalize(torch.randn(n_rays, 3, generator=generator), dim=-1)
    ray_indices = torch.randint(n_rays, (n_samples,), generator=generator)
    return xyzs.to(DEVICE), viewdirs.to(DEVICE), ray_indices.to(DEVICE)


@EVERY_FIELD
def test_density_is_positive_and_colour_in_0_to_1(name):
    field, (xyzs, viewdirs, ray_indices) = trained(name), inputs()
    sigmas, rgbs = field(xyzs, viewdirs, ray_indices)
    assert sigmas.shape == (60,) and rgbs.shape == (60, 3) and isinstance(field, RadianceField)
    assert (sigmas > 0).all() and torch.isfinite(sigmas).all() and (rgbs > 0).all() and (rgbs < 1).all()
    assert sigmas.std() > 0 and rgbs.std() > 0
    torch.testing.assert_close(field.density(xyzs), sigmas)


@EVERY_FIELD
@pytest.mark.parametrize("n_rays", [0, 5])
def test_no_samples_give_no_values(name, n_rays):
    field, (xyzs, viewdirs, ray_indices) = make(name), inputs(0, max(n_rays, 1))
    sigmas, rgbs = field(xyzs, viewdirs[:n_rays], ray_indices)
    assert sigmas.shape == (0,) and rgbs.shape == (0, 3) and field.density(xyzs).shape == (0,)


@EVERY_FIELD
def test_a_gradient_reaches_every_parameter(name):
    field = trained(name)
    sigmas, rgbs = field(*inputs(2000))
    (sigmas.sum() + (rgbs * torch.tensor([1.0, -2.0, 3.0], device=DEVICE)).sum()).backward()
    for parameter_name, parameter in field.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, parameter_name


@EVERY_FIELD
def test_every_parameter_is_in_one_group_of_the_optimiser(name):
    field = make(name)
    groups = field.parameter_groups(3e-3)
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in field.parameters())
    # the first group has the rate that was asked for, the networks of the hash field a smaller one
    assert groups[0]["lr"] == 3e-3
    assert all(0 < group["lr"] <= 3e-3 for group in groups)


@EVERY_FIELD
def test_equal_seeds_give_equal_weights_and_others_do_not(name):
    torch.manual_seed(1)
    first = make(name).state_dict()
    torch.manual_seed(2)
    same, other = make(name).state_dict(), make(name, seed=1).state_dict()
    assert all(torch.equal(first[k], same[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


@EVERY_FIELD
def test_a_restored_field_has_the_same_values(name):
    field, restored = trained(name), make(name, seed=9)
    restored.load_state_dict(field.state_dict())
    for ours, theirs in zip(field(*inputs()), restored(*inputs()), strict=True):
        assert torch.equal(ours, theirs)


@EVERY_FIELD
@pytest.mark.parametrize("density", [0.02, 1.0, 30.0])
def test_the_scene_starts_as_a_fog_of_the_configured_density(name, density):
    config = CONFIGS[name]
    config = type(config)(**{**vars(config), "initial_density": density})
    sigmas = make(name, config=config).density(inputs(2000)[0])
    assert sigmas.log().mean().item() == pytest.approx(math.log(density), abs=0.4)
    assert sigmas.min() > density / 4 and sigmas.max() < density * 4


@EVERY_FIELD
def test_samples_do_not_influence_one_another(name):
    field, (xyzs, viewdirs, ray_indices) = trained(name), inputs()
    order = torch.randperm(60, generator=torch.Generator().manual_seed(4)).to(DEVICE)[:40]
    expected = [values[order] for values in field(xyzs, viewdirs, ray_indices)]
    for ours, theirs in zip(field(xyzs[order], viewdirs, ray_indices[order]), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@EVERY_FIELD
def test_ray_indices_name_the_direction_of_each_sample(name):
    field, (xyzs, viewdirs, ray_indices) = trained(name), inputs()
    sigmas, rgbs = field(xyzs, viewdirs, ray_indices)
    one_ray_each = field(xyzs, viewdirs[ray_indices], torch.arange(60, device=DEVICE))
    torch.testing.assert_close(one_ray_each[0], sigmas)
    torch.testing.assert_close(one_ray_each[1], rgbs)


@pytest.mark.parametrize("name", ["hash", "dyadic", "gaussian"])
def test_the_direction_changes_the_colour_and_not_the_density(name):
    field, (xyzs, viewdirs, ray_indices) = trained(name), inputs()
    sigmas, rgbs = field(xyzs, viewdirs, ray_indices)
    turned = field(xyzs, -viewdirs, ray_indices)
    assert torch.equal(turned[0], sigmas) and (turned[1] - rgbs).abs().max() > 1e-3


def test_without_harmonics_the_colour_is_the_same_from_all_sides():
    field, (xyzs, viewdirs, ray_indices) = trained("hash-1-layer"), inputs()
    expected = field(xyzs, viewdirs, ray_indices)[1]
    torch.testing.assert_close(field(xyzs, -viewdirs, ray_indices)[1], expected)


# ---- shared parts


def test_truncated_exp_is_exp_up_to_its_bound():
    x = torch.linspace(-20, MAX_LOG_DENSITY, 50, dtype=torch.float64)
    torch.testing.assert_close(truncated_exp(x), x.exp())
    assert torch.autograd.gradcheck(truncated_exp, (x[:-1].clone().requires_grad_(),), rtol=1e-5)


def test_truncated_exp_beyond_its_bound_is_finite_and_can_come_back():
    x = torch.tensor([MAX_LOG_DENSITY + 1, 1e4], requires_grad=True)
    y = truncated_exp(x)
    torch.testing.assert_close(y, torch.full((2,), math.exp(MAX_LOG_DENSITY)))
    (d_x,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(d_x, y.detach())
    assert x.detach()[1] == 1e4  # the input is left alone


# ---- names and settings


def test_every_registered_field_has_settings_and_is_made_from_them():
    for name in FIELDS:
        field = field_class(name)(SETTINGS[name](), torch.Generator().manual_seed(0))
        assert isinstance(field, RadianceField)


def test_an_unknown_field_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="unknown field 'voxels'; there are hash, fourier"):
        field_class("voxels")


@pytest.mark.parametrize(
    "name, value",
    [
        ("n_levels", 0), ("n_levels", 33), ("n_features", 3), ("log2_table_size", 7), ("log2_table_size", 25),
        ("base_resolution", 1), ("max_resolution", 8), ("width", 3), ("harmonics_degree", 5),
        ("harmonics_degree", -1), ("n_color_layers", 0), ("n_geometry", 0), ("initial_density", 0.0),
        ("initial_density", math.nan),
    ],
)  # fmt: skip
def test_settings_of_the_hash_field_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be .*; got {value}"):
        HashFieldConfig(**{name: value})


@pytest.mark.parametrize(
    "name, value",
    [
        ("encoding", "sines"), ("n_frequencies", 0), ("width", 2000), ("n_layers", 0),
        ("harmonics_degree", 5), ("sigma", 0.0), ("sigma", math.nan), ("initial_density", -1.0),
    ],
)  # fmt: skip
def test_settings_of_the_fourier_field_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be .*; got {value!r}"):
        FourierFieldConfig(**{name: value})


def test_more_octaves_than_float32_can_tell_apart_are_refused():
    with pytest.raises(ValueError, match="n_frequencies must be between 1 and 24; got 25"):
        FourierFieldConfig(encoding="dyadic", n_frequencies=25)
    assert FourierFieldConfig(encoding="gaussian", n_frequencies=512).n_frequencies == 512
