"""Odd places: names in every letter, folders that vanish, disks that are full, caches that nobody can write."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from nerfkit.runs import Run
from nerfkit.scenes.measurements.photo_pixels import PhotoPixels
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.scenes.synthetic.page import write_lowres_sequence
from nerfkit.scenes.writing import write_atomically

SOURCES = Path(__file__).parent.parent.parent
# letters of two, three and four bytes, and all that shells, links and formats have a use for
ODD = "Fotos für 写真 😀 #1 100% & 'so' \"da\" ?x=[y] {z} ~$HOME"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="such names cannot be given there")


@pytest.fixture
def odd(tmp_path):
    """A folder of an odd name in one of a long name."""
    folder = tmp_path / ("länger " * 28).strip() / ODD
    folder.mkdir(parents=True)
    return folder


def links(page):
    """Files that a report links to, seen from its folder."""
    text = page.read_text(encoding="utf-8")
    found = [unquote(unescape(link), errors="surrogateescape") for link in re.findall(r'(?:href|src)="([^"]*)"', text)]
    return [page.parent / link for link in found if not link.startswith(("data:", "#", "http"))]


def listing(folder):
    return {path: path.lstat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_a_scene_of_links_in_an_odd_place_through_every_command(nerfkit, scene_folder, small_hash, odd):
    data, run = odd / "data", odd / "run"
    data.mkdir()
    # photos that lie elsewhere
    for name in ("train", "val", "test"):
        (data / name).mkdir()
        for photo in (scene_folder / name).iterdir():
            (data / name / photo.name).symlink_to(photo)
    for file in scene_folder.glob("*.json"):
        shutil.copy(file, data)
    before = listing(data)
    film, points, moved = odd / f"{ODD}.mp4", odd / f"{ODD}.ply", odd / "moved"
    for words in (
        ["train", data, *small_hash, "--steps", 20, "--out", run],
        ["train", "--resume", run, "--steps", 25],
        ["eval", run],
        ["render", run, "--frames", 3, "--out", film],
        ["export", run, "--format", "pointcloud", "-o", points, "--size", 16],
        ["convert", data, "-o", moved, "--to", "colmap"],
        ["doctor", data],
    ):
        answer = nerfkit(*words)
        assert answer.code == 0, answer.err
    assert listing(data) == before
    assert (
        film.stat().st_size and points.stat().st_size and len(read_posed_photos(moved)) == len(read_posed_photos(data))
    )
    assert all(file.exists() for file in links(run / "report.html"))


def test_frames_and_pictures_of_odd_names(nerfkit, odd):
    write_lowres_sequence(odd, n_frames=4, side=16)
    frames = odd / "frames"
    # the last is no text in UTF-8, as old archives and other systems leave names
    names = [f"{ODD} {index}.png" for index in range(3)] + [os.fsdecode(b"gr\xfcn.png")]
    for file, name in zip(sorted(frames.glob("*.png")), names, strict=True):
        file.rename(frames / name)
    (frames / "shifts.csv").unlink(missing_ok=True)
    out = odd / f"{ODD} out.png"
    answer = nerfkit("superres", frames, "-o", out, "--scale", 2, "--seconds", 600)
    assert answer.code == 0, answer.err
    assert out.exists() and (report := out.with_suffix("") / "report.html").exists()
    assert all(file.exists() for file in links(report))
    picture = odd / os.fsdecode(b"bl\xe4tt.png")
    Image.fromarray((np.mgrid[:24, :24].sum(0) * 5).astype(np.uint8)).save(picture)
    answer = nerfkit("fit", "image", picture, "-o", odd / os.fsdecode(b"fert\xefg.png"), "--params", 500, "--steps", 20)
    assert answer.code == 0, answer.err


def test_a_name_may_be_as_long_as_the_disk_takes(tmp_path):
    path = tmp_path / ("ü" * 125 + ".json")
    write_atomically(path, b"{}")
    assert path.read_bytes() == b"{}" and len(os.fsencode(path.name)) == 255


def run(*words: Any, limit: Any = None, optimise: bool = False, cwd: Any = None, **variables: Any):
    """The command in a process of its own."""
    command = [sys.executable, *["-O"] * optimise, "-m", "nerfkit", *map(str, words)]
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    start = None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return subprocess.run(command, capture_output=True, preexec_fn=start, env=environment, cwd=cwd)


def test_a_language_without_letters_and_without_assertions(scene_folder, small_hash, odd):
    data = odd / "scene"
    data.symlink_to(scene_folder)
    # names are bytes then, and what is printed has to be in ASCII
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    done = run(
        "train", data, *small_hash, "--steps", 3, "--out", odd / "run", optimise=True, HOME="/dev/null/none",
        TMPDIR="/dev/null/none", **plain,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr and b"nerfkit render" in done.stdout
    assert Run(odd / "run").read_config().data == scene_folder.resolve()
    assert all(file.exists() for file in links(odd / "run" / "report.html"))


def test_a_disk_that_is_full_leaves_the_last_checkpoint(run_copy):
    checkpoints = Run(run_copy).checkpoints
    largest = max(file.stat().st_size for file in checkpoints.folder.glob("*.safetensors"))
    before = listing(checkpoints.folder)
    done = run("train", "--resume", run_copy, "--steps", 203, "--json", limit=largest - 1)
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert error["where"].startswith(str(checkpoints.folder)) and "is more than a file may have here" in error["what"]
    assert listing(checkpoints.folder) == before
    assert checkpoints.load_newest()["loop"]["step"] == 200


def test_photos_that_vanish_once_they_were_read_are_not_missed(
    nerfkit, scene_folder, small_hash, tmp_path, monkeypatch
):
    data, draw = tmp_path / "scene", PhotoPixels.draw
    shutil.copytree(scene_folder, data)

    def vanish(self, n, generator):
        shutil.rmtree(data, ignore_errors=True)
        return draw(self, n, generator)

    monkeypatch.setattr(PhotoPixels, "draw", vanish)
    answer = nerfkit("train", data, *small_hash, "--steps", 3, "--out", tmp_path / "run")
    assert answer.code == 0 and not data.exists(), answer.err
    assert Run(tmp_path / "run").checkpoints.steps() == [3]
    answer = nerfkit("eval", tmp_path / "run")
    assert answer.code == 2 and f"{data}: the photos are not there any more" in answer.err


@pytest.fixture
def sealed(tmp_path):
    """A copy of the packages into which nothing can be written: where a cache would be a folder, there is a file."""
    for name in ("kernels", "scenes", "nerfkit"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(SOURCES / name, tmp_path / name, symlinks=True, ignore=ignored)
        for folder in [tmp_path / name, *(path for path in (tmp_path / name).rglob("*") if path.is_dir())]:
            if not folder.is_symlink():
                (folder / "__pycache__").touch()
    return tmp_path


NOWHERE: dict[str, Any] = {
    "NUMBA_CACHE_DIR": "/dev/null/none",
    "XDG_CACHE_HOME": "/dev/null/none",
    "HOME": "/dev/null/none",
}


def test_where_no_loop_can_be_kept_it_works_and_says_once_what_that_costs(sealed):
    (sealed / "tmp").mkdir()
    done = run(
        "fit", "wave", "1.0", "-o", sealed / "a.npy", "--set", "dims=1", "--set", "time=0.1", cwd=sealed,
        PYTHONPATH=sealed, PYTHONDONTWRITEBYTECODE=1, TMPDIR=sealed / "tmp", **NOWHERE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr.count(b"which numba can keep nowhere: every command compiles them again, up to a minute") == 1
    assert list((sealed / "tmp").iterdir()) == []
