"""A rim round every photo that shows no scene: bars, undistortion's black edge, the outside of a fisheye's circle."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from scipy.ndimage import binary_dilation, binary_propagation

from nerfkit.scenes.cameras import Camera

__all__ = ["find_rims"]

# photos that are looked at, and fewest that tell a rim from a border that happens to be of one colour
N_LOOKED_AT, MIN_PHOTOS = 12, 4
# of 255: how far a rim's values may lie apart over all photos, and from its colour; JPEG blurs its edge
TOLERANCE = 12
# area of a photo's own part of the rim's colour, joined to its edge, in units of the rim's: of a scene it is little
# more, while round an object it changes from view to view
MAX_OWN = 1.15
# a rim leaves a rectangle, whose corners lenses bend, or a disc; share of the bounding box that it fills, or overlap
# with the disc; and share of the photo's sides that it has at least
MIN_FILL, MIN_OVERLAP, MIN_SIDE = 0.9, 0.94, 0.5


def find_rims(
    indices: Sequence[int], cameras: Sequence[Camera], read: Callable[[int], np.ndarray]
) -> dict[tuple[int, int], np.ndarray]:
    """For each size (w, h) of photos that have a rim, which pixels [h, w] lie within it.

    A rim is joined to the photo's edge, of one colour, and the same in every photo, and what it leaves is a rectangle
    or a disc. A plain background round an object is not: its outline changes from view to view.

    Parameters
    ----------
    indices : sequence of int
        Photos to look at; of each size some, spread evenly.
    cameras : sequence of Camera
        Of all photos.
    read : callable
        From an index to the photo [h, w, 3 or 4], uint8, at its camera's size.
    """
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index in indices:
        by_size[cameras[index].width, cameras[index].height].append(index)
    rims = {}
    for size, members in by_size.items():
        if len(members) < MIN_PHOTOS:
            continue
        chosen = np.unique(np.linspace(0, len(members) - 1, N_LOOKED_AT).round().astype(int))
        inside = _look([members[i] for i in chosen], read)
        if inside is not None:
            rims[size] = inside
    return rims


def _look(indices: Sequence[int], read: Callable[[int], np.ndarray]) -> np.ndarray | None:
    """Pixels within the rim [h, w]; None without one."""
    # a photo at a time: all of them in memory may be a gigabyte
    low = high = read(indices[0])[..., :3]
    for index in indices[1:]:
        photo = read(index)[..., :3]
        if photo.shape != low.shape:
            return None
        low, high = np.minimum(low, photo), np.maximum(high, photo)
    still = (high - low).max(-1) <= TOLERANCE
    edge = np.zeros_like(still)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    if not (still & edge).any():
        return None
    middle = (low.astype(np.float32) + high) / 2
    color = np.median(middle[still & edge], axis=0)
    rim = _joined(still & _is_near(middle, color), edge)
    # the pixel next to it is a mixture of both
    inside = ~_grow(rim, 1)
    if not rim.any() or not _is_frame(inside):
        return None
    own = [_joined(_is_near(read(i)[..., :3], color), edge).sum() / rim.sum() for i in indices]
    return inside if np.mean(own) < MAX_OWN else None


def _is_near(photo: np.ndarray, color: np.ndarray) -> np.ndarray:
    return np.abs(photo - color).max(-1) <= TOLERANCE


def _joined(mask: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """The parts of a mask that are joined to the photo's edge."""
    return np.asarray(binary_propagation(edge & mask, mask=mask))


def _is_frame(inside: np.ndarray) -> bool:
    """Whether pixels [h, w] are a rectangle or a disc, cut by the photo's edge at most."""
    rows, columns = np.nonzero(inside)
    if not len(rows):
        return False
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    if min(height / inside.shape[0], width / inside.shape[1]) < MIN_SIDE:
        return False
    if inside.sum() >= MIN_FILL * height * width:
        return True
    y, x = np.ogrid[: inside.shape[0], : inside.shape[1]]
    center = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
    square = (y - center[0]) ** 2 + (x - center[1]) ** 2
    disc = square <= square[inside].max()
    return bool((disc & inside).sum() >= MIN_OVERLAP * (disc | inside).sum())


def _grow(mask: np.ndarray, n_pixels: int) -> np.ndarray:
    return np.asarray(binary_dilation(mask, np.ones((3, 3)), iterations=n_pixels), bool)
