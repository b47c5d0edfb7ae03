"""Where the scene is: the change from the input's world to normalised coordinates, found from the photos.

Normalised coordinates have the scene box at [-1, 1]^3. A bounded scene (photos with alpha or before a plain
colour) ends there; an unbounded one is contracted beyond it (mip-NeRF 360, arXiv:2111.12077, eq. 10, in the
maximum norm), so that [-2, 2]^3 holds all of space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nerfkit.scenes.cameras import Camera, project
from nerfkit.scenes.poses import focus_point

__all__ = ["SceneBounds", "bounded_scene", "boxed_scene", "unbounded_scene"]

# a side of the grid that is carved to find the box; its cells are some 3 % of the box
CARVING_RESOLUTION = 48
# views that carve: more than this changes the box by less than a cell
MAX_CARVING_VIEWS = 48
# in units of the cameras' spread: axes that meet farther away say nothing of where the scene is
MAX_FOCUS_DISTANCE = 20
# in units of the farthest coordinate: cameras nearer to one another are in one place, for float32 says no more
SAME_PLACE = 2e-7
# far end of the rays of an unbounded scene, normalised: contracted, 1 / 256 from infinity
UNBOUNDED_FAR = 256.0
# far end of the rays of a bounded scene: beyond any camera; finite, because JSON has no infinity
FAR_BOUNDED = 1e6


@dataclass(frozen=True)
class SceneBounds:
    """The similarity from world to normalised coordinates, and what rays are clipped to.

    Parameters
    ----------
    center : tuple of 3 float
        World position of the normalised origin.
    scale : float
        World units in one normalised unit, > 0.
    contract : bool
        Whether space beyond [-1, 1]^3 is contracted (unbounded scene) or empty.
    aabb : tuple of 6 float
        Normalised box, minimum then maximum, that rays of a bounded scene are clipped to.
    near, far : float
        Nearest and farthest distance of samples along a ray, normalised units.
    """

    center: tuple[float, float, float]
    scale: float
    contract: bool
    aabb: tuple[float, float, float, float, float, float]
    near: float
    far: float

    def normalise(self, c2w: np.ndarray) -> np.ndarray:
        """Camera-to-world matrices [n, 4, 4] with normalised positions; rotations are kept."""
        out = c2w.astype(np.float64, copy=True)
        out[:, :3, 3] = (out[:, :3, 3] - np.asarray(self.center)) / self.scale
        return out

    def to_world(self, xyz: np.ndarray) -> np.ndarray:
        """World positions [n, 3] of normalised ones."""
        return xyz * self.scale + np.asarray(self.center)

    def as_dict(self) -> dict:
        """Plain values for a configuration file."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict) -> SceneBounds:
        """The inverse of :meth:`as_dict`."""
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**arguments)

    def __str__(self) -> str:
        x, y, z = self.center
        kind = "unbounded, space beyond the box contracted" if self.contract else "bounded"
        return f"{kind}; centre ({x:.3g}, {y:.3g}, {z:.3g}), half side {self.scale:.3g} world units"


def unbounded_scene(c2w: np.ndarray) -> SceneBounds:
    """Bounds of a real capture: the box is centred where the cameras look and reaches to them.

    Parameters
    ----------
    c2w : ndarray, shape (n, 4, 4)
        Camera-to-world matrices, OpenGL axes, any world frame and scale.
    """
    eyes = c2w[:, :3, 3]
    focus = _focus(c2w)
    if focus is None:
        center, scale = eyes.mean(0), float(np.linalg.norm(eyes - eyes.mean(0), axis=1).max())
    else:
        center, scale = focus
    if scale <= SAME_PLACE * np.abs(eyes).max():
        # a camera that only turns, or a single photo: nothing gives a length, and any will do
        scale = 1.0
    aabb = (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0)
    return SceneBounds(_as_tuple(center), scale, True, aabb, 0.02, UNBOUNDED_FAR)


def bounded_scene(c2w: np.ndarray, cameras: Sequence[Camera], masks: Sequence[np.ndarray]) -> SceneBounds:
    """Bounds of an object: the box round its visual hull (Laurentini 1994).

    Parameters
    ----------
    c2w : ndarray, shape (n, 4, 4)
        Camera-to-world matrices, OpenGL axes.
    cameras : sequence of Camera
        One for each photo, at the masks' sizes.
    masks : sequence of bool ndarray, shape (h, w)
        Where each photo shows the object.

    Notes
    -----
    A point belongs to the hull when every view that sees it shows the object there, and more than half of
    them see it. A cube round the point that the cameras look at is carved, and grown when the hull touches
    its sides. Cameras in parallel, or all in one place, do not tell how far the object is: the scene is
    unbounded then.
    """
    focus = _focus(c2w)
    if focus is None:
        return unbounded_scene(c2w)
    center, distance = focus
    first = cameras[0]
    half = distance * max(first.width / first.fx, first.height / first.fy) / 2
    views = np.unique(np.linspace(0, len(c2w) - 1, MAX_CARVING_VIEWS).round().astype(int))
    low, high = center - half, center + half
    for _ in range(3):
        cells, inside = _carve(center, half, c2w[views], [cameras[i] for i in views], [masks[i] for i in views])
        if not inside.any():
            break
        cell = 2 * half / CARVING_RESOLUTION
        low, high = cells[inside].min(0) - 1.5 * cell, cells[inside].max(0) + 1.5 * cell
        if (np.abs(cells[inside] - center).max() + cell) < half:
            break
        half *= 1.5
    center = (low + high) / 2
    scale = float((high - low).max() / 2)
    x, y, z = _as_tuple((high - low) / 2 / scale)
    closest = float(np.linalg.norm(c2w[:, :3, 3] - center, axis=1).min()) / scale
    near = min(0.05, closest / 10)
    return SceneBounds(_as_tuple(center), scale, False, (-x, -y, -z, x, y, z), near, FAR_BOUNDED)


