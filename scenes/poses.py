"""Poses in numpy: looking at a point, what the cameras agree on, and whether a matrix is a pose.

A pose is ``c2w``, a float64 matrix [4, 4] from camera to world, OpenGL camera: +X right, +Y up, -Z forward.
Nothing here assumes which way the world is up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "focus_point",
    "look_at",
    "mean_up",
    "normalize",
    "rigid_problem",
    "similarity_between",
]

Array = NDArray[np.float64]

# A rotation read from text with 4 decimals is off by up to 1e-4 an entry; a scale or a shear is off by far
# more.
RIGID_TOLERANCE = 1e-3
# Below this fraction the cameras' right axes scatter (a rolling hand), or span a line, and do not tell which way
# is up.
FLAT_FRACTION = 0.2
# cos of 70 degrees: how far level cameras may look down, or up, together
UPRIGHT = 0.34
# mean squared sine of the axes' angles, 0.018 degrees: such axes meet over 1000 times their distance apart
# away
PARALLEL = 1e-7


def normalize(v: ArrayLike) -> Array:
    """Scale vectors [.., n] to unit length; a zero vector raises ValueError."""
    v = np.asarray(v, dtype=np.float64)
    norm = np.linalg.norm(v, axis=-1, keepdims=True)
    if not (norm > 0).all():
        raise ValueError("a vector of length zero has no direction")
    return v / norm


def look_at(eye: ArrayLike, target: ArrayLike, up: ArrayLike) -> Array:
    """Pose of a camera at ``eye`` that looks at ``target``, with ``up`` upright in its image.

    Parameters
    ----------
    eye, target, up : array_like, shape (.., 3)
        World coordinates; they broadcast. ``up`` needs no unit length and may lean against the view
        direction.

    Returns
    -------
    c2w : ndarray, shape (.., 4, 4), float64

    Examples
    --------
    >>> look_at([0, 0, 5], [0, 0, 0], [0, 1, 0])[:3, 3].tolist()
    [0.0, 0.0, 5.0]
    """
    eye, target, up = (np.asarray(v, dtype=np.float64) for v in (eye, target, up))
    eye, target, up = np.broadcast_arrays(eye, target, up)
    try:
        back = normalize(eye - target)
        right = np.cross(normalize(up), back)
        # an up within 1e-9 of the view direction leaves only rounding to tell left from right
        if (np.linalg.norm(right, axis=-1) < 1e-9).any():
            raise ValueError("up is parallel to the view direction")
    except ValueError as error:
        raise ValueError(f"look_at needs eye and target apart and up across the view: {error}") from None
    right = normalize(right)
    c2w = np.zeros((*eye.shape[:-1], 4, 4))
    c2w[..., :3, 0], c2w[..., :3, 1], c2w[..., :3, 2] = right, np.cross(back, right), back
    c2w[..., :3, 3], c2w[..., 3, 3] = eye, 1
    return c2w


def focus_point(c2w: ArrayLike) -> Array:
    """Point with the least sum of squared distances to all optical axes: what the photos look at.

    Parameters
    ----------
    c2w : array_like, shape (n, 4, 4)

    Returns
    -------
    point : ndarray, shape (3,)
        World coordinates. Nothing says that it lies in front of the cameras: photos taken outwards from one
        place have their point behind them.

    Examples
    --------
    >>> focus_point(look_at([[3, 0, 0], [0, 3, 0]], [1, 1, 0], [0, 0, 1])).round(9).tolist()
    [1.0, 1.0, 0.0]
    """
    c2w = _as_poses(c2w)
    origins, axes = c2w[:, :3, 3], normalize(c2w[:, :3, 2])
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]  # [n, 3, 3] projects out the axis
    normal = across.mean(0)
    if np.linalg.eigvalsh(normal)[0] < PARALLEL:
        raise ValueError("the optical axes are parallel, so no point is closest to all of them")
    # about the mean, so that a world origin far away costs no digits
    centre = origins.mean(0)
    return centre + np.linalg.solve(normal, np.einsum("nij,nj->i", across, origins - centre) / len(c2w))


def mean_up(c2w: ArrayLike) -> Array:
    """Unit vector [3] that the cameras agree is up.

    Cameras held level have right axes at right angles to it, which holds even when they look down or stand on
    one side only; where the right axes lie in a plane, its normal is taken, and otherwise the mean of the
    cameras' own up axes.
    """
    c2w = _as_poses(c2w)
    mean = c2w[:, :3, 1].mean(0)
    # cameras that cancel out (as many upside down as upright) leave the first one to decide
    mean = normalize(mean if np.linalg.norm(mean) > 1e-6 else c2w[0, :3, 1])
    _, spread, axes = np.linalg.svd(c2w[:, :3, 0])
    if len(c2w) >= 3 and spread[1] > FLAT_FRACTION * spread[0] and spread[2] < FLAT_FRACTION * spread[1]:
        cosine = axes[2] @ mean
        # photos that roll but face one way have their view axis as normal, at right angles to up
        if abs(cosine) > UPRIGHT:
            return axes[2] * np.sign(cosine)
    return mean


def rigid_problem(c2w: ArrayLike, tolerance: float = RIGID_TOLERANCE) -> str:
    """Say what keeps one matrix from being a pose: empty when it is a rotation and a translation.

    Examples
    --------
    >>> rigid_problem(np.eye(4)), rigid_problem(np.diag([2, 2, 2, 1]))
    ('', 'its rotation part is scaled by 2')
    """
    m = np.asarray(c2w, dtype=np.float64)
    if m.shape != (4, 4):
        return f"its shape is {m.shape}, not (4, 4)"
    if not np.isfinite(m).all():
        return "it holds a NaN or an infinity"
    if np.abs(m[3] - [0, 0, 0, 1]).max() > tolerance:
        return f"its last row is {m[3].tolist()}, not [0, 0, 0, 1]"
    gram = m[:3, :3].T @ m[:3, :3]
    scale = float(np.sqrt(np.trace(gram) / 3))
    if scale == 0 or np.abs(gram / scale**2 - np.eye(3)).max() > tolerance:
        return "its axes are not at right angles and of one length"
    if np.linalg.det(m[:3, :3]) < 0:
        return "it mirrors (its axes are left-handed)"
    return f"its rotation part is scaled by {scale:.4g}" if abs(scale - 1) > tolerance else ""


def _as_poses(c2w: ArrayLike) -> Array:
    c2w = np.asarray(c2w, dtype=np.float64)
    if c2w.ndim != 3 or c2w.shape[1:] != (4, 4) or not len(c2w):
        raise ValueError(f"c2w must have shape (n, 4, 4) with n >= 1; got {c2w.shape}")
    if not np.isfinite(c2w).all():
        raise ValueError("c2w holds a NaN or an infinity")
    return c2w


def similarity_between(points: ArrayLike, targets: ArrayLike) -> tuple[float, Array, Array]:
    """Scale, rotation [3, 3] and translation [3] that bring points nearest to targets (Umeyama, PAMI 1991, eq. 40).

    Parameters
    ----------
    points, targets : array_like, shape (n, 3)
        n of 3 or more, not all in one place.

    Examples
    --------
    >>> points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.0]])
    >>> scale, turn, shift = similarity_between(points, 2 * points[:, [1, 0, 2]] * [-1, 1, 1] + 3)
    >>> round(scale, 9), (turn.round(9) + 0.0).tolist(), shift.round(9).tolist()
    (2.0, [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [3.0, 3.0, 3.0])
    """
    a, b = (np.asarray(values, dtype=np.float64) for values in (points, targets))
    mean_a, mean_b = a.mean(0), b.mean(0)
    spread = float(((a - mean_a) ** 2).sum())
    if not spread > 0:
        raise ValueError("points in one place have no scale")
    u, singular, vt = np.linalg.svd((b - mean_b).T @ (a - mean_a))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    turn = u @ np.diag(signs) @ vt
    scale = float((singular * signs).sum() / spread)
    return scale, turn, mean_b - scale * turn @ mean_a
