"""The points of a COLMAP model and which photo sees them (https://colmap.github.io/format.html)."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np

from nerfkit.scenes.errors import NerfkitError

from .colmap import Bytes, image_names, lines_of, suffix_of

__all__ = ["read_seen_points"]

logger = logging.getLogger(__name__)

# position, reprojection error and the images that see it
Point = tuple[tuple[float, ...], float, set[int]]
# photos that must see a point: two rays meet somewhere whether they match or not
MIN_PHOTOS = 3
# in units of the median, the reprojection error beyond which a point is left out
MAX_ERROR = 2.0
# numbers before a point's track in points3D.txt: id, x, y, z, r, g, b, error
N_BEFORE_TRACK = 8


def read_seen_points(model: Path) -> dict[str, np.ndarray]:
    """World points [n, 3] that each image of a model sees, by the image's name; empty where the model has no points.

    Points of few images or of a large reprojection error are left out.

    Parameters
    ----------
    model : Path
        Folder of cameras, images and points3D, binary or text.

    Raises
    ------
    NerfkitError
        A file that is damaged, by name.
    """
    file = model / f"points3D{suffix_of(model)}"
    if not file.is_file():
        return {}
    points = _binary(file) if file.suffix == ".bin" else _text(file)
    points = _without_bad(points, file)
    kept = [point for point in points if len(point[2]) >= MIN_PHOTOS]
    limit = MAX_ERROR * float(np.median([error for _, error, _ in kept])) if kept else 0.0
    names, seen = image_names(model), {}
    for xyz, error, images in kept:
        if error <= limit:
            for image in images:
                seen.setdefault(names.get(image), []).append(xyz)
    return {name: np.array(xyzs) for name, xyzs in seen.items() if name is not None}


def _without_bad(points: list[Point], file: Path) -> list[Point]:
    """The points whose numbers are finite; an error that is NaN would put every point beyond its median."""
    bad = [index for index, (xyz, error, _) in enumerate(points) if not all(map(math.isfinite, (*xyz, error)))]
    if not bad:
        return points
    logger.warning(
        "%s: %d of its %d points have a place or an error that is NaN or infinite, the first is number %d from 0; "
        "they are left out", file, len(bad), len(points), bad[0],
    )  # fmt: skip
    left_out = set(bad)
    return [point for index, point in enumerate(points) if index not in left_out]


def _binary(file: Path) -> list[Point]:
    """Position, reprojection error and images of each point."""
    data, points = Bytes(file), []
    for _ in range(data.take("Q")[0]):
        _, x, y, z, _, _, _, error, n_seen = data.take("Q3d3BdQ")
        # image and place in its list, in turns
        points.append(((x, y, z), error, set(data.take(f"{2 * n_seen}i")[::2])))
    return points


def _text(file: Path) -> list[Point]:
    points = []
    for number, line in lines_of(file):
        if not line:
            continue
        words = line.split()
        try:
            x, y, z = map(float, words[1:4])
            images = set(map(int, words[N_BEFORE_TRACK::2]))
            points.append(((x, y, z), float(words[N_BEFORE_TRACK - 1]), images))
        except (ValueError, IndexError):
            raise NerfkitError(
                f"expected 'POINT3D_ID X Y Z R G B ERROR TRACK'; got {line[:60]!r}", where=f"{file}: line {number}",
                fix="export the model again, or train without its points (--set depth_weight=0)",
            ) from None  # fmt: skip
    return points
