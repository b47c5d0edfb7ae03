"""What killed processes were writing is removed by the next that writes there; what others write stays."""

import os
import subprocess
import sys
import time

import pytest

from nerfkit.scenes import unfinished
from nerfkit.scenes.unfinished import ABANDONED_AFTER, is_unfinished, remove_abandoned, unfinished_name
from nerfkit.scenes.writing import temporary_beside, write_atomically

# begins a file, a folder and a link, and is killed before they are whole
KILLED = """
import os, signal, sys
from pathlib import Path
from nerfkit.scenes.writing import temporary_beside, write_atomically
folder = Path(sys.argv[1])
frames = temporary_beside(folder / "film")
frames.mkdir()
(frames / "frame_00000.png").write_bytes(b"half")
temporary_beside(folder / "latest").symlink_to("elsewhere", target_is_directory=True)
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
write_atomically(folder / "scene.json", bytes(1000))
"""


@pytest.fixture(autouse=True)
def _looks_again(monkeypatch):
    monkeypatch.setattr(unfinished, "_seen", set())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def name_of(process, start="0" * 8, machine=None):
    """What another process calls a file that it writes."""
    return f".a.json.{machine or unfinished._machine()}-{process}-{start}.part"


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_what_a_killed_process_was_writing_is_removed_by_the_next_that_writes_there(tmp_path):
    (tmp_path / ".mine.part").write_text("a user's")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert sum(map(is_unfinished, names(tmp_path))) == 3 == len(names(tmp_path)) - 1
    write_atomically(tmp_path / "other.json", b"{}")
    assert names(tmp_path) == [".mine.part", "other.json"]


@pytest.mark.skipif(os.name == "nt", reason="whether a process runs cannot be asked there")
def test_what_a_living_process_writes_stays_and_a_number_that_is_used_again_is_no_life(tmp_path):
    own, others = unfinished_name("b.mp4", ".mp4"), name_of(os.getppid())
    for name in (own, others, name_of(os.getpid()), name_of("9999999999")):
        (tmp_path / name).touch()
    remove_abandoned(tmp_path)
    assert names(tmp_path) == sorted([own, others])


def test_what_another_machine_writes_stays_until_nothing_was_written_to_it_for_a_day(tmp_path):
    old = time.time() - ABANDONED_AFTER - 60
    for machine in ("0" * 8, "1" * 8, "2" * 8):
        folder = tmp_path / name_of(1, machine=machine)
        folder.mkdir()
        (folder / "frame_00000.png").touch()
    for place in (tmp_path / name_of(1, machine="0" * 8), tmp_path / name_of(1, machine="1" * 8)):
        os.utime(place, (old, old))
    os.utime(tmp_path / name_of(1, machine="0" * 8) / "frame_00000.png", (old, old))
    remove_abandoned(tmp_path)
    assert names(tmp_path) == [name_of(1, machine=machine) for machine in ("1" * 8, "2" * 8)]


def test_a_folder_is_looked_through_once(tmp_path):
    remove_abandoned(tmp_path)
    (tmp_path / name_of("9999999999")).touch()
    write_atomically(tmp_path / "b.json", b"{}")
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize(("name", "suffix"), [("a.mp4", ".mp4"), ("a", ""), ("\n" * 50, ""), ("ä" * 127, ".webm")])
def test_names_are_known_and_short_enough(tmp_path, name, suffix):
    found = temporary_beside(tmp_path / name, suffix)
    assert is_unfinished(found.name) and found.suffix == (suffix or ".part")
    found.touch()
    assert not is_unfinished(name)
