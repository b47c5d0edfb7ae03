"""Meshes of closed forms, for tests of shapes."""

import numpy as np

from nerfkit.scenes.surfaces import Mesh
from nerfkit.workbench.shapes.marching import level_set

RING, TUBE = 0.6, 0.28


def torus_distance(points):
    """Signed distance to the torus round z."""
    return np.hypot(np.hypot(points[:, 0], points[:, 1]) - RING, points[:, 2]) - TUBE


def torus(n_cells=32):
    return level_set(torus_distance, np.array([1.76, 1.76, 0.56]), n_cells, bound=lambda d: d)


def cube(side=1.0):
    """Twelve faces, outward."""
    corners = side * (np.stack(np.meshgrid(*[[0.0, 1.0]] * 3, indexing="ij"), -1).reshape(-1, 3) - 0.5)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Mesh(corners, np.array([face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))]))
