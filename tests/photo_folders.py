"""Tiny posed photo folders for the readers' tests, and where the real ones are."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.readers import PosedPhotos

DATA = Path(os.environ.get("NERFKIT_TEST_DATA") or "absent")


def needs_data(name):
    return pytest.mark.skipif(not (DATA / name).exists(), reason=f"NERFKIT_TEST_DATA has no {name}")


def pose(i):
    """A camera on a circle of radius 3 looking at the origin, +Z up."""
    angle = 0.7 * i
    back = np.array([np.cos(angle), np.sin(angle), 0.0])
    c2w = np.eye(4)
    c2w[:3, :3] = np.stack([np.cross([0, 0, 1], back), [0, 0, 1], back], axis=-1)
    c2w[:3, 3] = 3 * back
    return c2w


def save_photo(path, size=(8, 6), colour=(200, 100, 50), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)


def frames(n, name="images/{:02d}.png"):
    return [{"file_path": name.format(i), "transform_matrix": pose(i).tolist()} for i in range(n)]


def write_transforms(folder, n: Any = 4, file: Any = "transforms.json", photos: Any = True, entries=None, **root):
    """transforms.json of ``n`` frames with 8x6 photos; returns the folder."""
    entries = frames(n) if entries is None else entries
    content = {"fl_x": 10.0, "w": 8, "h": 6, "frames": entries} | root
    folder.mkdir(exist_ok=True)
    (folder / file).write_text(json.dumps({key: v for key, v in content.items() if v is not None}))
    for entry in entries if photos else []:
        path = folder / entry["file_path"]
        save_photo(path if path.suffix else path.with_name(path.name + ".png"))
    return folder


def one_photo(folder, name="photo.png", size=(8, 6), **options):
    """A PosedPhotos of the single file ``folder/name``, for what load_photos does with it."""
    width, height = size
    camera = Camera(width, height, 10.0, 10.0, width / 2, height / 2)
    return PosedPhotos("scene", folder, "transforms", [name], [camera], np.eye(4)[None], {"train": [0]}, **options)
