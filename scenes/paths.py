"""Camera paths through a photographed scene: orbit, spiral, interpolation, and a file read back.

Each takes the photos' poses ``c2w`` [n_photos, 4, 4] in any world frame and scale, and its path turns, moves
and scales with them. Which way is up is read from the cameras unless ``up`` is given.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from .camera_path import PathFrames, read_camera_path
from .errors import NerfkitError
from .pose_curves import PoseCurve, short_order, step_lengths, take
from .poses import focus_point, look_at, mean_up, normalize

__all__ = ["PATHS", "PathFrames", "interpolate", "make_path", "orbit", "spiral", "suggest_path"]

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]

# A side without photos wider than this is not crossed: a network knows nothing of what is seen from there.
# Three photos evenly round a thing (120 degrees) still go all round.
WIDEST_GAP = np.radians(130)
# Straight from above or below, up has no direction in the image.
STEEPEST = np.radians(85)
# Cameras whose mean view direction is shorter than this (spread over about 75 degrees from it) surround the
# scene.
FACING = 0.7
# The spiral's reach as a fraction of the distance to what it looks at; LLFF's own captures lie around it.
SPIRAL_REACH = 0.15
SPIRAL_TURNS = 2


def orbit(
    c2w: ArrayLike,
    n_frames: int,
    *,
    fov_y: ArrayLike = 50.0,
    aspect: float = 1.0,
    up: ArrayLike | None = None,
    centre: ArrayLike | None = None,
) -> PathFrames:
    """Turn once round what the photos look at, at the cameras' median distance and elevation.

    The first frame has the first photo's azimuth and frame ``n_frames`` would be the first again. Photos that
    do not go all the way round (a side of more than 130 degrees is bare) give a swing over their own arc,
    there and back.

    Parameters
    ----------
    c2w : array_like, shape (n_photos, 4, 4)
        The photos' poses, OpenGL camera to world.
    n_frames : int
        Frames of the path, at least 1.
    fov_y : float or array_like, shape (n_photos,)
        Vertical field of view in degrees; of several the median is taken.
    aspect : float
        Width over height.
    up : array_like, shape (3,), optional
        Which way the world is up; default: as the cameras have it.
    centre : array_like, shape (3,), optional
        What to turn round; default: the point that the photos look at.

    Returns
    -------
    frames : PathFrames

    Examples
    --------
    >>> photos = look_at([[4, 0, 1], [0, 4, 1], [-4, 0, 1], [0, -4, 1]], [0, 0, 0], [0, 0, 1])
    >>> np.abs(orbit(photos, 4).c2w - photos).max() < 1e-12
    np.True_
    """
    c2w, n_frames = _as_photos(c2w), _at_least_one(n_frames)
    up = mean_up(c2w) if up is None else normalize(up)
    centre = _common_centre(c2w) if centre is None else np.asarray(centre, dtype=np.float64)
    offsets = c2w[:, :3, 3] - centre
    distances = np.linalg.norm(offsets, axis=1)
    if not np.median(distances) > 0:
        raise NerfkitError(
            "an orbit round the place where the photos were taken has no radius",
            where="--path orbit",
            fix="use --path interpolate",
        )
    heights = offsets @ up
    flat = offsets - heights[:, None] * up  # [n_photos, 3] offset in the ground plane
    front = _front(flat[0], c2w[0], up, distances[0])
    side = np.cross(up, front)
    elevation = np.median(np.arctan2(heights, np.linalg.norm(flat, axis=1)))
    elevation = np.clip(elevation, -STEEPEST, STEEPEST)
    azimuths = _orbit_azimuths(np.arctan2(flat @ side, flat @ front), n_frames)
    ground = np.cos(azimuths)[:, None] * front + np.sin(azimuths)[:, None] * side
    eyes = centre + np.median(distances) * (np.cos(elevation) * ground + np.sin(elevation) * up)
    return PathFrames(look_at(eyes, centre, up), _median_fov(fov_y, n_frames), aspect, is_cycle=True)


def _front(flat: Array, c2w: Array, up: Array, distance: float) -> Array:
    """Unit direction in the ground plane from the centre to the first camera."""
    # straight above the centre, the picture's lower edge is where the photographer stands
    if np.linalg.norm(flat) <= 1e-6 * distance:
        flat = -c2w[:3, 1]
        flat = flat - (flat @ up) * up
        if np.linalg.norm(flat) < 1e-6:
            flat = np.cross(c2w[:3, 0], up)
    return normalize(flat)


def _orbit_azimuths(azimuths: Array, n_frames: int) -> Array:
    """Azimuths [n_frames] of a full turn from 0, or of a swing over the photographed arc that starts at 0."""
    turn = 2 * np.pi * np.arange(n_frames) / n_frames
    ordered = np.sort(azimuths - azimuths[0])  # the first is exactly 0, not a rounding beside it
    gaps = np.diff(ordered, append=ordered[0] + 2 * np.pi)
    if gaps.max() <= WIDEST_GAP:
        return turn
    # the arc starts after the widest gap; shifted so that it holds azimuth 0, the first camera's
    start = ordered[(gaps.argmax() + 1) % len(ordered)]
    start -= 2 * np.pi * (start > 0)
    half = (2 * np.pi - gaps.max()) / 2
    middle = start + half
    logger.info(
        "the photos cover %.0f of 360 degrees: the orbit swings there and back within them",
        np.degrees(2 * half),
    )
    if half == 0:
        return np.zeros(n_frames)
    return middle + half * np.sin(turn + np.arcsin(np.clip(-middle / half, -1, 1)))


def spiral(
    c2w: ArrayLike,
    n_frames: int,
    *,
    fov_y: ArrayLike = 50.0,
    aspect: float = 1.0,
    up: ArrayLike | None = None,
    centre: ArrayLike | None = None,
) -> PathFrames:
    """Small spiral about the mean pose, looking at one point (LLFF, arXiv:1905.00889; NeRF's code).

    It reaches as far to each side as nine of ten photos, and at most 15 % of the distance to what they look
    at. Where the photos surround the scene there is no mean pose, and the first photo takes its place.

    Parameters
    ----------
    c2w, n_frames, fov_y, aspect, up
        As for :func:`orbit`.
    centre : array_like, shape (3,), optional
        Gives the distance to look at; default: the point that the photos look at. When that lies nowhere
        (parallel views), all frames look the same way.

    Returns
    -------
    frames : PathFrames
    """
    c2w, n_frames = _as_photos(c2w), _at_least_one(n_frames)
    up = mean_up(c2w) if up is None else normalize(up)
    base, is_mean = _mean_pose(c2w, up)
    reach = np.percentile(np.abs((c2w[:, :3, 3] - base[:3, 3]) @ base[:3, :3]), 90, axis=0)  # [3] right, up, back
    focus = _focus_in_front(c2w) if centre is None else np.asarray(centre, dtype=np.float64)
    distance = None if focus is None else float((base[:3, 3] - focus) @ base[:3, 2])
    if distance is not None and distance > 0:
        reach = np.minimum(reach, SPIRAL_REACH * distance)
    if not is_mean:
        logger.info("the photos surround the scene: the spiral stays near the first photo")
    if not reach.any():
        raise NerfkitError(
            "the photos were taken from one place, which gives a spiral no size",
            where="--path spiral",
            fix="use --path interpolate, or a camera_path.json",
        )
    theta = 2 * np.pi * SPIRAL_TURNS * np.arange(n_frames) / n_frames
    # back and forth once while it goes round twice, so that it closes
    swing = np.stack([np.cos(theta), -np.sin(theta), -np.sin(theta / SPIRAL_TURNS)], 1)
    eyes = base[:3, 3] + (swing * reach) @ base[:3, :3].T
    if distance is None or distance <= 0:
        path = np.repeat(base[None], n_frames, axis=0)
        path[:, :3, 3] = eyes
    else:
        path = look_at(eyes, base[:3, 3] - distance * base[:3, 2], base[:3, 1])
    return PathFrames(path, _median_fov(fov_y, n_frames), aspect, is_cycle=True)


def _mean_pose(c2w: Array, up: Array) -> tuple[Array, bool]:
    """Mean pose, and True; or the first photo's, and False, where the photos look every way."""
    back = c2w[:, :3, 2].mean(0)
    if np.linalg.norm(back) < FACING:
        return c2w[0], False
    position = c2w[:, :3, 3].mean(0)
    # photos straight down: their own upper edges, not the world's up, keep the picture upright
    across = np.linalg.norm(np.cross(up, normalize(back)))
    return look_at(position, position - back, up if across > 0.1 else c2w[:, :3, 1].mean(0)), True


def interpolate(
    c2w: ArrayLike,
    n_frames: int,
    *,
    fov_y: ArrayLike = 50.0,
    aspect: float = 1.0,
) -> PathFrames:
    """Smooth flight through the photos' poses at even speed, from the first photo on.

    The listed order is kept unless it jumps: a tour from photo to nearest photo is taken when it is a fifth
    shorter. Positions follow a natural cubic spline and rotations scipy's ``RotationSpline``, both with centripetal
    knots, so that velocity and acceleration have no steps; speed counts both, a turn as far as what is turned about.

    Parameters
    ----------
    c2w, n_frames, aspect
        As for :func:`orbit`. The first frame is the first photo's pose and the last frame the tour's last
        photo's.
    fov_y : float or array_like, shape (n_photos,)
        Vertical field of view in degrees; of several it passes from one to the next.

    Returns
    -------
    frames : PathFrames
    """
    c2w, n_frames = _as_photos(c2w), _at_least_one(n_frames)
    fov_y = np.broadcast_to(np.asarray(fov_y, dtype=np.float64), len(c2w))
    positions, rotations = c2w[:, :3, 3], Rotation.from_matrix(c2w[:, :3, :3])
    unit = _turning_radius(c2w)
    order = short_order(positions, rotations, unit)
    positions, rotations, fov_y = positions[order], take(rotations, order), fov_y[order]
    lengths = step_lengths(positions, rotations, unit)
    # a photo listed twice adds a pause and no way; the first of each is kept
    kept = np.concatenate([[True], lengths > 1e-9 * max(lengths.sum(), np.finfo(float).tiny)])
    positions, rotations, fov_y = positions[kept], take(rotations, kept), fov_y[kept]
    if len(positions) == 1:
        path = np.repeat(c2w[order[:1]], n_frames, axis=0)
        return PathFrames(path, np.full(n_frames, fov_y[0]), aspect)
    knots = np.concatenate([[0], np.cumsum(np.sqrt(lengths[kept[1:]]))])  # centripetal: no loops, no cusps
    curve = PoseCurve(knots, positions, rotations)
    fine = curve.fine_times()
    along = np.concatenate([[0], np.cumsum(step_lengths(*curve(fine), unit))])
    times = np.interp(np.linspace(0, along[-1], n_frames), along, fine)
    path = np.tile(np.eye(4), (n_frames, 1, 1))
    path[:, :3, 3], turned = curve(times)
    path[:, :3, :3] = turned.as_matrix()
    return PathFrames(path, np.interp(times, knots, fov_y), aspect)


def _turning_radius(c2w: Array) -> float:
    """World length that a turn by a radian counts for: the distance to what is seen, or the spread."""
    origins, focus = c2w[:, :3, 3], _focus_in_front(c2w)
    spread = np.median(np.linalg.norm(origins - origins.mean(0), axis=1))
    distance = spread if focus is None else np.median(np.linalg.norm(origins - focus, axis=1))
    # photos from one place only turn, and then any unit is as good
    return float(distance) or 1.0


# name on the command line -> its function; a camera_path.json is the fourth way
PATHS = {"orbit": orbit, "spiral": spiral, "interpolate": interpolate}


def suggest_path(c2w: ArrayLike) -> str:
    """Name of a path that photos [n_photos, 4, 4] allow: "orbit" where they look at one point, else "interpolate".

    Examples
    --------
    >>> inwards = look_at([[4, 0, 1], [0, 4, 1], [-4, 0, 1], [0, -4, 1]], [0, 0, 0], [0, 0, 1])
    >>> outwards = inwards @ np.diag([-1, 1, -1, 1])
    >>> suggest_path(inwards), suggest_path(outwards)
    ('orbit', 'interpolate')
    """
    c2w = _as_photos(c2w)
    focus = _focus_in_front(c2w)
    if focus is None:
        return "interpolate"
    return "orbit" if np.median(np.linalg.norm(c2w[:, :3, 3] - focus, axis=1)) > 0 else "interpolate"


def make_path(
    path: str | Path,
    c2w: ArrayLike,
    n_frames: int,
    *,
    fov_y: ArrayLike = 50.0,
    aspect: float = 1.0,
) -> PathFrames:
    """Make the path named ``path``, or read it when it is a ``.json`` file.

    Parameters
    ----------
    path : {"orbit", "spiral", "interpolate"} or file
        A file is taken exactly as it is: its own frames, fields of view and aspect, not the ones given here.
    c2w, n_frames, fov_y, aspect
        As for :func:`orbit`.

    Returns
    -------
    frames : PathFrames
    """
    if str(path) in PATHS:
        return PATHS[str(path)](c2w, n_frames, fov_y=fov_y, aspect=aspect)
    if Path(path).suffix.lower() == ".json":
        return read_camera_path(path)
    raise NerfkitError(
        f"there is no path {str(path)!r}",
        where="--path",
        fix=f"choose {', '.join(PATHS)} or a camera_path.json",
    )


def _common_centre(c2w: Array) -> Array:
    centre = _focus_in_front(c2w)
    if centre is None:
        raise NerfkitError(
            "the photos do not look at one point (their views are parallel or go outwards)",
            where="--path orbit",
            fix="use --path spiral for photos that face one way, --path interpolate for any",
        )
    return centre


def _focus_in_front(c2w: Array) -> Array | None:
    """Point that the photos look at, or None when there is none in front of most of them."""
    try:
        focus = focus_point(c2w)
    except ValueError:
        return None
    ahead = ((c2w[:, :3, 3] - focus) * c2w[:, :3, 2]).sum(1) > 0
    return focus if ahead.mean() > 0.5 else None


def _median_fov(fov_y: ArrayLike, n_frames: int) -> Array:
    return np.full(n_frames, np.median(np.asarray(fov_y, dtype=np.float64)))


def _as_photos(c2w: ArrayLike) -> Array:
    c2w = np.asarray(c2w, dtype=np.float64)
    if c2w.ndim != 3 or c2w.shape[1:] != (4, 4) or not len(c2w) or not np.isfinite(c2w).all():
        raise ValueError(f"c2w must be finite, of shape (n_photos, 4, 4) with n_photos >= 1; got {c2w.shape}")
    return c2w


def _at_least_one(n_frames: int) -> int:
    if n_frames < 1:
        raise NerfkitError(f"a path needs at least 1 frame; got {n_frames}", where="--frames")
    return int(n_frames)
