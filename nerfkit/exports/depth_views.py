"""What cameras see of a trained scene: distances and colours, from which surfaces are fused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nerfkit.scene import RadianceScene
from nerfkit.scenes.cameras import Camera, pixels_to_directions
from nerfkit.video import to_uint8

__all__ = ["DepthView", "render_views", "without_lens"]


@dataclass(frozen=True, eq=False)
class DepthView:
    """A view by a camera without distortion, in normalised units.

    Parameters
    ----------
    camera : Camera
        Without distortion.
    c2w : ndarray, shape (4, 4)
        Camera to normalised space, OpenGL axes.
    depths : ndarray, shape (h, w), float32
        Distance to the surface along each pixel's ray; infinite where there is none.
    colors : ndarray, shape (h, w, 3), uint8
        sRGB.
    """

    camera: Camera
    c2w: NDArray[np.float64]
    depths: NDArray[np.float32]
    colors: NDArray[np.uint8]

    @property
    def _rays(self) -> NDArray[np.float64]:
        """Unit directions of the pixels [h, w, 3]."""
        rows, columns = np.indices(self.depths.shape) + 0.5
        directions = pixels_to_directions(self.camera, np.stack([columns.ravel(), rows.ravel()], -1))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return (directions @ self.c2w[:3, :3].T).reshape(*self.depths.shape, 3)

    @cached_property
    def points(self) -> NDArray[np.float32]:
        """Where the pixels' rays meet the surface [h, w, 3], normalised; infinite or NaN where they meet none."""
        with np.errstate(invalid="ignore"):
            return (self._rays * self.depths[..., None] + self.c2w[:3, 3]).astype(np.float32)

    @property
    def normals(self) -> NDArray[np.float64]:
        """Unit normals [h, w, 3], towards the camera, of the plane through a pixel's point and the nearer of its
        neighbours along each axis; NaN where there are none.
        """
        down, right = (_step(self.points, axis) for axis in (0, 1))
        with np.errstate(invalid="ignore"):
            across = np.cross(down, right)
            lengths = np.linalg.norm(across, axis=-1, keepdims=True)
            return np.where(lengths > 0, across / lengths, np.nan)

    @property
    def cosines(self) -> NDArray[np.float32]:
        """Cosine [h, w] between normal and ray, 0 to 1; 1 where it is not known."""
        found = np.abs((self.normals * self._rays).sum(-1))
        return np.nan_to_num(found, nan=1.0).astype(np.float32)

    @property
    def surface_points(self) -> NDArray[np.float32]:
        """Those of the pixels that show a surface [n, 3]."""
        return self.points[np.isfinite(self.depths)]


def _step(points: NDArray[np.float32], axis: int) -> NDArray[np.float64]:
    """From each point [h, w, 3] along ``axis`` to the next or from the one before, whichever is the shorter way."""
    lines = np.moveaxis(points, axis, 0).astype(np.float64)
    with np.errstate(invalid="ignore"):
        steps = np.diff(lines, axis=0)
    outside = np.full_like(lines[:1], np.inf)
    ahead, behind = np.concatenate([steps, outside]), np.concatenate([outside, steps])
    a, b = (np.nan_to_num(np.linalg.norm(part, axis=-1), nan=np.inf) for part in (ahead, behind))
    return np.moveaxis(np.where((a <= b)[..., None], ahead, behind), 0, axis)


def without_lens(camera: Camera) -> Camera:
    """A camera of that size and place without distortion: of a fisheye a quarter turn of its view."""
    fx, fy = camera.fx, camera.fy
    if camera.lens != "perspective":
        fx = fy = max(camera.width, camera.height) / 2
    return Camera(camera.width, camera.height, fx, fy, camera.cx, camera.cy)


def render_views(
    scene: RadianceScene, cameras: Sequence[Camera], c2w: NDArray[np.float64], on_view: Callable[[int, int], None]
) -> list[DepthView]:
    """The views of ``cameras`` at ``c2w`` [n, 4, 4] of the world; ``on_view`` is called with those done and all."""
    views = []
    for camera, pose in zip(cameras, c2w, strict=True):
        camera = without_lens(camera)
        depths = (scene.surface_depths(camera, pose) / scene.bounds.scale).numpy()
        colors = to_uint8(scene.render(camera, pose).rgb.numpy())
        views.append(DepthView(camera, scene.bounds.normalise(pose[None])[0], depths, colors))
        on_view(len(views), len(cameras))
    return views
