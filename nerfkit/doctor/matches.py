"""Points matched between photos, and how far they lie from one another's epipolar lines under poses and cameras."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nerfkit.scenes.bounds import SAME_PLACE
from nerfkit.scenes.cameras import Camera, pixels_to_directions
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.opencv import load_cv2
from nerfkit.scenes.readers import PosedPhotos, load_photos

__all__ = ["Features", "Matches", "match_pairs", "share_near"]

MATCH_SIDE, N_FEATURES = 640, 2000
# Lowe's ratio (IJCV 2004, 7.1), a little stricter
RATIO = 0.75
# distance from an epipolar line, at depth 1, below which a match agrees: 3 pixels at a focal length of 750
EPIPOLAR_TOLERANCE = 0.004

# directions [n, 3] in the frames of the cameras of a pair
Directions = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Matches:
    """Points that pairs of photos share.

    Parameters
    ----------
    cameras : dict of int to Camera
        Of the photos, by index, at the size at which they were matched.
    pairs : list of (int, int)
        Indices of photos.
    pixels : list of (ndarray, ndarray), each of shape (n, 2)
        Of each pair the columns and rows of its points in either photo.
    """

    cameras: dict[int, Camera]
    pairs: list[tuple[int, int]]
    pixels: list[tuple[np.ndarray, np.ndarray]]

    @property
    def n_points(self) -> int:
        """Points of all pairs."""
        return sum(len(a) for a, _ in self.pixels)

    def thinned(self, most: int) -> Matches:
        """As many of the points at most, from all pairs alike."""
        step = max(1, -(-self.n_points // most))
        return replace(self, pixels=[(a[::step], b[::step]) for a, b in self.pixels])

    def directions(self, cameras: Mapping[int, Camera]) -> list[Directions]:
        """Where the points of each pair are seen by cameras of the size of :attr:`cameras`."""
        # all points of a camera at once: photos mostly share one, and arrays of few points cost as much as larger ones
        sides = [(index, points) for pair, seen in zip(self.pairs, self.pixels, strict=True)
                 for index, points in zip(pair, seen, strict=True)]  # fmt: skip
        found: list[np.ndarray] = [np.zeros((0, 3))] * len(sides)
        for camera in dict.fromkeys(cameras[index] for index, _ in sides):
            own = [number for number, (index, _) in enumerate(sides) if cameras[index] == camera]
            joined = pixels_to_directions(camera, np.concatenate([sides[number][1] for number in own]))
            ends = np.cumsum([len(sides[number][1]) for number in own])[:-1]
            for number, part in zip(own, np.split(joined, ends), strict=True):
                found[number] = part
        return list(zip(found[::2], found[1::2], strict=True))

    def distances(self, c2w: np.ndarray, directions: Sequence[Directions]) -> np.ndarray:
        """How far all points lie from their epipolar lines [n], at depth 1, under poses [n_photos, 4, 4]."""
        parts = [
            epipolar_distance(np.linalg.inv(c2w[b]) @ c2w[a], *seen)
            for (a, b), seen in zip(self.pairs, directions, strict=True)
        ]
        return np.concatenate([np.zeros(0), *parts])


def share_near(distances: np.ndarray) -> float:
    """Share of distances within what matching and good poses leave; 0 where there are none.

    Examples
    --------
    >>> share_near(np.array([0.001, 0.1])), share_near(np.zeros(0))
    (0.5, 0.0)
    """
    return float((distances < EPIPOLAR_TOLERANCE).sum() / max(len(distances), 1))


class Features:
    """Features of photos of a dataset, found when they are first asked for.

    Parameters
    ----------
    photos : PosedPhotos
    n_features : int
        Of each photo.
    """

    def __init__(self, photos: PosedPhotos, n_features: int = N_FEATURES) -> None:
        self.photos, self.cv2 = photos, load_cv2()
        self._sift = self.cv2.SIFT_create(n_features)
        self._found: dict[int, tuple[np.ndarray, Any]] = {}
        self._matched: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        self.cameras: dict[int, Camera] = {}
        # from a listed camera to the right one, for whoever finds that they are wrong
        self.correct: Callable[[Camera], Camera] = lambda camera: camera

    def find(self, indices: Sequence[int]) -> None:
        """Find those of some photos."""
        new = [index for index in dict.fromkeys(indices) if index not in self._found]
        if not new:
            return
        # what is odd in photos is found where all of them are looked at
        loaded = load_photos(self.photos, new, None, MATCH_SIDE, findings=Findings())
        for index, image, camera in zip(new, loaded.images, loaded.cameras, strict=True):
            grey = self.cv2.cvtColor(np.ascontiguousarray(image[..., :3]), self.cv2.COLOR_RGB2GRAY)
            points, descriptors = self._sift.detectAndCompute(grey, None)
            # OpenCV has the centre of the first pixel at 0
            pixels = np.array([point.pt for point in points]).reshape(-1, 2) + 0.5
            self._found[index], self.cameras[index] = (pixels, descriptors), camera

    def match(self, a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels [n, 2] in either photo of points that two share."""
        if (a, b) not in self._matched:
            self._matched[a, b] = self._match(a, b)
        return self._matched[a, b]

    def _match(self, a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
        (pixels_a, found_a), (pixels_b, found_b) = self._found[a], self._found[b]
        if found_a is None or found_b is None or min(len(found_a), len(found_b)) < 2:
            return np.zeros((0, 2)), np.zeros((0, 2))
        candidates = self.cv2.BFMatcher().knnMatch(found_a, found_b, k=2)
        matches = [near for near, far in candidates if near.distance < RATIO * far.distance]
        return pixels_a[[match.queryIdx for match in matches]], pixels_b[[match.trainIdx for match in matches]]

    def matches(self, pairs: Sequence[tuple[int, int]]) -> Matches:
        """Points that pairs of photos share."""
        self.find([index for pair in pairs for index in pair])
        cameras = {index: self.correct(self.cameras[index]) for pair in pairs for index in pair}
        return Matches(cameras, list(pairs), [self.match(a, b) for a, b in pairs])


def match_pairs(photos: PosedPhotos, pairs: Sequence[tuple[int, int]]) -> Matches:
    """Points that pairs of photos share.

    Raises
    ------
    MissingCapabilityError
        OpenCV cannot be loaded.
    """
    return Features(photos).matches(pairs)


def epipolar_distance(relative: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sampson's distance [n] of directions a, b [n, 3] at depth 1 (Hartley and Zisserman, 2nd ed., eq. 11.9).

    ``relative`` takes camera a's frame to camera b's.
    """
    turn, shift = relative[:3, :3], relative[:3, 3]
    length = np.linalg.norm(shift)
    if length <= SAME_PLACE * max(np.abs(relative).max(), 1e-12):
        # no baseline: the turn alone takes one direction into the other
        turned = a @ turn.T
        return np.linalg.norm(np.cross(turned, b), axis=1) / np.maximum(np.linalg.norm(a, axis=1), 1e-12)
    x, y, z = shift / length
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ turn
    line_b, line_a = a @ essential.T, b @ essential
    gradient = (line_b[:, :2] ** 2).sum(1) + (line_a[:, :2] ** 2).sum(1)
    return np.abs((b * line_b).sum(1)) / np.sqrt(np.maximum(gradient, 1e-300))
