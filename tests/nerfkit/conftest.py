"""What the tests of the application share: one tiny scene, one run trained on it, and the command line in-process."""

import json
import shutil
from dataclasses import dataclass
from typing import Any

import pytest

from nerfkit.cli import main

# sizes that train in a blink; the presets are tuned for real photos
SMALL = {
    "hash": ["field.log2_table_size=12", "samples_per_step=8192", "sampling.resolution=32"],
    "fourier": [
        "field.width=32",
        "field.n_layers=3",
        "samples_per_step=8192",
        "sampling.kind=stratified",
        "sampling.n_samples=32",
        "learning_rate=1e-2",
    ],
}


@dataclass(frozen=True)
class Answer:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line of stdout; with --json nothing else is there."""
        (line,) = self.out.splitlines()
        return json.loads(line, parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


@pytest.fixture
def nerfkit(capsys):
    """Run a command in this process."""

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Answer(code, *capsys.readouterr())

    return run


def small(method: str) -> list[str]:
    """Arguments of `nerfkit train` for a small field."""
    return ["--method", method, *(word for setting in SMALL[method] for word in ("--set", setting))]


@pytest.fixture(scope="session")
def small_hash() -> list[str]:
    return small("hash")


@pytest.fixture(scope="session")
def small_fourier() -> list[str]:
    return small("fourier")


@pytest.fixture(scope="session")
def scene_folder(tmp_path_factory):
    """Posed photos of 32 x 32 pixels: 24 to train on, 2 to validate, 3 to test."""
    from nerfkit.scenes.synthetic import write_posed_scene

    folder = tmp_path_factory.mktemp("scenes") / "lighthouse"
    return write_posed_scene(folder, n_train=24, n_val=2, n_test=3, size=(32, 32), supersample=2)


@pytest.fixture(scope="session")
def trained_run(scene_folder, tmp_path_factory):
    """A run of 200 steps, for reading only; take `run_copy` to change it."""
    folder = tmp_path_factory.mktemp("runs") / "hash"
    code = main(["train", str(scene_folder), *small("hash"), "--out", str(folder), "--steps", "200", "--quiet"])
    assert code == 0
    return folder


@pytest.fixture
def run_copy(trained_run):
    """A copy beside the run, so that its way to the photos holds, that a test may damage."""
    folder = trained_run.with_name("copy")
    shutil.copytree(trained_run, folder)
    yield folder
    shutil.rmtree(folder)
