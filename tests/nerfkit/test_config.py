"""Settings of every task: typed, checked by one rule, replaced one by one, back from a file as they were."""

import dataclasses
import math
import re
from typing import get_args

import numpy as np
import pytest

from nerfkit.config import assigned, dump, from_dict, load, override, to_dict
from nerfkit.presets import PRESETS, BackgroundName, TrainConfig
from nerfkit.scenes.backgrounds import BACKGROUNDS
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.fields import FIELDS
from nerfkit.scenes.sampling_configs import SAMPLERS, OccupancySamplingConfig, StratifiedSamplingConfig
from nerfkit.scenes.settings import Settings
from nerfkit.tasks import TASKS, get_task

HASH = PRESETS["hash"]
ALL = [preset for name in TASKS for preset in get_task(name).presets.values()]


def test_every_field_has_a_preset():
    assert set(PRESETS) == set(FIELDS)
    assert all(preset.field.kind == name for name, preset in PRESETS.items())
    assert HASH.sampling.kind in SAMPLERS
    assert get_args(BackgroundName) == BACKGROUNDS


@pytest.mark.parametrize("config", ALL)
def test_a_file_and_back(config, tmp_path):
    (tmp_path / "config.yml").write_bytes(dump(to_dict(dataclasses.replace(config, seed=7))))
    back = from_dict(type(config)(), load(tmp_path / "config.yml"), where="config.yml")
    assert back == dataclasses.replace(config, seed=7)
    assert type(back.seconds) is float


def test_what_is_absent_has_the_bases_value():
    assert from_dict(HASH, {"field": {"n_levels": 4}}, where="").field.width == HASH.field.width
    fourier = from_dict(HASH, {"field": {"kind": "fourier"}}, where="")
    assert (fourier.field.kind, fourier.learning_rate) == ("fourier", HASH.learning_rate)


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
        ("captured=true", lambda c: c.captured, True),
    ],
)
def test_set(assignment, read, value):
    got = read(override(HASH, [assignment]))
    assert got == value
    assert type(got) is type(value)


def test_another_kind_starts_from_its_own_defaults():
    config = override(HASH, ["sampling.n_samples=32", "sampling.kind=stratified"])
    assert config.sampling == StratifiedSamplingConfig(n_samples=32)
    assert from_dict(HASH, to_dict(config), where="config.yml") == config
    assert override(config, ["sampling.kind=occupancy"]).sampling == OccupancySamplingConfig()


def test_numbers_of_numpy_are_numbers():
    config = from_dict(HASH, {"seed": np.int64(3), "learning_rate": np.float32(0.5)}, where="")
    assert (config.seed, config.learning_rate) == (3, 0.5)
    assert (type(config.seed), type(config.learning_rate)) == (int, float)
    with pytest.raises(NerfkitError, match="seed must be an integer"):
        from_dict(HASH, {"seed": np.bool_(True)}, where="")


def test_later_assignments_win():
    assert override(HASH, ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("nonsense=3", "nonsense is no setting; there are field, sampling"),
        ("learning_rat=3", "learning_rat is no setting; did you mean learning_rate?"),
        ("field.nonsense=3", "field.nonsense is no setting; there are field.n_levels"),
        ("field.n_level=3", "field.n_level is no setting; did you mean field.n_levels?"),
        # guessed from nothing: the setting is of another kind
        ("sampling.n_samples=3", "sampling.n_samples is no setting"),
        ("seed.deeper=3", r"seed must be an integer; got \{'deeper': 3\}"),
        ("seed", "wanted NAME=VALUE; got 'seed'; for example seed=1"),
        ("", "wanted NAME=VALUE"),
        ("seed=x", "seed must be an integer; got 'x'"),
        ("seed=1.5", "seed must be an integer; got 1.5"),
        ("seed=.nan", "seed must be an integer; got nan"),
        ("seed=true", "seed must be an integer; got True"),
        ("seed=[", r"seed must be an integer; got '\['"),
        ("captured=1", "captured must be true or false; got 1"),
        ("learning_rate=fast", "learning_rate must be a number; got 'fast'"),
        ("learning_rate=null", "learning_rate must be a number; got None"),
        ("learning_rate=0", "learning_rate must be above 0; got 0"),
        ("learning_rate=.nan", "learning_rate must be finite; got nan"),
        ("min_weight=-1", "min_weight must be 0 or more; got -1"),
        ("distortion_weight=-1", "distortion_weight must be 0 or more; got -1"),
        ("max_side=0", "max_side must be above 0; got 0"),
        ("max_side=big", "max_side must be an integer or null; got 'big'"),
        ("samples_per_step=-1", "samples_per_step must be above 0"),
        ("seconds=0", "seconds must be above 0"),
        ("seconds=null", "one of them says when training ends"),
        ("warmup_steps=0", "warmup_steps must be above 0"),
        ("max_rays=0", "max_rays must be above 0"),
        ("downscale=0.5", "downscale must be 1 or more; got 0.5"),
        ("background=pink", "background must be one of auto, white, black, random; got 'pink'"),
        ("field=3", "field must be a group of settings; got 3"),
        ("field.n_levels=0", "field.n_levels must be between 1 and 32; got 0"),
        ("field.initial_density=.inf", "field.initial_density must be finite; got inf"),
        ("sampling.kind=regular", "sampling.kind must be one of occupancy, stratified; got 'regular'"),
    ],
)
def test_a_bad_assignment(assignment, message):
    with pytest.raises(NerfkitError, match=message) as caught:
        override(HASH, [assignment])
    assert caught.value.where == "--set"
    assert caught.value.fix


