"""The readers take files that were changed at random or refuse them by a NerfkitError; faults are found."""

import importlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from nerfkit.scenes.errors import NerfkitError

SCRIPTS = Path(__file__).parents[2] / "scripts"
# of each parser: a fixed number, so that the same files are read everywhere
N_EXECUTIONS, SEED = 25, 0


def load(name):
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SCRIPTS))


fuzz, parsers, mutations = (load(name) for name in ("fuzz", "fuzz_parsers", "fuzz_mutations"))
NAMES = list(parsers.PARSERS)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What a process of its own found, with a limit of memory that ours must not have."""
    file = tmp_path_factory.mktemp("fuzz") / "found.json"
    command = [sys.executable, SCRIPTS / "fuzz.py", "--here", "--parser", *NAMES, "--executions", str(N_EXECUTIONS)]
    done = subprocess.run(
        [*command, "--seed", str(SEED), "--json", file], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(SCRIPTS.parent)},
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr[-3000:]
    return {outcome["parser"]: outcome for outcome in json.loads(file.read_text())}


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_file_is_read_or_refused(outcomes, name):
    outcome = outcomes[name]
    assert not outcome["findings"], outcome["findings"][0]["text"]
    assert outcome["executions"] == N_EXECUTIONS == outcome["read"] + outcome["refused"]


def test_changes_follow_from_the_seed():
    payload = b'{"a": 1.5, "b": [2, 3]}' * 9
    changed = [mutations.mutated(payload, random.Random(seed), (b"word",)) for seed in (1, 1, 2)]
    assert changed[0] == changed[1] != changed[2]
    assert all(mutations.mutated(b"", random.Random(seed)) is not None for seed in range(50))


def reader(read):
    """A parser of one file, which ``read`` is given."""

    def make(folder):
        (folder / "a").write_bytes(bytes(range(64)))
        return ["a"]

    return parsers.Parser("made", make, lambda folder: read((folder / "a").read_bytes()))


def test_an_exception_is_found_once_and_its_file_kept(tmp_path):
    def read(payload):
        if payload != bytes(range(64)):
            raise KeyError("x")

    found = fuzz.fuzz(reader(read), seed=0, executions=30, keep=tmp_path)
    (finding,) = found.findings
    assert finding.what.startswith("KeyError") and found.executions == 30
    assert (tmp_path / "made" / str(finding.execution) / "a").read_bytes() != bytes(range(64))


def test_what_is_refused_is_counted():
    def read(payload):
        if payload != bytes(range(64)):
            raise NerfkitError("no")

    found = fuzz.fuzz(reader(read), seed=0, executions=30)
    assert not found.findings and found.refused + found.read == 30 and found.refused > 20


def test_a_file_that_takes_too_long_is_found(monkeypatch):
    monkeypatch.setattr(fuzz, "MAX_SECONDS", 0.05)

    def read(payload):
        began = time.process_time()
        while payload != bytes(range(64)) and time.process_time() < began + 20:
            pass

    found = fuzz.fuzz(reader(read), seed=0, executions=3)
    assert [finding.what.split()[0] for finding in found.findings] == ["Hang"]


def test_a_file_on_which_a_library_hangs_ends_the_process():
    # deaf to signals, as a library is
    deaf = "import signal, time; signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); time.sleep(60)"
    code = f"import fuzz; fuzz.PATIENCE = 0.2\nwith fuzz.Watch(): {deaf}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50,
        env=os.environ | {"PYTHONPATH": f"{SCRIPTS}{os.pathsep}{SCRIPTS.parent}"},
    )  # fmt: skip
    assert done.returncode != 0 and "Timeout (0:00:00.2" in done.stderr, done.stderr


def test_photos_of_a_folder_are_read_without_threads_and_with_them_afterwards():
    from nerfkit.scenes.readers import photos, posed

    with fuzz.one_thread():
        names = posed.map_in_threads(lambda _: threading.current_thread().name, range(3))
        assert names == [threading.current_thread().name] * 3
    assert posed.map_in_threads is photos.map_in_threads
    assert threading.current_thread().name not in photos.map_in_threads(lambda _: threading.current_thread().name, [0])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited on Linux alone")
def test_memory_that_a_file_asks_for_is_limited(monkeypatch):
    monkeypatch.setattr(fuzz, "MAX_BYTES", 1 << 26)
    with fuzz.limited_memory(), pytest.raises(MemoryError):
        bytearray(1 << 28)
    assert len(bytearray(1 << 28)) == 1 << 28


def test_a_process_that_ends_is_a_finding():
    options = SimpleNamespace(seed="none", executions=1, seconds=None, keep=None, atheris=False)
    (finding,) = fuzz._in_child("psf", options).findings
    assert finding.what.startswith("the process ended") and "invalid int value: 'none'" in finding.text
