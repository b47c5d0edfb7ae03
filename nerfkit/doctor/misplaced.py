"""Single photos with the pose of another, or with none of the scene's: what points matched with the others say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nerfkit.doctor.matches import Features, Matches, share_near

__all__ = ["MOST_PHOTOS", "Misplaced", "find_misplaced"]

# photos up to which each one is looked at; it costs about half a second of a core a photo
MOST_PHOTOS = 300
# others that each photo is compared with first, by how far apart their views are, in degrees
N_PARTNERS, BEST_ANGLE, ANGLES = 3, 10.0, (1.0, 35.0)
# others that a photo in doubt is compared with, and of these those that share most that are asked
N_ASKED, N_HEARD = 16, 3
# points that two photos share at least before they say anything, and the share of them that poses explain
MIN_POINTS, MIN_SHARE = 20, 0.5
# a photo is convicted by so many of those, with each of which it has this share of the points that neighbours usually
# have in common, by one motion; one that shows the same pattern elsewhere is not enough
N_WITNESSES, TYPICAL = 2, 0.25
# of a set of which more are in doubt nobody knows whom to believe
MAX_DOUBT = 0.5


@dataclass(frozen=True)
class Misplaced:
    """Photos whose poses are not theirs.

    Parameters
    ----------
    poses : dict of int to int
        Photo -> the photo whose listed pose is its own.
    wrong : list of int
        Photos whose pose is nobody's.
    is_clear : bool
        Whether most photos agree with one another, so that the others can be told.
    """

    poses: dict[int, int] = field(default_factory=dict)
    wrong: list[int] = field(default_factory=list)
    is_clear: bool = True


def find_misplaced(features: Features, c2w: np.ndarray) -> Misplaced:
    """Compare each photo with its neighbours, and those that fit none of them with photos from all over.

    Parameters
    ----------
    features : Features
        Of the photos, their cameras right.
    c2w : ndarray, shape (n, 4, 4)
        Their poses, most of which are right.
    """
    matches = features.matches(_partners(c2w))
    support, is_heard = np.zeros(len(c2w)), np.zeros(len(c2w), bool)
    for pair, pixels in zip(matches.pairs, matches.pixels, strict=True):
        one, both = Matches(matches.cameras, [pair], [pixels]), list(pair)
        if one.n_points >= MIN_POINTS:
            is_heard[both] = True
            support[both] = np.maximum(support[both], _share(one, c2w))
    if not is_heard.any():
        return Misplaced()
    doubted = np.flatnonzero(support < MIN_SHARE).tolist()
    trusted = np.flatnonzero(support >= MIN_SHARE).tolist()
    if len(doubted) > MAX_DOUBT * len(c2w):
        return Misplaced(is_clear=False)
    pairs = zip(matches.pairs, matches.pixels, strict=True)
    shared = [len(pixels[0]) for pair, pixels in pairs if min(support[list(pair)]) >= MIN_SHARE]
    enough = max(MIN_POINTS, TYPICAL * float(np.median(shared or [0])))
    asked = {photo: _ask(features, photo, trusted, enough) for photo in doubted}
    return _assign({photo: found for photo, found in asked.items() if _deny(found, features, c2w)}, doubted, c2w)


def _partners(c2w: np.ndarray) -> list[tuple[int, int]]:
    rotations = c2w[:, :3, :3]
    trace = np.einsum("iab,jab->ij", rotations, rotations)
    angles = np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))
    off = np.where((angles > ANGLES[0]) & (angles < ANGLES[1]), np.abs(angles - BEST_ANGLE), np.inf)
    nearest = np.argsort(off, axis=1, kind="stable")[:, :N_PARTNERS]
    pairs = {(a, b) for a, others in enumerate(nearest.tolist()) for b in others if np.isfinite(off[a, b])}
    return sorted({(min(pair), max(pair)) for pair in pairs})


def _share(matches: Matches, c2w: np.ndarray) -> float:
    return share_near(matches.distances(c2w, matches.directions(matches.cameras)))


def _ask(features: Features, photo: int, trusted: Sequence[int], enough: float) -> Matches:
    """Points that a photo shares with the few of the trusted ones that share most with it, ``enough`` at least."""
    chosen = np.unique(np.linspace(0, len(trusted) - 1, N_ASKED).round().astype(int))
    matches = features.matches([(photo, trusted[i]) for i in chosen])
    n_alike = [features.n_alike(*pair) for pair in matches.pairs]
    order = sorted((i for i, n in enumerate(n_alike) if n >= enough), key=lambda i: -n_alike[i])[:N_HEARD]
    return Matches(matches.cameras, [matches.pairs[i] for i in order], [matches.pixels[i] for i in order])


def _deny(asked: Matches, features: Features, c2w: np.ndarray) -> bool:
    """Whether all that share enough with a photo say that its pose is not its own; too few say nothing."""
    if len(asked.pairs) < N_WITNESSES:
        return False
    for pair, pixels in zip(asked.pairs, asked.pixels, strict=True):
        one = Matches(asked.cameras, [pair], [pixels])
        if _share(one, c2w) * one.n_points >= MIN_SHARE * features.n_alike(*pair):
            return False
    return True


def _assign(asked: dict[int, Matches], doubted: Sequence[int], c2w: np.ndarray) -> Misplaced:
    """Whose pose, of the photos in doubt, fits those that the others deny their own."""
    # imported here: what checks a dataset without doubts starts without it
    from scipy.optimize import linear_sum_assignment

    photos = list(asked)
    if not photos:
        return Misplaced()
    shares = np.zeros((len(photos), len(doubted)))
    for row, photo in enumerate(photos):
        for column, other in enumerate(doubted):
            poses = c2w.copy()
            poses[photo] = c2w[other]
            shares[row, column] = _share(asked[photo], poses)
    rows, columns = linear_sum_assignment(-shares)
    fits = {photos[r]: doubted[c] for r, c in zip(rows, columns, strict=True) if shares[r, c] >= MIN_SHARE}
    fits = {photo: owner for photo, owner in fits.items() if photo != owner}
    # a photo that shares too little to speak for itself has the pose that is left over
    silent = {owner: photo for photo, owner in fits.items() if owner not in asked and photo not in fits.values()}
    return Misplaced(fits | silent, [photo for photo in photos if photo not in fits])
