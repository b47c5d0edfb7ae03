"""Lens distortion on the plane at distance 1, and its inverse; arrays and tensors alike.

OpenCV's model (https://docs.opencv.org/4.x/d9/d0c/group__calib3d.html) with Brown's radial and tangential terms, the
rational model's denominator and thin prisms; COLMAP's models (src/colmap/sensor/models.h) are cases of it. For a
fisheye the same acts on coordinates whose radius is the angle to the axis (Kannala and Brandt, PAMI 2006).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "MAX_STEP",
    "Distortion",
    "distort",
    "fold_radius",
    "fov_radius",
    "undistort",
    "undistort_radius",
    "unfov_radius",
]

# a step longer than this comes from a nearly flat spot of the lens; the bound keeps everything finite
MAX_STEP = 0.5
# radius, 84 degrees off the axis or more than half a turn, up to which a fold is looked for, and at how many
MAX_RADIUS, N_RADII = 10.0, 4001


class Distortion(NamedTuple):
    """Coefficients; None stands for terms that no camera has, which would only cost time.

    ``x_d = x N(r^2) / D(r^2) + 2 p1 x y + p2 (r^2 + 2 x^2) + s1 r^2 + s2 r^4``, and ``y_d`` with p1, p2 exchanged and
    s3, s4.
    """

    # of N = 1 + k1 r^2 + k2 r^4 + ...
    k: Sequence[Any]
    # tangential p1, p2
    p: Sequence[Any] | None = None
    # of D = 1 + q1 r^2 + q2 r^4 + q3 r^6; OpenCV's k4, k5, k6
    q: Sequence[Any] | None = None
    # thin prism s1 to s4
    s: Sequence[Any] | None = None

    @property
    def is_radial(self) -> bool:
        """Whether it moves points along their radius alone, by a polynomial."""
        return self.p is None and self.q is None and self.s is None


def distort(x: Any, y: Any, lens: Distortion) -> tuple[Any, Any]:
    """Where the lens shows the points (x, y) of the plane at distance 1."""
    return _forward(x, y, lens)[:2]


def undistort(x_d: Any, y_d: Any, lens: Distortion, n_steps: int) -> tuple[Any, Any]:
    """The points that the lens shows at (x_d, y_d): Newton's method on :func:`distort`.

    Where the lens folds over there is no inverse; points are finite there, and wrong.
    """
    x, y = x_d, y_d
    for _ in range(n_steps):
        at_x, at_y, (j_xx, j_xy, j_yx, j_yy) = _forward(x, y, lens)
        miss_x, miss_y = at_x - x_d, at_y - y_d
        inverse = 1.0 / (j_xx * j_yy - j_xy * j_yx).clip(1e-6, None)
        x = x - ((j_yy * miss_x - j_xy * miss_y) * inverse).clip(-MAX_STEP, MAX_STEP)
        y = y - ((j_xx * miss_y - j_yx * miss_x) * inverse).clip(-MAX_STEP, MAX_STEP)
    return x, y


def undistort_radius(r_d: Any, k: Sequence[Any], n_steps: int) -> Any:
    """Radius or angle ``r`` with ``r N(r^2) = r_d``, by Newton's method in one dimension."""
    r = r_d
    for _ in range(n_steps):
        r2 = r * r
        radial = _polynomial(r2, k)
        slope = (radial + 2 * r2 * _slope(r2, k)).clip(1e-6, None)
        r = (r - ((r * radial - r_d) / slope).clip(-MAX_STEP, MAX_STEP)).clip(0.0, None)
    return r


def fold_radius(lens: Distortion) -> float:
    """Radius, or angle of a fisheye, at which the radial distortion turns back; infinite where it never does.

    Polynomials do so beyond where they were fitted; Newton's method may find a point behind the fold.

    Examples
    --------
    >>> round(fold_radius(Distortion((-1.0, 0.0, 0.0, 0.0))), 2)  # r (1 - r^2) turns back at 1 / sqrt(3)
    0.58
    """
    r2 = np.linspace(0, MAX_RADIUS, N_RADII) ** 2
    radial, slope = _polynomial(r2, lens.k), _slope(r2, lens.k)
    if lens.q is not None:
        below = _polynomial(r2, lens.q)
        slope = (slope * below - radial * _slope(r2, lens.q)) / below**2
        radial = radial / below
    turns = np.flatnonzero(radial + 2 * r2 * slope <= 0)
    return float(np.sqrt(r2[turns[0]])) if len(turns) else float("inf")


def fov_radius(r: Any, omega: Any, xp: Any) -> Any:
    """Distorted radius of the FOV model of angle ``omega``, in radians (Devernay and Faugeras 2001, eq. 13)."""
    return xp.arctan(2 * r * xp.tan(omega / 2)) / omega


def unfov_radius(r_d: Any, omega: Any, xp: Any) -> Any:
    """The inverse of :func:`fov_radius`, finite beyond its range, which ends where ``r_d omega`` is a right angle."""
    # 1e-3 short of it the radius is a thousand times the focal length
    return xp.tan((r_d * omega).clip(None, 1.5698)) / (2 * xp.tan(omega / 2))


def _forward(x: Any, y: Any, lens: Distortion) -> tuple[Any, Any, tuple[Any, Any, Any, Any]]:
    """Distorted points, and their derivatives (dx_d/dx, dx_d/dy, dy_d/dx, dy_d/dy)."""
    xx, yy, xy = x * x, y * y, x * y
    r2 = xx + yy
    radial, slope2 = _polynomial(r2, lens.k), 2 * _slope(r2, lens.k)
    if lens.q is not None:
        below = _polynomial(r2, lens.q)
        radial = radial / below
        slope2 = (slope2 - 2 * radial * _slope(r2, lens.q)) / below
    x_d, y_d = x * radial, y * radial
    j_xx, j_yy, j_xy = radial + slope2 * xx, radial + slope2 * yy, slope2 * xy
    j_yx = j_xy
    if lens.p is not None:
        p1, p2 = lens.p
        x_d = x_d + (2 * p1) * xy + p2 * (r2 + 2 * xx)
        y_d = y_d + p1 * (r2 + 2 * yy) + (2 * p2) * xy
        j_xx = j_xx + (2 * p1) * y + (6 * p2) * x
        j_yy = j_yy + (6 * p1) * y + (2 * p2) * x
        j_xy = j_yx = j_xy + (2 * p1) * x + (2 * p2) * y
    if lens.s is not None:
        s1, s2, s3, s4 = lens.s
        x_d, y_d = x_d + (s1 + s2 * r2) * r2, y_d + (s3 + s4 * r2) * r2
        of_x, of_y = 2 * s1 + (4 * s2) * r2, 2 * s3 + (4 * s4) * r2
        j_xx, j_xy, j_yx, j_yy = j_xx + of_x * x, j_xy + of_x * y, j_yx + of_y * x, j_yy + of_y * y
    return x_d, y_d, (j_xx, j_xy, j_yx, j_yy)


def _polynomial(r2: Any, k: Sequence[Any]) -> Any:
    """``1 + k1 r2 + k2 r2^2 + ...`` by Horner's rule."""
    total: Any = 0.0
    for coefficient in reversed(k):
        total = (total + coefficient) * r2
    return total + 1.0


def _slope(r2: Any, k: Sequence[Any]) -> Any:
    """Derivative of :func:`_polynomial` by ``r2``."""
    total: Any = 0.0
    for power in range(len(k), 0, -1):
        total = total * r2 + power * k[power - 1]
    return total
