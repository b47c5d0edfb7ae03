"""A corner of a room with textured walls, photographed from several places: something to match points in."""

import numpy as np
from PIL import Image

from nerfkit.scenes.poses import look_at


def textures(side=400, cell=12):
    """Three random pictures of blobs."""
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 255, (side // cell, side // cell, 3), np.uint8) for _ in range(3)]
    return [np.asarray(Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC)) for c in coarse]


def photograph(c2w, walls, size=(320, 240), focal=280.0):
    """The corner where three textured walls of a room meet, at the origin, each 4 units wide."""
    column, row = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    rays = np.stack([(column - size[0] / 2) / focal, (size[1] / 2 - row) / focal, -np.ones_like(row)], -1)
    rays = rays @ c2w[:3, :3].T
    with np.errstate(divide="ignore"):
        distance = np.where(rays < 0, -c2w[:3, 3] / rays, np.inf)  # to the planes x = 0, y = 0, z = 0
    wall, nearest = distance.argmin(-1), distance.min(-1)
    points = c2w[:3, 3] + nearest[..., None] * rays
    picture = np.zeros((*wall.shape, 3), np.uint8)
    for axis, texture in enumerate(walls):
        across = np.delete(points, axis, axis=-1)
        index = (across / 4 * len(texture)).astype(int).clip(0, len(texture) - 1)
        picture[wall == axis] = texture[index[..., 0], index[..., 1]][wall == axis]
    return picture


def room_poses(n=8):
    angle = np.radians(np.linspace(20, 70, n))
    eyes = np.stack([4 * np.cos(angle), 4 * np.sin(angle), 1.5 + np.sin(3 * angle)], axis=1)
    return look_at(eyes, [0.5, 0.5, 0.5], [0, 0, 1])
