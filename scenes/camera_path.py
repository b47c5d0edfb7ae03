"""Camera paths as values and as nerfstudio's ``camera_path.json``, read and written.

The poses in the file are camera to world, 16 numbers row by row, OpenGL camera; ``fov`` is vertical, in
degrees. nerfkit writes them in the world frame and scale of its input.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import NerfkitError
from .json_text import parse_json
from .poses import RIGID_TOLERANCE, rigid_problem
from .writing import write_atomically

__all__ = ["PathFrames", "read_camera_path", "write_camera_path"]

# nerfstudio's viewer draws and edits these; more would hide the scene
MAX_KEYFRAMES = 16
_FRAME_KEYS = ("camera_to_world", "fov")


@dataclass(frozen=True)
class PathFrames:
    """The cameras of a video, one a frame.

    Parameters
    ----------
    c2w : ndarray, shape (n_frames, 4, 4), float64
        Camera to world, OpenGL, in the world frame and scale of the photos.
    fov_y : ndarray, shape (n_frames,)
        Vertical field of view in degrees, inside (0, 180).
    aspect : float
        Width over height.
    is_cycle : bool
        Whether the frame after the last one would be the first, so that the video can loop.
    size : tuple of int, optional
        Width and height in pixels that a file asked for.
    fps : float, optional
        Frames per second that a file asked for.
    """

    c2w: NDArray[np.float64]
    fov_y: NDArray[np.float64]
    aspect: float
    is_cycle: bool = False
    size: tuple[int, int] | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        n_frames = len(self.c2w)
        if self.c2w.shape != (n_frames, 4, 4) or not n_frames or not np.isfinite(self.c2w).all():
            raise ValueError(f"c2w must be finite, of shape (n_frames, 4, 4); got {self.c2w.shape}")
        if self.fov_y.shape != (n_frames,) or not ((self.fov_y > 0) & (self.fov_y < 180)).all():
            raise ValueError(f"fov_y must be {n_frames} angles inside (0, 180) degrees; got {self.fov_y}")
        if not (math.isfinite(self.aspect) and self.aspect > 0):
            raise ValueError(f"aspect must be positive; got {self.aspect}")

    def __len__(self) -> int:
        return len(self.c2w)


def write_camera_path(path: str | Path, frames: PathFrames, size: tuple[int, int], fps: float) -> Path:
    """Write ``camera_path.json`` in nerfstudio's form, whole or not at all.

    Parameters
    ----------
    path : str or Path
        The file; its folder is made when absent.
    frames : PathFrames
        The cameras.
    size : tuple of int
        Width and height of the video in pixels.
    fps : float
        Frames per second.

    Returns
    -------
    path : Path
    """
    path = Path(path)
    write_atomically(path, (json.dumps(_to_json(frames, size, fps), indent=1) + "\n").encode())
    return path


def _to_json(frames: PathFrames, size: tuple[int, int], fps: float) -> dict[str, Any]:
    matrices = frames.c2w.reshape(len(frames), 16).tolist()
    fovs = frames.fov_y.tolist()
    keys = range(0, len(frames), max(1, math.ceil(len(frames) / MAX_KEYFRAMES)))
    return {
        "default_fov": fovs[0],
        "default_transition_sec": len(frames) / fps / max(1, len(keys)),
        "keyframes": [{"matrix": matrices[i], "fov": fovs[i], "aspect": frames.aspect} for i in keys],
        "camera_type": "perspective",
        "render_height": size[1],
        "render_width": size[0],
        "fps": fps,
        "seconds": len(frames) / fps,
        "is_cycle": frames.is_cycle,
        "smoothness_value": 0.0,
        "crop": None,
        "camera_path": [
            {"camera_to_world": matrix, "fov": fov, "aspect": frames.aspect}
            for matrix, fov in zip(matrices, fovs, strict=True)
        ],
    }


def read_camera_path(path: str | Path) -> PathFrames:
    """Read ``camera_path.json``, as nerfkit, nerfstudio's viewer or its Blender add-on writes it.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    frames : PathFrames
        The numbers of the file; a scale of a pose's rotation is divided out, as it is of photos' poses. ``size`` and
        ``fps`` are None where the file has none.

    Raises
    ------
    NerfkitError
        When the file cannot be read as a perspective camera path; it names the file and the frame.
    """
    path = Path(path)
    data = _load(path)
    entries = data.get("camera_path")
    if not isinstance(entries, list):
        found = ", ".join(sorted(data)) or "none"
        raise _error(path, f"a list 'camera_path' was looked for; the keys found are: {found}")
    if not entries:
        raise _error(path, "its list 'camera_path' is empty", "add cameras to the path and save it again")
    kind = data.get("camera_type", "perspective")
    if not isinstance(kind, str) or kind.lower() != "perspective":
        raise _error(path, f"camera_type is {kind!r}; only 'perspective' is rendered", "save it as perspective")
    size, fps = _size(path, data), _positive(path, data, "fps")
    parsed = [_frame(path, i, entry) for i, entry in enumerate(entries)]
    aspect = parsed[0][2] or (size[0] / size[1] if size else 1.0)
    for i, (_, _, own) in enumerate(parsed):
        if own and abs(own - aspect) > 1e-6 * aspect:
            raise _error(path, f"frame {i} has aspect {own:g}, frame 0 has {aspect:g}; a video has one")
    c2w = np.array([matrix for matrix, _, _ in parsed])
    fov_y = np.array([fov for _, fov, _ in parsed])
    return PathFrames(c2w, fov_y, aspect, bool(data.get("is_cycle", False)), size, fps)


def _load(path: Path) -> dict[str, Any]:
    try:
        data = parse_json(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        what = f"this is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise _error(path, what) from error
    except UnicodeDecodeError as error:
        raise _error(path, f"this is not UTF-8 text (byte {error.start})") from error
    except ValueError as error:
        raise _error(path, f"this is not JSON that can be read: {error}") from error
    except OSError as error:
        what = f"the camera path cannot be read: {error.strerror or error}"
        raise _error(path, what, "give the file that `nerfkit render` or nerfstudio's viewer saved") from error
    if not isinstance(data, dict):
        raise _error(path, f"an object with the key 'camera_path' was wanted; this is a {type(data).__name__}")
    return data


def _frame(path: Path, index: int, entry: Any) -> tuple[NDArray[np.float64], float, float]:
    where = f"frame {index}"
    if not isinstance(entry, dict):
        raise _error(path, f"{where} is a {type(entry).__name__}, not an object")
    missing = [key for key in _FRAME_KEYS if key not in entry]
    if missing:
        found = ", ".join(sorted(entry)) or "none"
        raise _error(path, f"{where} lacks {' and '.join(map(repr, missing))}; the keys found are: {found}")
    numbers = _numbers(path, f"{where}: camera_to_world", entry["camera_to_world"])
    if numbers.size != 16:
        raise _error(path, f"{where}: camera_to_world has {numbers.size} numbers, not 16 (4x4, row by row)")
    c2w = numbers.reshape(4, 4)
    # a camera that was moved with an enlarged scene has its scale
    scale = np.cbrt(abs(np.linalg.det(c2w[:3, :3])))
    if scale > 0 and abs(scale - 1) > RIGID_TOLERANCE:
        c2w = np.block([[c2w[:3, :3] / scale, c2w[:3, 3:]], [c2w[3:]]])
    problem = rigid_problem(c2w)
    if problem:
        raise _error(path, f"{where}: camera_to_world is no pose: {problem}")
    fov = _numbers(path, f"{where}: fov", entry["fov"])
    if fov.size != 1 or not 0 < fov.item() < 180:
        raise _error(path, f"{where}: fov is {entry['fov']}, not an angle between 0 and 180 degrees")
    return c2w, fov.item(), _positive(path, entry, "aspect", where) or 0.0


def _numbers(path: Path, name: str, value: Any) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise _error(path, f"{name} is not made of numbers") from None
    if not np.isfinite(numbers).all():
        raise _error(path, f"{name} holds a NaN or an infinity")
    return numbers


def _positive(path: Path, data: dict[str, Any], key: str, where: str = "") -> float | None:
    value = data.get(key)
    if value is None:
        return None
    name = f"{where}: {key}" if where else key
    number = _numbers(path, name, value)
    if number.size != 1 or number.item() <= 0:
        raise _error(path, f"{name} is {value!r}, not a positive number")
    return number.item()


def _size(path: Path, data: dict[str, Any]) -> tuple[int, int] | None:
    # the viewer writes whole numbers as floats
    width, height = (_positive(path, data, key) for key in ("render_width", "render_height"))
    return (round(width), round(height)) if width and height else None


def _error(path: Path, what: str, fix: str = "") -> NerfkitError:
    return NerfkitError(what, where=path, fix=fix)
