"""The part of the world that is exported: the scene's box, what is seen within it, or a box that is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.bounds import SceneBounds
from nerfkit.scenes.errors import NerfkitError

__all__ = ["Region", "choose_region"]

# fraction of what is seen that must lie within the box where contraction begins for that box to be taken
MOST = 0.5
# fraction of what is seen that is left out at each end of an axis: within that box, and where there is none
STRAY, FAR_AWAY = 0.001, 0.05
# room at each side, as a fraction of the longest
ROOM = 0.02


@dataclass(frozen=True)
class Region:
    """A box along the world's axes.

    Parameters
    ----------
    low, high : ndarray, shape (3,)
        Normalised units.
    why : str
        What it is.
    share : float
        Fraction of the surface points that are seen and lie in it, 0 to 1.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    why: str
    share: float

    def holds(self, points: NDArray[np.floating], room: float = 0.0) -> NDArray[np.bool_]:
        """Whether ``points`` [.., 3], normalised, lie in it, or within ``room`` of it along each axis."""
        return np.asarray(((points >= self.low - room) & (points <= self.high + room)).all(-1))

    def in_world(self, bounds: SceneBounds) -> list[float]:
        """Least x, y, z and greatest x, y, z in the input's frame and scale."""
        corners = bounds.to_world(np.stack([self.low, self.high]))
        return [float(f"{value:.7g}") for value in corners.ravel()]


def choose_region(
    bounds: SceneBounds, points: NDArray[np.floating], box: tuple[float, ...] | None = None
) -> Region:  # fmt: skip
    """The box that is exported.

    Parameters
    ----------
    bounds : SceneBounds
        Of the scene: a bounded one ends at its box. Of an unbounded one the box where contraction begins is taken, if
        most of what is seen lies in it, else the middle 90 % of what is seen, along each axis.
    points : ndarray, shape (n, 3)
        Of the surface that the views see, normalised.
    box : tuple of 6 float, optional
        Least x, y, z and greatest x, y, z in the world instead.

    Raises
    ------
    NerfkitError
        The box given has no volume or holds nothing, or nothing is seen at all.
    """
    if not len(points):
        raise NerfkitError(
            "no view shows a surface: every ray keeps more than half of its transmittance", where="nerfkit export",
            fix="train longer; nerfkit render RUN shows what there is",
        )  # fmt: skip
    if box is not None:
        return _given(bounds, points, box)
    low, high = np.array(bounds.aabb[:3]), np.array(bounds.aabb[3:])
    inside = ((points >= low) & (points <= high)).all(1)
    if inside.any() and (not bounds.contract or inside.mean() >= MOST):
        why, seen, cut = (
            "the scene's box" if not bounds.contract else "what is seen round the middle",
            points[inside],
            STRAY,
        )
    else:
        low, high = np.full(3, -np.inf), np.full(3, np.inf)
        why, seen, cut = "the middle 90 % of what is seen", points, FAR_AWAY
    ends = np.quantile(seen.astype(np.float64), [cut, 1 - cut], axis=0)
    room = ROOM * (ends[1] - ends[0]).max()
    low, high = np.maximum(low, ends[0] - room), np.minimum(high, ends[1] + room)
    return _region(low, high, why, points)


def _given(bounds: SceneBounds, points: NDArray[np.floating], box: tuple[float, ...]) -> Region:
    corners = (np.array(box, np.float64).reshape(2, 3) - np.asarray(bounds.center)) / bounds.scale
    if not (corners[1] > corners[0]).all():
        raise NerfkitError(
            f"must be least x, y, z and then greatest x, y, z; got {','.join(f'{value:g}' for value in box)}",
            where="--box", fix="for example --box=-1,-1,-1,1,1,1",
        )  # fmt: skip
    region = _region(corners[0], corners[1], "--box", points)
    if not region.share:
        low, high = np.quantile(points.astype(np.float64), [0.05, 0.95], axis=0)
        whole = _region(low, high, "", points).in_world(bounds)
        raise NerfkitError(
            "no surface that is seen lies in it", where="--box",
            fix=f"most of what is seen lies in {','.join(f'{value:.4g}' for value in whole)}",
        )  # fmt: skip
    return region


def _region(low: NDArray[np.float64], high: NDArray[np.float64], why: str, points: NDArray[np.floating]) -> Region:
    return Region(low, high, why, round(float(((points >= low) & (points <= high)).all(1).mean()), 4))
