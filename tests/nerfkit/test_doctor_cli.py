"""`nerfkit doctor` as a command, the check-up of the machine, and real datasets."""

import shutil
import subprocess
import sys
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
from photo_folders import DATA, frames, needs_data, write_transforms

from nerfkit.doctor import examine_data, examine_machine, machine

MACHINE_FACTS = {
    *("nerfkit", "python", "system", "torch", "torch_build", "gpu", "triton", "numba", "numba_cache", "ffmpeg", "h264"),
    *("opencv", "cores", "memory_free_gb", "disk_free_gb"),
}
Usage = namedtuple("Usage", "total used free")


def problems(report, where):
    return [(p.level, p.what, p.fix) for p in report.problems if p.where == where]


@pytest.fixture
def no_ffmpeg_run(monkeypatch):
    """Spare the tests that are about something else the video."""
    monkeypatch.setattr(machine, "_check_ffmpeg", lambda report: None)


def test_this_machine(nerfkit):
    answer = nerfkit("doctor", "--json", "--quiet")
    assert set(answer.json) == {"ok", "problems", "machine"}
    assert set(answer.json["machine"]) == MACHINE_FACTS
    assert answer.json["ok"] is (answer.code == 0)
    assert answer.json["machine"]["h264"] is True
    assert answer.json["machine"]["cores"] >= 1
    for problem in answer.json["problems"]:
        assert set(problem) == {"level", "what", "where", "fix"}


def test_this_machine_for_a_person(nerfkit, monkeypatch, no_ffmpeg_run):
    monkeypatch.setattr(machine, "memory_free", lambda: int(2e9))
    answer = nerfkit("doctor")
    lines = answer.out.splitlines()
    assert lines[0].startswith("nerfkit         ")
    assert lines[1].startswith("python          ")
    at = lines.index("warning: memory: 2.0 GB of memory free; 4 GB are enough")
    assert lines[at + 1] == "  fix: close programs, or train with --downscale"
    assert lines[-1] == "1 warning; next: nerfkit demo"
    assert answer.err == ""


def test_worst_comes_first_and_decides_the_exit_code(nerfkit, tmp_path):
    entries = frames(6)
    entries[0]["transform_matrix"][0][0] = float("inf")
    folder = write_transforms(tmp_path / "scene", entries=entries, photos=True)
    (folder / "images/01.png").unlink()
    answer = nerfkit("doctor", folder)
    assert answer.code == 2
    levels = [line.split(":")[0] for line in answer.out.splitlines() if line.startswith(("error", "warning", "info"))]
    assert levels == sorted(levels, key=["error", "warning", "info"].index)
    assert set(levels) == {"error", "warning"}
    assert answer.out.splitlines()[-1].endswith("mend the errors, then run nerfkit doctor again")
    in_json = nerfkit("doctor", folder, "--json")
    assert in_json.code == 2 and in_json.json["ok"] is False
    assert in_json.json["problems"][0]["level"] == "error"
    assert in_json.json["dataset"]["views"] == 4
    assert nerfkit("doctor", folder, "--quiet").out == ""


def test_many_problems_are_cut_for_a_person_only(nerfkit, tmp_path):
    entries = frames(40)
    for i in range(30):
        entries[i]["transform_matrix"][0][1] += 1 + i
    folder = write_transforms(tmp_path / "scene", entries=entries)
    assert len([p for p in nerfkit("doctor", folder, "--json").json["problems"] if "orthonormal" in p["what"]]) == 30
    out = nerfkit("doctor", folder).out
    assert out.count("error: ") == 20
    assert "more: --json lists them" in out


def test_a_path_that_is_not_there_is_a_finding(nerfkit, tmp_path):
    answer = nerfkit("doctor", tmp_path / "absent", "--json")
    assert answer.code == 2
    assert answer.json["problems"][0]["what"] == "no such file or folder"


def test_time_needs_a_dataset(nerfkit):
    answer = nerfkit("doctor", "--time")
    assert answer.code == 2
    assert answer.err == "error: --time: needs a dataset to train on\n  fix: nerfkit doctor DATA --time\n"


def test_help_loads_no_torch():
    code = "import sys; from nerfkit.cli import main; main(['doctor', '--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


@pytest.mark.parametrize("name", ["torch", "numba"])
def test_a_package_that_cannot_be_imported(monkeypatch, no_ffmpeg_run, name):
    monkeypatch.setitem(sys.modules, name, None)
    report = examine_machine()
    ((level, what, fix),) = problems(report, name)
    assert (level, fix) == ("error", f"pip install {name}")
    assert f"{name} cannot be imported" in what
    assert report.facts[name] is None and not report.ok


def test_a_python_that_is_not_tested(monkeypatch, no_ffmpeg_run):
    monkeypatch.setattr(machine, "PYTHONS", ((3, 1), (3, 2)))
    ((level, what, fix),) = problems(examine_machine(), "python")
    assert level == "warning" and "tested on Python 3.1 to 3.2" in what and "python3.2" in fix


@pytest.mark.parametrize(
    ("cuda", "driver", "where", "level"),
    [(None, "NVIDIA H100", "torch", "warning"), ("13.0", "NVIDIA H100", "GPU", "warning"), (None, "", "GPU", "info")],
)
def test_no_gpu_that_torch_can_use(monkeypatch, no_ffmpeg_run, cuda, driver, where, level):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", None, raising=False)
    monkeypatch.setattr(machine, "_nvidia_gpus", lambda: driver)
    report = examine_machine()
    ((found, what, fix),) = problems(report, where)
    assert found == level
    assert (driver in what) and ("pytorch.org" in fix) is bool(driver)
    assert report.facts["gpu"] == [] and report.facts["torch_build"] == (f"CUDA {cuda}" if cuda else "CPU only")


