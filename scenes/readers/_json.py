"""What the json formats share: parsing with a place for each error, numbers, intrinsics."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings

from .posed import Frame, read_each

__all__ = ["read_frames", "read_json"]

FOCAL_KEYS = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y", "x_fov", "y_fov")
# nerfstudio's names; SIMPLE_ and RADIAL differ from OPENCV only by the coefficients they leave out
PERSPECTIVE_MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV")
FISHEYE_MODELS = ("OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")
# what is read of a frame and of the root, besides the list of frames
FRAME_KEYS = {
    *FOCAL_KEYS, *("file_path", "transform_matrix", "transform_matrix_start", "transform_matrix_end", "mask_path"),
    "depth_file_path",
    *("w", "h", "cx", "cy", "camera_model", "is_fisheye", "fisheye_crop_radius", "p1", "p2"),
    *(f"k{i}" for i in range(1, 7)),
}  # fmt: skip
# what no scene needs to be rendered right: names, what viewers and trainers note for themselves
IDLE_KEYS = {
    *("colmap_im_id", "sharpness", "timestamp", "time", "rotation", "name", "id", "image_id", "cam_id", "camera_id"),
    *("frames", "aabb", "render_aabb", "up", "version", "fps", "near", "far", "camera_convention", "date"),
    *("integer_depth_scale", "depth_unit_scale_factor", "light_angle", "shutter", "white_level"),
}  # fmt: skip


def read_json(path: Path) -> dict[str, Any]:
    """A json object from a file; NerfkitError with line and column where it is broken."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise NerfkitError(
            f"broken json in line {error.lineno}, column {error.colno}: {error.msg}",
            where=path,
            fix="mend it there; an export that was cut off must be made again",
        ) from None
    except UnicodeDecodeError as error:
        raise NerfkitError(f"is not UTF-8 text ({error.reason} at byte {error.start})", where=path) from None
    if not isinstance(content, dict):
        raise NerfkitError(f"holds a json {type(content).__name__}; an object with 'frames' is expected", where=path)
    return content


def read_frames(
    content: dict[str, Any], path: Path, skip_bad: bool, findings: Findings, read_of_root: Iterable[str] = ()
) -> list[Frame]:
    """Frames of a transforms json, unchecked; each takes what it does not state itself from the root.

    Keys that nobody reads are named; ``read_of_root`` are those that the caller reads. With ``skip_bad`` an entry that
    cannot be a frame goes to the findings; all of them bad is an error.
    """
    listed = content.get("frames")
    if not isinstance(listed, list) or not listed:
        raise NerfkitError(
            f"has no frames: 'frames' must be a list that is not empty; got {_short(listed)}; "
            f"its keys are {', '.join(content) or 'none'}",
            where=path,
        )
    entries = list(enumerate(listed))
    _say_unread(content, [entry for entry in listed if isinstance(entry, dict)], read_of_root, path, findings)
    return read_each(entries, lambda at: _frame(at[1], content, f"{path}: frame {at[0]}"), skip_bad, findings)


def _frame(entry: Any, root: Mapping[str, Any], where: str) -> Frame:
    file = entry.get("file_path") if isinstance(entry, dict) else None
    if not isinstance(file, str) or not file:
        raise NerfkitError(f"has no file_path; got {_short(entry)}", where=where, fix="name its photo or remove it")
    where = f"{where} ({file})"
    mask, depth = entry.get("mask_path"), entry.get("depth_file_path")
    return Frame(
        file=file,
        where=where,
        matrix=_matrix(entry),
        camera=lambda width, height: _camera(entry, root, (width, height), where),
        size=_stated_size(entry, root, where),
        mask=mask if isinstance(mask, str) else None,
        depth=depth if isinstance(depth, str) else None,
    )


def _matrix(entry: Mapping[str, Any]) -> Any:
    """The pose; of a rolling shutter's two, at its beginning and its end, the one half way (instant-ngp's keys)."""
    ends = [entry.get(f"transform_matrix_{end}") for end in ("start", "end")]
    if entry.get("transform_matrix") is not None or None in ends:
        return entry.get("transform_matrix")
    # imported here: readers of other files start without it
    from scipy.spatial.transform import Rotation, Slerp

    try:
        matrices = np.array(ends, np.float64)
        mean = matrices.mean(0)
        turns = Rotation.from_matrix(matrices[:, :3, :3])
        # the turn half way; lengths of axes are divided out of every pose
        mean[:3, :3] = Slerp([0, 1], turns)(0.5).as_matrix()
        return mean
    except (TypeError, ValueError, IndexError):
        return ends[0]  # whose fault the check of matrices names


def _say_unread(
    root: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], read_of_root: Iterable[str], path: Path,
    findings: Findings,
) -> None:  # fmt: skip
    """Name the keys that are there and not read, and what a pose of two matrices is taken for."""
    known = FRAME_KEYS | IDLE_KEYS
    unread = [key for key in root if key not in known | set(read_of_root)]
    of_frames = dict.fromkeys(key for entry in entries for key in entry if key not in known)
    parts = [", ".join(unread)] * bool(unread) + [f"of its frames {', '.join(of_frames)}"] * bool(of_frames)
    if parts:
        findings.add("info", f"is read without {' and '.join(parts)}", where=path)
    rolling = [e for e in entries if e.get("transform_matrix") is None and e.get("transform_matrix_start") is not None]
    if rolling:
        what = f"{len(rolling)} photos have poses at the beginning and the end of their exposure (rolling shutter)"
        findings.add("info", f"{what}; each is taken from half way between the two", where=path)