def boxed_scene(c2w: np.ndarray, box: Sequence[float], *, contract: bool) -> SceneBounds:
    """Bounds that somebody gave: the ``box``, and with ``contract`` space beyond it as well.

    Parameters
    ----------
    c2w : ndarray, shape (n, 4, 4)
        Camera-to-world matrices, OpenGL axes.
    box : sequence of 6 float
        Least x, y, z, then greatest, in world units.
    contract : bool
        Whether there is a scene beyond the box.

    Examples
    --------
    >>> boxed_scene(np.eye(4)[None], (0, 0, 0, 4, 2, 2), contract=False).aabb
    (-1.0, -0.5, -0.5, 1.0, 0.5, 0.5)
    """
    low, high = np.asarray(box, np.float64).reshape(2, 3)
    center, half = (low + high) / 2, (high - low) / 2
    scale = float(half.max())
    x, y, z = _as_tuple(half / scale)
    if contract:
        x = y = z = 1.0
    closest = float(np.linalg.norm(c2w[:, :3, 3] - center, axis=1).min()) / scale
    # a camera in the middle of the box still sees what is before it
    near = 0.02 if contract else max(1e-3, min(0.05, closest / 10))
    far = UNBOUNDED_FAR if contract else FAR_BOUNDED
    return SceneBounds(_as_tuple(center), scale, contract, (-x, -y, -z, x, y, z), near, far)


def _as_tuple(point: np.ndarray) -> tuple[float, float, float]:
    x, y, z = point.tolist()
    return x, y, z


def _focus(c2w: np.ndarray) -> tuple[np.ndarray, float] | None:
    """The point [3] that the cameras look at and their median distance to it.

    None where nearly parallel axes meet nowhere useful, or at the cameras themselves (one that only turns).
    """
    try:
        center = focus_point(c2w)
    except ValueError:
        return None
    eyes = c2w[:, :3, 3]
    distance = float(np.median(np.linalg.norm(eyes - center, axis=1)))
    spread = float(np.linalg.norm(eyes - eyes.mean(0), axis=1).max())
    is_useful = SAME_PLACE * np.abs(eyes).max() < distance <= MAX_FOCUS_DISTANCE * spread
    return (center, distance) if is_useful else None


def _carve(
    center: np.ndarray, half: float, c2w: np.ndarray, cameras: Sequence[Camera], masks: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the cells [n, 3] of a cube, and which of them lie in the visual hull [n]."""
    axis = (np.arange(CARVING_RESOLUTION) + 0.5) / CARVING_RESOLUTION * 2 - 1
    cells = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3) * half + center
    seen = np.zeros(len(cells), np.int32)
    missed = np.zeros(len(cells), np.int32)
    for pose, camera, mask in zip(c2w, cameras, masks, strict=True):
        in_camera = (cells - pose[:3, 3]) @ pose[:3, :3]
        pixels = project(camera, in_camera)
        with np.errstate(invalid="ignore"):
            visible = (in_camera[:, 2] < 0) & (pixels >= 0).all(1) & (pixels < (camera.width, camera.height)).all(1)
        seen += visible
        column, row = np.where(visible[:, None], pixels, 0).astype(int).T
        missed += visible & ~_grow(mask)[row, column]
    # a thing may be cut off by one photo's mask error: one view in twenty may disagree
    return cells, (seen > len(c2w) / 2) & (missed <= seen // 20)


def _grow(mask: np.ndarray) -> np.ndarray:
    """The mask and its neighbours within 1 % of its size: a cell is wider than a pixel."""
    radius = max(1, round(max(mask.shape) / 100))
    out = mask.copy()
    for axis in (0, 1):
        rows = out.copy()
        for shift in range(1, radius + 1):
            head, tail = (slice(None, -shift), slice(shift, None))
            index_a = (head, slice(None)) if axis == 0 else (slice(None), head)
            index_b = (tail, slice(None)) if axis == 0 else (slice(None), tail)
            rows[index_a] |= out[index_b]
            rows[index_b] |= out[index_a]
        out = rows
    return out