def test_a_gpu_without_triton(monkeypatch, no_ffmpeg_run):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    card = SimpleNamespace(name="H100", total_memory=80e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)
    monkeypatch.setitem(sys.modules, "triton", None)
    report = examine_machine()
    assert report.facts["gpu"] == ["H100 (80 GB)"]
    assert problems(report, "GPU") == []
    ((level, what, fix),) = problems(report, "triton")
    assert level == "warning" and "slower reference kernels" in what and fix == "pip install triton"


def test_the_driver_is_asked_for_its_gpus(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert machine._nvidia_gpus() == ""
    monkeypatch.setattr(shutil, "which", lambda name: str(tmp_path / name))
    assert machine._nvidia_gpus() == ""
    done = SimpleNamespace(stdout="H100\nH100\n")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: done)
    assert machine._nvidia_gpus() == "H100, H100"


def test_a_numba_cache_that_cannot_be_written(monkeypatch, no_ffmpeg_run):
    monkeypatch.setattr("nerfkit.loop_cache.is_writable", lambda folder: False)
    report = examine_machine()
    ((level, what, fix),) = problems(report, "numba")
    assert level == "warning" and "compiles them again" in what and fix.startswith("export NUMBA_CACHE_DIR=")
    assert report.facts["numba_cache"] is None


def test_no_ffmpeg(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    report = examine_machine()
    ((level, what, fix),) = problems(report, "ffmpeg")
    assert level == "error" and "PyAV cannot be imported" in what and "pip install" in fix
    assert report.facts["ffmpeg"] is None and report.facts["h264"] is False


def test_an_ffmpeg_without_h264(monkeypatch):
    monkeypatch.setattr("av.codecs_available", {"gif"})
    report = examine_machine()
    ((level, what, fix),) = problems(report, "ffmpeg")
    assert level == "error" and "no encoder libx264" in what and "pip install" in fix
    assert report.facts["ffmpeg"] is not None and report.facts["h264"] is False


def test_opencv_without_libgl(monkeypatch, no_ffmpeg_run):
    monkeypatch.setitem(sys.modules, "cv2", None)
    report = examine_machine()
    ((level, what, fix),) = problems(report, "opencv")
    assert level == "warning" and "OpenCV cannot be loaded" in what and "libgl1" in fix


@pytest.mark.parametrize(("free", "level"), [(0.5e9, "error"), (3e9, "warning"), (9e9, None)])
def test_little_memory(monkeypatch, no_ffmpeg_run, free, level):
    monkeypatch.setattr(machine, "memory_free", lambda: int(free))
    assert [p[0] for p in problems(examine_machine(), "memory")] == [level] * bool(level)


@pytest.mark.parametrize(("free", "level"), [(0.1e9, "error"), (1e9, "warning"), (9e9, None)])
def test_little_disk(monkeypatch, no_ffmpeg_run, free, level):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1e12, 0, free))
    assert [p[0] for p in problems(examine_machine(), "disk")] == [level] * bool(level)


def test_a_folder_that_cannot_be_written(monkeypatch, no_ffmpeg_run, tmp_path):
    monkeypatch.setattr(machine, "is_writable", lambda folder: False)
    what = [what for _, what, _ in problems(examine_machine(tmp_path), "disk")]
    assert f"nothing can be written in {tmp_path}, where results go by default" in what


@pytest.mark.parametrize("name", [pytest.param(n, marks=needs_data(n)) for n in ("fox", "fox_colmap", "lego_400")])
def test_real_posed_photos(nerfkit, name):
    answer = nerfkit("doctor", DATA / name, "--json", "--device", "cpu")
    assert answer.code == 0
    assert {p["level"] for p in answer.json["problems"]} <= {"warning"}
    facts = answer.json["dataset"]
    assert facts["photos_agree"]["shares"]["camera to world, OpenGL axes"] > 0.8
    assert facts["cameras"]["front"] == 1
    assert facts["views"] == {"fox": 50, "fox_colmap": 25, "lego_400": 120}[name]
    assert facts["absent"] == (17 if name == "fox" else 0)
    assert facts["background"] == ("white" if name == "lego_400" else "none")


@needs_data("fox_colmap")
def test_a_real_capture_of_another_convention():
    # what the axes alone get wrong: inverted, these cameras still have a point that all of them look away from
    from nerfkit.doctor import conventions
    from nerfkit.scenes.readers import read_posed_photos

    photos = read_posed_photos(DATA / "fox_colmap")
    photos.c2w = np.linalg.inv(photos.c2w)
    matched = conventions.match_photos(photos)
    assert matched is not None
    agreement, matches, _ = matched
    assert agreement.is_decisive and agreement.n_matches == matches.n_points
    assert agreement.best == "world to camera, OpenGL axes"


@pytest.mark.parametrize(
    ("name", "n_frames", "size"),
    [
        pytest.param(*row, marks=needs_data(row[0]))
        for row in (
            ("sr/text/frames", 30, [49, 57]),
            ("sr/eia/frames", 16, [90, 90]),
            ("sr/alpaca/frames", 55, [128, 96]),
            ("sr/bookcase_color/frames", 30, [121, 91]),
            ("sr/eia/eia_lr.avi", 16, [90, 90]),
        )
    ],
)
def test_real_frames(name, n_frames, size):
    report = examine_data(DATA / name)
    assert report.ok
    assert report.facts["frames"] == n_frames and report.facts["size"] == size
    assert 2 <= report.facts["scale"] <= 6
    assert report.facts["noise"] < 0.04


@needs_data("sr/carta_with_gt")
def test_a_truth_among_the_frames():
    report = examine_data(DATA / "sr/carta_with_gt")
    (problem,) = report.problems
    assert "1 of 6 are not 62x62: cartaOriginal.png" in problem.what
