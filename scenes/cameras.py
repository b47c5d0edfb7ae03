"""Cameras: intrinsics, lens distortion, pixels to directions and back.

Conventions of every function here: the camera looks along -Z, +X is right and +Y is up (OpenGL); pixel ``i``
covers ``[i, i + 1)`` with its centre at ``i + 0.5``, so the photo spans ``[0, width] x [0, height]`` from its
top left corner. Distortion follows OpenCV: Brown's radial and tangential terms for a perspective lens, and
Kannala's polynomial of the angle for a fisheye (https://docs.opencv.org/4.x/db/d58/group__calib3d__fisheye.html).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:  # the readers need Camera without waiting for torch; CameraBatch imports it when it is built
    import torch
    from torch import Tensor

__all__ = ["Camera", "CameraBatch", "pixels_to_directions", "project", "unsolved_fraction"]

# Newton's steps; a lens that can be inverted needs 2 to 6 of them, the rest is for the nearly singular ones
MAX_STEPS = 30
# a step longer than this comes from a nearly flat spot of the lens; the bound keeps everything finite
MAX_STEP = 0.5
# pixels by which a point may miss its own place, for directions of each dtype
FLOAT32_TOLERANCE, FLOAT64_TOLERANCE = 1e-4, 1e-6


@dataclass(frozen=True)
class Camera:
    """Intrinsics of one photo.

    Parameters
    ----------
    width, height : int
        Size of the photo in pixels.
    fx, fy, cx, cy : float
        Focal lengths and principal point in pixels; the centre of the photo is ``(width / 2, height / 2)``.
    lens : {"perspective", "fisheye"}
        What ``r`` in ``k`` is: the radius on the plane at distance 1, or the angle to the axis in radians.
    k : tuple of 4 floats
        Radial distortion, factors of ``r**2, r**4, r**6, r**8``.
    p : tuple of 2 floats
        Tangential distortion ``p1, p2``; perspective lenses only.

    Examples
    --------
    >>> Camera(1080, 1920, 1375.5, 1374.5, 554.5, 965.25).resized(540, 960).cx
    277.25
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    lens: Literal["perspective", "fisheye"] = "perspective"
    k: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    p: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a camera needs a positive size; got {self.width}x{self.height}")
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.k, *self.p)
        if not np.isfinite(numbers).all() or self.fx <= 0 or self.fy <= 0:
            raise ValueError(f"a camera needs positive focal lengths and finite numbers; got {self}")
        if self.lens not in ("perspective", "fisheye"):
            raise ValueError(f"lens must be 'perspective' or 'fisheye'; got {self.lens!r}")
        if len(self.k) != 4 or len(self.p) != 2:
            raise ValueError(f"k takes 4 numbers and p takes 2; got {len(self.k)} and {len(self.p)}")
        if self.lens == "fisheye" and any(self.p):
            raise ValueError(f"a fisheye lens has no tangential terms; got p = {self.p}")

    @property
    def has_distortion(self) -> bool:
        """Whether any distortion coefficient is not zero."""
        return any(self.k) or any(self.p)

    def resized(self, width: int, height: int) -> Camera:
        """The same camera for its photo resized to ``width`` x ``height`` pixels."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=self.cx * sx,
            cy=self.cy * sy,
        )


def project(camera: Camera, xyz_cam: np.ndarray) -> np.ndarray:
    """Pixels where points in the camera's frame are seen.

    Parameters
    ----------
    camera : Camera
    xyz_cam : ndarray, shape (n, 3)
        Points in the camera's OpenGL frame.

    Returns
    -------
    pixels : ndarray of float64, shape (n, 2)
        Column and row, not clipped to the photo; NaN for points behind a perspective camera.

    Examples
    --------
    >>> import numpy as np
    >>> project(Camera(100, 80, 50.0, 50.0, 50.0, 40.0), np.array([[1.0, 1.0, -2.0]]))
    array([[75., 15.]])
    """
    x, y, depth = np.asarray(xyz_cam, dtype=np.float64).T * [
        [1.0],
        [-1.0],
        [-1.0],
    ]  # x right, y down, z forward
    if camera.lens == "fisheye":
        radius = np.hypot(x, y)
        theta = np.arctan2(radius, depth)
        # on the axis the ratio tends to 1 / depth, and x and y are 0
        scale = theta * _radial(theta * theta, camera.k) / np.maximum(radius, 1e-300)
        x, y = x * scale, y * scale
    else:
        depth = np.where(depth > 0, depth, np.nan)
        x, y = _distort(x / depth, y / depth, camera.k, camera.p)
    return np.stack([camera.fx * x + camera.cx, camera.fy * y + camera.cy], axis=-1)


def pixels_to_directions(camera: Camera, pixels: np.ndarray) -> np.ndarray:
    """Directions, in the camera's frame, that pixels look along; the inverse of :func:`project`.

    Parameters
    ----------
    camera : Camera
    pixels : ndarray, shape (n, 2)
        Column and row.

    Returns
    -------
    directions : ndarray of float64, shape (n, 3)
        OpenGL camera frame. Perspective: ``z = -1``, not normalised; fisheye: unit length.

    Examples
    --------
    >>> import numpy as np
    >>> pixels_to_directions(Camera(100, 80, 50.0, 50.0, 50.0, 40.0), np.array([[75.0, 15.0]]))
    array([[ 0.5,  0.5, -1. ]])
    """
    return _directions(camera, np.asarray(pixels, dtype=np.float64), MAX_STEPS if camera.has_distortion else 0)


def _directions(camera: Camera, pixels: np.ndarray, n_steps: int) -> np.ndarray:
    x_d, y_d = ((pixels - [camera.cx, camera.cy]) / [camera.fx, camera.fy]).T
    lens = _fisheye if camera.lens == "fisheye" else _perspective
    return np.stack(lens(x_d, y_d, camera.k, camera.p if any(camera.p) else None, n_steps, np), axis=-1)


class CameraBatch:
    """Cameras of all photos as tensors, for pixels drawn at random from any of them.

    Parameters
    ----------
    cameras : sequence of Camera
        One per photo; equal ones share their numbers.
    dtype : torch.dtype, optional
        Of the directions; float32 unless given.

    Notes
    -----
    The number of Newton steps that undo the distortion is measured once on a grid over each photo; where there is no
    inverse (:func:`unsolved_fraction`, which readers look at) directions are finite and wrong. Directions
    in float64 come back to their pixel within 1e-5 px, in float32 within 2e-3 px for photos of 2000 px.

    Examples
    --------
    >>> import torch
    >>> cameras = CameraBatch([Camera(100, 80, 50.0, 50.0, 50.0, 40.0)] * 3)
    >>> cameras.directions(torch.tensor([2]), torch.tensor([[75.0, 15.0]]))
    tensor([[ 0.5000,  0.5000, -1.0000]])
    """

    def __init__(self, cameras: Sequence[Camera], dtype: torch.dtype | None = None) -> None:
        import torch

        if not cameras:
            raise ValueError("a CameraBatch needs at least one camera")
        row_of = {camera: row for row, camera in enumerate(dict.fromkeys(cameras))}
        unique = list(row_of)
        self._rows = torch.tensor([row_of[camera] for camera in cameras])  # [n_cameras]
        # coefficients that no camera has would only cost time
        n_radial = max((i + 1 for camera in unique for i in range(4) if camera.k[i]), default=0)
        self._has_tangential = any(any(camera.p) for camera in unique)
        self._lenses = {camera.lens for camera in unique}
        columns = [(c.fx, c.fy, c.cx, c.cy, float(c.lens == "fisheye"), *c.p, *c.k[:n_radial]) for c in unique]
        # one row per quantity: a gathered row is contiguous, which the arithmetic after it needs to be fast
        self._table = torch.tensor(columns, dtype=torch.float64).T.contiguous().to(dtype or torch.float32)
        # a single camera, the common case, needs no gather: plain numbers broadcast
        self._single = columns[0] if len(unique) == 1 else None
        tolerance = FLOAT64_TOLERANCE if self._table.dtype == torch.float64 else FLOAT32_TOLERANCE
        self._n_steps = max(_steps_needed(camera, tolerance) for camera in unique)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self._table.device

    def to(self, device: torch.device | str) -> CameraBatch:
        """The same cameras on another device."""
        moved = object.__new__(CameraBatch)
        moved.__dict__.update(self.__dict__, _rows=self._rows.to(device), _table=self._table.to(device))
        return moved

    def directions(self, camera_ids: Tensor, pixels: Tensor) -> Tensor:
        """Directions that pixels look along.

        Parameters
        ----------
        camera_ids : Tensor of int64, shape (n,)
            Index of each pixel's camera in the sequence that the batch was built from.
        pixels : Tensor, shape (n, 2)
            Column and row, centres at +0.5.

        Returns
        -------
        directions : Tensor, shape (n, 3)
            OpenGL camera frame, dtype of the batch. Perspective: ``z = -1``, not normalised; fisheye: unit.
        """
        import torch

        columns = self._single or self._table.index_select(1, self._rows[camera_ids]).unbind(0)
        fx, fy, cx, cy, is_fisheye, p1, p2, *k = columns
        pixels = pixels.to(self._table.dtype)
        x_d, y_d = (pixels[:, 0] - cx) / fx, (pixels[:, 1] - cy) / fy  # [n]
        p = (p1, p2) if self._has_tangential else None
        found = {
            lens: torch.stack(
                (_fisheye if lens == "fisheye" else _perspective)(x_d, y_d, k, p, self._n_steps, torch),
                dim=-1,
            )
            for lens in self._lenses
        }
        if len(found) == 1:
            return next(iter(found.values()))
        return torch.where(is_fisheye[:, None] > 0, found["fisheye"], found["perspective"])  # type: ignore[index]


def _radial(r2: Any, k: Sequence[Any]) -> Any:
    """``1 + k1 r2 + k2 r2^2 + ...`` by Horner's rule."""
    total: Any = 0.0
    for coefficient in reversed(k):
        total = (total + coefficient) * r2
    return total + 1.0


