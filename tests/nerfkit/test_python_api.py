"""nerfkit.train, superres, load: the objects that they return, what these show, and that importing is cheap."""

import html
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from lowres_scenes import make_frames, run, write, write_csv
from PIL import Image

import nerfkit
from nerfkit.config import load
from nerfkit.presets import PRESETS
from nerfkit.runs import Run
from nerfkit.scenes.errors import NerfkitError
from nerfkit.superresolved_image import SuperresolvedImage
from nerfkit.trained_scene import TrainedScene

SMALL = {"field": {"log2_table_size": 12}, "sampling": {"resolution": 32}, "samples_per_step": 8192}


def check_html(result, *shown):
    page = result._repr_html_()
    assert len(page) < 400_000 and "<script" not in page
    assert re.search("<img alt='' src='data:image/(png|jpeg);base64,", page)
    assert all(html.escape(text) in page for text in (type(result).__name__, str(result.run.folder), *shown))
    return page


# what importing costs


def test_the_functions_are_there_and_importing_them_loads_nothing_heavy():
    code = "import sys, nerfkit; print(dir(nerfkit)); nerfkit.train, nerfkit.superres, nerfkit.load, nerfkit.resume\n"
    code += "print(sorted({'torch', 'numba', 'cv2', 'numpy', 'yaml', 'cattrs', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, loaded = done.stdout.splitlines()
    assert {"load", "resume", "superres", "train", "NerfkitError"} <= set(eval(names))
    assert loaded == "[]"
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        nerfkit.nonsense  # noqa: B018


