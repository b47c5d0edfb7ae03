"""The wheel: everything a user needs is in it, once, under nerfkit, and works away from the source tree."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _run(command: list[str], cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=cwd, env=inherited | env, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def supply():
    """scripts/check_supply.py, which builds, and installs in earnest."""
    spec = importlib.util.spec_from_file_location("check_supply", ROOT / "scripts" / "check_supply.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # where its dataclasses look for it
    sys.modules["check_supply"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["check_supply"]


@pytest.fixture(scope="module")
def wheel(supply, tmp_path_factory) -> Path:
    """A wheel of the working tree."""
    return supply.build("wheel", tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def listing(wheel) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def _expected_files() -> set[str]:
    """Name in the wheel of every file that matters at run time."""
    expected = set()
    for top, prefix in (("kernels", "nerfkit/kernels"), ("scenes", "nerfkit/scenes")):
        for pattern in ("*.py", "README.md"):
            found = (ROOT / top).rglob(pattern)
            expected |= {f"{prefix}/{path.relative_to(ROOT / top).as_posix()}" for path in found}
    for pattern in ("*.py", "*.html", "*.css", "*.js", "py.typed"):
        # whether rglob follows links depends on the Python: what it found behind them is dropped
        found = (path.relative_to(ROOT).as_posix() for path in (ROOT / "nerfkit").rglob(pattern))
        expected |= {name for name in found if not name.startswith(("nerfkit/kernels/", "nerfkit/scenes/"))}
    return expected


def test_wheel_holds_every_file(listing):
    missing = _expected_files() - set(listing)
    assert not missing, sorted(missing)
    for op, files in {"fourier": ["_triton.py", "README.md"], "march": ["_cpu.py", "README.md"]}.items():
        for name in ["__init__.py", "_reference.py", *files]:
            assert f"nerfkit/kernels/{op}/{name}" in listing
    assert "nerfkit/py.typed" in listing
    assert any(name.endswith("licenses/LICENSE") for name in listing)


def test_wheel_holds_each_file_once_and_only_under_nerfkit(listing):
    assert [name for name, count in Counter(listing).items() if count > 1] == []
    tops = {name.split("/")[0] for name in listing}
    assert all(top == "nerfkit" or top.endswith(".dist-info") for top in tops), tops
    code = [name for name in listing if name.endswith(".py")]
    assert set(code) == {name for name in _expected_files() if name.endswith(".py")}


def test_wheel_runs_away_from_the_sources(wheel, tmp_path):
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target)]
    done = _run([*pip, str(wheel)], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    # -S leaves out site-packages' .pth files, so the editable install of the sources cannot answer instead
    search = [str(target), *(path for path in sys.path if "site-packages" in path)]
    code = (
        f"import sys; sys.path += {search!r}\n"
        "import torch, nerfkit\n"
        "from nerfkit.kernels.fourier import fourier\n"
        "from nerfkit.scenes.errors import NerfkitError\n"
        "assert fourier(torch.zeros(2, 3), torch.ones(4, 3)).shape == (2, 8)\n"
        "assert nerfkit.NerfkitError is NerfkitError\n"
        "print(fourier.__code__.co_filename)"
    )
    done = _run([sys.executable, "-S", "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == target / "nerfkit" / "kernels" / "fourier" / "__init__.py"


def test_what_the_wheel_needs_is_what_is_declared_but_triton(supply, wheel):
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    names = {re.split(r"[<>=!~;\[ ]", line)[0] for line in declared}
    found = supply.requirements(wheel)
    assert {re.split(r"[<>=!~]", line)[0] for line in found} == names - {"triton"}
    assert len(found) == len(set(found)) and "torch>=2.6" in found


def test_what_is_installed_is_listed_with_its_licence(supply):
    class Here:
        @staticmethod
        def run(*words):
            return _run([sys.executable, *words], ROOT)

    found = {name.lower(): (version, licence) for name, version, licence in supply.licences(Here)}
    assert found["numpy"][0] == version("numpy") and "BSD-3-Clause" in found["numpy"][1]
    assert "MIT" in found["nerfkit"][1] and found["jinja2"][1] == "BSD License"
    assert supply.table([("a", "1", "MIT")]).splitlines()[-1] == "| a | 1 | MIT |"


@pytest.mark.parametrize("name", ["kernels", "scenes"])
def test_bare_name_says_where_the_package_is(name):
    done = _run([sys.executable, "-c", f"import {name}"], ROOT)
    assert done.returncode == 1
    assert "ImportError" in done.stderr
    assert f"from nerfkit.{name} import" in done.stderr


def test_links_are_relative():
    # an absolute link would break in every clone, a copied folder would drift from its original
    for name in ("kernels", "scenes"):
        assert (ROOT / "nerfkit" / name).readlink() == Path("..") / name