@pytest.mark.parametrize(
    ("assignment", "fix"),
    [
        ("field.n_levels=0", "correct it, or leave it out for 8"),
        ("learning_rate=fast", "correct it, or leave it out for 0.04"),
        ("sampling.kind=regular", "correct it, or leave it out for occupancy"),
        ("max_side=0", "correct it"),
        ("sampling=regular", "its kind is sampling.kind=occupancy, stratified"),
    ],
)
def test_what_to_do_about_a_value(assignment, fix):
    with pytest.raises(NerfkitError) as caught:
        override(HASH, [assignment])
    assert caught.value.fix == fix


@dataclasses.dataclass(frozen=True)
class Inner(Settings):
    size: int = 3


@dataclasses.dataclass(frozen=True)
class Outer(Settings):
    inner: Inner = dataclasses.field(default_factory=Inner)
    other: Inner | None = None


def test_groups_of_one_kind():
    assert from_dict(Outer(), {"inner": {"size": 4}, "other": {"size": 5}}, where="") == Outer(Inner(4), Inner(5))
    for values, message in (
        ({"inner": 3}, "inner must be a group of settings; got 3"),
        ({"inner": {"size": "x"}}, "inner.size must be an integer; got 'x'"),
        ({"inner": {"siz": 1}}, "inner.siz is no setting; did you mean inner.size?"),
        ({"other": 3}, "other must be a group of settings or null; got 3"),
        ({3: 4, "x": 5}, "3 is no setting; there are inner, other"),
    ):
        with pytest.raises(NerfkitError, match=re.escape(message)):
            from_dict(Outer(), values, where="")


def test_a_group_is_not_set_twice():
    with pytest.raises(NerfkitError, match="field is set as a whole and in parts"):
        assigned(["field=3", "field.width=4"])


def numbers_of(config, path=()):
    """The path of each number among the settings that may have a fraction."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from numbers_of(value, (*path, field.name))
        elif "float" in str(field.type) and "tuple" not in str(field.type):
            yield (*path, field.name)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("config", ALL)
def test_no_number_of_any_task_may_be_infinite_or_none(config, value):
    paths = list(numbers_of(config))
    assert paths
    for *groups, name in paths:
        values = {name: value}
        for group in reversed(groups):
            values = {group: values}
        path = ".".join([*groups, name])
        with pytest.raises(NerfkitError, match=f"{path} must be finite; got {value}"):
            from_dict(config, values, where="--set")
        owner = config
        for group in groups:
            owner = getattr(owner, group)
        with pytest.raises(ValueError, match="must be finite"):
            dataclasses.replace(owner, **{name: value})


@pytest.mark.parametrize("size", [2**53 + 1, -(10**400)])
def test_integers_that_no_generator_and_no_json_takes_are_refused(size):
    for name in ("seed", "steps", "max_rays", "warmup_steps"):
        with pytest.raises(NerfkitError, match=f"{name} must be 2\\*\\*53 or less in size; got an integer of"):
            from_dict(HASH, {name: size}, where="--set")
    assert dataclasses.replace(HASH, seed=2**53).seed == 2**53


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"cannot be read \(No such file or directory\)"),
        ("- 1", "holds no settings"),
        ("a: [", "is no YAML"),
    ],
)
def test_a_bad_file(tmp_path, text, message):
    path = tmp_path / "mine.yml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(NerfkitError, match=message) as caught:
        load(path)
    assert caught.value.where == str(path) and "config.yml" in caught.value.fix
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(NerfkitError, match="is no YAML"):
        load(path)


def test_settings_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().seed = 1  # pyright: ignore[reportAttributeAccessIssue]
