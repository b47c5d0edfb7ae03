"""Build the wheel and the sdist, install the wheel where nothing else is, without Triton, and run it there.

    python scripts/check_supply.py [--pythons python3.11 python3.12 ...] [--sbom FILE.json] [--table FILE.md]

For each interpreter: a virtual environment, torch and the other dependencies of the wheel in the versions of
constraints.txt, the wheel itself; then `nerfkit --help`, `nerfkit doctor`, a training of 20 steps, and what is said
where OpenCV misses a library of the system. Prints one line a check, and a table of what is depended upon with its
licences. --sbom writes a bill of materials in CycloneDX's form by cyclonedx-bom, from an environment of its own.
"""

from __future__ import annotations

import argparse
import email
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

__all__ = ["build", "licences", "main", "requirements"]

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("nerfkit", "kernels", "scenes", "pyproject.toml", "README.md", "LICENSE")
# what a machine without a GPU, or of another system, does without
LEFT_OUT = ("triton",)
# what a server without a screen says of opencv-python
NO_LIBGL = "libGL.so.1: cannot open shared object file: No such file or directory"
SCENE = (
    "from nerfkit.scenes.synthetic import write_posed_scene as write; from pathlib import Path; import sys; "
    "write(Path(sys.argv[1]), n_train=8, n_val=1, n_test=1, size=(32, 32), supersample=1)"
)
# colour of 16 bits, which OpenCV alone decodes
DEEP = "import numpy, tifffile; tifffile.imwrite('deep.tif', numpy.zeros((16, 16, 3), numpy.uint16), photometric='rgb')"
# run in the environment that is looked at: name, version, licence of all that is installed
LISTED = """
import json
from importlib.metadata import distributions
found = []
for item in distributions():
    head = item.metadata
    classes = [line.rpartition(" :: ")[2] for line in head.get_all("Classifier", []) if line.startswith("License ::")]
    words = head.get("License-Expression") or ", ".join(classes) or head.get("License") or ""
    found.append([head["Name"], item.version, words.strip().partition("\\n")[0]])
print(json.dumps(sorted(found, key=lambda row: row[0].lower())))
"""


class SupplyError(Exception):
    """A check failed; the text says which and how."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def run(self, *words: object, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """Its Python with these words, away from our sources and from whatever runs us."""
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        return subprocess.run(
            [str(self.python), *map(str, words)], cwd=cwd or self.folder, env=kept | variables, capture_output=True,
            text=True, check=False,
        )  # fmt: skip

    def pip(self, *words: object) -> None:
        """Install something."""
        done = self.run("-m", "pip", "install", "-q", "--disable-pip-version-check", *words)
        if done.returncode:
            raise SupplyError(f"pip install {' '.join(map(str, words))}: {done.stderr.strip()[-2000:]}")


def build(kind: str, out: Path) -> Path:
    """The wheel or the sdist of the working tree, built from a copy: a stale build folder cannot help or hurt.

    Parameters
    ----------
    kind : {"wheel", "sdist"}
    out : Path
        An empty folder for it.
    """
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for source in SOURCES:
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, copy / source, symlinks=True, ignore=ignored)
            else:
                shutil.copy(ROOT / source, copy / source)
        # without isolation nothing is downloaded
        words = ["-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(out), "."]
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run([sys.executable, *words], cwd=copy, env=kept, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SupplyError(f"the {kind} cannot be built: {done.stdout}{done.stderr}")
    (built,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


def requirements(wheel: Path) -> list[str]:
    """What the wheel needs on a machine like this, without extras and without what is left out."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        head = email.message_from_bytes(archive.read(name))
    found = [Requirement(line) for line in head.get_all("Requires-Dist", [])]
    wanted = [item for item in found if item.marker is None or item.marker.evaluate({"extra": ""})]
    return [f"{item.name}{item.specifier}" for item in wanted if item.name not in LEFT_OUT]


def licences(environment: Environment) -> list[tuple[str, str, str]]:
    """Name, version and licence of all that is installed in an environment."""
    done = environment.run("-c", LISTED)
    if done.returncode:
        raise SupplyError(f"what is installed cannot be listed: {done.stderr}")
    return [(name, version, licence or "not said") for name, version, licence in json.loads(done.stdout)]


