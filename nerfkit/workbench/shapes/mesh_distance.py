"""Signed distance to a mesh, closed or not: the nearest triangle, and the sign by the generalised winding number.

The winding number of a surface with holes is no whole number, and yet above a half within it (Jacobson et al. 2013);
libigl evaluates it by a hierarchy (Barill et al. 2018).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.extras import import_extra
from nerfkit.scenes.surfaces import Mesh

__all__ = ["MeshDistance"]

Floats = NDArray[np.float64]
# winding number from which on a point is within
WITHIN = 0.5


class MeshDistance:
    """Distances to a mesh, negative within; see the module.

    Parameters
    ----------
    mesh : Mesh
        In any unit: distances are in it.
    """

    def __init__(self, mesh: Mesh) -> None:
        # triangles without area have no normal, and are on the border of others
        self.mesh = mesh = Mesh(mesh.vertices, mesh.faces[mesh.areas > 0])
        self._igl: Any = import_extra("igl", "mesh", "nerfkit fit shape")
        # libigl takes no other memory order and type
        self._vertices = np.ascontiguousarray(mesh.vertices, np.float64)
        self._faces = np.ascontiguousarray(mesh.faces, np.int64)

    def winding(self, points: Floats) -> Floats:
        """Winding number at ``points`` [n, 3]: 1 within a closed surface that faces outward, 0 outside."""
        return np.asarray(self._igl.fast_winding_number(self._vertices, self._faces, _rows(points))).ravel()

    def inside(self, points: Floats) -> NDArray[np.bool_]:
        """Whether ``points`` [n, 3] are within."""
        return self.winding(points) > WITHIN

    def nearest(self, points: Floats) -> tuple[Floats, NDArray[np.int64]]:
        """Distance [n], without a sign, and the nearest face [n] of ``points`` [n, 3]."""
        kind = self._igl.SIGNED_DISTANCE_TYPE_UNSIGNED
        found = self._igl.signed_distance(_rows(points), self._vertices, self._faces, sign_type=kind)
        return np.asarray(found[0]).ravel(), np.asarray(found[1]).ravel()

    def signed(self, points: Floats) -> Floats:
        """Distance [n] of ``points`` [n, 3], negative within."""
        distances = self.nearest(points)[0]
        return np.where(self.inside(points), -distances, distances)

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Points [n, 3] spread evenly over the surface."""
        return self.mesh.sample(n, rng)[0]


def _rows(points: Floats) -> Floats:
    return np.ascontiguousarray(points, np.float64)
