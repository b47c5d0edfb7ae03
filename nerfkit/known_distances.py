"""Distances that a dataset tells at pixels of its photos: of the points of a COLMAP model, and of depth maps."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nerfkit.depth_map_distances import disagreement, mapped_distances, read_depth_maps
from nerfkit.photo_data import PhotoData
from nerfkit.scenes.cameras import project
from nerfkit.scenes.readers.colmap_points import read_seen_points

__all__ = ["KnownDistances", "find_distances"]

logger = logging.getLogger(__name__)

# factor beyond which depth maps contradict each other
CONTRADICTION = 1.2


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
    """What is known of the training photos' distances, by depth maps or else by points; None where nothing is."""
    train, model = data.split("train"), data.source.hints.get("model")
    if data.source.depths is not None:
        return _joined(_of_maps(data), "depth maps")
    if model is None:
        return None
    seen = read_seen_points(Path(model))
    return _joined([_seen(data, i, _of_photo(seen, data.source.files[i])) for i in train], "COLMAP's points")


def _nothing() -> tuple[np.ndarray, np.ndarray]:
    return np.empty((0, 2)), np.empty(0)


def _joined(found: list[tuple[np.ndarray, np.ndarray]], source: str) -> KnownDistances | None:
    """Pixels and distances of each training photo, one after the other."""
    photo_ids = np.repeat(np.arange(len(found)), [len(pixels) for pixels, _ in found])
    if not len(photo_ids):
        return None
    pixels, distances = (np.concatenate(columns) for columns in zip(*found, strict=True))
    return KnownDistances(photo_ids, pixels, distances, source)


def _of_maps(data: PhotoData) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pixels and distances of each training photo's depth map; none where the maps contradict each other."""
    maps = read_depth_maps(data)
    factor = disagreement(data, maps)
    if factor is not None and factor > CONTRADICTION:
        logger.warning(
            "depth maps are left out: where two photos see the same, their depths differ by a factor of %.2f in the "
            "median. Look at their unit (depth_unit_scale_factor: units of the poses in one of a map, 0.001 unless "
            "given), and whether depth is along the optical axis", factor,
        )  # fmt: skip
        maps = {}
    return [mapped_distances(data, i, maps[i]) if i in maps else _nothing() for i in data.split("train")]


def _of_photo(seen: dict[str, np.ndarray], file: str) -> np.ndarray:
    """Points that a photo sees: by its name in the model, which may have folders, or by the end of it."""
    parts = Path(file).parts
    names = ("/".join(parts[first:]) for first in range(len(parts)))
    return next((seen[name] for name in names if name in seen), np.empty((0, 3)))


def _seen(data: PhotoData, index: int, xyzs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and distances of world points inside a photo, where its pixels count."""
    camera, c2w, mask = data.cameras[index], data.c2w[index], data.masks.get(index)
    offsets = xyzs - c2w[:3, 3]
    pixels = project(camera, offsets @ c2w[:3, :3])
    with np.errstate(invalid="ignore"):
        is_inside = (pixels >= 0).all(1) & (pixels < (camera.width, camera.height)).all(1)
    inside = np.flatnonzero(is_inside)
    if mask is not None:
        column, row = pixels[inside].astype(int).T
        inside = inside[mask[row, column]]
    return pixels[inside], np.linalg.norm(offsets[inside], axis=1)