def test_calling_the_library_leaves_the_process_as_it_was():
    code = (
        "import os, nerfkit, torch; before = torch.get_num_threads(), dict(os.environ)\n"
        "from nerfkit import cpu; cpu._mallopt = lambda *a: print('changed')\n"
        "import tempfile, nerfkit.scenes.synthetic as s\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    s.write_posed_scene(folder + '/a', n_train=4, n_val=1, n_test=1, size=(16, 16), supersample=1)\n"
        "    nerfkit.train(folder + '/a', folder + '/run', steps=2)\n"
        "    scene = nerfkit.resume(folder + '/run', steps=3)\n"
        "    scene.evaluate()\n"
        "    scene.render_path('orbit', folder + '/o.gif', n_frames=1, size=(16, 16))\n"
        "new = [name for name in os.environ if os.environ[name] != before[1].get(name) and 'OMP' in name]\n"
        "print(torch.get_num_threads() == before[0], new)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"


def test_importing_any_part_of_the_library_leaves_the_process_as_it_was():
    code = (
        "import importlib, os, pkgutil, torch; before = torch.get_num_threads(), dict(os.environ)\n"
        "import nerfkit; from nerfkit import cpu; cpu._mallopt = lambda *a: print('changed')\n"
        "for found in pkgutil.walk_packages(nerfkit.__path__, 'nerfkit.'):\n"
        "    if '_triton' not in found.name and found.name != 'nerfkit.__main__':\n"
        "        importlib.import_module(found.name)\n"
        "new = [name for name in os.environ if os.environ[name] != before[1].get(name) and 'OMP' in name]\n"
        "print(torch.get_num_threads() == before[0], new, 'running' in dir(nerfkit.superresolution))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True [] True\n"


def test_only_the_command_line_changes_what_is_the_whole_process_s():
    """Whatever a Python program calls: the names of what changes a process stand in no other module."""
    root = Path(__file__).parents[2]
    changes = re.compile(
        r"\b(keep_freed_memory|return_freed_memory|wait_briefly|use_all_cores|mallopt|set_num_threads)\b"
    )
    allowed = {root / "nerfkit" / "cpu.py"}
    files = [file for layer in ("nerfkit", "scenes", "kernels") for file in (root / layer).rglob("*.py")]
    found = {file for file in files if changes.search(file.read_text(encoding="utf-8"))} - allowed
    assert found and all(file.is_relative_to(root / "nerfkit" / "cli") for file in found), found


# a scene


def test_a_scene_is_trained_rendered_and_shown(scene_folder, tmp_path):
    said = []
    scene = nerfkit.train(scene_folder, tmp_path / "run", steps=20, seed=5, device="cpu", say=said.append, **SMALL)
    assert isinstance(scene, TrainedScene) and not scene.is_interrupted
    assert scene.figures["steps"] == 20 and set(scene.figures) == {"run", "steps", "seconds", "psnr"}
    assert said[0].startswith("memory: about ") and said[1].startswith("lighthouse: blender, 24 train")
    assert said[-1] == f"run: {tmp_path / 'run'}"
    config = scene.run.read_config().config
    assert (config.seed, config.steps, config.seconds, config.field.log2_table_size) == (5, 20, None, 12)
    photos = scene.run.read_photos(None)
    assert scene.render(photos.cameras[0].resized(20, 10), photos.c2w[0]).rgb.shape == (10, 20, 3)
    film = scene.render_path("orbit", tmp_path / "o.gif", n_frames=2, size=(24, 16))
    assert film["frames"] == 2 and Path(film["output"]).is_file()
    check_html(scene, "20", "validation PSNR")
    assert scene.evaluate("val")["results"]["n_images"] == 2
    page = scene.report()
    assert page == tmp_path / "run" / "report.html" and "Validation views" in page.read_text()
    # and again from its folder
    again = nerfkit.load(tmp_path / "run", device="cpu")
    assert isinstance(again, TrainedScene) and again.figures["steps"] == 20
    assert "20" in repr(again) and str(tmp_path / "run") in repr(again)
    np.testing.assert_array_equal(
        again.render(photos.cameras[0], photos.c2w[0]).rgb, scene.render(photos.cameras[0], photos.c2w[0]).rgb
    )
    assert nerfkit.resume(tmp_path / "run", steps=24).figures["steps"] == 24


def test_a_config_of_a_run_trains_the_same(scene_folder, trained_run, tmp_path):
    scene = nerfkit.train(scene_folder, tmp_path / "a", config=trained_run / "config.yml", steps=200)
    mine, theirs = (load(folder / "config.yml") for folder in (tmp_path / "a", trained_run))
    assert mine | {"data": theirs["data"]} == theirs
    assert scene.figures["psnr"] == pytest.approx(nerfkit.load(trained_run).figures["psnr"], abs=1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stepz": 3}, "nerfkit.train: stepz is no setting; did you mean steps?"),
        ({"steps": 3, "seconds": 3}, "not both"),
        ({"steps": 2.5}, "steps must be an integer or null; got 2.5"),
        ({"method": "voxels"}, "'voxels' is not one of hash, fourier"),
        ({"method": "hash", "config": PRESETS["fourier"]}, "the settings are of fourier, not of hash"),
        ({"device": "tpu"}, "must be one of auto, cpu, cuda; got 'tpu'"),
    ],
)
def test_what_train_refuses(scene_folder, tmp_path, settings, message):
    with pytest.raises(NerfkitError, match=re.escape(message)):
        nerfkit.train(scene_folder, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_an_interrupted_training_is_a_scene(scene_folder, tmp_path):
    def stop(progress):
        if progress.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    scene = nerfkit.train(scene_folder, tmp_path / "run", steps=1000, on_progress=stop, **SMALL)
    assert scene.is_interrupted and scene.figures["steps"] == 5
    assert scene.evaluate("val")["results"]["psnr"] > 0


def test_a_name_is_escaped(run_copy):
    folder = run_copy.with_name("a <b> run")
    run_copy.rename(folder)
    try:
        page = check_html(nerfkit.load(folder))
        assert "<b>" not in page
    finally:
        folder.rename(run_copy)


# an image


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    root = tmp_path_factory.mktemp("frames")
    images, shifts, _ = make_frames(8, side=16)
    np.save(root / "psf.npy", np.ones((3, 3)))
    return write(root / "frames", images), write_csv(root / "shifts.csv", shifts), root / "psf.npy"


def test_an_image_is_made_rendered_and_shown(frames, tmp_path):
    folder, shifts, _ = frames
    image = nerfkit.superres(
        folder, tmp_path / "a.png", shifts=shifts, exact_shifts=True, scale=2, seconds=300, n_frames=6, seed=3,
    )  # fmt: skip
    assert isinstance(image, SuperresolvedImage) and not image.is_interrupted
    assert image.figures["size"] == [32, 32] and image.figures["cut"] == []
    assert image.render().shape == (32, 32) and image.render(size=(50, 40), crop=(1, 2, 30, 20)).shape == (20, 30)
    check_html(image, "32 x 32 pixels, 2x", "held-out pixels")
    assert image.report() == tmp_path / "a" / "report.html"
    assert image.write(tmp_path / "b.tif", size=(64, 64))["size"] == [64, 64]
    with pytest.raises(NerfkitError, match="a super-resolved image, which has no photos to be compared with"):
        image.evaluate()
    again = nerfkit.load(tmp_path / "a")
    assert isinstance(again, SuperresolvedImage)
    np.testing.assert_allclose(again.render(), image.render(), atol=1e-6)
    np.testing.assert_allclose(again.render(), np.asarray(Image.open(tmp_path / "a.png")) / 255, atol=0.51 / 255)
    values = yaml.safe_load((tmp_path / "a" / "config.yml").read_text())
    assert (values["task"], values["frames"], values["shifts"]) == (
        "superres",
        6,
        os.path.relpath(shifts, tmp_path / "a"),
    )
    assert (values["scale"], values["psf_width"], values["register"], values["seed"]) == (2.0, None, "auto", 3)


def test_a_config_of_a_run_gives_the_same_image(frames, tmp_path, capsys):
    folder, shifts, psf = frames
    arguments = ("superres", folder, "--shifts", shifts)
    given = ("--output-size", "40x40", "--psf", psf, "--set", "width=16", "--set", "seconds=2", "--exact-shifts")
    code, first = run(capsys, *arguments, "-o", tmp_path / "a.png", *given)
    assert code == 0, first
    config = tmp_path / "a" / "config.yml"
    code, second = run(capsys, *arguments, "-o", tmp_path / "b.png", "--config", config)
    assert code == 0, second
    ours, theirs = load(config), load(tmp_path / "b" / "config.yml")
    assert (ours.pop("output"), theirs.pop("output")) == ("../a.png", "../b.png")
    assert ours == theirs and ours["psf"] == "psf.npy"
    assert first["size"] == second["size"] == [40, 40] and first["psf"] == second["psf"]
    assert second["psf"]["kind"] == "file" and Run(tmp_path / "b").read_config().config.width == 16
    # an option speaks after the file
    code, third = run(
        capsys, *arguments, "-o", tmp_path / "c.png", "--config", config, "--scale", 2, "--psf", "gaussian",
        "--seed", 9,
    )  # fmt: skip
    assert code == 0 and third["size"] == [32, 32] and third["psf"]["kind"] == "gaussian"
    assert load(tmp_path / "c" / "config.yml")["seed"] == 9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 2, "output_size": (32, 32)}, "not both"),
        ({"scale": "2"}, "nerfkit.superres: scale must be a number or null; got '2'"),
        ({"exact_shifts": True}, "there are no shifts to take as they are"),
        ({"psf": Path("no/psf.npy")}, "no such file"),
    ],
)
def test_what_superres_refuses(frames, tmp_path, settings, message):
    with pytest.raises(NerfkitError, match=re.escape(message)):
        nerfkit.superres(frames[0], tmp_path / "a.png", **settings)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("arguments", "where", "what"),
    [
        (("--set", "scal=2"), "--set", "scal is no setting"),
        (("--set", "scale=2", "--config", "FILE"), "FILE", "holds settings of the task train, not of superres"),
        (("--set", "frame_size=[3, 3]"), "--set", "frame_size is no setting"),
    ],
)
def test_bad_settings_of_the_command(frames, tmp_path, capsys, trained_run, arguments, where, what):
    file = str(trained_run / "config.yml")
    arguments = [file if part == "FILE" else part for part in arguments]
    code, failed = run(capsys, "superres", frames[0], "-o", tmp_path / "a.png", *arguments)
    assert code == 2 and what in failed["error"]["what"]
    assert failed["error"]["where"] == (file if where == "FILE" else where)


def test_commands_ask_the_task_of_a_run(nerfkit, trained_run):
    answer = nerfkit("render", trained_run, "--crop", "0,0,4,4")
    assert answer.code == 2
    assert "--crop cannot be used here: this run holds a scene" in answer.err
