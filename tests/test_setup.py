"""What `make` rests on: scripts/setup.py and the line that it prints on failure, the pins, --no-skips."""

import ast
import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "setup.py"


@pytest.fixture
def setup():
    """The script as a module, fresh for each test."""
    spec = importlib.util.spec_from_file_location("nerfkit_setup", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(tmp_path):
    """A folder that looks like the project to the script."""
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    return tmp_path


@pytest.fixture
def fails(setup, project, monkeypatch, capsys):
    """Call main() in the project: it must print one line, return 2, and the line is handed back."""

    def call() -> str:
        monkeypatch.setattr(setup, "ROOT", str(project))
        assert setup.main() == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        return lines[0]

    return call


def _program(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def _python(path: Path, body: str = "exit 0", minor: int = 12) -> Path:
    """A stand-in for an interpreter: answers the question for its version, then runs ``body``."""
    return _program(path, f'case "$2" in *version_info*) echo 3 {minor}; exit 0;; esac\n{body}')


Version = namedtuple("Version", "major minor micro releaselevel serial")


def test_an_old_python_can_read_the_script():
    ast.parse(SCRIPT.read_text(), feature_version=(3, 6))
    imported = {
        name.name.split(".")[0]
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert imported <= sys.stdlib_module_names


def test_python_too_old(setup, fails, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "version_info", Version(3, 9, 2, "final", 0))
    # a version manager's stub is on PATH, but does not run
    _program(tmp_path / "bin" / "python3.13", "exit 127")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    line = fails()
    assert "this is 3.9" in line
    assert "3.11 to 3.14" in line
    assert "make setup PYTHON=" in line
    assert not (tmp_path / ".venv").exists()


def test_python_too_old_but_a_newer_one_is_on_path(setup, monkeypatch, tmp_path):
    _program(tmp_path / "python3.13", "exit 127")
    good = _program(tmp_path / "python3.12", "echo 3 12")
    _program(tmp_path / "python3.11", "echo 3 11")
    monkeypatch.setenv("PATH", str(tmp_path))
    for version in [(3, 9, 2), (3, 15, 0)]:
        monkeypatch.setattr(sys, "version_info", Version(*version, "final", 0))
        assert setup.find_python() == str(good)


def test_supported_python_is_taken_as_it_is(setup, monkeypatch):
    for minor in (11, 14):
        monkeypatch.setattr(sys, "version_info", Version(3, minor, 0, "final", 0))
        assert setup.find_python() == sys.executable


def test_no_venv_module(setup, fails, monkeypatch, tmp_path):
    python = _python(tmp_path / "python3.12", "exit 1")
    monkeypatch.setattr(setup, "find_python", lambda: str(python))
    line = fails()
    assert "no venv or ensurepip module" in line
    assert "apt-get install python3.12-venv" in line


def test_disk_too_small(setup, fails, monkeypatch, project):
    usage = SimpleNamespace(total=0, used=0, free=1.24e9)
    monkeypatch.setattr(setup.shutil, "disk_usage", lambda folder: usage)
    line = fails()
    assert "need about 3 GB" in line
    assert "1.2 GB free" in line
    assert str(project) in line
    assert not (project / ".venv").exists()


def _install(setup, monkeypatch, project, packages, free) -> list[list[str]]:
    """Run install() with a pip that answers a dry run with ``packages``; returns what it was asked."""
    asked = []

    def run(command, root, failed):
        asked.append(command)
        if "--report" in command:
            entries = [{"metadata": {"name": name, "version": "2.13.0"}} for name in packages]
            Path(command[command.index("--report") + 1]).write_text(json.dumps({"install": entries}))

    monkeypatch.setattr(setup, "run", run)
    monkeypatch.setattr(setup.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    setup.install("python", str(project))
    return asked


def test_cuda_build_is_announced_before_it_is_downloaded(setup, monkeypatch, project, capsys):
    monkeypatch.setattr(setup, "has_nvidia_gpu", lambda: False)
    asked = _install(setup, monkeypatch, project, ["torch", "nvidia_cudnn_cu13"], 50e9)
    output = capsys.readouterr().out
    assert "3 GB to download, 8 GB on disk" in output
    assert "PyTorch's install page" in output
    assert "-e" in asked[-1] and "constraints.txt" in asked[-1]


def test_cuda_build_where_there_is_a_gpu_needs_no_advice(setup, monkeypatch, project, capsys):
    monkeypatch.setattr(setup, "has_nvidia_gpu", lambda: True)
    _install(setup, monkeypatch, project, ["torch", "cuda-bindings"], 50e9)
    output = capsys.readouterr().out
    assert "8 GB on disk" in output
    assert "install page" not in output


def test_cuda_build_does_not_fit(setup, monkeypatch, project):
    with pytest.raises(setup.SetupError, match=r"CUDA build .* need about 8 GB, .* has 5\.0 GB free"):
        _install(setup, monkeypatch, project, ["torch", "nvidia-cublas"], 5e9)


def test_cpu_build_fits_where_cuda_would_not(setup, monkeypatch, project, capsys):
    asked = _install(setup, monkeypatch, project, ["torch", "sympy"], 5e9)
    assert "without CUDA" in capsys.readouterr().out
    assert "-e" in asked[-1]


def test_opencv_lacks_a_system_library(setup, fails, project):
    message = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"
    body = f'case "$2" in "import cv2") echo "{message}" >&2; exit 1;; esac'
    _python(project / ".venv" / "bin" / "python", body)
    (project / ".venv" / ".nerfkit-installed").write_text(setup.fingerprint(str(project)))
    line = fails()
    assert "libGL.so.1" in line
    assert "apt-get install libgl1 libglib2.0-0" in line
    assert "opencv-python-headless" in line
    assert not (project / ".venv" / ".nerfkit-ready").exists()


def test_a_second_run_installs_nothing_and_a_changed_pin_does(setup, monkeypatch, project, capsys):
    monkeypatch.setattr(setup, "ROOT", str(project))
    _python(project / ".venv" / "bin" / "python", f'echo "$@" >> {project}/asked')
    installs = []
    monkeypatch.setattr(setup, "install", lambda python, root: installs.append(python))
    for _ in range(2):
        assert setup.main() == 0
    assert len(installs) == 1
    assert (project / ".venv" / ".nerfkit-ready").exists()
    assert (project / "asked").read_text().count("nerfkit.warm") == 1
    (project / "constraints.txt").write_text("torch==2.14.0\n")
    assert setup.main() == 0
    assert len(installs) == 2
    capsys.readouterr()


def test_an_environment_of_an_old_python(fails, project):
    python = _python(project / ".venv" / "bin" / "python", minor=9)
    line = fails()
    assert ".venv holds Python 3.9" in line
    assert "rm -rf .venv" in line
    assert python.exists()  # it may be the user's own: that is for them to remove


def test_an_environment_that_does_not_run_is_made_again(setup, monkeypatch, project):
    _program(project / ".venv" / "bin" / "python", "exit 127")
    (project / ".venv" / ".nerfkit-installed").write_text(setup.fingerprint(str(project)))
    calls = []
    monkeypatch.setattr(setup, "make_venv", lambda venv, root: calls.append("venv"))
    monkeypatch.setattr(setup, "install", lambda python, root: calls.append("install"))
    monkeypatch.setattr(setup, "check_cv2", lambda python: None)
    monkeypatch.setattr(setup, "run", lambda command, root, failed: None)
    setup.set_up(str(project))
    assert calls == ["venv", "install"]


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("OSError: [Errno 28] No space left on device", "TMPDIR"),
        ("NameResolutionError: Failed to resolve", "check the network"),
        ("ERROR: No matching distribution found for torch", "PYTHON=python3.12"),
        ("python: No module named pip", "rm -rf .venv"),
        ("anything else", "`make setup` again"),
    ],
)
def test_failure_shows_the_output_and_a_next_step(setup, tmp_path, capsys, output, advice):
    command = _program(tmp_path / "pip", f'echo "{output}"; exit 1')
    with pytest.raises(setup.SetupError, match=f"^pip failed .*{re.escape(advice)}"):
        setup.run([str(command)], str(tmp_path), setup.PIP_FAILED)
    assert output in capsys.readouterr().err


def test_success_is_quiet(setup, tmp_path, capsys):
    setup.run([str(_program(tmp_path / "pip", "echo chatter"))], str(tmp_path), setup.PIP_FAILED)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_interrupt_says_how_to_go_on(setup, monkeypatch, capsys):
    def interrupted(root):
        raise KeyboardInterrupt

    monkeypatch.setattr(setup, "set_up", interrupted)
    assert setup.main() == 130
    assert "make setup" in capsys.readouterr().err


def test_every_direct_dependency_is_pinned():
    text = (ROOT / "pyproject.toml").read_text()
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text().lower(), re.MULTILINE))
    wanted = {name.lower() for name in re.findall(r'^    "([\w-]+)(?:\[\w+\])?>=', text, re.MULTILINE)}
    assert {"torch", "triton", "pytest"} <= wanted
    assert wanted <= pinned


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_lists_its_targets():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = re.findall(r"^  make (\w+)", done.stdout, re.MULTILINE)
    assert set(listed) >= {"help", "setup", "demo", "test", "check", "kernels", "bench", "clean"}


