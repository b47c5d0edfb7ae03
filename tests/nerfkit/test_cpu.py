"""What a run asks of the libraries under it, each in a process of its own: it is for the whole process."""

import platform
import subprocess
import sys

import pytest

from nerfkit.cpu import usable_cores


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


MEMORY = """
import numpy as np
from nerfkit.cpu import {function}

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

{function}()
before = resident()
blocks = [np.ones(2**20) for _ in range(20)]  # 8 MiB each, as large as a photo
full = resident()
del blocks
print(full - before, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told what to do with freed memory")
@pytest.mark.parametrize("function, kept", [("return_freed_memory", False), ("keep_freed_memory", True)])
def test_freed_memory_goes_back_for_photos_and_stays_for_tensors(function, kept):
    full, left = map(float, run(MEMORY.format(function=function)))
    assert full > 150
    assert left > 100 if kept else left < 20


COMPILING = """
import logging, sys
from numba import njit
from nerfkit.clock import say_when_compiling

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
say_when_compiling()
print("before")
for k in (1, 2):
    njit(lambda x: x + k)(3)
print("after")
"""


def test_the_user_hears_once_that_loops_are_compiled():
    words = run(COMPILING)
    assert words[0] == "before" and words[-1] == "after"
    assert words.count("compiling") == 1


def test_all_cores_are_used():
    code = "import torch; from nerfkit.cpu import use_all_cores; torch.set_num_threads(1); use_all_cores(); "
    assert run(code + "print(torch.get_num_threads())") == [str(usable_cores())]


def test_processes_of_a_machine_share_its_cores(monkeypatch):
    words = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
    for name, value in words.items():
        monkeypatch.setenv(name, value)
    code = "import numba, torch; from nerfkit.cpu import use_all_cores; use_all_cores(); "
    each = str(max(1, usable_cores() // 2))
    assert run(code + "print(torch.get_num_threads(), numba.get_num_threads())") == [each, each]


WAITS = """
import os, sys
from nerfkit.cpu import wait_briefly

wait_briefly()
print(os.environ["OMP_WAIT_POLICY"], os.environ.get("GOMP_SPINCOUNT"), "torch" in sys.modules)
"""


def test_threads_spin_briefly_unless_the_user_says_how_they_wait(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    assert run(WAITS) == ["PASSIVE", "10000", "False"]
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert run(WAITS) == ["PASSIVE", "7", "False"]
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert run(WAITS)[0] == "ACTIVE"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    assert run(WAITS) == ["ACTIVE", "None", "False"]
