"""Sequences with a known truth in which much moves: zoom and drift, turns, a tilted plane, and no global motion at all.

A scene of text lies on fine pixels, ``FINE`` along a pixel of the truth. A low-resolution pixel is the mean of
``POINTS`` x ``POINTS`` points of its square, each taken where it looks and interpolated between fine pixels, of which
16 lie along it. Frame 0 is not special: the truth can be had for any frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from superres_problems import FINE, TEXT_SIZES, draw_text

__all__ = ["MOTIONS", "MovingProblem", "make_moving"]

# side of a frame and what lies beyond it at each side, low-res pixels; frames; scale; noise of a pixel
SIDE, BEYOND, N_FRAMES, SCALE, NOISE = 84, 64, 32, 4, 0.01
# points along a low-res pixel's side, and along a pixel of the truth
POINTS, TRUTH_POINTS = 8, 4
# low-res pixels by which a hand shakes from frame to frame
SHAKE = 0.6

# where points [n, 2] of a frame look in the scene, low-res pixels on the axes of the scene's middle frame
Look = Callable[[NDArray[np.float64]], NDArray[np.float64]]
# where something else is seen by points of a frame, and where these look in it
Covered = Callable[[int, NDArray[np.float64]], tuple[NDArray[np.bool_], NDArray[np.float64]]]
# looks of the frames, their matrices where a global motion holds them, what is in front
Motions = tuple[list[Look], "NDArray[np.float64] | None", "Covered | None"]


@dataclass(frozen=True)
class MovingProblem:
    """Frames [n, h, w], where each one's points look, and the scene."""

    frames: NDArray[np.float32]
    looks: list[Look]
    scene: Callable[[int, NDArray[np.float64]], NDArray[np.float32]]
    # [n, 3, 3] from frame points to points of the scene; None where no global motion holds
    matrices: NDArray[np.float64] | None
    # what is in front of the scene
    covered: Covered | None

    def truth(self, frame: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """What a camera of ``SCALE`` times as many pixels sees in place of a frame, and where that is the scene."""
        points = self.looks[frame](_points(SIDE * SCALE, TRUTH_POINTS).reshape(-1, 2) / SCALE)
        shape = (SIDE * SCALE, SIDE * SCALE, TRUTH_POINTS**2)
        values = self.scene(frame, points).reshape(shape).mean(-1).astype(np.float32)
        is_scene = np.ones(len(points), bool) if self.covered is None else ~self.covered(frame, points)[0]
        return values, np.asarray(is_scene.reshape(shape).all(-1))

    def motion(self, reference: int) -> NDArray[np.float64]:
        """From frame points to points of a frame [n, 3, 3]."""
        assert self.matrices is not None
        matrices = np.linalg.inv(self.matrices[reference]) @ self.matrices
        return matrices / matrices[:, 2:, 2:]


def make_moving(name: str, seed: int = 0) -> MovingProblem:
    """The sequence of a name of ``MOTIONS``; the seed changes the letters, the shake and the noise."""
    rng = np.random.default_rng(seed)
    fine = draw_text((SIDE + 2 * BEYOND) * SCALE, 0, TEXT_SIZES[SCALE], seed + 1)
    other = draw_text((SIDE + 2 * BEYOND) * SCALE, 0, TEXT_SIZES[SCALE], seed + 101)
    shake = rng.normal(0, SHAKE, (N_FRAMES, 2))
    shake[0] = 0
    looks, matrices, covered = MOTIONS[name](shake)

    def scene(frame: int, points: NDArray[np.float64]) -> NDArray[np.float32]:
        values = _between(fine, points)
        if covered is None:
            return values
        where, there = covered(frame, points)
        return np.where(where, 1.0 - _between(other, there), values).astype(np.float32)

    points = _points(SIDE, POINTS).reshape(-1, 2)
    frames = [
        scene(index, look(points)).reshape(SIDE, SIDE, -1).mean(-1) for index, look in enumerate(looks)
    ]  # fmt: skip
    noise = NOISE * rng.normal(0, 1, (len(frames), SIDE, SIDE))
    return MovingProblem((np.stack(frames) + noise).astype(np.float32), looks, scene, matrices, covered)


def _points(side: int, n: int) -> NDArray[np.float64]:
    """Points (x, y) [side, side, n * n, 2] of square pixels."""
    at = (np.arange(n) + 0.5) / n
    rows, cols = np.arange(side), np.arange(side)
    y = rows[:, None, None, None] + at[None, None, :, None]
    x = cols[None, :, None, None] + at[None, None, None, :]
    y, x = np.broadcast_arrays(y, x)
    return np.stack([x, y], -1).reshape(side, side, n * n, 2)


def _between(fine: NDArray[np.float32], points: NDArray[np.float64]) -> NDArray[np.float32]:
    """Values at points in low-res pixels from the corner of the scene's middle frame."""
    import cv2

    at = ((points + BEYOND) * (SCALE * FINE) - 0.5).astype(np.float32)
    height = 2**14
    out = [
        cv2.remap(fine, part[None, :, 0], part[None, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
        for part in np.array_split(at, max(1, len(at) // height))
    ]  # fmt: skip
    return np.concatenate(out)


def _global(matrices: list[NDArray[np.float64]]) -> Motions:
    def look(matrix: NDArray[np.float64]) -> Look:
        def there(points: NDArray[np.float64]) -> NDArray[np.float64]:
            seen = np.concatenate([points, np.ones_like(points[:, :1])], 1) @ matrix.T
            return seen[:, :2] / seen[:, 2:]

        return there

    return [look(matrix) for matrix in matrices], np.stack(matrices), None


def _about_middle(linear: NDArray[np.float64], move: NDArray[np.float64]) -> NDArray[np.float64]:
    middle = np.full(2, SIDE / 2)
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = middle - linear @ middle + move
    return matrix


def _fractions() -> NDArray[np.float64]:
    """From -0.5 to 0.5 over the sequence."""
    return np.arange(N_FRAMES) / (N_FRAMES - 1) - 0.5


def _zoom(shake: NDArray[np.float64]) -> Motions:
    """A car that drives away: 50 pixels of drift while it shrinks to 0.85."""
    return _global([
        _about_middle(np.eye(2) / 0.85 ** (f + 0.5), np.array([40.0, 30.0]) * f + move)
        for f, move in zip(_fractions(), shake, strict=True)
    ])  # fmt: skip


def _turn(shake: NDArray[np.float64]) -> Motions:
    """A turn of 60 degrees."""
    found = []
    for f, move in zip(_fractions(), shake, strict=True):
        c, s = np.cos(np.radians(60) * f), np.sin(np.radians(60) * f)
        found.append(_about_middle(np.array([[c, -s], [s, c]]), np.array([8.0, -5.0]) * f + move))
    return _global(found)


def _plane(shake: NDArray[np.float64]) -> Motions:
    """A plane seen from -15 to 15 degrees, with a lens of 50 degrees."""
    focal, found = SIDE / 2 / np.tan(np.radians(25)), []
    into = np.array([[focal, 0, SIDE / 2], [0, focal, SIDE / 2], [0, 0, 1.0]])
    for f, move in zip(_fractions(), shake, strict=True):
        angle = np.radians(30) * f
        c, s = np.cos(angle), np.sin(angle)
        # the camera goes round the plane's middle, at the distance at which a pixel of the plane is one of the frame
        rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        to_frame = into @ np.stack([rotation[:, 0], rotation[:, 1], np.array([0, 0, focal])], 1)
        from_middle = np.array([[1, 0, -SIDE / 2 - move[0]], [0, 1, -SIDE / 2 - move[1]], [0, 0, 1.0]])
        matrix = np.linalg.inv(to_frame @ from_middle)
        found.append(matrix / matrix[2, 2])
    return _global(found)


def _shift(shake: NDArray[np.float64]) -> Motions:
    return _global([_about_middle(np.eye(2), move) for move in shake])


def _parallax(shake: NDArray[np.float64]) -> Motions:
    """Two planes: the upper half lies twice as near and moves by 4 pixels more over the sequence."""

    def look(f: float, move: NDArray[np.float64]) -> Look:
        def there(points: NDArray[np.float64]) -> NDArray[np.float64]:
            nearer = 1 / (1 + np.exp((points[:, 1:] - SIDE / 2) / 2))
            return points + move + np.array([4.0, 0.0]) * f * nearer

        return there

    return [look(f, move) for f, move in zip(_fractions(), shake, strict=True)], None, None


def _rolling(shake: NDArray[np.float64]) -> Motions:
    """Rows are read one after the other while the hand moves on by up to 1.5 pixels."""
    rng = np.random.default_rng(len(shake))
    speeds = rng.normal(0, 0.75, shake.shape)

    def look(move: NDArray[np.float64], speed: NDArray[np.float64]) -> Look:
        def there(points: NDArray[np.float64]) -> NDArray[np.float64]:
            at = points[:, 1:] / SIDE - 0.5
            return points + move + speed * (at + 0.6 * at * np.abs(at))

        return there

    return [look(move, speed) for move, speed in zip(shake, speeds, strict=True)], None, None


def _object(shake: NDArray[np.float64]) -> Motions:
    """A square of 14 pixels that crosses the scene."""
    looks, matrices, _ = _shift(shake)

    def covered(frame: int, points: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        there = points - np.array([14.0 + 1.6 * frame, 50.0])
        return np.asarray((np.abs(there) < 7).all(1)), there + SIDE / 2

    return looks, matrices, covered


MOTIONS: dict[str, Callable[[NDArray[np.float64]], Motions]] = {
    "zoom": _zoom, "turn": _turn, "plane": _plane, "parallax": _parallax, "rolling": _rolling, "object": _object,
}  # fmt: skip
