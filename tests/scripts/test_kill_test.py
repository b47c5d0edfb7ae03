"""Commands that are killed at random moments end in the bits of unharmed ones: ten kills of those that take longest."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nerfkit.scenes.unfinished import unfinished_name

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_ten_kills_lose_nothing(tmp_path):
    kills = {"train": 4, "superres": 3, "image": 3}
    for task, n in kills.items():
        out = tmp_path / f"{task}.json"
        command = [sys.executable, SCRIPTS / "kill_test.py", "--kills", n, "--tasks", task, "--json", out]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        killed, differ = json.loads(out.read_text())["rows"]
        assert killed["name"] == f"{task}: kills" and killed["value"] == n
        assert differ["value"] == 0


@pytest.fixture
def kill_test(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("kill_test")


@pytest.mark.parametrize(
    ("killed", "ended", "fault"),
    [
        ({}, {"a": "whole"}, None),
        ({"a": "whole"}, {"a": "whole"}, None),
        ({"a": "wh"}, {"a": "whole"}, "out_000: a is half there"),
        ({}, {"a": "other"}, "out_000: a differs"),
        ({}, {}, "out_000: a differs"),
        ({unfinished_name("a"): "wh"}, {"a": "whole"}, f"out_000: {unfinished_name('a')} is left"),
    ],
    # a name of this process in an id would differ between the processes that share the tests
    ids=["nothing yet", "whole", "half there", "another", "none", "left"],
)
def test_what_is_half_there_differs_or_is_left_is_a_fault(tmp_path, monkeypatch, kill_test, killed, ended, fault):
    def write(out, files):
        for name, text in files.items():
            (out / name).write_text(text)

    def end(words, out):
        write(out, {"a": "whole"} if out.name == "whole" else ended)
        return ""

    def kill(words, out, moment, *, waits_for_write):
        write(out, killed)
        return True

    task = kill_test.Task(lambda data: None, lambda data, out: [], None, ("a",), ("a",))
    monkeypatch.setitem(kill_test.TASKS, "made", task)
    monkeypatch.setattr(kill_test, "_end", end)
    monkeypatch.setattr(kill_test, "_kill", kill)
    found = kill_test.endure("made", 1, 0, tmp_path)
    assert (found.kills, found.on_write, found.ends) == (1, 1, 1)
    assert found.faults == ([] if fault is None else [fault])