def table(rows: Sequence[tuple[str, str, str]]) -> str:
    """Rows of licences as Markdown."""
    return "\n".join(["| package | version | licence |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])


def installed(python: str, wheel: Path, folder: Path) -> Environment:
    """A new environment with the wheel and what it needs."""
    done = subprocess.run([python, "-m", "venv", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SupplyError(f"{python} makes no environment: {done.stdout}{done.stderr}")
    environment, pins = Environment(folder), ROOT / "constraints.txt"
    environment.pip("-c", pins, *requirements(wheel))
    # torch's CUDA build brings it
    environment.run("-m", "pip", "uninstall", "-q", "-y", *LEFT_OUT)
    environment.pip("--no-deps", wheel)
    return environment


def checks(environment: Environment, place: Path) -> Iterator[str]:
    """Run what a user runs first; yields a line for each check that holds, raises for the first that does not."""

    def nerfkit(*words: object, codes: Sequence[int] = (0,), **variables: str) -> subprocess.CompletedProcess[str]:
        done = environment.run("-m", "nerfkit", *words, cwd=place, **variables)
        if done.returncode not in codes or "Traceback" in done.stderr:
            raise SupplyError(f"nerfkit {' '.join(map(str, words))}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    versions = "import sys, torch, nerfkit; print('Python', sys.version.split()[0], 'torch', torch.__version__)"
    yield environment.run("-c", versions, cwd=place).stdout.strip()
    if environment.run("-c", "import triton", cwd=place).returncode == 0:
        raise SupplyError("triton is there and should not be")
    yield "no Triton"
    if "usage: nerfkit" not in nerfkit("--help").stdout:
        raise SupplyError("nerfkit --help says nothing")
    yield "nerfkit --help"
    report = json.loads(nerfkit("doctor", "--json", codes=(0, 2)).stdout)
    errors = [problem["what"] for problem in report["problems"] if problem["level"] == "error"]
    yield f"nerfkit doctor: {'; '.join(errors) or 'no error'}"
    made = environment.run("-c", SCENE, place / "scene", cwd=place)
    if made.returncode:
        raise SupplyError(f"no scene can be made: {made.stderr}")
    trained = json.loads(nerfkit("train", "scene", "--steps", 20, "--out", "run", "--json").stdout)
    yield f"nerfkit train: {trained['steps']} steps, PSNR {trained['psnr']} dB"
    yield from _without_libgl(environment, place, nerfkit)


def _without_libgl(environment: Environment, place: Path, nerfkit) -> Iterator[str]:
    """What is said where opencv-python lacks libGL, in truth or by a module that stands in for it."""
    has_cv2 = environment.run("-c", "import cv2", cwd=place).returncode == 0
    variables = {}
    if has_cv2:
        (place / "broken").mkdir()
        (place / "broken" / "cv2.py").write_text(f"raise ImportError({NO_LIBGL!r})\n", encoding="utf-8")
        variables = {"PYTHONPATH": str(place / "broken")}
    found = json.loads(nerfkit("doctor", "--json", codes=(0, 2), **variables).stdout)["problems"]
    told = [problem["fix"] for problem in found if problem["where"] == "opencv"]
    if len(told) != 1 or "opencv-python-headless" not in told[0]:
        raise SupplyError(f"without libGL nerfkit doctor says of OpenCV: {told}")
    environment.run("-c", DEEP, cwd=place)
    said = nerfkit("fit", "image", "deep.tif", "-o", "fitted.png", codes=(3,), **variables).stderr
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    if len(lines) != 1 or "OpenCV cannot be loaded" not in lines[0]:
        raise SupplyError(f"without libGL nerfkit fit says: {said}")
    yield f"without libGL ({'simulated' if has_cv2 else 'this machine has none'}): {lines[0]}"


def write_sbom(environment: Environment, path: Path, folder: Path) -> None:
    """A bill of materials of an environment, by a tool that lives in another."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    tool = Environment(folder)
    tool.pip("cyclonedx-bom")
    words = ["-m", "cyclonedx_py", "environment", environment.python, "-o", path.absolute(), "--of", "JSON"]
    done = tool.run(*words)
    if done.returncode:
        raise SupplyError(f"cyclonedx-py: {done.stderr}")


def main() -> int:
    """Run the command line; 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pythons", nargs="+", default=[sys.executable], metavar="PYTHON")
    parser.add_argument("--sbom", type=Path, help="write a bill of materials of the first environment")
    parser.add_argument("--table", type=Path, help="write the table of licences")
    given = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="nerfkit-supply-") as name:
            _check_all(Path(name), given.pythons, given.sbom, given.table)
    except SupplyError as error:
        print(f"supply: {error}", file=sys.stderr)
        return 1
    return 0


def _check_all(folder: Path, pythons: Sequence[str], sbom: Path | None, listed: Path | None) -> None:
    for kind in ("wheel", "sdist"):
        (folder / kind).mkdir()
        print(f"built {build(kind, folder / kind).name}", flush=True)
    (wheel,) = (folder / "wheel").iterdir()
    for number, python in enumerate(pythons):
        environment, place = installed(python, wheel, folder / f"venv{number}"), folder / f"work{number}"
        place.mkdir()
        for line in checks(environment, place):
            print(f"{python}: {line}", flush=True)
        if number:
            continue
        rows = licences(environment)
        print(table(rows))
        if listed is not None:
            listed.write_text(table(rows) + "\n", encoding="utf-8")
        if sbom is not None:
            write_sbom(environment, sbom, folder / "tool")
            print(f"bill of materials: {sbom}")


if __name__ == "__main__":
    sys.exit(main())