# --no-skips of tests/conftest.py, on tests of its own

_SUITE = """
import pytest
@pytest.mark.skip(reason="no triton")
def test_skipped(): pass
@pytest.mark.xfail
def test_expected_failure(): assert False
@pytest.mark.gpu
def test_on_gpu(): pass
def test_passes(): pass
"""


def _pytest_on(folder: Path, source: str, *options: str) -> tuple[int, str]:
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = gpu: needs a GPU\n")
    (folder / "test_it.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    # without a GPU, wherever this runs
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_without_no_skips_a_skipped_test_is_fine(tmp_path):
    code, output = _pytest_on(tmp_path, _SUITE)
    assert code == 0
    assert "1 passed, 2 skipped, 1 xfailed" in output


def test_no_skips_makes_a_skipped_test_fail(tmp_path):
    code, output = _pytest_on(tmp_path, _SUITE, "--no-skips")
    assert code == 1
    assert "skipped although --no-skips was given: Skipped: no triton" in output
    assert "1 passed, 1 deselected, 1 xfailed" in output


def test_no_skips_makes_a_skipped_file_fail(tmp_path):
    code, output = _pytest_on(tmp_path, "import pytest\npytest.importorskip('no_such_module')\n", "--no-skips")
    assert code == 2
    assert "no_such_module" in output
