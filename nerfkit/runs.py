"""The run folder: what a training leaves behind and what later commands start from.

``config.yml`` settings, data and device; ``scene.json`` bounds and background; ``metrics.jsonl`` and ``metrics.json``
figures; ``checkpoints/`` weights; ``versions.json``. Paths inside are relative where they can be.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from nerfkit import __version__
from nerfkit.checkpoints import CheckpointFolder
from nerfkit.files import write_atomically
from nerfkit.presets import TrainConfig, config_from_dict
from nerfkit.scenes.backgrounds import Background
from nerfkit.scenes.bounds import SceneBounds
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers import PosedPhotos, read_posed_photos

__all__ = ["PLACES", "Run", "default_run_folder", "link_latest"]

# what config.yml holds besides the settings: where a run found its data and computed
PLACES = ("data", "device", "skip_bad")
# what decides a result besides our own code
VERSIONED = ("torch", "triton", "numpy", "numba", "pillow", "av")


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

    def write_config(self, config: TrainConfig, *, data: Path, device: str, skip_bad: bool = False) -> None:
        """Write config.yml and versions.json."""
        place = _relative(data, self.folder)
        values = {"data": place, "device": device, "skip_bad": skip_bad, **dataclasses.asdict(config)}
        write_atomically(self.folder / "config.yml", yaml.safe_dump(values, sort_keys=False).encode())
        write_atomically(self.folder / "versions.json", json.dumps(_versions(), indent=1).encode())

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

    def read_config(self) -> tuple[TrainConfig, Path, str]:
        """Settings, data folder and device of the run.

        Raises
        ------
        NerfkitError
            This folder is no run or holds a super-resolution, or its config.yml is damaged.
        """
        path = self.folder / "config.yml"
        if not path.is_file():
            raise NerfkitError(
                "is no run folder: it has no config.yml",
                where=self.folder,
                fix="give the folder that train made",
            )
        values = self._config_values(path)
        if values.get("kind") == "superres":
            raise NerfkitError(
                "is a super-resolved image, not a scene",
                where=self.folder,
                fix="nerfkit render gives it at any size; nerfkit superres --truth compares it",
            )
        config = {name: value for name, value in values.items() if name not in PLACES}
        return (
            config_from_dict(config, where=str(path)),
            (self.folder / values["data"]).resolve(),
            values["device"],
        )

    def _config_values(self, path: Path) -> dict[str, Any]:
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
            raise NerfkitError(f"is damaged ({error})", where=path, fix="train again") from error
        if not isinstance(values, dict) or not all(isinstance(values.get(key), str) for key in ("data", "device")):
            raise NerfkitError("is damaged (no 'data' and 'device' in it)", where=path, fix="train again")
        return values

    def read_photos(self, moved: Path | None, *, fix: str = "give their folder: --data DATA") -> PosedPhotos:
        """The dataset of the run, as it was read for training.

        Parameters
        ----------
        moved : Path or None
            Where it is now; None: where it was.
        fix : str
            What to tell a user whose photos are not there any more.
        """
        _, listed, _ = self.read_config()
        place = moved or listed
        if not place.exists():
            raise NerfkitError("the photos are not there any more", where=place, fix=fix)
        skip_bad = self._config_values(self.folder / "config.yml").get("skip_bad", False)
        return read_posed_photos(place, skip_bad=bool(skip_bad))

    def read_scene(self) -> tuple[SceneBounds, Background, float]:
        """Bounds, background and downscale factor."""
        path = self.folder / "scene.json"
        try:
            values = json.loads(path.read_text())
            background = values["background"]
            color = background["color"]
            return (
                SceneBounds.from_dict(values["bounds"]),
                Background(background["name"], None if color is None else tuple(color)),
                float(values["downscale"]),
            )
        except FileNotFoundError as error:
            raise NerfkitError("is absent: this run never started", where=path, fix="train again") from error
        except (ValueError, KeyError, TypeError) as error:
            raise NerfkitError(f"is damaged ({error})", where=path, fix="train again") from error


def default_run_folder(scene: str, method: str) -> Path:
    """``outputs/<scene>/<method>/<YYYY-MM-DD_HHMMSS>`` below the current folder."""
    return Path("outputs") / scene / method / datetime.now().strftime("%Y-%m-%d_%H%M%S")


def link_latest(folder: Path) -> None:
    """Point the link ``latest`` beside ``folder`` at it; where links cannot be made, nothing happens."""
    link = folder.parent / "latest"
    if link.exists() and not link.is_symlink():
        return
    temporary = folder.parent / f".latest.{os.getpid()}"
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
