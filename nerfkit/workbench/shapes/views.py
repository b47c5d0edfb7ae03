"""Pictures of surfaces and of fields: shaded views from three sides, and slices of the distance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.surfaces import Mesh, PointCloud
from nerfkit.workbench.shapes.frame import BOX, Frame
from nerfkit.workbench.shapes.held_shape import HeldShape

__all__ = ["SIDE", "shaded_views", "slices"]

Floats = NDArray[np.float64]
# pixels of a view along a side, and points of a mesh that are drawn: at 30 a pixel none stays empty
SIDE, N_DRAWN = 320, 900_000
# directions to the viewer, each with what is up; y is up in most files, and looks well where z is
VIEWS = (((0.0, 0.0, 1.0), (0.0, 1.0, 0.0)), ((1.0, 0.0, 0.3), (0.0, 1.0, 0.0)), ((-0.6, 0.5, -0.8), (0.0, 1.0, 0.0)))
# light beside the viewer, along right, up and towards him
LIGHT = np.array([0.3, 0.5, 0.8])
# half a side of a view, frame units: corners of the box are farther than its sides
REACH = 1.2 * BOX
# what is not lit, and the background
AMBIENT, BACKGROUND = 0.15, 1.0
# contours of slices: so many of the frame apart
CONTOUR = 0.02


def shaded_views(
    surface: Mesh | PointCloud, frame: Frame, rng: np.random.Generator, *, n_drawn: int = N_DRAWN,
    n_views: int = len(VIEWS),
) -> NDArray[np.float32]:  # fmt: skip
    """Grey views [SIDE, n_views SIDE] from up to three sides, parallel rays, light from beside the viewer.

    Points of the surface are drawn, nearest last; a cloud's pixels are as large as it has points for.
    """
    if isinstance(surface, Mesh):
        points, normals = surface.sample(n_drawn, rng)
    else:
        points, normals = surface.points, surface.normals
    points = frame.inward(points)
    # some 8 points a pixel leave few of them empty
    side = next((SIDE // k for k in (1, 2, 4, 8, 16) if len(points) > 8 * (SIDE // k) ** 2 / 4), SIDE // 16)
    views = [_view(points, normals, np.array(towards), np.array(up), side) for towards, up in VIEWS[:n_views]]
    return np.concatenate([np.kron(view, np.ones((SIDE // side,) * 2, np.float32)) for view in views], 1)


def _view(points: Floats, normals: Floats | None, towards: Floats, up: Floats, side: int) -> NDArray[np.float32]:
    towards = towards / np.linalg.norm(towards)
    right = np.cross(up, towards)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(towards, right), towards])
    x, y, depth = axes @ points.T
    column, row = (((x + REACH) / (2 * REACH)) * side).astype(int), (((REACH - y) / (2 * REACH)) * side).astype(int)
    if normals is None:
        # depth instead of light: near is bright
        shade = 0.2 + 0.4 * (depth + BOX) / BOX
    else:
        light = LIGHT / np.linalg.norm(LIGHT)
        shade = AMBIENT + (1 - AMBIENT) * np.clip(normals @ axes.T @ light, 0, 1)
    picture = np.full((side, side), BACKGROUND, np.float32)
    order = np.argsort(depth)
    order = order[(column[order].clip(0, side - 1) == column[order]) & (row[order].clip(0, side - 1) == row[order])]
    # the nearest of a pixel is its last
    picture[row[order], column[order]] = shade[order]
    return picture.clip(0, 1)


def slices(held: HeldShape) -> NDArray[np.float32]:
    """The field's values on the three planes through the middle, side by side [SIDE, 3 SIDE].

    Dark within, bright outside, black where the surface is, with contours of a truncated or plain distance.
    """
    axis = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE * 2 * BOX - BOX
    across, down = np.meshgrid(axis, -axis)
    pictures = []
    for flat in (2, 0, 1):
        places = np.insert(np.stack([across, down], -1).reshape(-1, 2), flat, 0.0, axis=1)
        values = held.values(places.astype(np.float32)).reshape(SIDE, SIDE)
        reach = float(np.quantile(np.abs(values), 0.99)) or 1.0
        picture = 0.55 + 0.4 * np.clip(values / reach, -1, 1)
        if held.recipe["kind"] != "logit":
            picture = picture * (1 - 0.25 * _edges(np.floor(values / CONTOUR)))
        pictures.append(picture * (1 - _edges(values < 0)))
    return np.concatenate(pictures, 1).astype(np.float32)


def _edges(labels: NDArray) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour has another label."""
    found = np.zeros(labels.shape, bool)
    found[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    found[:-1] |= labels[:-1] != labels[1:]
    return found
