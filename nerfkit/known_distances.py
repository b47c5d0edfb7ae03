"""Distances that a dataset tells at pixels of its photos: of the points of a COLMAP model, and of depth maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nerfkit.photo_data import PhotoData
from nerfkit.scenes.cameras import pixels_to_directions, project
from nerfkit.scenes.readers.colmap_points import read_seen_points
from nerfkit.scenes.readers.depth_maps import MILLIMETRES, read_depth_map

__all__ = ["KnownDistances", "find_distances"]

# most pixels that are taken of a depth map: of more, neighbours tell the same
MAX_MAPPED = 2**15


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
    model = data.source.hints.get("model")
    if data.source.depths is not None:
        source, of_photo = "depth maps", lambda index: _mapped(data, index)
    elif model is not None:
        seen = read_seen_points(Path(model))
        source, of_photo = (
            "COLMAP's points",
            lambda index: _seen(data, index, _of_photo(seen, data.source.files[index])),
        )
    else:
        return None
    found = [of_photo(index) for index in data.split("train")]
    photo_ids = np.repeat(np.arange(len(found)), [len(pixels) for pixels, _ in found])
    if not len(photo_ids):
        return None
    pixels, distances = (np.concatenate(columns) for columns in zip(*found, strict=True))
    return KnownDistances(photo_ids, pixels, distances, source)


def _mapped(data: PhotoData, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and distances of a photo's depth map, some where there are many."""
    camera, mask, path = data.cameras[index], data.masks.get(index), (data.source.depths or [])[index]
    if path is None:
        return np.empty((0, 2)), np.empty(0)
    hints = data.source.hints
    unit = hints.get("depth_unit_scale_factor") or hints.get("integer_depth_scale") or MILLIMETRES
    depths = read_depth_map(path, float(unit))
    # the map's value at the middle of each pixel: depths of two surfaces have no mean
    sizes = zip((camera.height, camera.width), depths.shape, strict=True)
    rows, columns = (((np.arange(n) + 0.5) * n_map / n).astype(int) for n, n_map in sizes)
    depths = depths[np.ix_(rows, columns)]
    places = np.flatnonzero(depths if mask is None else depths * mask)
    if len(places) > MAX_MAPPED:
        places = np.sort(np.random.default_rng(index).choice(places, MAX_MAPPED, replace=False))
    pixels = np.stack([places % camera.width, places // camera.width], axis=-1) + 0.5
    directions = pixels_to_directions(camera, pixels)
    lengths = np.linalg.norm(directions, axis=1) / np.maximum(-directions[:, 2], 1e-6)
    return pixels, depths.reshape(-1)[places] * lengths


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
