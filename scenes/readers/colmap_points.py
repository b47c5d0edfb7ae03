"""The points of a COLMAP model and which photo sees them (https://colmap.github.io/format.html)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nerfkit.scenes.errors import NerfkitError

from .colmap import Bytes, image_names, lines_of, suffix_of

__all__ = ["read_seen_points"]

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
    kept = [point for point in points if len(point[2]) >= MIN_PHOTOS]
    limit = MAX_ERROR * float(np.median([error for _, error, _ in kept])) if kept else 0.0
    names, seen = image_names(model), {}
    for xyz, error, images in kept:
        if error <= limit:
            for image in images:
                seen.setdefault(names.get(image), []).append(xyz)
    return {name: np.array(xyzs) for name, xyzs in seen.items() if name is not None}


def _binary(file: Path) -> list[tuple[tuple[float, ...], float, set[int]]]:
    """Position, reprojection error and images of each point."""
    data, points = Bytes(file), []
    for _ in range(data.take("Q")[0]):
        _, x, y, z, _, _, _, error, n_seen = data.take("Q3d3BdQ")
        # image and place in its list, in turns
        points.append(((x, y, z), error, set(data.take(f"{2 * n_seen}i")[::2])))
    return points


def _text(file: Path) -> list[tuple[tuple[float, ...], float, set[int]]]:
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