def _radial_slope(r2: Any, k: Sequence[Any]) -> Any:
    """Derivative of :func:`_radial` by ``r2``."""
    total: Any = 0.0
    for power in range(len(k), 0, -1):
        total = total * r2 + power * k[power - 1]
    return total


def _distort(x: Any, y: Any, k: Sequence[Any], p: Sequence[Any]) -> tuple[Any, Any]:
    r2 = x * x + y * y
    radial = _radial(r2, k)
    x_d = x * radial + 2 * p[0] * x * y + p[1] * (r2 + 2 * x * x)
    y_d = y * radial + p[0] * (r2 + 2 * y * y) + 2 * p[1] * x * y
    return x_d, y_d


def _undistort(x_d: Any, y_d: Any, k: Sequence[Any], p: Sequence[Any], n_steps: int) -> tuple[Any, Any]:
    """Newton's method on :func:`_distort`, whose Jacobian is symmetric; arrays and tensors alike."""
    x, y = x_d, y_d
    p1, p2 = p
    for _ in range(n_steps):
        xx, yy, xy = x * x, y * y, x * y
        r2 = xx + yy
        radial, slope2 = _radial(r2, k), 2 * _radial_slope(r2, k)
        miss_x = x * radial + (2 * p1) * xy + p2 * (r2 + 2 * xx) - x_d
        miss_y = y * radial + p1 * (r2 + 2 * yy) + (2 * p2) * xy - y_d
        j_xx = radial + slope2 * xx + (2 * p1) * y + (6 * p2) * x
        j_yy = radial + slope2 * yy + (6 * p1) * y + (2 * p2) * x
        j_xy = slope2 * xy + (2 * p1) * x + (2 * p2) * y
        # where the lens folds over there is no inverse; the bounds keep such pixels finite
        inverse = 1.0 / (j_xx * j_yy - j_xy * j_xy).clip(1e-6, None)
        x = x - ((j_yy * miss_x - j_xy * miss_y) * inverse).clip(-MAX_STEP, MAX_STEP)
        y = y - ((j_xx * miss_y - j_xy * miss_x) * inverse).clip(-MAX_STEP, MAX_STEP)
    return x, y


