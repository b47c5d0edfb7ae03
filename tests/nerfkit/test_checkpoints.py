"""Checkpoints: what is saved comes back, damage is found out, nothing is pickled."""

import json
import logging
import math
import os

import pytest
import torch

from nerfkit.checkpoints import CheckpointFolder, DivergedError
from nerfkit.scenes.errors import NerfkitError

STATE = {
    "weights": torch.linspace(0, 1, 7),
    "nested": {"list": [torch.tensor(3), 1.5, "text", None, True], "empty": torch.zeros(0, 3)},
    # the optimiser counts its parameters with integers
    "optimizer": {0: {"exp_avg": torch.ones(2, 3).t()}, 1: {"exp_avg": torch.zeros(1, dtype=torch.uint8)}},
}


@pytest.fixture
def folder(tmp_path):
    return CheckpointFolder(tmp_path / "checkpoints")


def weights(value):
    return {"weights": torch.full((100,), float(value))}


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def flip(path):
    payload = bytearray(path.read_bytes())
    payload[-1] ^= 1
    path.write_bytes(payload)


def test_round_trip(folder):
    folder.save(12, STATE)
    back = folder.load_newest()
    assert torch.equal(back["weights"], STATE["weights"])
    assert back["nested"]["list"][0].item() == 3
    assert back["nested"]["list"][1:] == [1.5, "text", None, True]
    assert back["nested"]["empty"].shape == (0, 3)
    assert list(back["optimizer"]) == [0, 1]
    assert torch.equal(back["optimizer"][0]["exp_avg"], torch.ones(3, 2))
    assert back["optimizer"][1]["exp_avg"].dtype == torch.uint8


def test_a_number_that_is_none_comes_back(folder):
    folder.save(1, {"mse": math.nan, "x": torch.ones(1)})
    assert math.isnan(folder.load_newest()["mse"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_tensor_that_is_not_finite_is_not_saved(folder, value, dtype):
    folder.save(1, weights(1))
    bad = {"weights": torch.ones(3), "deep": [{"moments": torch.tensor([1.0, value], dtype=dtype)}]}
    with pytest.raises(DivergedError, match=r"at step 2 1 of the 2 numbers of deep\.0\.moments are NaN or infinite"):
        folder.save(2, bad)
    assert folder.steps() == [1] and len(list(folder.folder.iterdir())) == 2


def test_a_checkpoint_that_is_not_finite_is_passed_over(folder, monkeypatch, caplog):
    folder.save(1, weights(1))
    with monkeypatch.context() as patch:
        # one of before tensors were looked at
        patch.setattr("nerfkit.checkpoints.check_finite", lambda *args, **kwargs: None)
        folder.save(2, weights(math.nan))
    with caplog.at_level(logging.WARNING):
        assert torch.equal(folder.load_newest()["weights"], weights(1)["weights"])
    assert "checkpoint of step 2 cannot be used (100 of the 100 numbers of weights are NaN" in caplog.text


def test_names_that_would_collide_are_refused(folder):
    with pytest.raises(ValueError, match="two tensors"):
        folder.save(1, {"a.b": torch.ones(1), "a": {"b": torch.zeros(1)}})


def test_nothing_is_pickled(folder):
    folder.save(1, STATE)
    names = sorted(path.name for path in folder.folder.iterdir())
    assert names == ["step_00000001.json", "step_00000001.safetensors"]
    payload = (folder.folder / names[1]).read_bytes()
    # safetensors: length of the header, the header as JSON, raw numbers
    length = int.from_bytes(payload[:8], "little")
    assert "weights" in json.loads(payload[8 : 8 + length])
    json.loads((folder.folder / names[0]).read_text())


def test_only_the_newest_two_are_kept(folder):
    for step in (10, 20, 100, 30000):
        folder.save(step, weights(step))
    assert folder.steps() == [30000, 100]
    assert len(list(folder.folder.iterdir())) == 4
    assert folder.load_newest()["weights"][0] == 30000


@pytest.mark.parametrize("damage", [cut, flip, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("suffix", ["safetensors"])
def test_a_damaged_one_gives_way_to_the_one_before(folder, caplog, damage, suffix):
    folder.save(10, weights(10))
    folder.save(20, weights(20))
    damage(folder.folder / f"step_00000020.{suffix}")
    with caplog.at_level(logging.WARNING, logger="nerfkit"):
        assert folder.load_newest()["weights"][0] == 10
    assert "checkpoint of step 20 cannot be used" in caplog.text
    assert "going on from the checkpoint of step 10" in caplog.text


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"bytes": 3}'])
def test_a_damaged_head_gives_way_to_the_one_before(folder, caplog, text):
    folder.save(10, weights(10))
    folder.save(20, weights(20))
    (folder.folder / "step_00000020.json").write_text(text)
    with caplog.at_level(logging.WARNING, logger="nerfkit"):
        assert folder.load_newest()["weights"][0] == 10
    assert "step 20" in caplog.text


def test_the_message_says_what_is_wrong(folder):
    folder.save(10, weights(10))
    folder.save(20, weights(20))
    cut(folder.folder / "step_00000010.safetensors")
    flip(folder.folder / "step_00000020.safetensors")
    with pytest.raises(NerfkitError) as caught:
        folder.load_newest()
    assert "step 20: step_00000020.safetensors was changed: its checksum differs" in caught.value.what
    assert "step 10" in caught.value.what
    assert "cut short" in caught.value.what
    assert caught.value.where == str(folder.folder)


def test_an_empty_or_absent_folder(folder):
    with pytest.raises(NerfkitError, match="the folder has none"):
        folder.load_newest()


def test_a_good_one_outlives_a_damaged_later_one(folder):
    for step in (10, 20):
        folder.save(step, weights(step))
    for step in (10, 20):
        cut(folder.folder / f"step_000000{step}.safetensors")
    # a run that starts over writes earlier steps, which must not be taken for old ones
    folder.save(5, weights(5))
    assert folder.steps() == [5]
    assert folder.load_newest()["weights"][0] == 5


def test_what_a_killed_process_left_is_removed(folder):
    folder.save(10, weights(10))
    (folder.folder / "step_00000015.safetensors").write_bytes(b"no head was written")
    (folder.folder / "notes.txt").write_text("not ours")
    folder.save(20, weights(20))
    assert len(list(folder.folder.iterdir())) == 5
    assert (folder.folder / "notes.txt").exists()


def test_a_failed_save_leaves_the_checkpoint_before(folder, monkeypatch):
    folder.save(10, weights(10))

    def full(handle):
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(NerfkitError, match="no space left"):
            folder.save(20, weights(20))
    assert folder.steps() == [10]
    assert folder.load_newest()["weights"][0] == 10
