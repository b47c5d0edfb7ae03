"""The run folder: what a task leaves behind and what later commands start from.

``config.yml`` task, settings, data and device; ``scene.json`` or ``frames.json`` what was found of the data;
``metrics.jsonl`` and ``metrics.json`` figures; ``checkpoints/`` weights; ``versions.json``. Paths inside are relative
where they can be.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from nerfkit import __version__
from nerfkit.checkpoints import CheckpointFolder
from nerfkit.config import dump, load, to_dict
from nerfkit.files import write_atomically
from nerfkit.scenes.backgrounds import Background
from nerfkit.scenes.bounds import SceneBounds
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.json_text import parse_json
from nerfkit.scenes.readers import PosedPhotos, read_posed_photos
from nerfkit.scenes.settings import check_number
from nerfkit.scenes.writing import temporary_beside
from nerfkit.tasks import TASKS, Task, get_task

__all__ = ["Recorded", "Run", "default_run_folder", "link_latest"]

# what decides a result besides our own code
VERSIONED = ("torch", "triton", "numpy", "numba", "pillow", "av")


class Recorded(NamedTuple):
    """What config.yml holds."""

    # settings of the run's task
    config: Any
    # where the data were, and where they were computed with
    data: Path
    device: str
    # what else the task was given
    inputs: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Run:
    """A run folder.

    Parameters
    ----------
    folder : Path
        The folder.
    """

    folder: Path

    @property
    def checkpoints(self) -> CheckpointFolder:
        """Its checkpoints."""
        return CheckpointFolder(self.folder / "checkpoints")

    @property
    def metrics_log(self) -> Path:
        """Figures, one object a line."""
        return self.folder / "metrics.jsonl"

    def write_config(self, config: Any, *, data: Path, device: str, **inputs: Any) -> None:
        """Write config.yml; ``inputs`` is what else the task was given, paths as Path."""
        given = {
            name: _relative(value, self.folder) if isinstance(value, Path) else value for name, value in inputs.items()
        }
        places = {"task": config.task, "data": _relative(data, self.folder), "device": device, **given}
        write_atomically(self.folder / "config.yml", dump(places | to_dict(config)))

    def write_versions(self) -> None:
        """Write versions.json, the first file of a run: what has it may be replaced by ``--overwrite``."""
        write_atomically(self.folder / "versions.json", json.dumps(_versions(), indent=1).encode())

    def change_settings(self, settings: dict[str, Any]) -> None:
        """Replace settings in config.yml: what the data decided while they were fitted."""
        write_atomically(self.folder / "config.yml", dump(self._values() | settings))

    def write_scene(self, bounds: SceneBounds, background: Background, downscale: float) -> None:
        """Write scene.json: what was found from the photos, so that it need not be found again."""
        values = {
            "bounds": bounds.as_dict(),
            "background": dataclasses.asdict(background),
            "downscale": downscale,
        }
        write_atomically(self.folder / "scene.json", json.dumps(values, indent=1).encode())

    def write_json(self, name: str, values: Any) -> Path:
        """Write ``values`` as JSON under ``name``."""
        path = self.folder / name
        write_atomically(path, (json.dumps(values, indent=1) + "\n").encode())
        return path

    @property
    def task(self) -> Task:
        """The task whose run this is.

        Raises
        ------
        NerfkitError
            This folder is no run, or its config.yml is damaged.
        """
        return get_task(self._values()["task"])

    def read_config(self, task: str | None = None) -> Recorded:
        """Settings, data and device of the run.

        Parameters
        ----------
        task : str, optional
            The task that its run is wanted of.

        Raises
        ------
        NerfkitError
            This folder is no run or another task's, or its config.yml is damaged.
        """
        values, path, own = self._values(), self.folder / "config.yml", self.task
        if task not in (None, own.name):
            raise NerfkitError(
                f"is {own.holds}, not {get_task(task).holds}", where=self.folder, fix=own.usage.format(run=self.folder)
            )
        if any("\0" in value for value in values.values() if isinstance(value, str)):
            raise NerfkitError("is damaged: a text in it holds a NUL", where=path, fix="make the run again")
        config = own.configure(file=path)
        inputs = {name: values.get(name) for name in own.inputs}
        return Recorded(config, (self.folder / values["data"]).resolve(), values["device"], inputs)

    def output_beside(self, recorded: object, suffix_of: Callable[[Path], str]) -> Path:
        """Where the result of a run that goes on is written: beside the run folder and under its name, as at first.

        Of what config.yml says of it the suffix alone counts, by ``suffix_of``: a run of somebody else's writes over
        no file of another name.
        """
        if not isinstance(recorded, str):
            raise NerfkitError(
                f"is damaged: its output is {recorded!r}", where=self.folder / "config.yml", fix="make the run again"
            )
        name, folder = Path(recorded).name, self.folder.resolve()
        suffix = suffix_of(Path(name))
        return folder.with_name(folder.name + name[len(name) - len(suffix) :])

    def _values(self) -> dict[str, Any]:
        path = self.folder / "config.yml"
        if not path.is_file():
            raise NerfkitError(
                "is no run folder: it has no config.yml", where=self.folder,
                fix="give the folder that nerfkit train or nerfkit superres made",
            )  # fmt: skip
        try:
            values = load(path)
        except NerfkitError as error:
            raise NerfkitError(f"is damaged: it {error.what}", where=path, fix="make the run again") from error
        if (
            not all(isinstance(values.get(key), str) for key in ("task", "data", "device"))
            or values["task"] not in TASKS
        ):
            raise NerfkitError(
                f"is damaged: wanted data, device, and a task of {', '.join(TASKS)}; got {values.get('task')!r}",
                where=path, fix="make the run again",
            )  # fmt: skip
        return values

    def read_figures(self) -> dict[str, Any]:
        """What metrics.json says of how the run was made; empty before there is one."""
        try:
            values = parse_json((self.folder / "metrics.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        found = values.get(self.task.name) if isinstance(values, dict) else None
        return found if isinstance(found, dict) else {}

    def read_photos(self, moved: Path | None, *, fix: str = "give their folder: --data DATA") -> PosedPhotos:
        """The dataset of the run, as it was read for training.

        Parameters
        ----------
        moved : Path or None
            Where it is now; None: where it was.
        fix : str
            What to tell a user whose photos are not there any more.
        """
        recorded = self.read_config("train")
        place = moved or recorded.data
        if not os.path.exists(place):  # noqa: PTH110  any text may stand in config.yml
            raise NerfkitError("the photos are not there any more", where=place, fix=fix)
        masks = recorded.inputs["masks"]
        return read_posed_photos(
            place, skip_bad=bool(recorded.inputs["skip_bad"]),
            masks=None if masks is None else (self.folder / masks).resolve(),
        )  # fmt: skip

    def read_scene(self) -> tuple[SceneBounds, Background, float]:
        """Bounds, background and downscale factor."""
        path = self.folder / "scene.json"
        try:
            values = parse_json(path.read_text(encoding="utf-8"))
            _check_numbers("", values)
            background = values["background"]
            color = background["color"]
            return (
                SceneBounds.from_dict(values["bounds"]),
                Background(background["name"], None if color is None else tuple(color)),
                float(values["downscale"]),
            )
        except FileNotFoundError as error:
            raise NerfkitError("is absent: this run never started", where=path, fix="train again") from error
        except (ValueError, KeyError, TypeError, RecursionError, ArithmeticError) as error:
            raise NerfkitError(f"is damaged ({error})", where=path, fix="train again") from error


def _check_numbers(name: str, value: Any) -> None:
    """Raise ValueError where a number below ``value`` is not finite, which JSON's readers let pass."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_numbers(f"{name}.{key}".strip("."), item)
    else:
        check_number(name, value)


