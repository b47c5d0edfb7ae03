"""Smooth curves through poses, and short tours of them; what scenes/paths.py builds its flights from.

Positions are [n, 3]; rotations are n of scipy's, camera to world. A step's length counts its way and its turn.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

__all__ = ["PoseCurve", "short_order", "step_lengths", "take"]

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]

# A tour in another order than listed must be this much shorter, so that a filmed order is kept.
WORTH_REORDERING = 0.8
# 2-opt takes n_photos^2 a pass; beyond, the nearest-neighbour tour stays as it is
MOST_TO_IMPROVE = 400
# keeps the speed even to 2 %, also where a piece bends sharply
SAMPLES_PER_SEGMENT = 128


class PoseCurve:
    """Positions on a natural cubic spline and rotations on a spline of their own, both through their knots.

    Velocity and acceleration, of the way and of the turn, have no steps.

    Parameters
    ----------
    knots : ndarray, shape (n,)
        Times at which the poses are reached; they increase, n >= 2.
    positions : ndarray, shape (n, 3)
    rotations : Rotation
        n of them.
    """

    def __init__(self, knots: Array, positions: Array, rotations: Rotation) -> None:
        self.knots = knots
        self._way = CubicSpline(knots, positions, bc_type="natural")
        self._turn = RotationSpline(knots, rotations)

    def __call__(self, times: Array) -> tuple[Array, Rotation]:
        """Positions [n_times, 3] and rotations [n_times] at times between the first and the last knot."""
        return self._way(times), self._turn(times)

    def fine_times(self) -> Array:
        """Times at and between the knots, close enough to measure the curve's length by its chords."""
        fractions = np.arange(SAMPLES_PER_SEGMENT) / SAMPLES_PER_SEGMENT
        inner = self.knots[:-1, None] + np.diff(self.knots)[:, None] * fractions
        return np.append(inner.ravel(), self.knots[-1])


def take(rotations: Rotation, index: NDArray[Any]) -> Rotation:
    """Those rotations that an array of numbers, or of truth values, names."""
    return rotations[index]  # pyright: ignore[reportArgumentType]  scipy's types leave arrays out


def step_lengths(positions: Array, rotations: Rotation, unit: float) -> Array:
    """Length [n - 1] of each step, where a turn by a radian counts as ``unit``."""
    angles = (rotations[:-1].inv() * rotations[1:]).magnitude()
    return np.hypot(np.linalg.norm(np.diff(positions, axis=0), axis=1), unit * angles)


def short_order(positions: Array, rotations: Rotation, unit: float) -> NDArray[np.int64]:
    """Order [n_photos] of a short tour from photo 0: the listed one unless another is much shorter."""
    listed = np.arange(len(positions))
    tour = _nearest_tour(positions, rotations, unit)
    if len(tour) <= MOST_TO_IMPROVE:
        tour = _uncross(tour, positions, rotations, unit)
    before, after = (step_lengths(positions[o], take(rotations, o), unit).sum() for o in (listed, tour))
    if not after < WORTH_REORDERING * before:
        return listed
    logger.info("the listed order of the photos jumps: the path visits them in an order %.1fx shorter", before / after)
    return tour


def _nearest_tour(positions: Array, rotations: Rotation, unit: float) -> NDArray[np.int64]:
    left = np.arange(1, len(positions))
    tour = [0]
    while len(left):
        steps = _steps_from(tour[-1], left, positions, rotations, unit)
        nearest = steps.argmin()
        tour.append(int(left[nearest]))
        left = np.delete(left, nearest)
    return np.array(tour)


def _steps_from(i: int, others: NDArray[np.int64], positions: Array, rotations: Rotation, unit: float) -> Array:
    angles = (rotations[i].inv() * take(rotations, others)).magnitude()
    return np.hypot(np.linalg.norm(positions[others] - positions[i], axis=1), unit * angles)


def _uncross(tour: NDArray[np.int64], positions: Array, rotations: Rotation, unit: float) -> NDArray[np.int64]:
    """2-opt (Croes 1958) on an open tour with a fixed start: reverse stretches while that shortens it."""
    n = len(tour)
    everyone = np.arange(n)
    table = np.stack([_steps_from(i, everyone, positions, rotations, unit) for i in range(n)])
    for _ in range(4):  # passes; the first two bring nearly all of the gain
        before = tour.copy()
        for i in range(n - 2):
            a, b, ends = tour[i], tour[i + 1], tour[i + 2 :]
            # a-b ... c-d becomes a-c ... b-d; after the last there is no d
            after = np.append(table[b, ends[1:]] - table[ends[:-1], ends[1:]], 0)
            gain = table[a, ends] - table[a, b] + after
            best = gain.argmin()
            if gain[best] < -1e-9 * table[a, b]:
                tour[i + 1 : i + 3 + best] = tour[i + 1 : i + 3 + best][::-1].copy()
        if (tour == before).all():
            break
    return tour
