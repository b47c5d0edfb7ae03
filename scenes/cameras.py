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

from .lenses import Distortion, distort, fold_radius, fov_radius, undistort, undistort_radius, unfov_radius

if TYPE_CHECKING:  # the readers need Camera without waiting for torch; CameraBatch imports it when it is built
    import torch
    from torch import Tensor

__all__ = ["Camera", "CameraBatch", "pixels_to_directions", "project", "seen_pixels", "unsolved_fraction"]

# pixels of a side: beyond it products of sizes are no numbers that a float or a memory holds
MAX_SIDE = 2**20
# Newton's steps; a lens that can be inverted needs 2 to 6 of them, the rest is for the nearly singular ones
MAX_STEPS = 30
# how a lens is told from others in a table of numbers
LENS_CODES = {"perspective": 0.0, "fisheye": 1.0, "fov": 2.0}
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
    lens : {"perspective", "fisheye", "fov"}
        What ``r`` in ``k`` is: the radius on the plane at distance 1, or the angle to the axis in radians; "fov": the
        radius follows an arc tangent of angle ``omega`` and nothing else.
    k : tuple of 4 floats
        Radial distortion, factors of ``r**2, r**4, r**6, r**8``.
    p : tuple of 2 floats
        Tangential distortion ``p1, p2``.
    q : tuple of 3 floats
        Denominator of the radial distortion, factors of ``r**2, r**4, r**6``: k4, k5, k6 of OpenCV's rational model.
    s : tuple of 4 floats
        Thin prisms, ``s1`` to ``s4`` of OpenCV.
    omega : float
        Angle of an "fov" lens in radians, inside (0, pi).
    image_circle : float
        Pixels from the principal point beyond which the lens lets no light through; 0: it reaches everywhere.

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
    lens: Literal["perspective", "fisheye", "fov"] = "perspective"
    k: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    p: tuple[float, float] = (0.0, 0.0)
    q: tuple[float, float, float] = (0.0, 0.0, 0.0)
    s: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    omega: float = 0.0
    image_circle: float = 0.0

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a camera needs a positive size; got {self.width}x{self.height}")
        if max(self.width, self.height) > MAX_SIDE:
            raise ValueError(
                f"a camera's sides are {MAX_SIDE} pixels at most; got {str(max(self.width, self.height))[:20]}"
            )
        terms = (*self.k, *self.p, *self.q, *self.s)
        numbers = (self.fx, self.fy, self.cx, self.cy, *terms, self.omega, self.image_circle)
        if not np.isfinite(numbers).all() or self.fx <= 0 or self.fy <= 0:
            raise ValueError(f"a camera needs positive focal lengths and finite numbers; got {self}")
        if self.lens not in ("perspective", "fisheye", "fov"):
            raise ValueError(f"lens must be 'perspective', 'fisheye' or 'fov'; got {self.lens!r}")
        lengths = tuple(map(len, (self.k, self.p, self.q, self.s)))
        if lengths != (4, 2, 3, 4):
            raise ValueError(f"k, p, q and s take 4, 2, 3 and 4 numbers; got {', '.join(map(str, lengths))}")
        if self.lens == "fov" and (any(terms) or not 0 < self.omega < np.pi):
            raise ValueError(f"an fov lens takes omega inside (0, pi) and no other term; got {self}")

    @property
    def has_distortion(self) -> bool:
        """Whether any distortion coefficient that Newton's method has to undo is not zero."""
        return any((*self.k, *self.p, *self.q, *self.s))

    @property
    def distortion(self) -> Distortion:
        """The coefficients, without the terms that are all zero."""
        return Distortion(self.k, *(terms if any(terms) else None for terms in (self.p, self.q, self.s)))

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
            image_circle=self.image_circle * min(sx, sy),
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
    radius = np.hypot(x, y)
    if camera.lens == "fisheye":
        # on the axis the ratio tends to 1 / depth, and x and y are 0
        scale = np.arctan2(radius, depth) / np.maximum(radius, 1e-300)
    else:
        depth = np.where(depth > 0, depth, np.nan)
        scale = 1 / depth
    if camera.lens == "fov":
        scale = fov_radius(radius / depth, camera.omega, np) / np.maximum(radius, 1e-300)
    x, y = distort(x * scale, y * scale, camera.distortion)
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
    if camera.lens == "fov":
        return np.stack(_fov(x_d, y_d, camera.omega, np), axis=-1)
    lens = _fisheye if camera.lens == "fisheye" else _perspective
    return np.stack(lens(x_d, y_d, camera.distortion, n_steps, np), axis=-1)


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
        self._lenses = {camera.lens for camera in unique}
        columns = [(c.fx, c.fy, c.cx, c.cy, LENS_CODES[c.lens], *c.p, *c.q, *c.s, c.omega, *c.k) for c in unique]
        # coefficients that no camera has would only cost time
        has = [any(any(getattr(c, terms)) for c in unique) for terms in "pqs"]
        n_radial = max((i + 1 for camera in unique for i in range(4) if camera.k[i]), default=0)
        self._has_terms, self._n_radial = has, n_radial
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

    def centres(self, camera_ids: Tensor) -> Tensor:
        """Principal points [n, 2] in pixels of cameras, by their index."""
        return self._table[2:4].T[self._rows[camera_ids]]

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
        (fx, fy, cx, cy, code), (p, q, s), omega = (
            columns[:5],
            (columns[5:7], columns[7:10], columns[10:14]),
            columns[14],
        )
        pixels = pixels.to(self._table.dtype)
        x_d, y_d = (pixels[:, 0] - cx) / fx, (pixels[:, 1] - cy) / fy  # [n]
        terms = (term if has else None for term, has in zip((p, q, s), self._has_terms, strict=True))
        distortion = Distortion(columns[15 : 15 + self._n_radial], *terms)
        found = {lens: self._directions(lens, x_d, y_d, distortion, omega) for lens in self._lenses}
        directions = found.popitem()[1]
        for lens, others in found.items():
            directions = torch.where((code == LENS_CODES[lens])[:, None], others, directions)  # type: ignore[index]
        return directions

    def _directions(self, lens: str, x_d: Tensor, y_d: Tensor, distortion: Distortion, omega: Any) -> Tensor:
        import torch

        if lens == "fov":
            # cameras of another lens have no angle: any other will do, theirs are not looked at
            omega = torch.as_tensor(omega, dtype=x_d.dtype, device=x_d.device)
            return torch.stack(_fov(x_d, y_d, torch.where(omega > 0, omega, 1.0), torch), dim=-1)
        invert = _fisheye if lens == "fisheye" else _perspective
        return torch.stack(invert(x_d, y_d, distortion, self._n_steps, torch), dim=-1)


