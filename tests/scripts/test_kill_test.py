"""Commands that are killed at random moments end in the bits of unharmed ones: ten kills of those that take longest."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
