"""The run folder: what is written comes back, damage is named, links are made with care."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from photo_folders import write_transforms

import nerfkit
from nerfkit import runs
from nerfkit.config import override
from nerfkit.presets import PRESETS
from nerfkit.runs import Run, default_run_folder, link_latest
from nerfkit.scenes.backgrounds import Background
from nerfkit.scenes.bounds import SceneBounds
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.synthetic.page import write_lowres_sequence

BOUNDS = SceneBounds((0.1, -2.0, 1 / 3), 1.7, False, (-1.0, -0.5, -1.0, 1.0, 0.5, 1.0), 0.02, 8.0)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    return Run(folder)


def written(run, tmp_path, **changes):
    config = dataclasses.replace(PRESETS["hash"], **changes)
    run.write_config(config, data=tmp_path / "photos", device="cpu")
    return config


@pytest.mark.parametrize("method", PRESETS)
def test_config_round_trip(run, tmp_path, method):
    config = override(PRESETS[method], ["learning_rate=1e-5", "max_side=123", "background=black", "seed=3"])
    run.write_config(config, data=tmp_path / "photos", device="cuda")
    assert run.read_config() == (config, tmp_path / "photos", "cuda", {"skip_bad": None, "masks": None, "job": None})


def test_the_config_holds_no_absolute_path(run, tmp_path):
    written(run, tmp_path)
    assert yaml.safe_load((run.folder / "config.yml").read_text())["data"] == "../../photos"


def test_the_way_to_the_data_passes_links(tmp_path, monkeypatch):
    # outputs/ is a link to another disk: '..' from there is not where we came from
    (tmp_path / "disk" / "far" / "away").mkdir(parents=True)
    (tmp_path / "work" / "photos").mkdir(parents=True)
    (tmp_path / "work" / "outputs").symlink_to(tmp_path / "disk" / "far" / "away")
    monkeypatch.chdir(tmp_path / "work")
    run = Run(Path("outputs/run"))
    run.folder.mkdir()
    run.write_config(PRESETS["hash"], data=Path("photos"), device="cpu")
    assert run.read_config()[1] == tmp_path / "work" / "photos"


def test_scene_round_trip(run):
    for background in (Background("plain", (0.1, 0.2, 1 / 3)), Background("none", None)):
        run.write_scene(BOUNDS, background, 4.8)
        assert run.read_scene() == (BOUNDS, background, 4.8)


def test_versions_name_what_decides_a_result(run):
    run.write_versions()
    versions = json.loads((run.folder / "versions.json").read_text())
    assert {"nerfkit", "python", "torch", "numpy", "numba", "commit", "machine"} <= set(versions)


def begin_scene(folder):
    nerfkit.train(write_transforms(folder / "scene"), folder / "a", device="cpu", background="white")


def begin_image(folder):
    write_lowres_sequence(folder, n_frames=4, side=16)
    nerfkit.superres(folder / "frames", folder / "a.png", device="cpu", scale=2)


def begin_fit(folder):
    np.save(folder / "in.npy", np.eye(8, dtype=np.float32))
    nerfkit.fit("image", folder / "in.npy", folder / "a.npy", device="cpu")


# what each does when all is written that it begins with
BEGUN = {
    "nerfkit.training._fit": begin_scene,
    "nerfkit.superresolution.running.compile_loops": begin_image,
    "nerfkit.workbench.running.run_fit": begin_fit,
}


@pytest.mark.parametrize("first_work", BEGUN)
def test_versions_are_the_first_file_of_a_run_and_written_once(tmp_path, monkeypatch, first_work):
    found = []
    monkeypatch.setattr(runs, "_commit", lambda: found.append(sorted((tmp_path / "a").iterdir())))
    monkeypatch.setattr(first_work, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        BEGUN[first_work](tmp_path)
    assert (tmp_path / "a" / "config.yml").is_file()
    assert [[path.name for path in files] for files in found] == [[".lock"]]


def test_a_folder_that_is_no_run(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(NerfkitError, match=r"is no run folder: it has no config\.yml") as caught:
            Run(folder).read_config()
        assert caught.value.where == str(folder)


def test_a_super_resolution_is_no_scene(tmp_path):
    (tmp_path / "config.yml").write_text("task: superres\ndata: frames\ndevice: cpu\nscale: 4.0\n")
    with pytest.raises(NerfkitError, match="is a super-resolved image, not a scene") as caught:
        Run(tmp_path).read_config("train")
    assert f"nerfkit render {tmp_path} --size WxH" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is damaged"),
        ("- a list", "is damaged"),
        ("data: [", "is damaged"),
        ("task: train\ndata: 3\ndevice: cpu", "is damaged"),
        ("task: train", "is damaged"),
        ("data: x\ndevice: cpu", "a task of train, superres, .*; got None"),
        ("task: dream\ndata: x\ndevice: cpu", "a task of train, superres, .*; got 'dream'"),
        ("task: {}\ndata: x\ndevice: cpu", "a task of train, superres, .*; got {}"),
        ("task: train\ndata: x\ndevice: cpu\ntypo: 1", "typo is no setting"),
        ("task: train\ndata: x\ndevice: cpu\nsteps: many", "steps must be an integer or null"),
        ("task: train\ndata: x\ndevice: cpu\nfield: {kind: voxels}", "field.kind must be one of"),
    ],
)
def test_a_bad_config(run, text, message):
    path = run.folder / "config.yml"
    path.write_text(text)
    with pytest.raises(NerfkitError, match=message) as caught:
        run.read_config()
    assert caught.value.where == str(path)


def test_a_config_that_is_no_text(run):
    (run.folder / "config.yml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(NerfkitError, match="is damaged"):
        run.read_config()


def test_a_run_that_never_started(run):
    with pytest.raises(NerfkitError, match="this run never started"):
        run.read_scene()


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"background": 3}', '{"bounds": {}, "background": {}}'])
def test_a_bad_scene(run, text):
    (run.folder / "scene.json").write_text(text)
    with pytest.raises(NerfkitError, match="is damaged") as caught:
        run.read_scene()
    assert caught.value.where.endswith("scene.json")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1e999"])
@pytest.mark.parametrize("name", ["scale", "center", "aabb", "near", "far", "downscale", "color"])
def test_a_scene_of_numbers_that_are_none(run, name, value):
    run.write_scene(BOUNDS, Background("plain", (0.5, 0.25, 1.0)), 2.0)
    path = run.folder / "scene.json"
    text, n_found = re.subn(rf'("{name}": \[?\s*)[-\d.e+]+', rf"\g<1>{value}", path.read_text())
    assert n_found == 1
    path.write_text(text)
    with pytest.raises(NerfkitError, match=rf"is damaged \(.*{name} must be finite; got "):
        run.read_scene()


def test_photos_that_went_away(run, tmp_path):
    written(run, tmp_path)
    with pytest.raises(NerfkitError, match="the photos are not there any more") as caught:
        run.read_photos(None)
    assert caught.value.where == str(tmp_path / "photos")
    assert "--data" in caught.value.fix


def test_the_default_folder_names_scene_and_method():
    folder = default_run_folder("fox", "hash")
    assert folder.parts[:3] == ("outputs", "fox", "hash")
    assert len(folder.name) == len("2026-01-31_235959")


def test_latest_follows_the_newest(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        link_latest(tmp_path / name)
    assert (tmp_path / "latest").readlink() == Path("second")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "latest", "second"]


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_text("mine")])
def test_latest_replaces_nothing_but_a_link(tmp_path, make):
    (tmp_path / "run").mkdir()
    make(tmp_path / "latest")
    link_latest(tmp_path / "run")
    assert not (tmp_path / "latest").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "run"]
