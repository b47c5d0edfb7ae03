"""Two runs never write into one folder at once, and a process that died holds nothing."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from nerfkit.files import LOCK_NAME, check_output_folder, prepare_output_folder
from nerfkit.run_lock import locked, refuse_locked
from nerfkit.scenes.errors import NerfkitError

HOLD = """
import sys
from pathlib import Path
from nerfkit.run_lock import locked

with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(folder):
    """Another process that writes into the folder, until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def check_refused(folder, pid, work):
    with pytest.raises(NerfkitError) as caught:
        work()
    assert caught.value.exit_code == 2 and caught.value.where == str(folder)
    assert caught.value.what.startswith(f"is being written by process {pid}, since 20")
    assert "give another --out" in caught.value.fix


def take(folder):
    with locked(folder):
        pass


def test_a_second_process_is_refused_until_the_first_is_done(tmp_path):
    folder = tmp_path / "new" / "run"
    with another_process(folder) as other:
        check_refused(folder, other.pid, lambda: take(folder))
        check_refused(folder, other.pid, lambda: refuse_locked(folder))
        other.communicate("")
    assert list(folder.iterdir()) == []
    take(folder)


def test_a_process_that_was_killed_holds_nothing(tmp_path):
    with another_process(tmp_path) as other:
        other.kill()
        other.wait()
    assert (tmp_path / LOCK_NAME).is_file()
    refuse_locked(tmp_path)
    # nor is what it left anybody's output
    check_output_folder(tmp_path, overwrite=False)
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_of_the_same_process_is_refused(tmp_path):
    with locked(tmp_path):
        check_refused(tmp_path, os.getpid(), lambda: take(tmp_path))
        # an error in the second does not let a third in
        check_refused(tmp_path, os.getpid(), lambda: take(tmp_path))
    take(tmp_path)


def test_making_a_folder_empty_does_not_give_it_up(tmp_path):
    (tmp_path / "demo.json").write_text("{}")
    with locked(tmp_path):
        prepare_output_folder(tmp_path, overwrite=True)
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_NAME]
        check_refused(tmp_path, os.getpid(), lambda: take(tmp_path))


def test_an_error_lets_the_next_one_in(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    take(tmp_path)


def test_looking_makes_nothing(tmp_path):
    refuse_locked(tmp_path / "absent")
    refuse_locked(tmp_path)
    (tmp_path / "file").write_text("")
    refuse_locked(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(NerfkitError, match="cannot be written"):
        take(tmp_path / "file")


def test_where_the_system_has_no_locks_a_run_is_not_refused(tmp_path, monkeypatch, caplog):
    def none(handle):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("nerfkit.run_lock._lock_by_system", none)
    with caplog.at_level("INFO"), locked(tmp_path):
        pass
    assert "cannot be locked here" in caplog.text


def test_no_command_writes_where_another_does(nerfkit, scene_folder, trained_run, run_copy, tmp_path):
    picture = tmp_path / "sharp.png"
    tries = [
        (run_copy, ["train", scene_folder, "--out", run_copy, "--steps", 1, "--overwrite"]),
        (run_copy, ["train", scene_folder, "--out", run_copy, "--steps", 1]),
        (run_copy, ["train", "--resume", run_copy, "--steps", 201]),
        (tmp_path / "sharp", ["superres", scene_folder / "train", "-o", picture]),
        (tmp_path / "demo", ["demo", "--out", tmp_path / "demo"]),
    ]
    before = sorted(trained_run.rglob("*"))
    for folder, arguments in tries:
        with another_process(folder) as other:
            answer = nerfkit(*arguments, "--json")
            assert answer.code == 2
            assert answer.json["error"]["where"] == str(folder)
            assert f"is being written by process {other.pid}, since" in answer.json["error"]["what"]
        (Path(folder) / LOCK_NAME).unlink()
    names = {path.relative_to(run_copy) for path in run_copy.rglob("*")}
    assert names == {path.relative_to(trained_run) for path in before}
