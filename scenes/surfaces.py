"""Surfaces as files have them: triangles, or points on them with or without normals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mesh", "PointCloud"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles in space, in the unit of their file.

    Parameters
    ----------
    vertices : ndarray, shape (n, 3), float64
        Their corners.
    faces : ndarray, shape (m, 3), int64
        Three vertices each, anticlockwise as seen from outside.
    said : tuple of str
        What is to be said of the file.
    colors : ndarray, shape (n, 3), uint8, optional
        sRGB of the vertices.

    Examples
    --------
    >>> corner = Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]]))
    >>> corner.area, corner.sample(5, np.random.default_rng(0))[0].shape
    (0.5, (5, 3))
    """

    vertices: Floats
    faces: NDArray[np.int64]
    said: tuple[str, ...] = ()
    colors: NDArray[np.uint8] | None = None

    @cached_property
    def _crosses(self) -> Floats:
        """Normals of the faces [m, 3], twice their area long."""
        a, b, c = (self.vertices[self.faces[:, k]] for k in range(3))
        return np.cross(b - a, c - a)

    @cached_property
    def areas(self) -> Floats:
        """Of the faces [m]."""
        return np.linalg.norm(self._crosses, axis=1) / 2

    @property
    def normals(self) -> Floats:
        """Unit normals of the faces [m, 3]; 0 where a face has no area."""
        return self._crosses / np.maximum(2 * self.areas, np.finfo(np.float64).tiny)[:, None]

    @property
    def vertex_normals(self) -> Floats:
        """Unit normals of the vertices [n, 3], means of their faces' by area; 0 where a vertex has no face."""
        corners = self.faces.T.ravel()
        summed = np.stack([np.bincount(corners, np.tile(c, 3), len(self.vertices)) for c in self._crosses.T], 1)
        return summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), np.finfo(np.float64).tiny)

    def of_faces(self, kept: NDArray[np.bool_]) -> Mesh:
        """The faces that ``kept`` [m] says, and the vertices that these have."""
        used, faces = np.unique(self.faces[kept], return_inverse=True)
        colors = None if self.colors is None else self.colors[used]
        return Mesh(self.vertices[used], faces.reshape(-1, 3).astype(np.int64), self.said, colors)

    @property
    def area(self) -> float:
        """Of all faces."""
        return float(self.areas.sum())

    @property
    def volume(self) -> float:
        """Within the surface by the divergence theorem; exact where it is closed, negative where it is inside out."""
        middle = self.vertices.mean(0)
        corners = self.vertices[self.faces[:, 0]] - middle
        return float((corners * self._crosses).sum() / 6)

    @property
    def bounds(self) -> Floats:
        """Least and greatest coordinates of vertices that faces use [2, 3]."""
        used = self.vertices[np.unique(self.faces)]
        return np.stack([used.min(0), used.max(0)])

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """``n`` points spread evenly over the area [n, 3], and the unit normals of their faces [n, 3]."""
        total = np.cumsum(self.areas)
        chosen = np.searchsorted(total, rng.random(n) * total[-1], side="right").clip(max=len(total) - 1)
        u, v = rng.random((2, n, 1))
        is_beyond = u + v > 1
        u, v = np.where(is_beyond, 1 - u, u), np.where(is_beyond, 1 - v, v)
        a, b, c = (self.vertices[self.faces[chosen, k]] for k in range(3))
        return a + u * (b - a) + v * (c - a), self.normals[chosen]


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points on a surface, in the unit of their file.

    Parameters
    ----------
    points : ndarray, shape (n, 3), float64
        Where they are.
    normals : ndarray, shape (n, 3), float64, optional
        Unit normals that point outward.
    said : tuple of str
        What is to be said of the file.
    colors : ndarray, shape (n, 3), uint8, optional
        sRGB.
    """

    points: Floats
    normals: Floats | None = None
    said: tuple[str, ...] = ()
    colors: NDArray[np.uint8] | None = None

    @property
    def bounds(self) -> Floats:
        """Least and greatest coordinates [2, 3]."""
        return np.stack([self.points.min(0), self.points.max(0)])
