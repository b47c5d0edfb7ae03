"""Presets by device: what each starts from, what a run writes, and that a GPU's sizes run on a CPU."""

# pyright: reportAttributeAccessIssue=false
# (a method has a field of its kind)
from itertools import product
from typing import get_args

import pytest
import yaml

import nerfkit
from nerfkit.cli import main
from nerfkit.presets import PRESETS, SIZES, PresetName, preset_for
from nerfkit.radiance_fit import samples_a_step
from nerfkit.scenes.errors import NerfkitError
from nerfkit.tasks.train import configured

NAMES = get_args(PresetName)


@pytest.mark.parametrize("device, method, name", list(product(("cpu", "cuda"), PRESETS, NAMES)))
def test_each_device_has_each_preset(device, method, name):
    config = preset_for(method, device, name)
    assert (config.preset, config.field.kind) == (name, method)
    assert configured(method, device, given={"--preset": {"preset": name}}) == config


def test_every_size_is_of_a_preset_that_there_is():
    assert set(SIZES) <= set(product(("cpu", "cuda"), PRESETS, NAMES))


def test_a_gpu_starts_from_instant_ngps_sizes():
    config = preset_for("hash", "cuda")
    assert (config.field.log2_table_size, config.field.width, samples_a_step(config, "cuda")) == (19, 64, 2**18)
    assert preset_for("hash", "cpu") == PRESETS["hash"] and PRESETS["hash"].preset == "default"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_presets_are_in_the_order_of_their_sizes(device):
    sizes = [
        (field.log2_table_size, field.width, samples_a_step(config, device))
        for config in (preset_for("hash", device, name) for name in NAMES)
        for field in [config.field]
    ]
    assert sizes == sorted(sizes) and len(set(sizes)) == 3


def test_what_is_asked_for_goes_before_the_preset(tmp_path):
    (tmp_path / "mine.yml").write_text("preset: best\nfield: {width: 16}\n")
    config = configured(None, "cpu", file=tmp_path / "mine.yml", assignments=["field.n_levels=4"], given={})
    best = preset_for("hash", "cpu", "best")
    assert (config.preset, config.field.log2_table_size) == ("best", best.field.log2_table_size)
    assert (config.field.width, config.field.n_levels) == (16, 4)
    # an option goes before the file
    assert configured(None, "cpu", file=tmp_path / "mine.yml", given={"--preset": {"preset": "fast"}}).preset == "fast"


def test_a_preset_that_there_is_not(scene_folder, tmp_path, capsys):
    with pytest.raises(NerfkitError, match="preset must be one of fast, default, best; got 'huge'"):
        configured(None, "cpu", assignments=["preset=huge"], given={})
    assert main(["train", str(scene_folder), "--preset", "huge", "--out", str(tmp_path / "run")]) == 2
    assert "invalid choice: 'huge'" in capsys.readouterr().err


def test_a_run_writes_its_preset_and_keeps_it(scene_folder, tmp_path, capsys):
    run = tmp_path / "run"
    command = ["train", str(scene_folder), "--device", "cpu", "--preset", "fast", "--steps", "2", "--quiet"]
    assert main([*command, "--set", "samples_per_step=2048", "--out", str(run)]) == 0
    config = yaml.safe_load((run / "config.yml").read_text())
    assert (config["preset"], config["field"]["log2_table_size"], config["max_side"]) == ("fast", 15, 300)
    assert main(["train", "--resume", str(run), "--preset", "best", "--steps", "4"]) == 2
    assert "--preset cannot change a run that goes on" in capsys.readouterr().err


def test_what_a_gpu_trained_is_rendered_on_a_cpu(scene_folder, tmp_path):
    """Its sizes, by its settings; the device that config.yml names is not there."""
    sizes = SIZES["cuda", "hash", "default"]
    nerfkit.train(scene_folder, tmp_path / "run", device="cpu", steps=2, samples_per_step=4096, **sizes)
    path = tmp_path / "run" / "config.yml"
    assert "device: cpu" in path.read_text()
    path.write_text(path.read_text().replace("device: cpu", "device: cuda"))
    assert main(["eval", str(tmp_path / "run"), "--device", "cpu", "--split", "val", "--json", "--quiet"]) == 0
    loaded = nerfkit.load(tmp_path / "run", device="cpu")
    assert loaded.scene.config.field.log2_table_size == 19 and loaded.scene.config.field.width == 64
    view = loaded.scene.render(*_camera(loaded))
    assert view.rgb.shape == (32, 32, 3) and bool(view.rgb.isfinite().all())


def _camera(loaded):
    photos = loaded.run.read_photos(None)
    i = photos.splits["val"][0]
    return photos.cameras[i], photos.c2w[i]
