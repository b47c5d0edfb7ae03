"""A folder of posed photos in the layout of Blender's NeRF scenes, made by our own tracer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.poses import look_at
from nerfkit.scenes.synthetic.shapes import Scene
from nerfkit.scenes.synthetic.tracer import trace_view

__all__ = ["CAMERA_ANGLE_X", "camera_poses", "write_posed_scene"]

CAMERA_ANGLE_X = math.radians(40.0)  # horizontal field of view [rad]
_DISTANCES = (3.2, 3.6)  # from the origin; at 3.2 a ball of radius 1.09 still fits into the view
_HEIGHTS = (-0.12, 0.92)  # z of the direction to the camera: 7 degrees below the equator to 67 above
_GOLDEN_ANGLE = math.pi * (3.0 - math.sqrt(5.0))


def camera_poses(n: int, *, seed: int = 0, phase: float = 0.0) -> np.ndarray:
    """Spread cameras over the upper hemisphere, and a little below its edge, along a Fibonacci spiral.

    Parameters
    ----------
    n : int
        How many.
    seed : int
        Of the small jitter: a fifth of the spacing in direction, and the distance from the origin.
    phase : float
        Radians by which the spiral is turned about z; two sets of other phases do not coincide.

    Returns
    -------
    float64 [n, 4, 4]
        Camera to world, OpenGL axes, all looking at the origin, +Z up.

    Examples
    --------
    >>> camera_poses(60).shape
    (60, 4, 4)
    """
    rng = np.random.default_rng(seed)
    spacing = math.sqrt(2.0 * math.pi * (_HEIGHTS[1] - _HEIGHTS[0]) / max(n, 1))  # radians between neighbours
    height = _HEIGHTS[0] + (_HEIGHTS[1] - _HEIGHTS[0]) * (np.arange(n) + 0.5) / max(n, 1)
    jitter = 0.2 * min(spacing, 0.3) * rng.uniform(-1.0, 1.0, (2, n))
    height = np.clip(height + jitter[0], *_HEIGHTS)
    azimuth = phase + _GOLDEN_ANGLE * np.arange(n) + jitter[1]
    flat = np.sqrt(1.0 - height**2)
    directions = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), height], axis=-1)
    positions = directions * rng.uniform(*_DISTANCES, (n, 1))
    return look_at(positions, [0, 0, 0], [0, 0, 1])


def _write_photo(scene: Scene, path: Path, c2w: np.ndarray, size: tuple[int, int], supersample: int) -> None:
    rgba, _ = trace_view(scene, c2w, camera_angle_x=CAMERA_ANGLE_X, size=size, supersample=supersample)
    Image.fromarray(np.round(rgba * 255.0).astype(np.uint8)).save(path, compress_level=4)


def _plan(folder: Path, counts: dict[str, int], seed: int) -> Iterator[tuple[Path, np.ndarray]]:
    """Write a json file for each split that has photos; yield the photos to make with their poses."""
    for k, (split, n) in enumerate(counts.items()):
        if n == 0:
            # a list without frames is an error to read
            continue
        poses = camera_poses(n, seed=3 * seed + k, phase=1.1 * k)
        frames = [{"file_path": f"./{split}/r_{i}", "transform_matrix": pose.tolist()} for i, pose in enumerate(poses)]
        (folder / split).mkdir(parents=True, exist_ok=True)
        text = json.dumps({"camera_angle_x": CAMERA_ANGLE_X, "frames": frames}, indent=1)
        (folder / f"transforms_{split}.json").write_text(text, encoding="utf-8")
        for i, pose in enumerate(poses):
            yield folder / split / f"r_{i}.png", pose


def write_posed_scene(
    folder: str | Path,
    *,
    n_train: int = 60,
    n_val: int = 4,
    n_test: int = 8,
    size: tuple[int, int] = (200, 200),
    seed: int = 0,
    supersample: int = 3,
    scene: Scene | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write posed RGBA photos of the lighthouse: transforms_{train,val,test}.json, train/r_0.png and so on.

    Parameters
    ----------
    folder : path
        Made when absent; files of the same names are replaced.
    n_train, n_val, n_test : int
        Photos a split. Each has its own spiral, so validation and test views lie between the training ones.
    size : (width, height)
        In pixels.
    seed : int
        Of the poses' jitter; all else is fixed.
    supersample : int
        Rays a pixel along each axis.
    scene : Scene, optional
        Another scene than the lighthouse.
    progress : callable, optional
        Called as ``progress(n_done, n_photos)`` after each photo.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    NerfkitError
        When there is no training photo to write, or a size or count makes no sense.
    """
    folder = Path(folder)
    if n_train < 1 or min(n_val, n_test) < 0:
        raise NerfkitError(
            f"n_train, n_val, n_test = {n_train}, {n_val}, {n_test}, wanted at least 1, 0, 0",
            fix="ask for one training photo or more",
        )
    if min(*size, supersample) < 1:
        raise NerfkitError(
            f"size {size[0]}x{size[1]} with supersample {supersample}, wanted all at least 1",
            fix="give a width and a height in pixels, for example (200, 200)",
        )
    if scene is None:
        from nerfkit.scenes.synthetic.diorama import lighthouse

        scene = lighthouse()
    photos = list(_plan(folder, {"train": n_train, "val": n_val, "test": n_test}, seed))
    for n_done, (path, pose) in enumerate(photos, start=1):
        _write_photo(scene, path, pose, size, supersample)
        if progress is not None:
            progress(n_done, len(photos))
    return folder