def default_run_folder(scene: str, method: str) -> Path:
    """``outputs/<scene>/<method>/<YYYY-MM-DD_HHMMSS>`` below the current folder."""
    return Path("outputs") / scene / method / datetime.now().strftime("%Y-%m-%d_%H%M%S")


def link_latest(folder: Path) -> None:
    """Point the link ``latest`` beside ``folder`` at it; where links cannot be made, nothing happens."""
    link = folder.parent / "latest"
    if link.exists() and not link.is_symlink():
        return
    temporary = temporary_beside(link)
    try:
        temporary.symlink_to(folder.name, target_is_directory=True)
        temporary.replace(link)
    except OSError:
        temporary.unlink(missing_ok=True)


def _relative(place: Path, start: Path) -> str:
    """``place`` as seen from ``start``; absolute where there is no such way, as between two drives."""
    # resolved first: '..' means something else on the far side of a link
    place, start = place.resolve(), start.resolve()
    try:
        return os.path.relpath(place, start)
    except ValueError:
        return str(place)


def _versions() -> dict[str, Any]:
    # by its name: where the program lies is nothing that a run folder should tell
    command = ["nerfkit", *sys.argv[1:]]
    found: dict[str, Any] = {"nerfkit": __version__, "python": platform.python_version(), "command": command}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    found["commit"] = _commit()
    found["machine"] = {"system": platform.platform(), "cores": os.cpu_count()}
    return found


def _commit() -> str | None:
    """Commit of our own source when it is a git checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
