"""Smooth curves through poses, and short tours of them; what scenes/paths.py builds its flights from.

Positions are [n, 3], rotations unit quaternions [n, 4] (w, x, y, z). A step's length counts its way and its
turn.
"""

from __future__ import annotations

import logging
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .poses import quaternion_exp, quaternion_log, quaternion_multiply, slerp

__all__ = ["PoseCurve", "short_order", "step_lengths"]

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]

# A tour in another order than listed must be this much shorter, so that a filmed order is kept.
WORTH_REORDERING = 0.8
# 2-opt takes n_photos^2 a pass; beyond, the nearest-neighbour tour stays as it is
MOST_TO_IMPROVE = 400
# keeps the speed even to 2 %, also where a piece bends sharply
SAMPLES_PER_SEGMENT = 128


class PoseCurve:
    """Positions and rotations at knots joined by cubic Bezier pieces with a continuous velocity."""

    def __init__(self, knots: Array, positions: Array, quats: Array) -> None:
        steps = np.diff(knots)[:, None]
        self.knots, self.positions, self.quats = knots, positions, quats
        # in a camera's own axes, so that the turn into a photo and the turn out of it can be averaged
        turns = quaternion_log(quaternion_multiply(quats[:-1] * [1, -1, -1, -1], quats[1:])) / steps
        self.velocities = _tangents(np.diff(positions, axis=0) / steps, steps)
        self.turning = _tangents(turns, steps)

    def __call__(self, times: Array) -> tuple[Array, Array]:
        """Positions [n_times, 3] and rotations [n_times, 4] at times between the first and the last knot."""
        i = np.clip(np.searchsorted(self.knots, times, side="right") - 1, 0, len(self.knots) - 2)
        third = (self.knots[i + 1] - self.knots[i])[:, None] / 3
        t = (times - self.knots[i]) / (self.knots[i + 1] - self.knots[i])
        p, q = self.positions, self.quats
        points = [
            p[i],
            p[i] + third * self.velocities[i],
            p[i + 1] - third * self.velocities[i + 1],
            p[i + 1],
        ]
        turns = [
            q[i],
            quaternion_multiply(q[i], quaternion_exp(third * self.turning[i])),
            quaternion_multiply(q[i + 1], quaternion_exp(-third * self.turning[i + 1])),
            q[i + 1],
        ]
        for _ in range(3):  # de Casteljau
            points = [a + t[:, None] * (b - a) for a, b in pairwise(points)]
            turns = [slerp(a, b, t) for a, b in pairwise(turns)]
        return points[0], turns[0]

    def fine_times(self) -> Array:
        """Times at and between the knots, close enough to measure the curve's length by its chords."""
        share = np.arange(SAMPLES_PER_SEGMENT) / SAMPLES_PER_SEGMENT
        inner = self.knots[:-1, None] + np.diff(self.knots)[:, None] * share
        return np.append(inner.ravel(), self.knots[-1])


def _tangents(chords: Array, steps: Array) -> Array:
    """Catmull-Rom velocities [n, d] at the knots from those [n - 1, d] of the chords; ends are relaxed."""
    if len(chords) == 1:
        return np.repeat(chords, 2, axis=0)
    inner = (steps[1:] * chords[:-1] + steps[:-1] * chords[1:]) / (steps[:-1] + steps[1:])
    first, last = (3 * chords[0] - inner[0]) / 2, (3 * chords[-1] - inner[-1]) / 2
    return np.concatenate([first[None], inner, last[None]])


def step_lengths(positions: Array, quats: Array, unit: float) -> Array:
    """Length [n - 1] of each step, where a turn by a radian counts as ``unit``."""
    flip = np.where((quats[:-1] * quats[1:]).sum(-1) < 0, -1, 1)[:, None]  # the short way round
    # from the chord: the arccos of a dot product would lose a small turn
    angles = 4 * np.arcsin(np.linalg.norm(flip * quats[1:] - quats[:-1], axis=-1) / 2)
    return np.hypot(np.linalg.norm(np.diff(positions, axis=0), axis=1), unit * angles)


def short_order(positions: Array, quats: Array, unit: float) -> NDArray[np.int64]:
    """Order [n_photos] of a short tour from photo 0: the listed one unless another is much shorter."""
    listed = np.arange(len(positions))
    tour = _nearest_tour(positions, quats, unit)
    if len(tour) <= MOST_TO_IMPROVE:
        tour = _uncross(tour, positions, quats, unit)
    before, after = (step_lengths(positions[o], quats[o], unit).sum() for o in (listed, tour))
    if not after < WORTH_REORDERING * before:
        return listed
    logger.info("the listed order of the photos jumps: the path visits them in an order %.1fx shorter", before / after)
    return tour


def _nearest_tour(positions: Array, quats: Array, unit: float) -> NDArray[np.int64]:
    left = np.arange(1, len(positions))
    tour = [0]
    while len(left):
        steps = _steps_from(tour[-1], left, positions, quats, unit)
        nearest = steps.argmin()
        tour.append(int(left[nearest]))
        left = np.delete(left, nearest)
    return np.array(tour)


def _steps_from(i: int, others: NDArray[np.int64], positions: Array, quats: Array, unit: float) -> Array:
    angles = 2 * np.arccos(np.minimum(np.abs(quats[others] @ quats[i]), 1))
    return np.hypot(np.linalg.norm(positions[others] - positions[i], axis=1), unit * angles)


def _uncross(tour: NDArray[np.int64], positions: Array, quats: Array, unit: float) -> NDArray[np.int64]:
    """2-opt (Croes 1958) on an open tour with a fixed start: reverse stretches while that shortens it."""
    n = len(tour)
    everyone = np.arange(n)
    table = np.stack([_steps_from(i, everyone, positions, quats, unit) for i in range(n)])
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
