"""What refining did to cameras: how far each moved, and a file of the corrected ones."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nerfkit.photo_data import PhotoData
from nerfkit.scenes.bounds import SceneBounds
from nerfkit.scenes.cameras import Camera, pixels_to_directions, project
from nerfkit.scenes.pose_corrections import PoseCorrections

if TYPE_CHECKING:
    from nerfkit.runs import Run

__all__ = ["FILE", "describe_moves", "refined_cameras", "refined_view", "scale_focal"]

# in the run folder
FILE = "refined_cameras.json"

# places a side of the grid of pixels whose motion is told
GRID = 5


def scale_focal(camera: Camera, factor: float) -> Camera:
    """The camera with both focal lengths multiplied by ``factor``."""
    return dataclasses.replace(camera, fx=camera.fx * factor, fy=camera.fy * factor)


@torch.no_grad()
def refined_cameras(corrections: PoseCorrections, data: PhotoData, bounds: SceneBounds) -> dict[str, Any]:
    """How the cameras of the training photos were corrected.

    Returns
    -------
    refined : dict
        ``focal_factor``, and ``photos``: of each ``file``, ``moved`` (world units), ``turned`` (degrees), ``pixels``
        (rms by which points as far away as the middle of the scene are seen elsewhere, pixels of the photo as trained)
        and ``transform_matrix`` (camera to world, OpenGL axes, in the input's frame).
    """
    factor = corrections.focal_factor
    moved, poses = corrections.moved().double().cpu().numpy(), corrections.poses().double().cpu().numpy()
    photos = []
    for place, index in enumerate(data.split("train")):
        c2w = np.vstack([poses[place], [0.0, 0.0, 0.0, 1.0]])
        c2w[:3, 3] = bounds.to_world(c2w[None, :3, 3])[0]
        photos.append(
            {
                "file": data.source.files[index],
                "moved": float(np.linalg.norm(moved[place, 3:])) * bounds.scale,
                "turned": float(np.degrees(np.linalg.norm(moved[place, :3]))),
                "pixels": _seen_elsewhere(data.cameras[index], data.c2w[index], c2w, factor, bounds),
                "transform_matrix": c2w.tolist(),
            }
        )
    return {"focal_factor": factor, "photos": photos}


def refined_view(run: Run, file: str, camera: Camera, c2w: np.ndarray) -> tuple[Camera, np.ndarray]:
    """Camera and pose of a photo as the run refined them; of a photo that was held out, the focal length alone."""
    path = run.folder / FILE
    if not path.is_file():
        return camera, c2w
    refined = json.loads(path.read_text(encoding="utf-8"))
    own = [np.array(photo["transform_matrix"]) for photo in refined["photos"] if photo["file"] == file]
    return scale_focal(camera, refined["focal_factor"]), own[0] if own else c2w


def _seen_elsewhere(camera: Camera, before: np.ndarray, after: np.ndarray, factor: float, bounds: SceneBounds) -> float:
    """Pixels (rms) by which points at the distance of the scene's middle are seen elsewhere by a corrected camera."""
    columns, rows = np.meshgrid(*((np.arange(GRID) + 0.5) / GRID * n for n in (camera.width, camera.height)))
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=-1)
    directions = pixels_to_directions(camera, pixels)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    distance = max(float(np.linalg.norm(before[:3, 3] - bounds.center)), 1e-3 * bounds.scale)
    points = before[:3, 3] + distance * directions @ before[:3, :3].T
    there = project(scale_focal(camera, factor), (points - after[:3, 3]) @ after[:3, :3])
    return float(np.sqrt(np.nanmean(((there - pixels) ** 2).sum(1))))


def describe_moves(refined: dict[str, Any]) -> str:
    """A line for a person."""
    middle = {
        key: float(np.median([photo[key] for photo in refined["photos"]])) for key in ("moved", "turned", "pixels")
    }
    farthest = max(refined["photos"], key=lambda photo: photo["pixels"])
    return (
        f"cameras moved by {middle['moved']:.3g} world units, turned by {middle['turned']:.2g} degrees, "
        f"{middle['pixels']:.2g} pixels (medians; at most {farthest['pixels']:.2g} pixels, {farthest['file']}); "
        f"focal lengths times {refined['focal_factor']:.4f}"
    )