def _number(key: str, *scopes: Mapping[str, Any], where: str) -> float | None:
    """The number under ``key`` in the first scope that has it; None where none has."""
    for scope in scopes:
        if scope.get(key) is not None:
            value = scope[key]
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise NerfkitError(f"{key} must be a finite number; got {_short(value)}", where=where, fix="correct it")
            return float(value)
    return None


def _stated_size(entry: Mapping[str, Any], root: Mapping[str, Any], where: str) -> tuple[int, int] | None:
    width, height = (_number(key, entry, root, where=where) for key in ("w", "h"))
    if width is None or height is None:
        return None
    if width < 1 or height < 1:
        raise NerfkitError(f"w and h must be at least 1 pixel; got {width:g} and {height:g}", where=where)
    return round(width), round(height)


def _camera(entry: Mapping[str, Any], root: Mapping[str, Any], size: tuple[int, int], where: str) -> Camera:
    lens = _lens(entry, root, where)
    width, height = _stated_size(entry, root, where) or size

    def number(key: str) -> float:
        return _number(key, entry, root, where=where) or 0.0

    fx, fy = _focal(entry, root, (width, height), where)
    radius = number("fisheye_crop_radius")
    # OpenCV's rational model alone has k5 and k6, and its k4 divides
    model = entry.get("camera_model", root.get("camera_model"))
    is_rational = lens == "perspective" and (model == "FULL_OPENCV" or bool(number("k5") or number("k6")))
    if lens == "fisheye" and (number("k5") or number("k6")):
        raise NerfkitError(
            f"a fisheye lens has k1 to k4; got k5 = {number('k5'):g}, k6 = {number('k6'):g}", where=where,
            fix="undistort the photos to PINHOLE first",
        )  # fmt: skip
    cx, cy = (_number(key, entry, root, where=where) for key in ("cx", "cy"))
    return Camera(
        width=width,
        height=height,
        fx=fx,
        fy=fy,
        cx=width / 2 if cx is None else cx,
        cy=height / 2 if cy is None else cy,
        lens="fisheye" if lens == "fisheye" else "perspective",
        k=(number("k1"), number("k2"), number("k3"), 0.0 if is_rational else number("k4")),
        p=(0.0, 0.0) if lens == "fisheye" else (number("p1"), number("p2")),
        q=(number("k4"), number("k5"), number("k6")) if is_rational else (0.0, 0.0, 0.0),
        image_circle=radius,
    )


def _lens(entry: Mapping[str, Any], root: Mapping[str, Any], where: str) -> str:
    model = entry.get("camera_model", root.get("camera_model"))
    if model is None:
        # instant-ngp has no camera_model but a flag
        return "fisheye" if entry.get("is_fisheye", root.get("is_fisheye")) else "perspective"
    if model in FISHEYE_MODELS:
        return "fisheye"
    if model in PERSPECTIVE_MODELS:
        return "perspective"
    raise NerfkitError(
        f"camera_model {model!r} is not supported; known: {', '.join(PERSPECTIVE_MODELS + FISHEYE_MODELS)}",
        where=where,
        fix="undistort the photos to PINHOLE first",
    )


def _focal(entry: Mapping[str, Any], root: Mapping[str, Any], size: tuple[int, int], where: str) -> tuple[float, float]:
    """Focal lengths in pixels, from lengths or else angles; the frame goes before the root."""
    for scope in (entry, root):
        lengths = [_number(key, scope, where=where) for key in ("fl_x", "fl_y")]
        angles = [_number(key, scope, where=where) for key in ("camera_angle_x", "camera_angle_y")]
        for axis, key in enumerate(("camera_angle_x", "camera_angle_y")):
            angle = angles[axis]
            if lengths[axis] is None and angle is not None:
                if not 0 < angle < math.pi:
                    raise NerfkitError(f"{key} must be in radians, 0 to pi; got {angle:g}", where=where)
                lengths[axis] = size[axis] / 2 / math.tan(angle / 2)
        # instant-ngp's, in degrees
        for axis, key in enumerate(("x_fov", "y_fov")):
            angle = _number(key, scope, where=where)
            if lengths[axis] is None and angle is not None:
                if not 0 < angle < 180:
                    raise NerfkitError(f"{key} must be in degrees, 0 to 180; got {angle:g}", where=where)
                lengths[axis] = size[axis] / 2 / math.tan(math.radians(angle) / 2)
        fx, fy = lengths
        if fx is not None or fy is not None:
            fx = fy if fx is None else fx
            fy = fx if fy is None else fy
            if not (fx and fy and min(fx, fy) > 0):
                raise NerfkitError(f"the focal length must be positive; got {fx}, {fy}", where=where)
            return fx, fy
    raise NerfkitError(
        f"no focal length: looked for {', '.join(FOCAL_KEYS)} in the frame and at the root",
        where=where,
        fix="add fl_x in pixels or camera_angle_x in radians",
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