def _undistort_radius(r_d: Any, k: Sequence[Any], n_steps: int) -> Any:
    """Radius or angle ``r`` with ``r * radial(r**2) = r_d``, by Newton's method in one dimension."""
    r = r_d
    for _ in range(n_steps):
        r2 = r * r
        radial = _radial(r2, k)
        slope = (radial + 2 * r2 * _radial_slope(r2, k)).clip(1e-6, None)
        r = (r - ((r * radial - r_d) / slope).clip(-MAX_STEP, MAX_STEP)).clip(0.0, None)
    return r


def _perspective(
    x_d: Any, y_d: Any, k: Sequence[Any], p: Sequence[Any] | None, n_steps: int, xp: Any
) -> tuple[Any, Any, Any]:
    if n_steps and p is not None:
        x_d, y_d = _undistort(x_d, y_d, k, p, n_steps)
    elif n_steps:
        # no tangential terms: one unknown instead of two, a third of the work
        r_d = xp.sqrt(x_d * x_d + y_d * y_d).clip(1e-9, None)
        stretch = _undistort_radius(r_d, k, n_steps) / r_d
        x_d, y_d = x_d * stretch, y_d * stretch
    return x_d, -y_d, xp.full_like(x_d, -1.0)


def _fisheye(
    x_d: Any, y_d: Any, k: Sequence[Any], p: Sequence[Any] | None, n_steps: int, xp: Any
) -> tuple[Any, Any, Any]:
    # the bound stands in for the axis, where sin(theta) / theta_d tends to 1
    theta_d = xp.sqrt(x_d * x_d + y_d * y_d).clip(1e-9, None)
    theta = _undistort_radius(theta_d, k, n_steps)
    sine = xp.sin(theta) / theta_d
    return x_d * sine, -y_d * sine, -xp.cos(theta)


