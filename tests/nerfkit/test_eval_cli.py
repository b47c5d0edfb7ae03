"""`nerfkit eval`: figures that can be recomputed, and what it refuses."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from nerfkit.metrics import psnr


def read(path):
    return np.asarray(Image.open(path)).astype(np.float64) / 255


def truth_of(path):
    """A photo before white, as the run's background is."""
    rgba = read(path)
    return rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]


def test_json(nerfkit, run_copy):
    answer = nerfkit("eval", run_copy, "--json")
    assert answer.code == 0
    result = answer.json
    assert set(result["results"]) == {"psnr", "ssim", "seconds_per_frame", "n_images"}
    assert [image["file"] for image in result["images"]] == [f"test/r_{i}.png" for i in range(3)]
    assert all(set(image) == {"file", "psnr", "ssim"} for image in result["images"])
    assert result["results"]["n_images"] == 3
    assert result["results"]["psnr"] == pytest.approx(np.mean([i["psnr"] for i in result["images"]]), abs=1e-3)
    assert result["results"]["ssim"] == pytest.approx(np.mean([i["ssim"] for i in result["images"]]), abs=1e-3)
    assert json.loads((run_copy / "eval_test.json").read_text()) == result


def test_the_figures_are_those_of_the_pictures(nerfkit, run_copy, scene_folder):
    for image in nerfkit("eval", run_copy, "--json").json["images"]:
        name = image["file"].removeprefix("test/")
        picture, truth = read(run_copy / "eval" / "test" / name), truth_of(scene_folder / "test" / name)
        # the picture is rounded to 8 bits
        assert image["psnr"] == pytest.approx(psnr(torch.tensor(picture), torch.tensor(truth)), abs=0.02)
        similarity = structural_similarity(
            picture, truth, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=-1
        )
        assert image["ssim"] == pytest.approx(similarity, abs=2e-3)


def test_evaluating_twice_gives_the_same(nerfkit, run_copy):
    first, second = (nerfkit("eval", run_copy, "--json").json["images"] for _ in range(2))
    assert first == second


def test_for_a_person(nerfkit, run_copy):
    answer = nerfkit("eval", run_copy, "--split", "val")
    assert answer.code == 0
    assert "val/r_1.png  PSNR " in answer.out
    assert "mean of 2 val views: PSNR " in answer.out
    assert sorted(path.name for path in (run_copy / "eval" / "val").iterdir()) == ["r_0.png", "r_1.png"]
    quiet = nerfkit("eval", run_copy, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_data_that_moved(nerfkit, run_copy, scene_folder, tmp_path):
    path = run_copy / "config.yml"
    path.write_text(path.read_text().replace("/lighthouse", "/gone"))
    answer = nerfkit("eval", run_copy, "--json")
    assert answer.code == 2
    assert "the photos are not there any more" in answer.json["error"]["what"]
    assert "--data DATA" in answer.json["error"]["fix"]
    elsewhere = shutil.copytree(scene_folder, tmp_path / "elsewhere")
    assert nerfkit("eval", run_copy, "--data", elsewhere).code == 0
    assert nerfkit("eval", run_copy, "--data", tmp_path / "nowhere").code == 2


def test_a_run_folder_that_moved_with_its_data(nerfkit, run_copy, scene_folder, tmp_path):
    # the way from the run to the photos is relative
    shutil.copytree(scene_folder.parent, tmp_path / "b" / scene_folder.parent.name)
    shutil.copytree(run_copy, tmp_path / "b" / run_copy.parent.name / "run")
    answer = nerfkit("eval", tmp_path / "b" / run_copy.parent.name / "run", "--json")
    assert answer.code == 0
    assert answer.json["results"]["n_images"] == 3


def test_a_split_without_photos(nerfkit, run_copy, scene_folder, tmp_path):
    photos = shutil.copytree(scene_folder, tmp_path / "photos")
    (photos / "transforms_val.json").unlink()
    answer = nerfkit("eval", run_copy, "--split", "val", "--data", photos)
    assert answer.code == 2
    assert "has no photos in the split val (it has train 24" in answer.err


def test_an_unknown_split(nerfkit, trained_run):
    answer = nerfkit("eval", trained_run, "--split", "holdout")
    assert answer.code == 2
    assert "argument --split: invalid choice: 'holdout'" in answer.err


def test_no_run(nerfkit, tmp_path):
    for name in ("", "absent"):
        answer = nerfkit("eval", tmp_path / name, "--json")
        assert answer.code == 2
        assert "is no run folder" in answer.json["error"]["what"]


def test_a_checkpoint_cut_short(nerfkit, run_copy):
    path = run_copy / "checkpoints" / "step_00000200.safetensors"
    # a slow machine has saved one before, too
    for other in path.parent.glob("step_*"):
        if other.stem != path.stem:
            other.unlink()
    path.write_bytes(path.read_bytes()[:-1])
    answer = nerfkit("eval", run_copy, "--json")
    assert answer.code == 2
    assert "cut short" in answer.json["error"]["what"]
    assert answer.json["error"]["where"] == str(run_copy / "checkpoints")


def test_weights_that_do_not_fit_the_config(nerfkit, run_copy):
    path = run_copy / "config.yml"
    path.write_text(path.read_text().replace("log2_table_size: 12", "log2_table_size: 13"))
    answer = nerfkit("eval", run_copy)
    assert answer.code == 2
    assert "its weights do not fit the settings in its config.yml" in answer.err


def test_a_gpu_that_is_not_there(nerfkit, trained_run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for command in ("eval", "render"):
        assert nerfkit(command, trained_run, "--device", "cuda").code == 3


def test_pictures_too_small_for_ssim(nerfkit, small_hash, tmp_path):
    from nerfkit.scenes.synthetic import write_posed_scene

    photos = write_posed_scene(tmp_path / "tiny", n_train=4, n_val=1, n_test=1, size=(8, 8), supersample=1)
    assert nerfkit("train", photos, *small_hash, "--steps", 1, "--out", tmp_path / "run").code == 0
    result = nerfkit("eval", tmp_path / "run", "--json").json
    assert result["results"]["ssim"] is None
    assert math.isfinite(result["results"]["psnr"])
    assert "SSIM -" in nerfkit("eval", tmp_path / "run").out


def test_pictures_of_one_name_in_several_folders(nerfkit, small_hash, scene_folder, tmp_path):
    photos = shutil.copytree(scene_folder, tmp_path / "photos")
    path = photos / "transforms_test.json"
    values = json.loads(path.read_text())
    (photos / "other").mkdir()
    shutil.copy(photos / "test" / "r_1.png", photos / "other" / "r_0.png")
    values["frames"][1]["file_path"] = "./other/r_0"
    path.write_text(json.dumps(values))
    run = tmp_path / "run"
    assert nerfkit("train", photos, *small_hash, "--steps", 1, "--out", run).code == 0
    assert nerfkit("eval", run).code == 0
    assert len(list((run / "eval" / "test").iterdir())) == 3
