"""Settings: typed, checked, replaced one by one."""

import dataclasses

import pytest

from nerfkit.presets import PRESETS, TrainConfig, config_from_dict, override, usable_cores
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.fields import FIELDS
from nerfkit.scenes.sampling_configs import OccupancySamplingConfig, StratifiedSamplingConfig


def test_every_field_has_a_preset():
    assert set(PRESETS) == set(FIELDS)
    assert all(preset.method == name for name, preset in PRESETS.items())


@pytest.mark.parametrize("method", PRESETS)
def test_a_dict_and_back(method):
    config = override(PRESETS[method], ["seed=7", "field.width=48", "steps=5", "seconds=null"])
    assert config_from_dict(dataclasses.asdict(config), where="config.yml") == config


def test_what_is_absent_has_the_presets_value():
    assert config_from_dict({"method": "fourier"}, where="") == PRESETS["fourier"]
    assert config_from_dict({"field": {"n_levels": 4}}, where="").field.width == PRESETS["hash"].field.width


@pytest.mark.parametrize(
    ("assignment", "read", "value"),
    [
        ("learning_rate=0.5", lambda c: c.learning_rate, 0.5),
        # YAML 1.1 takes a number without a point for a text
        ("learning_rate=1e-3", lambda c: c.learning_rate, 1e-3),
        ("learning_rate=1", lambda c: c.learning_rate, 1.0),
        ("field.n_levels=12", lambda c: c.field.n_levels, 12),
        ("sampling.update_every=8", lambda c: c.sampling.update_every, 8),
        ("max_side=200", lambda c: c.max_side, 200),
        ("max_side=null", lambda c: c.max_side, None),
        ("background=black", lambda c: c.background, "black"),
    ],
)
def test_set(assignment, read, value):
    got = read(override(PRESETS["hash"], [assignment]))
    assert got == value
    assert type(got) is type(value)


def test_another_kind_of_sampling():
    config = override(PRESETS["hash"], ["sampling=stratified", "sampling.n_samples=32"])
    assert config.sampling == StratifiedSamplingConfig(n_samples=32)
    assert config_from_dict(dataclasses.asdict(config), where="config.yml") == config
    assert override(config, ["sampling=occupancy"]).sampling == OccupancySamplingConfig()
    assert config_from_dict({"sampling": {"n_samples": 8}}, where="").sampling == StratifiedSamplingConfig(n_samples=8)


def test_later_assignments_win():
    assert override(PRESETS["hash"], ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("nonsense=3", "is no setting; wanted NAME=VALUE with NAME one of method"),
        ("field.nonsense=3", "is no setting"),
        ("seed.deeper=3", "is no setting"),
        ("seed", "is no setting"),
        ("", "is no setting"),
        ("seed=x", "seed must be int; got 'x'"),
        ("seed=1.5", "seed must be int; got 1.5"),
        ("seed=true", "seed must be int; got True"),
        ("seed=[", r"seed must be int; got '\['"),
        ("learning_rate=fast", "learning_rate must be float; got 'fast'"),
        ("learning_rate=null", "learning_rate must be float"),
        ("learning_rate=0", "learning_rate must be positive; got 0"),
        ("learning_rate=.nan", "learning_rate must be positive; got nan"),
        ("max_side=0", "max_side must be positive or null; got 0"),
        ("samples_per_step=-1", "samples_per_step must be positive or null"),
        ("seconds=0", "seconds must be positive or null"),
        ("seconds=null", "one of them says when training ends"),
        ("warmup_steps=0", "warmup_steps must be 1 or more"),
        ("max_rays=0", "max_rays must be 1 or more"),
        ("downscale=0.5", "downscale must be 1 or more; got 0.5"),
        ("background=pink", "background must be one of auto, white, black, random; got 'pink'"),
        ("field=3", "field must be a group of settings n_levels"),
        ("field.n_levels=0", "n_levels must be between 1 and 32; got 0"),
        ("sampling=regular", "sampling must be one of occupancy, stratified; got 'regular'"),
        ("method=fourier", "use --method fourier"),
    ],
)
def test_a_bad_assignment(assignment, message):
    with pytest.raises(NerfkitError, match=message) as caught:
        override(PRESETS["hash"], [assignment])
    assert caught.value.where == "--set"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "voxels"}, "method must be one of hash, fourier; got 'voxels'"),
        ({"typo": 1}, "unknown settings typo; there are method, field"),
        ({"field": {"typo": 1}}, "unknown settings typo; there are n_levels"),
        ({"field": None}, "field must be a group"),
        ({"steps": "many"}, "steps must be int or null; got 'many'"),
        ({"method": "fourier", "field": {"n_levels": 8}}, "unknown settings n_levels"),
    ],
)
def test_a_bad_file(values, message):
    with pytest.raises(NerfkitError, match=message) as caught:
        config_from_dict(values, where="some/config.yml")
    assert caught.value.where == "some/config.yml"


def test_settings_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().seed = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_there_is_a_core():
    assert usable_cores() >= 1
