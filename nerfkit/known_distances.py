"""Distances that a dataset tells at pixels of its photos: of the points of a COLMAP model, and of depth maps."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nerfkit.photo_data import PhotoData
from nerfkit.scenes.cameras import project
from nerfkit.scenes.readers.colmap_points import read_seen_points

__all__ = ["KnownDistances", "find_distances"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownDistances:
    """Pixels whose distance is known; rows belong together.

    Parameters
    ----------
    photo_ids : ndarray of int64, shape (n,)
        Place of each pixel's photo in the split.
    pixels : ndarray of float64, shape (n, 2)
        Column and row at the photo's size, centres at +0.5.
    distances : ndarray of float64, shape (n,)
        From the camera along the ray, in world units.
    source : str
        Where they are from, for a person.
    """

    photo_ids: np.ndarray
    pixels: np.ndarray
    distances: np.ndarray
    source: str

    def __len__(self) -> int:
        return len(self.distances)


def find_distances(data: PhotoData) -> KnownDistances | None:
    """What is known of the training photos' distances; None where nothing is."""
    model = data.source.hints.get("model")
    seen = {} if model is None else read_seen_points(Path(model))
    parts = []
    for place, index in enumerate(data.split("train")):
        xyzs = _of_photo(seen, data.source.files[index])
        if xyzs is not None:
            pixels, distances = _seen(data, index, xyzs)
            parts.append((np.full(len(pixels), place), pixels, distances))
    if not sum(len(pixels) for _, pixels, _ in parts):
        return None
    photo_ids, pixels, distances = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return KnownDistances(photo_ids, pixels, distances, f"the points of {Path(model or '').name}")


def _of_photo(seen: dict[str, np.ndarray], file: str) -> np.ndarray | None:
    """Points that a photo sees: by its name in the model, which may have folders, or by the end of it."""
    parts = Path(file).parts
    names = ("/".join(parts[first:]) for first in range(len(parts)))
    return next((seen[name] for name in names if name in seen), None)


def _seen(data: PhotoData, index: int, xyzs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and distances of world points inside a photo, where its pixels count."""
    camera, c2w, mask = data.cameras[index], data.c2w[index], data.masks.get(index)
    offsets = xyzs - c2w[:3, 3]
    pixels = project(camera, offsets @ c2w[:3, :3])
    with np.errstate(invalid="ignore"):
        is_inside = (pixels >= 0).all(1) & (pixels < (camera.width, camera.height)).all(1)
    if mask is not None:
        column, row = np.where(is_inside[:, None], pixels, 0).astype(int).T
        is_inside &= mask[row, column]
    return pixels[is_inside], np.linalg.norm(offsets[is_inside], axis=1)
