"""COLMAP's sparse model in sparse/0, binary or text, with photos in images/ (https://colmap.github.io/format.html)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers.colmap import FLIP_YZ, MODELS
from nerfkit.scenes.readers.posed import PosedPhotos

from .lens_models import colmap_model, colmap_terms, refuse_lens
from .plan import Plan, distinct_names, drop_circles, drop_masks, say_split_lost

__all__ = ["plan_colmap", "plan_colmap_text"]

FOLDER = "sparse/0"


@dataclass(frozen=True)
class _Image:
    image_id: int
    pose: list[float]  # quaternion w x y z and translation of world to camera, OpenCV axes
    camera_id: int
    name: str


def plan_colmap(photos: PosedPhotos, findings: Findings) -> Plan:
    """A binary model: every lens of COLMAP's models that are read; no masks, no split and no points."""
    names, cameras, images = _model(photos, findings)
    numbered = list(enumerate(cameras, 1))
    data = struct.pack("<Q", len(cameras))
    for camera_id, camera in numbered:
        model, params = _params(camera)
        data += struct.pack("<iiQQ", camera_id, MODELS[model][0], camera.width, camera.height)
        data += struct.pack(f"<{len(params)}d", *params)
    listed = struct.pack("<Q", len(images))
    for image in images:
        listed += struct.pack("<i7di", image.image_id, *image.pose, image.camera_id)
        listed += image.name.encode(errors="surrogateescape") + b"\0" + struct.pack("<Q", 0)
    files = {"points3D": struct.pack("<Q", 0), "cameras": data, "images": listed}
    return Plan(names, {f"{FOLDER}/{name}.bin": payload for name, payload in files.items()})


def plan_colmap_text(photos: PosedPhotos, findings: Findings) -> Plan:
    """The same as text."""
    names, cameras, images = _model(photos, findings)
    listed = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    for camera_id, camera in enumerate(cameras, 1):
        model, params = _params(camera)
        listed.append(f"{camera_id} {model} {camera.width} {camera.height} {' '.join(map(repr, params))}")
    lines = [
        "# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME",
        "# POINTS2D[] as (X, Y, POINT3D_ID); none, but each image has a line for them",
    ]
    for image in images:
        lines += [f"{image.image_id} {' '.join(map(repr, image.pose))} {image.camera_id} {image.name}", ""]
    files = {
        "points3D": "# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)\n",
        "cameras": "\n".join(listed) + "\n",
        "images": "\n".join(lines) + "\n",
    }
    return Plan(names, {f"{FOLDER}/{name}.txt": text.encode(errors="surrogateescape") for name, text in files.items()})


def _model(photos: PosedPhotos, findings: Findings) -> tuple[list[str | None], list[Camera], list[_Image]]:
    """Where photos go, the different cameras, and the images by name."""
    wrong = [
        "" if colmap_model(camera) else "no model of COLMAP's has all terms of their lens" for camera in photos.cameras
    ]
    refuse_lens(photos, wrong, "COLMAP")
    files = distinct_names(photos.files)
    order = sorted(range(len(files)), key=lambda i: files[i])
    drop_masks(photos, findings, "COLMAP's model")
    drop_circles(photos, findings, "COLMAP's model")
    say_split_lost(photos, order, findings, "COLMAP's model")
    cameras = list(dict.fromkeys(photos.cameras))
    ids = {camera: number for number, camera in enumerate(cameras, 1)}
    poses = _poses(photos.c2w)
    images = [
        _Image(number, poses[index], ids[photos.cameras[index]], files[index]) for number, index in enumerate(order, 1)
    ]
    return [f"images/{name}" for name in files], cameras, images


def _poses(c2w: np.ndarray) -> list[list[float]]:
    # imported here: what writes photos of another format starts without it
    from scipy.spatial.transform import Rotation

    w2c = np.linalg.inv(c2w @ FLIP_YZ)
    # scipy has w last; the turn and its negative are one, and COLMAP's own files have w above 0
    turns = Rotation.from_matrix(w2c[:, :3, :3]).as_quat(canonical=True)
    return np.concatenate([np.roll(turns, 1, axis=1), w2c[:, :3, 3]], axis=1).tolist()


def _params(camera: Camera) -> tuple[str, list[float]]:
    model = colmap_model(camera)
    assert model is not None
    values = colmap_terms(camera) | {"fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy}
    return model, [float(values[name]) for name in MODELS[model][2].split()]
