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

__all__ = ["Run", "default_run_folder", "link_latest"]

# what decides a result besides our own code
VERSIONED = ("torch", "triton", "numpy", "numba", "pillow", "imageio-ffmpeg")


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

    def write_config(self, config: TrainConfig, *, data: Path, device: str) -> None:
        """Write config.yml and versions.json."""
        values = {"data": os.path.relpath(data, self.folder), "device": device, **dataclasses.asdict(config)}
        write_atomically(self.folder / "config.yml", yaml.safe_dump(values, sort_keys=False).encode())
        write_atomically(self.folder / "versions.json", json.dumps(_versions(), indent=1).encode())

    def write_scene(self, bounds: SceneBounds, background: Background, downscale: float) -> None:
        """Write scene.json: what was found from the photos, so that it need not be found again."""
        values = {"bounds": bounds.as_dict(), "background": dataclasses.asdict(background), "downscale": downscale}
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
            This folder is no run, or its config.yml is damaged.
        """
        path = self.folder / "config.yml"
        if not path.is_file():
            raise NerfkitError(
                "is no run folder: it has no config.yml", where=self.folder, fix="give the folder that train made"
            )
        try:
            values = yaml.safe_load(path.read_text())
            data, device = values.pop("data"), values.pop("device")
        except (yaml.YAMLError, AttributeError, KeyError) as error:
            raise NerfkitError(f"is damaged ({error})", where=path, fix="train again") from error
        return config_from_dict(values, where=str(path)), (self.folder / data).resolve(), device

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
    temporary = folder.parent / f".latest.{os.getpid()}"
    try:
        temporary.symlink_to(folder.name, target_is_directory=True)
        temporary.replace(link)
    except OSError:
        temporary.unlink(missing_ok=True)


def _versions() -> dict[str, Any]:
    found: dict[str, Any] = {"nerfkit": __version__, "python": platform.python_version(), "command": sys.argv}
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
