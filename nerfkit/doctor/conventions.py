"""Whether poses follow the convention (camera to world, OpenGL axes), and which other one they follow if not.

Photos decide: points matched between two of them lie on one another's epipolar lines under the right convention
only. Where too few points match, the optical axes decide: most captures look at something from around it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nerfkit.doctor.matches import Matches, match_pairs, share_near
from nerfkit.scenes.bounds import SAME_PLACE
from nerfkit.scenes.errors import MissingCapabilityError
from nerfkit.scenes.poses import focus_point
from nerfkit.scenes.readers import PosedPhotos

__all__ = ["CONVENTIONS", "Agreement", "Convergence", "guess_from_axes", "match_photos", "measure_convergence"]

FLIP_YZ = np.diag([1.0, -1.0, -1.0, 1.0])
# what a matrix may be -> how it becomes camera to world with OpenGL axes
CONVENTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "camera to world, OpenGL axes": lambda m: m,
    "camera to world, OpenCV axes": lambda m: m @ FLIP_YZ,
    "world to camera, OpenGL axes": np.linalg.inv,
    "world to camera, OpenCV axes": lambda m: np.linalg.inv(m) @ FLIP_YZ,
}
EXPECTED = next(iter(CONVENTIONS))

# pairs of photos that are matched; each costs about 0.3 s
N_PAIRS = 6
# views among which the pairs are chosen: every pair of them is looked at
MAX_VIEWS = 500
# degrees between the views of a pair: enough parallax, and not too much for the matcher
BEST_ANGLE, ANGLES = 10.0, (2.0, 35.0)
# fewer matches than this in all pairs together prove nothing; random ones agree by 5 to 25 %
MIN_MATCHES, MIN_SHARE = 60, 0.5
# rms distance of the axes to their focus, in units of the cameras' distance: above it they meet nowhere
MEETING = 0.5


@dataclass(frozen=True)
class Agreement:
    """How well each convention explains the photos.

    Parameters
    ----------
    n_matches : int
        Matched points of all pairs.
    shares : dict of str to float
        Convention -> share of the matches that agree with it.
    """

    n_matches: int
    shares: dict[str, float]

    @property
    def is_decisive(self) -> bool:
        """Whether there are enough matches to say anything."""
        return self.n_matches >= MIN_MATCHES

    @property
    def best(self) -> str | None:
        """The convention that explains the photos; None where none does."""
        # the expected one wins a tie: cameras that only slide along their axis, for instance
        name = max(self.shares, key=lambda key: self.shares[key])
        name = EXPECTED if self.shares[EXPECTED] >= 0.9 * self.shares[name] else name
        return name if self.shares[name] >= MIN_SHARE else None


@dataclass(frozen=True)
class Convergence:
    """Where the optical axes meet.

    Parameters
    ----------
    rms : float
        RMS distance of the axes to the point closest to all of them, in units of the cameras' median distance.
    front : float
        Share of the cameras that have this point in front.
    """

    rms: float
    front: float


def measure_convergence(c2w: np.ndarray) -> Convergence | None:
    """Where cameras [n, 4, 4] look; None where the axes are parallel or the cameras in one place.

    Examples
    --------
    >>> from nerfkit.scenes.poses import look_at
    >>> cameras = look_at([[3, 0, 0], [0, 3, 0]], [0, 0, 0], [0, 0, 1])
    >>> measure_convergence(cameras).front, measure_convergence(cameras @ FLIP_YZ).front
    (1.0, 0.0)
    """
    eyes, axes = c2w[:, :3, 3], -c2w[:, :3, 2]
    if is_one_place(c2w):
        return None
    try:
        to_focus = focus_point(c2w) - eyes
    except ValueError:
        return None
    along = (to_focus * axes).sum(1)
    across = np.linalg.norm(to_focus - along[:, None] * axes, axis=1)
    distance = np.median(np.linalg.norm(to_focus, axis=1))
    if not distance > 0:
        return None
    return Convergence(float(np.sqrt(np.mean(across**2)) / distance), float(np.mean(along > 0)))


def is_one_place(c2w: np.ndarray) -> bool:
    """Whether all cameras stand in one place, within what the text of a file can hold."""
    eyes = c2w[:, :3, 3]
    # the matrices' own translations give the scale: inverted ones may be large although all eyes are at 0
    size = max(np.abs(eyes).max(), np.abs(np.linalg.inv(c2w)[:, :3, 3]).max())
    return bool(np.linalg.norm(eyes - eyes.mean(0), axis=1).max() <= SAME_PLACE * size)


def guess_from_axes(c2w: np.ndarray) -> str | None:
    """The convention under which the cameras look at one point in front of them; None where that is not clear.

    Notes
    -----
    A capture outwards from the middle of a room looks just like a flipped one of an object.
    """
    listed = measure_convergence(c2w)
    if listed is not None and listed.rms < MEETING:
        if listed.front >= 0.5:
            return EXPECTED
        return "camera to world, OpenCV axes" if listed.front <= 0.1 else None
    for name in list(CONVENTIONS)[2:]:
        other = measure_convergence(CONVENTIONS[name](c2w))
        if other is not None and other.rms < MEETING and other.front >= 0.9:
            return name
    return None


def match_photos(photos: PosedPhotos) -> tuple[Agreement, Matches] | None:
    """Match points between views that differ by a small turn; None where OpenCV cannot be loaded."""
    try:
        matches = match_pairs(photos, choose_pairs(photos.c2w))
    except MissingCapabilityError:
        return None
    directions = matches.directions(matches.cameras)
    distances = {name: matches.distances(convert(photos.c2w), directions) for name, convert in CONVENTIONS.items()}
    return Agreement(matches.n_points, {name: share_near(found) for name, found in distances.items()}), matches


def choose_pairs(c2w: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of views about ten degrees apart, each view in one pair; the angle is the same in every convention."""
    views = np.unique(np.linspace(0, len(c2w) - 1, MAX_VIEWS).round().astype(int))
    rotations = c2w[views, :3, :3]
    trace = np.einsum("iab,jab->ij", rotations, rotations)
    first, second = np.triu_indices(len(views), 1)
    angles = np.degrees(np.arccos(np.clip((trace[first, second] - 1) / 2, -1, 1)))
    pairs: list[tuple[int, int]] = []
    used: set[int] = set()
    for k in np.argsort(np.abs(angles - BEST_ANGLE), kind="stable"):
        a, b = int(views[first[k]]), int(views[second[k]])
        if len(pairs) == N_PAIRS or not ANGLES[0] < angles[k] < ANGLES[1]:
            break
        if not {a, b} & used:
            pairs.append((a, b))
            used |= {a, b}
    return pairs
