"""Distances of depth maps, and whether the maps of several photos agree on them."""

from __future__ import annotations

import math

import numpy as np

from nerfkit.photo_data import PhotoData
from nerfkit.scenes.cameras import pixels_to_directions, project
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.depth_maps import MILLIMETRES, read_depth_map

__all__ = ["MAX_MAPPED", "disagreement", "mapped_distances", "read_depth_maps"]

# most pixels that are taken of a map: of more, neighbours tell the same
MAX_MAPPED = 2**15
# keys of transforms.json that say how long a unit of the maps is, in units of the poses
UNIT_KEYS = ("depth_unit_scale_factor", "integer_depth_scale")
# pixels of a photo whose points are looked for in the next photos, how many of these, and points that must be seen
N_LOOKED_FOR, N_NEIGHBOURS, LEAST_SEEN = 512, 3, 16


def read_depth_maps(data: PhotoData) -> dict[int, np.ndarray]:
    """Depth maps [h, w] of the training photos that have one, by index, at the photo's size; 0 is unknown."""
    unit, maps = _unit(data), {}
    for index in data.split("train"):
        path = (data.source.depths or [])[index]
        if path is not None:
            depths, camera = read_depth_map(path, unit), data.cameras[index]
            # the map's value at the middle of each pixel: depths of two surfaces have no mean
            sizes = zip((camera.height, camera.width), depths.shape, strict=True)
            rows, columns = (((np.arange(n) + 0.5) * n_map / n).astype(int) for n, n_map in sizes)
            maps[index] = depths[np.ix_(rows, columns)]
    return maps


def _unit(data: PhotoData) -> float:
    key = next((key for key in UNIT_KEYS if key in data.source.hints), None)
    value = MILLIMETRES if key is None else data.source.hints[key]
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise NerfkitError(
            f"{key} must be a number above 0, the units of the poses in one of a depth map; got {value!r}",
            where=data.source.root, fix=f"correct it, or take it out: {MILLIMETRES:g}",
        )  # fmt: skip
    return float(value)


def mapped_distances(data: PhotoData, index: int, depths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [n, 2] of a photo that count and have a depth, some where there are many, and their distances [n]."""
    camera, mask = data.cameras[index], data.masks.get(index)
    places = np.flatnonzero(depths if mask is None else depths * mask)
    if len(places) > MAX_MAPPED:
        places = np.sort(np.random.default_rng(index).choice(places, MAX_MAPPED, replace=False))
    pixels = np.stack([places % camera.width, places // camera.width], axis=-1) + 0.5
    directions = pixels_to_directions(camera, pixels)
    lengths = np.linalg.norm(directions, axis=1) / np.maximum(-directions[:, 2], 1e-6)
    return pixels, depths.reshape(-1)[places] * lengths


def disagreement(data: PhotoData, maps: dict[int, np.ndarray]) -> float | None:
    """By which factor depths of points differ between a photo's map and that of the photo which agrees best with it.

    The median over points of a pair of photos, and over photos. None where no two photos with a map see the same. A
    wrong unit, or depth along the ray, makes the maps of all pairs differ; hidden surfaces those of cameras far apart.
    """
    indices, best = list(maps), []
    for place, index in enumerate(indices):
        points = _points(data, index, maps[index])
        others = indices[place + 1 : place + 1 + N_NEIGHBOURS]
        ratios = [_ratios(data, other, maps[other], points) for other in others]
        factors = [float(np.median(np.abs(np.log(told)))) for told in ratios if len(told) >= LEAST_SEEN]
        best += [min(factors)] if factors else []
    return float(np.exp(np.median(best))) if best else None


def _points(data: PhotoData, index: int, depths: np.ndarray) -> np.ndarray:
    """World points [n, 3] of some pixels of a photo's map."""
    pixels, distances = mapped_distances(data, index, depths)
    chosen = np.linspace(0, len(pixels) - 1, min(N_LOOKED_FOR, len(pixels))).astype(int)
    directions = pixels_to_directions(data.cameras[index], pixels[chosen])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    c2w = data.c2w[index]
    return c2w[:3, 3] + (distances[chosen, None] * directions) @ c2w[:3, :3].T


def _ratios(data: PhotoData, index: int, depths: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Depth of world points over that of a photo's map, where the photo shows them."""
    camera, c2w = data.cameras[index], data.c2w[index]
    there = (points - c2w[:3, 3]) @ c2w[:3, :3]
    pixels = project(camera, there)
    with np.errstate(invalid="ignore"):
        seen = (there[:, 2] < 0) & (pixels >= 0).all(1) & (pixels < (camera.width, camera.height)).all(1)
    column, row = pixels[seen].astype(int).T
    found, expected = depths[row, column], -there[seen, 2]
    return expected[found > 0] / found[found > 0]
