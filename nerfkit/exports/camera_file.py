"""The cameras of a dataset as transforms.json: in the input's frame, one entry a photo, at the photos' full size."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from nerfkit.files import write_atomically
from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers import PosedPhotos

__all__ = ["camera_entry", "write_cameras"]


def write_cameras(path: Path, photos: PosedPhotos) -> int:
    """Write all cameras of a dataset, with its splits, and give their number.

    Paths of photos are relative to the file, where there is such a way. What :mod:`nerfkit.scenes.readers.transforms`
    reads of it are the same cameras, poses and splits.

    Raises
    ------
    NerfkitError
        A lens that transforms.json has no name for, or the file cannot be written.
    """
    files = [_relative(photos.root / file, path.parent) for file in photos.files]
    frames = []
    for index, (file, camera, c2w) in enumerate(zip(files, photos.cameras, photos.c2w, strict=True)):
        entry = {"file_path": file, **camera_entry(camera, photos.files[index]), "transform_matrix": c2w.tolist()}
        mask = None if photos.masks is None else photos.masks[index]
        frames.append(entry | ({} if mask is None else {"mask_path": _relative(mask, path.parent)}))
    lists = {f"{name}_filenames": [files[i] for i in views] for name, views in photos.splits.items() if views}
    write_atomically(path, (json.dumps({**lists, "frames": frames}, indent=1) + "\n").encode())
    return len(frames)


def camera_entry(camera: Camera, file: str) -> dict[str, Any]:
    """Intrinsics under the names of transforms.json; ``file`` is for messages."""
    if camera.lens == "fov" or any(camera.s):
        lens = "the FOV model" if camera.lens == "fov" else "thin prisms"
        raise NerfkitError(
            f"its lens has {lens}, which transforms.json has no name for", where=file,
            fix="take the cameras from the COLMAP model that was read, or undistort the photos first",
        )  # fmt: skip
    is_rational = any(camera.q)
    radial = (*camera.k[:3], *(camera.q if is_rational else camera.k[3:]))
    terms = {f"k{i}": value for i, value in enumerate(radial, 1)} | dict(zip(("p1", "p2"), camera.p, strict=True))
    if camera.lens == "fisheye":
        model = "OPENCV_FISHEYE"
    else:
        model = "FULL_OPENCV" if is_rational else "OPENCV" if any(terms.values()) else "PINHOLE"
    terms = {name: value for name, value in terms.items() if value}
    circle = {"fisheye_crop_radius": camera.image_circle} if camera.image_circle else {}
    return {
        "camera_model": model, "w": camera.width, "h": camera.height, "fl_x": camera.fx, "fl_y": camera.fy,
        "cx": camera.cx, "cy": camera.cy, **terms, **circle,
    }  # fmt: skip


def _relative(file: Path, folder: Path) -> str:
    """``file`` as seen from ``folder``, with /; absolute where there is no such way, as between two drives."""
    file, folder = file.resolve(), folder.resolve()
    try:
        return Path(os.path.relpath(file, folder)).as_posix()
    except ValueError:
        return file.as_posix()
