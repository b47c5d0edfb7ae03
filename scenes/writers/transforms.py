"""transforms.json as nerfstudio reads it, with photos in images/ and masks in masks/."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.places import is_allowed, plain_name
from nerfkit.scenes.readers.posed import PosedPhotos, split_by_rule
from nerfkit.scenes.readers.transforms import MODEL_KEY

from .lens_models import refuse_lens, transforms_fault
from .plan import Plan, distinct_names

__all__ = ["camera_keys", "plan_transforms", "transforms_json"]

# of what the format says about the scene; poses stay in the world of these, so that it stays true
KEPT_HINTS = (
    "aabb_scale", "scale", "offset", "applied_transform", "applied_scale", "orientation_override",
    "depth_unit_scale_factor", "integer_depth_scale",
)  # fmt: skip


def plan_transforms(photos: PosedPhotos, findings: Findings) -> Plan:
    """A ``transforms.json``: lenses of a polynomial or a rational function, masks, splits; intrinsics once if equal."""
    refuse_lens(photos, [transforms_fault(camera) for camera in photos.cameras], "transforms.json")
    files = distinct_names(photos.files)
    names: list[str | None] = [f"images/{name}" for name in files]
    masks = {i: _beside("masks", files[i], mask) for i, mask in enumerate(photos.masks or []) if mask is not None}
    depths = {i: _beside("depth", files[i], depth) for i, depth in enumerate(photos.depths or []) if depth is not None}
    extras = _points(photos)
    content = transforms_json(photos, names, masks, next(iter(extras.values()), None), depths)
    extras |= {depth: depths[i] for i, depth in enumerate(photos.depths or []) if depth is not None}
    return Plan(names, {"transforms.json": content}, masks, extras)


def transforms_json(
    photos: PosedPhotos, names: Sequence[str | None], masks: Mapping[int, str], points: str | None = None,
    depths: Mapping[int, str] | None = None, model: str | None = None,
) -> bytes:  # fmt: skip
    """The file, for photos that lie under ``names``, and masks, a point cloud, depth maps and COLMAP's model, from the
    points of which training takes distances, that lie beside it.
    """
    is_shared = len(set(photos.cameras)) == 1
    content: dict[str, Any] = camera_keys(photos.cameras[0]) if is_shared else {}
    content |= {key: photos.hints[key] for key in KEPT_HINTS if key in photos.hints}
    content |= {} if points is None else {"ply_file_path": points}
    content |= {} if model is None else {MODEL_KEY: model}
    frames = []
    for index, (camera, c2w) in enumerate(zip(photos.cameras, photos.c2w, strict=True)):
        frame: dict[str, Any] = {"file_path": names[index]}
        frame |= {"mask_path": masks[index]} if index in masks else {}
        frame |= {"depth_file_path": depths[index]} if depths and index in depths else {}
        frame |= {} if is_shared else camera_keys(camera)
        frames.append(frame | {"transform_matrix": c2w.tolist()})
    content |= _lists(photos, names) | {"frames": frames}
    return json.dumps(content, indent=1).encode()


def camera_keys(camera: Camera) -> dict[str, Any]:
    """Intrinsics under nerfstudio's names; coefficients that are 0 are left out."""
    keys: dict[str, Any] = {
        "camera_model": _model(camera), "fl_x": camera.fx, "fl_y": camera.fy, "cx": camera.cx, "cy": camera.cy,
        "w": camera.width, "h": camera.height,
    }  # fmt: skip
    radial = (*camera.k[:3], *camera.q) if any(camera.q) else camera.k
    terms = {f"k{i}": value for i, value in enumerate(radial, 1)} | dict(zip(("p1", "p2"), camera.p, strict=True))
    keys |= {name: value for name, value in terms.items() if value}
    return keys | ({"fisheye_crop_radius": camera.image_circle} if camera.image_circle else {})


def _model(camera: Camera) -> str:
    if camera.lens == "fisheye":
        return "OPENCV_FISHEYE"
    if any(camera.q):
        return "FULL_OPENCV"
    return "OPENCV" if camera.has_distortion else "PINHOLE"


def _lists(photos: PosedPhotos, names: Sequence[str | None]) -> dict[str, Any]:
    """The files of each split, where it is not what readers take without lists."""
    if photos.splits == split_by_rule(len(photos)):
        return {}
    return {f"{split}_filenames": [names[i] for i in members] for split, members in photos.splits.items()}


def _beside(folder: str, photo: str, file: Path) -> str:
    """The name of a mask or a depth map, in a folder of its own."""
    return f"{folder}/{PurePosixPath(photo).with_suffix(file.suffix)}"


def _points(photos: PosedPhotos) -> dict[Path, str]:
    """The point cloud that is named, which comes along where it is there."""
    listed = photos.hints.get("ply_file_path")
    if not isinstance(listed, str):
        return {}
    name = plain_name(listed)
    source = photos.root / name
    # a stranger's file may name any of ours
    is_there = os.path.isfile(source)  # noqa: PTH113  any text may be a name
    is_cloud = source.suffix.lower() == ".ply" and is_there and is_allowed(photos.root, name)
    return {source: source.name} if is_cloud else {}