def _perspective(x_d: Any, y_d: Any, lens: Distortion, n_steps: int, xp: Any) -> tuple[Any, Any, Any]:
    if n_steps and not lens.is_radial:
        x_d, y_d = undistort(x_d, y_d, lens, n_steps)
    elif n_steps:
        # one unknown instead of two, a third of the work
        r_d = xp.sqrt(x_d * x_d + y_d * y_d).clip(1e-9, None)
        stretch = undistort_radius(r_d, lens.k, n_steps) / r_d
        x_d, y_d = x_d * stretch, y_d * stretch
    return x_d, -y_d, xp.full_like(x_d, -1.0)


def _fisheye(x_d: Any, y_d: Any, lens: Distortion, n_steps: int, xp: Any) -> tuple[Any, Any, Any]:
    if n_steps and not lens.is_radial:
        x_d, y_d = undistort(x_d, y_d, lens, n_steps)
        n_steps = 0
    # the bound stands in for the axis, where sin(theta) / theta_d tends to 1
    theta_d = xp.sqrt(x_d * x_d + y_d * y_d).clip(1e-9, None)
    theta = undistort_radius(theta_d, lens.k, n_steps)
    sine = xp.sin(theta) / theta_d
    return x_d * sine, -y_d * sine, -xp.cos(theta)


def _fov(x_d: Any, y_d: Any, omega: Any, xp: Any) -> tuple[Any, Any, Any]:
    r_d = xp.sqrt(x_d * x_d + y_d * y_d).clip(1e-9, None)
    stretch = unfov_radius(r_d, omega, xp) / r_d
    return x_d * stretch, -y_d * stretch, xp.full_like(x_d, -1.0)


def unsolved_fraction(camera: Camera) -> float:
    """Fraction of a photo in which the lens distortion has no inverse, so that rays are guessed there.

    Examples
    --------
    >>> unsolved_fraction(Camera(200, 150, 100.0, 100.0, 100.0, 75.0))
    0.0
    >>> unsolved_fraction(Camera(200, 150, 100.0, 100.0, 100.0, 75.0, k=(-1.0, 0.0, 0.0, 0.0))) > 0.5
    True
    """
    return 1.0 - float(_returns(camera, _grid(camera), MAX_STEPS, FLOAT32_TOLERANCE).mean())


def seen_pixels(camera: Camera) -> np.ndarray | None:
    """Which pixels [h, w] light reaches: inside the image circle, and where the distortion has an inverse.

    None: all of them.

    Examples
    --------
    >>> import numpy as np
    >>> seen_pixels(Camera(4, 4, 2.0, 2.0, 2.0, 2.0, image_circle=2.0)).astype(int).tolist()
    [[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]]
    """
    is_whole = unsolved_fraction(camera) == 0
    if is_whole and not camera.image_circle:
        return None
    columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=-1)
    seen = np.ones(len(pixels), bool) if is_whole else _returns(camera, pixels, MAX_STEPS, FLOAT32_TOLERANCE)
    if camera.image_circle:
        seen &= np.hypot(*(pixels - [camera.cx, camera.cy]).T) <= camera.image_circle
    return seen.reshape(camera.height, camera.width)


def _grid(camera: Camera) -> np.ndarray:
    """Points all over a photo [289, 2]."""
    columns, rows = np.meshgrid(np.linspace(0, camera.width, 17), np.linspace(0, camera.height, 17))
    return np.stack([columns.ravel(), rows.ravel()], axis=-1)


def _returns(camera: Camera, pixels: np.ndarray, n_steps: int, tolerance: float) -> np.ndarray:
    """Which pixels come back within ``tolerance`` pixels from their directions found in so many steps.

    Not from behind a fold of the lens.
    """
    directions = _directions(camera, pixels, n_steps)
    off_axis = np.hypot(directions[:, 0], directions[:, 1])
    if camera.lens == "fisheye":
        off_axis = np.arctan2(off_axis, -directions[:, 2])
    returns = np.abs(project(camera, directions) - pixels).max(axis=-1) < tolerance
    return returns & (off_axis < fold_radius(camera.distortion))


def _steps_needed(camera: Camera, tolerance: float) -> int:
    """Newton steps until each point of a grid over the photo that can come back does so."""
    if not camera.has_distortion:
        return 0
    pixels = _grid(camera)
    solvable = _returns(camera, pixels, MAX_STEPS, tolerance)
    counts = (n for n in range(1, MAX_STEPS) if _returns(camera, pixels, n, tolerance)[solvable].all())
    return next(counts, MAX_STEPS)
