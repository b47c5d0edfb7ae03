"""Memory that does not suffice is told with what was asked, what there was, and what to lower."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import nerfkit as nk
from nerfkit import memory
from nerfkit.fitted_field import FittedField
from nerfkit.fitted_shape import FittedShape
from nerfkit.fitted_volume import FittedVolume
from nerfkit.memory import OutOfMemoryError, lack_of_memory, telling_memory
from nerfkit.superresolved_image import SuperresolvedImage
from nerfkit.trained_scene import TrainedScene

# more than any machine has, so that the libraries themselves say how they say it
HUGE = 2**50


def of_numpy():
    np.empty(HUGE, np.float32)


def of_torch():
    torch.empty(HUGE)


def of_python():
    bytearray(2**62)


def of_the_system():
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def of_a_gpu():
    text = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 3.00 GiB"
    raise torch.OutOfMemoryError(text)


def of_cublas():
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


LACKS = [
    (of_numpy, "4.5e+06 GB more were needed"), (of_torch, "4.5e+06 GB more were needed"), (of_python, ""),
    (of_the_system, ""), (of_a_gpu, "21.5 GB more were needed"), (of_cublas, ""),
]  # fmt: skip


@pytest.mark.parametrize(("fail", "asked"), LACKS)
def test_every_library_s_lack_of_memory_is_told(monkeypatch, fail, asked):
    monkeypatch.setattr(memory, "memory_free", lambda: 2_500_000_000)
    monkeypatch.setattr(memory, "_free_on_gpu", lambda: 30_000_000)
    with pytest.raises(OutOfMemoryError) as caught, telling_memory("nerfkit train", "lower it"):
        fail()
    free = "30 MB of the GPU were free" if fail in (of_a_gpu, of_cublas) else "2.5 GB were free"
    assert caught.value.what == f"memory does not suffice: {', '.join(filter(None, (asked, free)))}"
    assert (caught.value.where, caught.value.fix, caught.value.exit_code) == ("nerfkit train", "lower it", 2)


def test_where_the_system_does_not_tell_what_is_free(monkeypatch):
    monkeypatch.setattr(memory, "memory_free", lambda: None)
    told = lack_of_memory(MemoryError())
    assert told is not None and told.what == "memory does not suffice"


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of memory"), OSError(2, "absent")])
def test_other_errors_stay_what_they_are(error):
    assert lack_of_memory(error) is None
    with pytest.raises(type(error)) as caught, telling_memory("", ""):
        raise error
    assert caught.value is error


def test_what_is_free_is_what_can_be_had():
    free = memory.memory_free()
    assert free is None or 0 <= free < 2**47


def test_what_a_container_may_have_counts(monkeypatch):
    files = {"/proc/meminfo": "MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n"}
    monkeypatch.setattr(memory, "_read", lambda path: files.get(path, ""))
    assert memory.memory_free() == 8_000_000 * 1024
    files |= {"/sys/fs/cgroup/memory.max": "3000000000\n", "/sys/fs/cgroup/memory.current": "1000000000\n"}
    assert memory.memory_free() == 2_000_000_000
    # what was read once and may go does not count
    files["/sys/fs/cgroup/memory.stat"] = "anon 7\ninactive_file 600000000\nactive_file 9\n"
    assert memory.memory_free() == 2_600_000_000
    files["/sys/fs/cgroup/memory.current"] = "4000000000\n"
    assert memory.memory_free() == 0
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert memory.memory_free() == 8_000_000 * 1024
    files.clear()
    assert memory.memory_free() is None


LIMITED = """
import resource, sys
from nerfkit.memory import memory_free
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + 2**26, -1))
print(memory_free() <= 2**26)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell a process how much it has")
def test_a_limit_of_the_process_counts():
    assert subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True).stdout == "True\n"


def lacking(*args, **kwargs):
    torch.empty(HUGE)


def test_everything_that_is_public_says_what_to_lower():
    functions = [getattr(nk, name) for name in ("convert", "fit", "process", "resume", "resume_fit")]
    functions += [nk.resume_superres, nk.superres, nk.train]
    classes = [FittedField, FittedShape, FittedVolume, SuperresolvedImage, TrainedScene]
    names = ("derivatives", "distances", "evaluate", "export", "render", "render_path")
    functions += [vars(holder)[name] for holder in classes for name in names if name in vars(holder)]
    # what a decorator leaves behind
    assert [function.__qualname__ for function in functions if not hasattr(function, "__wrapped__")] == []


def test_every_command_says_what_to_lower(nerfkit, monkeypatch, scene_folder, run_copy, tmp_path):
    monkeypatch.setattr("nerfkit.training.load_photo_data", lacking)
    monkeypatch.setattr("nerfkit.scene.RadianceScene.render", lacking)
    monkeypatch.setattr("nerfkit.superresolution.running.run_superres", lacking)
    monkeypatch.setattr("nerfkit.doctor.examine_data", lacking)
    frames = scene_folder / "train"
    tries = [
        (["train", scene_folder, "--out", tmp_path / "a"], "--downscale"),
        (["train", scene_folder, "--dry-run"], "--downscale"),
        (["train", "--resume", run_copy], "train again and lower"),
        (["render", run_copy, "--frames", 1, "--out", tmp_path / "a.gif"], "lower --size"),
        (["eval", run_copy], "--downscale"),
        (["superres", frames, "-o", tmp_path / "b.png", "--frames", 4], "lower --scale"),
        (["doctor", scene_folder], "do with less"),
    ]
    for arguments, less in tries:
        answer = nerfkit(*arguments, "--json")
        told = answer.json["error"]
        assert answer.code == 2 and told["what"].startswith("memory does not suffice: "), answer
        assert less in told["fix"] and told["where"].startswith(f"nerfkit {arguments[0]}")
        assert "report" not in told["fix"] and "Traceback" not in answer.err


def test_python_callers_get_an_error_of_ours(monkeypatch, scene_folder, tmp_path):
    monkeypatch.setattr("nerfkit.training.load_photo_data", lacking)
    with pytest.raises(nk.NerfkitError, match=r"nerfkit train: memory does not suffice: .*; lower the photos' size"):
        nk.train(scene_folder, tmp_path / "run", steps=1)
