"""Signed distance to points with normals: the sphere that fits the nearest of them best, far away the nearest point.

The sphere is algebraic, u0 + u.x + u4 |x|^2, fitted to positions and normals with weights that fall with the distance
(Guennebaud and Gross 2007, eq. 5 and 6): a mean of tangent planes is too far out where a surface bends. Away from the
points the sign is that of their winding number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from nerfkit.scenes.surfaces import PointCloud
from nerfkit.workbench.shapes.cloud_winding import point_areas, winding
from nerfkit.workbench.shapes.mesh_distance import WITHIN

__all__ = ["MAX_NEIGHBOURS", "CloudDistance", "neighbours_within", "sphere_distances"]

Floats = NDArray[np.float64]
# beyond so many widths of the weights a point counts as far: spheres of one side of a sheet would reach through
FAR = 2.0
# neighbours of a fit: fewer tell no sphere, more take long
MIN_NEIGHBOURS, MAX_NEIGHBOURS = 8, 64
# points evaluated at once, which bounds the memory
CHUNK = 2**14


class CloudDistance:
    """Distances to the surface that points lie on, negative within; see the module.

    Parameters
    ----------
    cloud : PointCloud
        With normals that point outward.
    width : float
        Of the weights: exp(-(distance / width)^2).
    """

    def __init__(self, cloud: PointCloud, width: float) -> None:
        assert cloud.normals is not None
        self.points, self.normals, self.width = cloud.points, cloud.normals, width
        self.tree = KDTree(self.points)
        self.areas = point_areas(self.points, self.tree)
        self.n_neighbours = neighbours_within(float(np.median(self.areas)), width)

    def inside(self, points: Floats) -> NDArray[np.bool_]:
        """Whether ``points`` [n, 3] are within by the winding number."""
        return winding(self.points, self.normals, self.areas, points) > WITHIN

    def signed(self, points: Floats) -> Floats:
        """Distance [n] of ``points`` [n, 3], negative within."""
        nearest = self.tree.query(points)[0]
        is_far = nearest > FAR * self.width
        found = np.empty(len(points))
        # all at once: each call makes the hierarchy anew
        found[is_far] = np.where(self.inside(points[is_far]), -1.0, 1.0) * nearest[is_far]
        near = np.flatnonzero(~is_far)
        for part in np.array_split(near, max(1, len(near) // CHUNK)):
            found[part] = self._by_spheres(points[part])
        return found

    def _by_spheres(self, points: Floats) -> Floats:
        distances, near = self.tree.query(points, min(self.n_neighbours, len(self.points)))
        found = sphere_distances(points, self.points[near], self.normals[near], self._weights(distances))
        # where the sphere is a poor guess, such as behind a sharp edge, it is no farther than the points say
        return np.clip(found, -distances[:, 0] - self.width, distances[:, 0] + self.width)

    def _weights(self, distances: Floats) -> Floats:
        """Of neighbours at ``distances`` [n, k], as a factor that the nearest has 1."""
        return np.exp(-(distances**2 - distances[:, :1] ** 2) / self.width**2)

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Points [n, 3] spread evenly over the surface, as far as it has points."""
        total = np.cumsum(self.areas)
        return self.points[np.searchsorted(total, rng.random(n) * total[-1]).clip(max=len(total) - 1)]


def neighbours_within(area: float, width: float) -> int:
    """How many points of ``area`` each lie within twice the width of the weights, where these are below 0.02."""
    return int(np.clip(np.pi * (2 * width) ** 2 / area, MIN_NEIGHBOURS, MAX_NEIGHBOURS))


def sphere_distances(where: Floats, points: Floats, normals: Floats, weights: Floats) -> Floats:
    """Signed distance [n] from ``where`` [n, 3] to the algebraic sphere of each one's neighbours.

    Parameters
    ----------
    where : ndarray, shape (n, 3)
        Where the distance is wanted.
    points, normals : ndarray, shape (n, k, 3)
        Neighbours of each, and their unit normals.
    weights : ndarray, shape (n, k)
        Of each neighbour.
    """
    weights = weights / weights.sum(1, keepdims=True)
    offsets = points - where[:, None]
    middle, normal = (np.einsum("nk,nki->ni", weights, x) for x in (offsets, normals))
    square = np.einsum("nk,nki,nki->n", weights, offsets, offsets)
    along = np.einsum("nk,nki,nki->n", weights, offsets, normals)
    # a floor where one neighbour has all the weight: its plane
    spread = np.maximum(square - (middle**2).sum(1), 1e-12 * square + np.finfo(np.float64).tiny)
    bend = 0.5 * (along - (middle * normal).sum(1)) / spread
    slope = normal - 2 * bend[:, None] * middle
    value = -(slope * middle).sum(1) - bend * square
    steepness = (slope**2).sum(1)
    # the nearer root of the quadratic along the gradient; where it has none the sphere's middle is the nearest
    root = np.sqrt(np.maximum(steepness - 4 * value * bend, 0.0))
    return 2 * value / np.maximum(np.sqrt(steepness) + root, np.finfo(np.float64).tiny)
