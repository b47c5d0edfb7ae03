"""`nerfkit train`: what it makes, what it refuses, and how it goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from nerfkit import radiance_fit
from nerfkit.checkpoints import CheckpointFolder
from nerfkit.cli.train import ProgressPrinter
from nerfkit.config import override
from nerfkit.fitting import Progress
from nerfkit.presets import PRESETS
from nerfkit.runs import Run
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.training import prepare, resume, train


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def photos(scene_folder, tmp_path):
    """A copy of the scene that a test may damage."""
    return Path(shutil.copytree(scene_folder, tmp_path / "photos"))


@pytest.fixture
def config(small_hash):
    return replace(override(PRESETS["hash"], small_hash[3::2]), seconds=None, steps=40)


def test_the_run_folder(trained_run, scene_folder):
    names = {path.name for path in trained_run.iterdir()}
    assert {"config.yml", "scene.json", "metrics.jsonl", "metrics.json", "versions.json", "checkpoints"} <= names
    config, data, device, inputs = Run(trained_run).read_config()
    assert inputs == {"skip_bad": False, "masks": None, "job": None}
    assert (config.field.kind, config.steps, config.seconds) == ("hash", 200, None)
    assert (data, device) == (scene_folder, "cuda" if torch.cuda.is_available() else "cpu")
    # newest first: a machine on which the first step compiles for over a minute saves that as well
    assert Run(trained_run).checkpoints.steps()[0] == 200
    assert not (trained_run.parent / "latest").exists()
    figures = json.loads((trained_run / "metrics.json").read_text())["train"]
    assert figures["steps"] == 200 and figures["preview_seconds"] >= 0


def test_the_log_is_one_object_a_line(trained_run):
    lines = lines_of(trained_run / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(16, 201, 16))
    assert {"step", "seconds", "loss", "psnr", "rays", "samples"} <= set(lines[0])
    assert np.isfinite([line["loss"] for line in lines]).all()
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_json_and_the_default_folder(nerfkit, scene_folder, small_hash, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = nerfkit("train", scene_folder, *small_hash, "--steps", 3, "--json")
    assert answer.code == 0
    result = answer.json
    assert set(result) == {"run", "steps", "seconds", "psnr"}
    assert result["steps"] == 3
    folder = Path(result["run"])
    assert folder.parts[:3] == ("outputs", "lighthouse", "hash")
    assert (folder.parent / "latest").resolve() == folder.resolve()
    assert Run(folder.parent / "latest").read_config()[1] == scene_folder
    assert json.loads((folder / "metrics.json").read_text())["train"]["steps"] == 3
    # what a person reads is on stderr, and says what comes next
    assert "lighthouse: blender, 24 train, 2 val, 3 test views" in answer.err
    assert f"nerfkit eval {folder}" in answer.err


def test_for_a_person(nerfkit, scene_folder, small_hash, tmp_path):
    answer = nerfkit("train", scene_folder, *small_hash, "--steps", 10, "--out", tmp_path / "run")
    assert answer.code == 0
    assert "trained 10 steps" in answer.out
    assert "validation PSNR" in answer.out
    assert "step 10  PSNR" in answer.out
    quiet = nerfkit("train", "--resume", tmp_path / "run", "--steps", 11, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_seconds_end_a_run(nerfkit, scene_folder, small_hash, tmp_path):
    answer = nerfkit("train", scene_folder, *small_hash, "--seconds", 0.2, "--out", tmp_path / "run", "--json")
    assert answer.code == 0
    assert answer.json["steps"] >= 1
    assert answer.json["seconds"] >= 0.2
    assert Run(tmp_path / "run").read_config()[0].steps is None


def test_a_dry_run_trains_nothing(nerfkit, scene_folder, small_hash, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["train", scene_folder, *small_hash, "--steps", 1000, "--dry-run"]
    result = nerfkit(*arguments, "--json").json
    assert set(result) == {"dry_run", "parameters", "memory_mb", "photos_mb", "ms_per_step", "expected_seconds"}
    assert result["expected_seconds"] == pytest.approx(result["ms_per_step"], abs=0.1)
    assert result["parameters"] > 10_000
    answer = nerfkit(*arguments[:-1], "--dry-run", "--out", "run")
    assert "MB" in answer.out
    assert "ms a step on this machine" in answer.out
    assert list(tmp_path.iterdir()) == []


def test_a_config_of_another_run(nerfkit, scene_folder, tmp_path, trained_run):
    settings = yaml.safe_load((trained_run / "config.yml").read_text()) | {"seed": 5}
    (tmp_path / "mine.yml").write_text(yaml.safe_dump(settings))
    out = tmp_path / "run"
    arguments = ["train", scene_folder, "--config", tmp_path / "mine.yml", "--out", out, "--quiet"]
    assert nerfkit(*arguments, "--steps", 2).code == 0
    config = Run(out).read_config()[0]
    assert config == replace(Run(trained_run).read_config()[0], seed=5, steps=2)
    assert nerfkit(*arguments, "--steps", 2, "--seed", 7, "--overwrite").code == 0
    assert Run(out).read_config()[0].seed == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("typo: 1", "typo is no setting"),
        ("steps: many", "steps must be an integer or null; got 'many'"),
        ("- 1", "holds no settings"),
        ("a: [", "is no YAML"),
    ],
)
def test_a_bad_config_file(nerfkit, scene_folder, tmp_path, text, message):
    path = tmp_path / "mine.yml"
    if text is not None:
        path.write_text(text)
    error = nerfkit("train", scene_folder, "--config", path, "--json").json
    assert error["exit"] == 2
    assert message in error["error"]["what"]
    assert error["error"]["where"] == str(path)


def test_a_config_of_another_method(nerfkit, scene_folder, trained_run):
    path = trained_run / "config.yml"
    answer = nerfkit("train", scene_folder, "--config", path, "--method", "fourier")
    assert answer.code == 2
    assert "holds settings of hash, not of fourier" in answer.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "field.typo=1"], "field.typo is no setting"),
        (["--set", "seed=x"], "seed must be an integer"),
        (["--set", "captured=1"], "captured must be true or false; got 1"),
        (
            ["--set", "captured=true", "--device", "cpu"],
            "captured=true: needs a GPU; got cpu\n  fix: add --device cuda, or --set captured=false",
        ),
        (["--seconds", "5", "--steps", "5"], "give seconds or steps, not both"),
        (["--steps", "0"], "must be above 0; got 0"),
        (["--seconds", "-1"], "must be above 0; got -1"),
        (["--seconds", "nan"], "--seconds: seconds must be finite; got nan"),
        (["--downscale", "0.5"], "must be 1 or more; got 0.5"),
        (["--downscale", "nan"], "--downscale: downscale must be finite; got nan"),
    ],
)
def test_bad_options(nerfkit, scene_folder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    answer = nerfkit("train", scene_folder, *arguments)
    assert answer.code == 2
    assert message in answer.err
    assert list(tmp_path.iterdir()) == []


def test_no_data(nerfkit):
    answer = nerfkit("train")
    assert answer.code == 2
    assert "no DATA given" in answer.err


def absent(photos):
    shutil.rmtree(photos)


def without_poses(photos):
    for path in photos.glob("*.json"):
        path.unlink()


def broken_json(photos):
    path = photos / "transforms_train.json"
    path.write_text(path.read_text()[:200])


def singular_matrix(photos):
    path = photos / "transforms_train.json"
    values = json.loads(path.read_text())
    values["frames"][3]["transform_matrix"] = np.zeros((4, 4)).tolist()
    path.write_text(json.dumps(values))


def truncated_photo(photos):
    path = photos / "train" / "r_3.png"
    path.write_bytes(path.read_bytes()[:300])


def no_photos(photos):
    for path in photos.glob("*/*.png"):
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (absent, "photos"), (without_poses, "photos"), (broken_json, "transforms_train.json"),
        (singular_matrix, "frame 3"), (truncated_photo, "r_3.png"), (no_photos, "photos"),
    ],
)  # fmt: skip
def test_bad_data_is_named_and_leaves_nothing(nerfkit, photos, tmp_path, damage, named):
    damage(photos)
    out = tmp_path / "run"
    arguments = ["train", photos, "--steps", 1, "--out", out]
    answer = nerfkit(*arguments, "--json")
    assert answer.code == 2
    assert answer.json["exit"] == 2
    assert set(answer.json["error"]) == {"what", "where", "fix"}
    assert named in answer.json["error"]["where"] + answer.json["error"]["what"]
    assert "Traceback" not in answer.err
    assert not out.exists()


def test_absent_photos_are_skipped_with_a_warning(nerfkit, photos, small_hash, tmp_path):
    (photos / "train" / "r_5.png").unlink()
    answer = nerfkit("train", photos, *small_hash, "--steps", 1, "--out", tmp_path / "run")
    assert answer.code == 0
    assert answer.err.count("warning:") == 1
    assert "r_5" in answer.err


def test_a_run_without_bad_frames_stays_without_them(nerfkit, photos, small_hash, tmp_path):
    truncated_photo(photos)
    run = tmp_path / "run"
    assert nerfkit("train", photos, *small_hash, "--steps", 1, "--out", run, "--skip-bad").code == 0
    assert nerfkit("train", "--resume", run, "--steps", 2).code == 0
    answer = nerfkit("eval", run, "--split", "train", "--json")
    assert answer.json["results"]["n_images"] == 23


def test_an_output_that_is_not_empty(nerfkit, scene_folder, small_hash, tmp_path):
    out = tmp_path / "run"
    arguments = ["train", scene_folder, *small_hash, "--steps", 1, "--out", out, "--quiet"]
    assert nerfkit(*arguments).code == 0
    (out / "eval").mkdir()
    answer = nerfkit(*arguments)
    assert answer.code == 2
    assert "is not empty" in answer.err
    assert nerfkit(*arguments, "--overwrite").code == 0
    assert not (out / "eval").exists()


def test_bad_photos_do_not_cost_the_run_before(nerfkit, photos, small_hash, tmp_path):
    out = tmp_path / "run"
    arguments = ["train", photos, *small_hash, "--steps", 1, "--out", out, "--quiet"]
    assert nerfkit(*arguments).code == 0
    truncated_photo(photos)
    assert nerfkit(*arguments, "--overwrite").code == 2
    assert Run(out).checkpoints.steps() == [1]


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_an_output_that_cannot_be(nerfkit, scene_folder, tmp_path, name):
    (tmp_path / "file").write_text("")
    out = tmp_path / name
    answer = nerfkit("train", scene_folder, "--steps", 1, "--out", out, "--json")
    assert answer.code == 2
    assert answer.json["error"]["where"] == str(out)


def test_overwrite_spares_the_photos(nerfkit, photos):
    (photos / "demo.json").write_text("{}")
    answer = nerfkit("train", photos, "--steps", 1, "--out", photos, "--overwrite")
    assert answer.code == 2
    assert "would delete the photos" in answer.err
    assert (photos / "train" / "r_0.png").exists()


def test_a_full_disk(nerfkit, scene_folder, small_hash, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    answer = nerfkit("train", scene_folder, *small_hash, "--steps", 1, "--out", tmp_path / "run", "--json")
    assert answer.code == 2
    assert "no space left on the disk" in answer.json["error"]["what"]


def test_a_gpu_that_is_not_there(nerfkit, scene_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    answer = nerfkit("train", scene_folder, "--device", "cuda", "--out", tmp_path / "run", "--json")
    assert answer.code == 3
    assert answer.json["exit"] == 3
    assert answer.json["error"]["where"] == "--device cuda"
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_machines_gpu(nerfkit, run_copy, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = run_copy / "config.yml"
    path.write_text(path.read_text().replace("device: cpu", "device: cuda"))
    answer = nerfkit("train", "--resume", run_copy, "--steps", 201)
    assert answer.code == 3
    assert "use --device cpu" in answer.err
    assert nerfkit("train", "--resume", run_copy, "--steps", 201, "--device", "cpu").code == 0


def test_a_captured_run_goes_on_where_there_is_a_gpu(nerfkit, run_copy):
    path = run_copy / "config.yml"
    text = path.read_text()
    path.write_text(text.replace("captured: false", "captured: true"))
    answer = nerfkit("train", "--resume", run_copy, "--steps", 201)
    assert answer.code == 2
    assert (
        f"captured=true: needs a GPU; got cpu\n  fix: add --device cuda, or write captured: false in {path}"
        in answer.err
    )
    path.write_text(text)
    assert nerfkit("train", "--resume", run_copy, "--steps", 201).code == 0


def test_a_diverging_run_says_what_to_change(nerfkit, scene_folder, small_hash, tmp_path):
    # with every sample kept: weights that huge may also leave an empty scene, which is noticed as that
    wild = ["--set", "learning_rate=1e30", "--set", "min_weight=0"]
    answer = nerfkit("train", scene_folder, *small_hash, *wild, "--steps", 30, "--out", tmp_path / "run")
    assert answer.code == 2
    assert "the fit diverged" in answer.err
    assert "--set learning_rate=" in answer.err


def test_a_run_that_diverges_as_it_goes_on_keeps_what_was_sound(nerfkit, run_copy):
    path = run_copy / "config.yml"
    settings = yaml.safe_load(path.read_text()) | {"learning_rate": 1e30, "min_weight": 0.0}
    path.write_text(yaml.safe_dump(settings))
    error = nerfkit("train", "--resume", run_copy, "--steps", 215, "--json").json
    assert error["exit"] == 2
    assert error["error"]["what"].startswith("the fit diverged: ")
    assert error["error"]["where"] == str(run_copy)
    assert error["error"]["fix"].endswith("learning_rate=2.5e+29; the run keeps step 200, which was sound")
    assert Run(run_copy).checkpoints.steps()[0] == 200


def test_progress_of_a_part_of_a_run_counts_from_its_own_first_step():
    said = []
    with ProgressPrinter(SimpleNamespace(is_quiet=False, say=said.append)) as printer:  # pyright: ignore[reportArgumentType]  it only prints
        for step in range(201, 215):
            printer(Progress(step, 0.1 * (step - 200), step / 400, 400.0 - step, {"psnr": 20.0, "rays": 64}))
    assert len(said) == 1
    assert "step 210  PSNR 20.00 dB" in said[0] and said[0].endswith("190 s left")


def test_resume_takes_more_steps(nerfkit, run_copy):
    answer = nerfkit("train", "--resume", run_copy, "--steps", 210, "--json")
    assert answer.code == 0
    assert answer.json["steps"] == 210
    assert [line["step"] for line in lines_of(run_copy / "metrics.jsonl")] == list(range(16, 211, 16))


def test_resume_after_damage_uses_the_checkpoint_before(nerfkit, run_copy):
    assert nerfkit("train", "--resume", run_copy, "--steps", 205, "--quiet").code == 0
    newest = run_copy / "checkpoints" / "step_00000205.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    answer = nerfkit("train", "--resume", run_copy, "--steps", 203)
    assert answer.code == 0
    assert "warning: checkpoint of step 205 cannot be used" in answer.err
    assert "resumed at step 200" in answer.err
    assert "trained 203 steps" in answer.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "hash"], "--method cannot change a run that goes on"),
        (["--seed", "0", "--skip-bad"], "--seed, --skip-bad cannot change"),
        (["--dry-run"], "--dry-run cannot change"),
        (["--set", "seed=1"], "--set cannot change"),
        (["--steps", "-3"], "must be above 0; got -3"),
        (["--steps", "3", "--seconds", "3"], "not both"),
    ],
)
def test_what_a_resumed_run_refuses(nerfkit, trained_run, arguments, message):
    answer = nerfkit("train", "--resume", trained_run, *arguments)
    assert answer.code == 2
    assert message in answer.err


def test_resume_of_no_run(nerfkit, tmp_path):
    answer = nerfkit("train", "--resume", tmp_path)
    assert answer.code == 2
    assert "is no run folder" in answer.err


def test_resume_after_the_photos_moved(nerfkit, photos, small_hash, tmp_path):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    assert nerfkit("train", photos, *small_hash, "--steps", 1, "--out", run).code == 0
    photos.rename(elsewhere)
    answer = nerfkit("train", "--resume", run, "--steps", 2)
    assert answer.code == 2
    assert f"nerfkit train DATA --resume {run}" in answer.err
    assert nerfkit("train", elsewhere, "--resume", run, "--steps", 2).code == 0


def test_a_resumed_run_equals_an_uninterrupted_one(scene_folder, config, tmp_path):
    def stop_at_20(progress):
        if progress.step == 20:
            os.kill(os.getpid(), signal.SIGINT)

    def start(name, on_progress):
        run = Run(tmp_path / name)
        return run, train(prepare(read_posed_photos(scene_folder), config, "cpu"), run, on_progress)

    whole, done = start("whole", lambda progress: None)
    assert (done["steps"], done["interrupted"]) == (40, False)
    parts, done = start("parts", stop_at_20)
    assert (done["steps"], done["interrupted"]) == (20, True)
    done = resume(parts, config, data=None, device="cpu", on_progress=lambda progress: None)
    assert (done["steps"], done["interrupted"]) == (40, False)
    for name in ("task", "optimizer"):
        assert_equal(whole.checkpoints.load_newest()[name], parts.checkpoints.load_newest()[name], name)
    strip = [{k: v for k, v in line.items() if k != "seconds"} for line in lines_of(whole.metrics_log)]
    assert strip == [{k: v for k, v in line.items() if k != "seconds"} for line in lines_of(parts.metrics_log)]


class Killed(BaseException):
    """As by a signal that cannot be caught."""


@pytest.mark.parametrize("saved_at", [None, 8])
def test_a_run_that_was_killed_after_it_had_decided_on_exposures_ends_in_the_same_bits(
    scene_folder, config, tmp_path, monkeypatch, saved_at
):  # fmt: skip
    monkeypatch.setattr(radiance_fit, "CHOICE_STEP", 12)
    before = CheckpointFolder.save

    def save(self, step, state):
        return before(self, step, state) if step in (saved_at, config.steps) else None

    monkeypatch.setattr(CheckpointFolder, "save", save)
    often = replace(config, checkpoint_seconds=1e-6)

    def kill_at_20(progress):
        if progress.step == 20:
            raise Killed

    def start(name, on_progress):
        run = Run(tmp_path / name)
        train(prepare(read_posed_photos(scene_folder), often, "cpu"), run, on_progress, data=scene_folder)
        return run

    whole = start("whole", lambda progress: None)
    assert whole.read_config().config.exposure == "common"
    with pytest.raises(Killed):
        start("cut", kill_at_20)
    cut = Run(tmp_path / "cut")
    assert cut.read_config().config.exposure == "auto"
    said = []
    resume(
        cut, cut.read_config().config, data=None, device="cpu", on_progress=lambda progress: None, say=said.append
    )  # fmt: skip
    assert ("there is no checkpoint yet: from the beginning" in said) == (saved_at is None)
    for name in ("task", "optimizer"):
        assert_equal(whole.checkpoints.load_newest()[name], cut.checkpoints.load_newest()[name], name)
    assert cut.read_config().config.exposure == "common"


def assert_equal(a, b, name):
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), name
    elif isinstance(a, dict):
        assert list(a) == list(b), name
        for key in a:
            assert_equal(a[key], b[key], f"{name}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), name
        for i, pair in enumerate(zip(a, b, strict=True)):
            assert_equal(*pair, f"{name}.{i}")
    else:
        assert a == b, name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_saves_and_goes_on(nerfkit, scene_folder, small_hash, tmp_path, number):
    run = tmp_path / "run"
    command = ["train", str(scene_folder), *small_hash, "--steps", "1000000", "--out", str(run), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nerfkit", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        while process.poll() is None and not (run / "metrics.jsonl").is_file():
            time.sleep(0.05)
        while process.poll() is None and not (run / "metrics.jsonl").stat().st_size:
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    result = json.loads(out)
    assert result["exit"] == 130
    assert result["steps"] >= 16
    assert f"nerfkit train --resume {run}" in err
    assert Run(run).checkpoints.steps()[0] == result["steps"]
    answer = nerfkit("train", "--resume", run, "--steps", result["steps"] + 2, "--json")
    assert answer.code == 0
    assert answer.json["steps"] == result["steps"] + 2
