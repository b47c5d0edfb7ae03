"""Files are there whole or not at all; output folders are replaced only when they are ours."""

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path

import numpy as np
import pytest

from nerfkit.files import check_output_folder, prepare_output_folder, write_atomically
from nerfkit.scenes.camera_path import PathFrames, write_camera_path
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.shifts import write_shifts
from nerfkit.scenes.unfinished import unfinished_name
from nerfkit.video import VideoWriter


def fail_with(number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def our_folder(tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "step_1.json").write_text("{}")
    (folder / "config.yml").write_text("method: hash\n")
    (folder / "versions.json").write_text('{"nerfkit": "0.1.0"}')
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "new" / "folders" / "file.bin"
    write_atomically(path, b"first")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert names(path.parent) == ["file.bin"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failure_in_the_middle_leaves_the_old_file(tmp_path, monkeypatch, number):
    path = tmp_path / "file.bin"
    write_atomically(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail_with(number))
        with pytest.raises(NerfkitError):
            write_atomically(path, b"new" * 1000)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file.bin"]


def test_names_are_on_the_disk_before_a_file_counts_as_written(tmp_path, monkeypatch):
    synced = []

    def sync(handle):
        there = path.exists()
        synced.append((os.fstat(handle).st_ino, there))

    path = tmp_path / "new" / "folders" / "file.bin"
    monkeypatch.setattr(os, "fsync", sync)
    write_atomically(path, b"first")
    # its bytes before it has its name, then the names: its own, and those of the folders that were made for it
    assert [there for _, there in synced] == [False, True, True, True]
    assert synced[0][0] == path.stat().st_ino
    assert {number for number, _ in synced[1:]} == {folder.stat().st_ino for folder in path.parents[:3]}
    synced.clear()
    write_atomically(path, b"second")
    assert [number for number, _ in synced] == [path.stat().st_ino, path.parent.stat().st_ino]


def write_video(path, overwrite=False):
    with VideoWriter(path, (16, 16), 8, overwrite=overwrite) as video:
        for level in (0, 200):
            video.add(np.full((16, 16, 3), level, np.uint8))


def write_path(path):
    turn = PathFrames(np.tile(np.eye(4), (2, 1, 1)), np.array([50.0, 50.0]), aspect=1.0)
    write_camera_path(path, turn, (16, 16), 8)


WRITERS = {
    "registered.csv": lambda path: write_shifts(path, ["a.png", "b.png"], [[0, 0], [0.25, -0.5]]),
    "camera_path.json": write_path,
    "turn.mp4": write_video,
    "turn.gif": write_video,
    "frames": lambda path: write_video(path, overwrite=True),
    "picture.png": lambda path: write_atomically(path, b"picture"),
}


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("name", WRITERS)
def test_whatever_is_written_is_on_the_disk_before_it_has_its_name_and_then_its_name(
    tmp_path, monkeypatch, name, is_there
):
    path, synced = tmp_path / name, []
    if is_there:
        WRITERS[name](path)

    def sync(handle):
        found = os.fstat(handle)
        here = [item for item in (path, *path.glob("*")) if item.exists()]
        synced.append((found.st_ino, found.st_ino in [item.stat().st_ino for item in here]))

    monkeypatch.setattr(os, "fsync", sync)
    WRITERS[name](path)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    assert len(files) == (2 if name == "frames" else 1)
    for file in files:
        assert (file.stat().st_ino, False) in synced
    # the names, last
    folder = path if path.is_dir() and is_there else tmp_path
    assert synced[-1][0] == folder.stat().st_ino
    assert names(tmp_path) == [name]


@pytest.mark.parametrize(("number", "is_told"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_a_file_system_that_cannot_sync_folders_is_no_error_and_a_broken_disk_is(
    tmp_path, monkeypatch, number, is_told
):
    def sync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(NerfkitError, match="Input/output") if is_told else contextlib.nullcontext():
        write_atomically(tmp_path / "file.bin", b"x")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_says_so(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", fail_with(number))
    with pytest.raises(NerfkitError) as caught:
        write_atomically(tmp_path / "file.bin", bytes(2_500_000))
    assert caught.value.what == "no space left on the disk for 2.5 MB"
    assert caught.value.where == str(tmp_path / "file.bin")
    assert "free some" in caught.value.fix


def test_a_disk_without_room_for_a_name_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "mkstemp", fail_with(errno.ENOSPC))
    with pytest.raises(NerfkitError, match="no space left"):
        write_atomically(tmp_path / "file.bin", b"")


def test_a_place_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NerfkitError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "below.bin", b"x")


@pytest.mark.parametrize("make", [lambda folder: None, Path.mkdir])
def test_an_absent_or_empty_folder_is_taken(tmp_path, make):
    folder = tmp_path / "run"
    make(folder)
    assert prepare_output_folder(folder, overwrite=False) == folder
    assert names(folder) == []


def test_checking_changes_nothing(tmp_path, our_folder):
    check_output_folder(tmp_path / "a" / "b", overwrite=False)
    check_output_folder(our_folder, overwrite=True)
    assert names(tmp_path) == ["run"]
    assert names(our_folder) == ["checkpoints", "config.yml", "versions.json"]


def test_a_folder_with_files_is_refused(our_folder):
    with pytest.raises(NerfkitError, match="is not empty") as caught:
        prepare_output_folder(our_folder, overwrite=False)
    assert "--overwrite" in caught.value.fix
    assert "--resume" in caught.value.fix


def test_a_file_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    for overwrite in (False, True):
        with pytest.raises(NerfkitError, match="is a file; a folder is wanted"):
            prepare_output_folder(tmp_path / "run", overwrite=overwrite)


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NerfkitError, match="cannot be written"):
        prepare_output_folder(tmp_path / "file" / "run", overwrite=False)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", fail_with(errno.EACCES))
    with pytest.raises(NerfkitError, match=r"cannot be written \(Permission denied\)") as caught:
        check_output_folder(tmp_path / "run", overwrite=False)
    assert caught.value.where == str(tmp_path / "run")


def test_overwrite_replaces_a_run(our_folder):
    prepare_output_folder(our_folder, overwrite=True)
    assert names(our_folder) == []


def test_overwrite_replaces_a_run_that_was_killed_as_it_began(tmp_path):
    (tmp_path / unfinished_name("versions.json")).write_text("{")
    # nothing but what the write left
    check_output_folder(tmp_path, overwrite=False)
    (tmp_path / "versions.json").write_text('{"nerfkit": "0.1.0"}')
    (tmp_path / "scene.json").write_text("{}")
    with pytest.raises(NerfkitError, match="is not empty"):
        check_output_folder(tmp_path, overwrite=False)
    prepare_output_folder(tmp_path, overwrite=True)
    assert not (tmp_path / "scene.json").exists()


def test_overwrite_replaces_a_demo(tmp_path):
    (tmp_path / "demo.json").write_text("{}")
    (tmp_path / "photos").mkdir()
    prepare_output_folder(tmp_path, overwrite=True)
    assert names(tmp_path) == []


def test_overwrite_does_not_follow_links(tmp_path, our_folder):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_text("")
    (our_folder / "photos").symlink_to(tmp_path / "photos")
    prepare_output_folder(our_folder, overwrite=True)
    assert names(tmp_path / "photos") == ["a.png"]


@pytest.mark.parametrize("versions", [None, "{}", "[]", "3", "not json"])
def test_overwrite_spares_what_is_not_ours(our_folder, versions):
    # config.yml is a name that many programs use
    (our_folder / "versions.json").unlink()
    if versions is not None:
        (our_folder / "versions.json").write_text(versions)
    before = names(our_folder)
    with pytest.raises(NerfkitError, match="only folders that nerfkit made"):
        prepare_output_folder(our_folder, overwrite=True)
    assert names(our_folder) == before


def test_overwrite_spares_the_photos_that_are_read(our_folder):
    photos = our_folder / "photos"
    photos.mkdir()
    for keep in (photos, our_folder):
        with pytest.raises(NerfkitError, match="would delete the photos"):
            prepare_output_folder(our_folder, overwrite=True, keep=keep)
    assert photos.is_dir()


def test_overwrite_spares_the_folder_that_one_is_in(our_folder, monkeypatch):
    monkeypatch.chdir(our_folder / "checkpoints")
    with pytest.raises(NerfkitError, match="the folder you are in"):
        prepare_output_folder(our_folder, overwrite=True)
