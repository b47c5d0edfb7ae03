"""Which usual mistake about poses and intrinsics would make points matched between photos agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from nerfkit.doctor.conventions import CONVENTIONS, EXPECTED
from nerfkit.doctor.matches import Matches, share_near
from nerfkit.scenes.cameras import Camera

__all__ = ["MIRRORS", "Mistake", "find_mistake", "focal_mistake", "readings"]

# a reading replaces the listed one where that agrees with less than this part of what it agrees with
CLEARLY = 0.9
# and where it agrees with half of the points: of random ones 5 to 25 % do
MIN_SHARE = 0.5
# focal lengths that are tried, in units of the listed one: four times shorter to four times longer, and round the best
FOCALS, NEARER = np.geomspace(0.25, 4.0, 41), np.geomspace(0.93, 1.07, 15)
# of the distances from epipolar lines, at depth 1, that tell which of them is best, and points that are asked
COARSE, FINE, MOST_POINTS = 0.004, 0.001, 400
# a focal length that is off by less (its logarithm) is not called a mistake; and how many times the usual distance,
# with the right one, a point may lie off to agree
LEAST_FOCAL, SPREADS = 0.06, 3.0
# a focal length this near to that of a named mistake is of that mistake
SAME_FOCAL = 0.04

MIRRORS = {axis: np.diag([-1.0 if k == i else 1.0 for k in range(4)]) for i, axis in enumerate("xyz")}


@dataclass(frozen=True)
class Mistake:
    """Something that is other than it is listed.

    Parameters
    ----------
    words : str
        What is wrong.
    c2w : callable
        From the listed poses [n, 4, 4] to the right ones.
    camera : callable
        From a listed camera to the right one.
    before, after : float
        Shares of matched points that agree with what is listed and with what is right.
    """

    words: str
    c2w: Callable[[np.ndarray], np.ndarray] = lambda c2w: c2w
    camera: Callable[[Camera], Camera] = lambda camera: camera
    before: float = 0.0
    after: float = 0.0


def find_mistake(matches: Matches, c2w: np.ndarray) -> Mistake | None:
    """The mistake that the photos show clearly; None where what is listed fits, or nothing does.

    Poses are read in each way of :func:`readings`, and of those that fit best also with another focal length.

    Parameters
    ----------
    matches : Matches
        With the listed cameras.
    c2w : ndarray, shape (n, 4, 4)
        The listed poses of all photos.
    """
    directions = matches.directions(matches.cameras)
    shares = {name: share_near(matches.distances(read(c2w), directions)) for name, read in readings().items()}
    # the listed one wins a tie
    order = sorted(shares, key=lambda name: (-shares[name], name != EXPECTED))
    likely = EXPECTED if shares[EXPECTED] >= CLEARLY * shares[order[0]] else order[0]
    is_sure = shares[likely] >= MIN_SHARE
    found = [
        _joined(name, focal_mistake(matches, readings()[name](c2w)), shares)
        for name in ([likely] if is_sure else dict.fromkeys([EXPECTED, *order[:3]]))
    ]
    fitting = [mistake for mistake in found if mistake is not None and mistake.after >= MIN_SHARE]
    return max(fitting, key=lambda mistake: mistake.after, default=None)


def _joined(name: str, focal: Mistake | None, shares: dict[str, float]) -> Mistake | None:
    """A reading of the poses and a focal length, one or both of which are not as listed."""
    words = [] if name == EXPECTED else [f"the poses are {name}"]
    words += [] if focal is None else [focal.words]
    if not words:
        return None
    read, camera = readings()[name], (lambda camera: camera) if focal is None else focal.camera
    # what a focal length explains is said of finer distances than what a reading does
    before = focal.before if name == EXPECTED and focal is not None else shares[EXPECTED]
    return Mistake(" and ".join(words), read, camera, before, shares[name] if focal is None else focal.after)


def readings() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """How a matrix may be meant: the conventions, and positions of a world that was mirrored."""

    def mirrored(axis: str) -> Callable[[np.ndarray], np.ndarray]:
        def read(c2w: np.ndarray) -> np.ndarray:
            out = c2w.copy()
            out[:, :3, 3] = c2w[:, :3, 3] @ MIRRORS[axis][:3, :3]
            return out

        return read

    return CONVENTIONS | {
        f"mirrored: their positions have {axis} with the wrong sign": mirrored(axis) for axis in "xyz"
    }


def focal_mistake(matches: Matches, c2w: np.ndarray) -> Mistake | None:
    """Another focal length that explains clearly more; None where the listed one does as well.

    Parameters
    ----------
    matches : Matches
    c2w : ndarray, shape (n, 4, 4)
        Poses, camera to world with OpenGL axes.
    """
    if not matches.n_points:
        return None
    few = matches.thinned(MOST_POINTS)

    def distances(factor: float) -> np.ndarray:
        cameras = {index: scaled(camera, factor) for index, camera in few.cameras.items()}
        # a longer lens sees the same pixels within a smaller angle: distances are kept in units of the listed one
        return few.distances(c2w, few.directions(cameras)) * factor

    def score(factor: float, width: float) -> float:
        return float(np.mean(1 / (1 + (distances(factor) / width) ** 2)))

    best = max(FOCALS.tolist(), key=lambda factor: score(factor, COARSE))
    best = max((best * NEARER).tolist(), key=lambda factor: score(factor, FINE))
    named = _named_focals(next(iter(matches.cameras.values())))
    near = min(named, key=lambda factor: abs(np.log(factor / best)))
    is_named = bool(abs(np.log(near / best)) < SAME_FOCAL)
    factor = near if is_named else best
    found = distances(factor)
    if abs(np.log(factor)) < LEAST_FOCAL or share_near(found) < MIN_SHARE:
        return None
    # matches that are good to a fraction of a pixel tell more than the usual tolerance
    tolerance = min(SPREADS * float(np.median(found)), COARSE)
    before, after = (float((distances(f) < tolerance).mean()) for f in (1.0, factor))
    if before >= CLEARLY * after:
        return None
    words = named[near] if is_named else f"is {1 / factor:.2f} times the right one"

    def put_right(camera: Camera) -> Camera:
        return scaled(camera, factor)

    return Mistake(f"the focal length {words}", camera=put_right, before=before, after=after)


def _named_focals(camera: Camera) -> dict[float, str]:
    """The right focal length in units of the listed one, by what was mistaken."""
    named = {
        2.0: "is of photos half as large", 0.5: "is of photos twice as large",
        4.0: "is of photos a quarter as large", 0.25: "is of photos four times as large",
    }  # fmt: skip
    ratio = camera.height / camera.width
    if abs(np.log(ratio)) >= SAME_FOCAL:
        named |= {
            ratio: "is of the other side: the angle of the height was taken for that of the width",
            1 / ratio: "is of the other side: the angle of the width was taken for that of the height",
        }
    return named


def scaled(camera: Camera, factor: float) -> Camera:
    """A camera with another focal length."""
    return replace(camera, fx=camera.fx * factor, fy=camera.fy * factor)