def unsolved_fraction(camera: Camera) -> float:
    """Fraction of a photo in which the lens distortion has no inverse, so that rays are guessed there.

    Examples
    --------
    >>> unsolved_fraction(Camera(200, 150, 100.0, 100.0, 100.0, 75.0))
    0.0
    >>> unsolved_fraction(Camera(200, 150, 100.0, 100.0, 100.0, 75.0, k=(-1.0, 0.0, 0.0, 0.0))) > 0.5
    True
    """
    if not camera.has_distortion:
        return 0.0
    return 1.0 - float(_returns(camera, _grid(camera), MAX_STEPS, FLOAT32_TOLERANCE).mean())


def _grid(camera: Camera) -> np.ndarray:
    """Points all over a photo [289, 2]."""
    columns, rows = np.meshgrid(np.linspace(0, camera.width, 17), np.linspace(0, camera.height, 17))
    return np.stack([columns.ravel(), rows.ravel()], axis=-1)


def _returns(camera: Camera, pixels: np.ndarray, n_steps: int, tolerance: float) -> np.ndarray:
    """Which pixels come back within ``tolerance`` pixels from their directions found in so many steps."""
    return np.abs(project(camera, _directions(camera, pixels, n_steps)) - pixels).max(axis=-1) < tolerance


def _steps_needed(camera: Camera, tolerance: float) -> int:
    """Newton steps until each point of a grid over the photo that can come back does so."""
    if not camera.has_distortion:
        return 0
    pixels = _grid(camera)
    solvable = _returns(camera, pixels, MAX_STEPS, tolerance)
    counts = (n for n in range(1, MAX_STEPS) if _returns(camera, pixels, n, tolerance)[solvable].all())
    return next(counts, MAX_STEPS)
