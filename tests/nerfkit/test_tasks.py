"""The registry of tasks: settings from presets, files and options, and runs that know their task."""

import dataclasses

import pytest

import nerfkit
from nerfkit.config import to_dict
from nerfkit.presets import PRESETS
from nerfkit.runs import Run
from nerfkit.scenes.errors import NerfkitError
from nerfkit.superresolution.settings import SuperresConfig, SuperresSettings
from nerfkit.tasks import TASKS, get_task
from nerfkit.tasks.superres import TASK as SUPERRES
from nerfkit.tasks.train import TASK as TRAIN
from nerfkit.tasks.train import budget


def test_names():
    assert [get_task(name).name for name in TASKS] == list(TASKS)
    assert all(get_task(name).presets for name in TASKS)
    with pytest.raises(ValueError, match="unknown task 'nonsense'; there are train, superres"):
        get_task("nonsense")


def test_the_kind_of_the_field_names_the_preset(tmp_path):
    (tmp_path / "mine.yml").write_text("field: {kind: fourier, width: 48}\n")
    fourier = dataclasses.replace(PRESETS["fourier"].field, width=48)
    for config in (
        TRAIN.configure(file=tmp_path / "mine.yml"),
        TRAIN.configure(preset="fourier", assignments=["field.width=48"]),
        TRAIN.configure(assignments=["field.kind=fourier", "field.width=48"]),
        TRAIN.configure(given={"nerfkit.train": {"field": {"kind": "fourier", "width": 48}}}),
    ):
        assert (config.field, config.learning_rate) == (fourier, PRESETS["fourier"].learning_rate)
    assert TRAIN.configure() == PRESETS["hash"]


def test_the_last_one_who_speaks_is_heard(tmp_path):
    (tmp_path / "mine.yml").write_text("seed: 1\nlearning_rate: 1e-3\nmax_rays: 7\n")
    config = TRAIN.configure(
        file=tmp_path / "mine.yml", assignments=["seed=2", "learning_rate=0.5"], given={"--seed": {"seed": 3}}
    )  # fmt: skip
    assert (config.seed, config.learning_rate, config.max_rays) == (3, 0.5, 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "voxels"}, "'voxels' is not one of hash, fourier"),
        ({"preset": "hash", "assignments": ["field.kind=fourier"]}, "--set: holds settings of fourier, not of hash"),
        ({"assignments": ["field.kind=voxels"]}, "field.kind must be one of hash, fourier; got 'voxels'"),
        ({"assignments": ["field.kind={}"]}, "field.kind must be one of hash, fourier; got {}"),
        ({"given": {"--steps": {"steps": 0}}}, "--steps: steps must be above 0; got 0"),
    ],
)
def test_settings_that_contradict(arguments, message):
    with pytest.raises(NerfkitError, match=message):
        TRAIN.configure(**arguments)


def test_a_file_of_another_task(tmp_path):
    (tmp_path / "mine.yml").write_text("task: superres\nscale: 2\n")
    with pytest.raises(NerfkitError, match="holds settings of the task superres, not of train") as caught:
        TRAIN.configure(file=tmp_path / "mine.yml")
    assert "nerfkit train wrote" in caught.value.fix
    assert SUPERRES.configure(file=tmp_path / "mine.yml").scale == 2


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("scale=1", "scale must be above 1 and at most 16; got 1"),
        ("scale=17", "scale must be above 1 and at most 16; got 17"),
        ("output_size=[3]", r"output_size must be 2 integers or null; got \[3\]"),
        ("output_size=[0, 3]", "output_size must be above 0; got 0"),
        ("psf_width=0", "psf_width must be above 0 and at most 8 low-res pixels, or auto; got 0"),
        ("psf_width=wide", "psf_width must be a number or 'auto' or null; got 'wide'"),
        ("psf_width=.nan", "psf_width must be finite; got nan"),
        ("seconds=0.5", "seconds must be 1 or more; got 0.5"),
        ("register=turn", "register must be one of auto, shift, similarity, affine, homography; got 'turn'"),
        ("width=0", "width must be between 1 and 1024; got 0"),
        ("n_layers=0", "n_layers must be between 1 and 16; got 0"),
        ("omega=-1", "omega must be above 0; got -1"),
        ("networks=1", "networks is no setting; did you mean network"),
    ],
)
def test_a_bad_setting_of_superres(assignment, message):
    with pytest.raises(NerfkitError, match=message):
        SUPERRES.configure(assignments=[assignment])


def test_a_width_for_a_psf_of_a_file():
    with pytest.raises(NerfkitError, match="finds the width of a box or a Gaussian, not of a file"):
        SUPERRES.configure(assignments=["psf=a.png", "psf_width=auto"])
    assert SUPERRES.configure(assignments=["psf=a.png", "psf_width=12"]).psf_width == 12.0


@pytest.mark.parametrize(
    ("asked", "kind", "scale", "size", "transfer"),
    [
        ({}, (1, 8), 4.0, (40, 24), "linear"),
        ({"scale": 2.5}, (3, 16), 2.5, (25, 15), "srgb"),
        ({"output_size": (30, 18)}, (4, 32), 3.0, (30, 18), "linear"),
        ({"transfer": "srgb"}, (1, 8), 4.0, (40, 24), "srgb"),
    ],
)
def test_what_follows_from_the_frames(asked, kind, scale, size, transfer):
    config = SuperresConfig(**asked)
    settings = SuperresSettings.for_frames(config, size=(10, 6), n_channels=kind[0], bit_depth=kind[1])
    assert (settings.scale, settings.output_size, settings.transfer) == (scale, size, transfer)
    assert (settings.frame_size, settings.n_channels, settings.bit_depth) == ((10, 6), *kind)


def test_a_budget_has_one_end():
    assert budget(None, None) == {} and budget(5, None) == {"seconds": 5, "steps": None}
    with pytest.raises(NerfkitError, match="not both"):
        budget(5, 5)


@pytest.mark.parametrize("name", TASKS)
def test_config_of_a_run_gives_the_same_settings(name, tmp_path):
    run, task = Run(tmp_path / "runs" / "one"), get_task(name)
    for preset, config in task.presets.items():
        config = dataclasses.replace(config, seed=3, seconds=12.5)
        run.write_config(config, data=tmp_path / "data", device="cuda", **dict.fromkeys(task.inputs))
        assert run.read_config() == (config, tmp_path / "data", "cuda", dict.fromkeys(task.inputs))
        assert run.task is task
        again = task.configure(file=run.folder / "config.yml")
        assert again == config and to_dict(again) == to_dict(config), preset


def test_the_psf_of_a_run_lies_in_its_folder(tmp_path):
    run = Run(tmp_path / "one")
    run.write_config(SuperresConfig(psf="psf.npy"), data=tmp_path / "data", device="cpu", shifts=tmp_path / "s.csv")
    assert SUPERRES.configure(file=run.folder / "config.yml").psf == str(tmp_path / "one" / "psf.npy")
    assert run.read_config().inputs["shifts"] == "../s.csv"


def test_no_run(tmp_path):
    with pytest.raises(NerfkitError, match="is no run folder"):
        nerfkit.load(tmp_path)
