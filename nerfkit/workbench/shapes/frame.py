"""The frame that shapes are fitted in: the longest side of the input is 1.8 long, its middle at the origin.

What is said of a field as small or large, such as a truncated distance, is so in this frame; files keep their unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.surfaces import Mesh, PointCloud

__all__ = ["BOX", "LONGEST", "Frame"]

# longest side of an input in the frame, and the box that fields are good for: a twentieth of room on each side
LONGEST, BOX = 1.8, 1.0


@dataclass(frozen=True)
class Frame:
    """From a file's unit and place to the frame, and back.

    Parameters
    ----------
    centre : ndarray, shape (3,)
        What becomes the origin, in the file's unit.
    scale : float
        Length in the file's unit of 1 in the frame.
    sides : ndarray, shape (3,)
        Of the input's bounding box, in the frame.

    Examples
    --------
    >>> frame = Frame.around(np.array([[0.0, 0, 0], [2, 1, 1]]))
    >>> frame.inward(np.array([[2.0, 1, 1]])).round(9).tolist()
    [[0.9, 0.45, 0.45]]
    """

    centre: NDArray[np.float64]
    scale: float
    sides: NDArray[np.float64]

    @classmethod
    def around(cls, bounds: NDArray[np.float64]) -> Self:
        """The frame of an input between ``bounds`` [2, 3]."""
        scale = float((bounds[1] - bounds[0]).max()) / LONGEST
        return cls(bounds.mean(0), scale, (bounds[1] - bounds[0]) / scale)

    @classmethod
    def of_recipe(cls, recipe: dict[str, Any]) -> Self:
        """What :meth:`recipe` gave."""
        return cls(np.array(recipe["centre"]), float(recipe["scale"]), np.array(recipe["sides"]))

    def recipe(self) -> dict[str, Any]:
        """As plain values."""
        return {"centre": self.centre.tolist(), "scale": self.scale, "sides": self.sides.tolist()}

    def inward(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points [n, 3] of the file's unit in the frame."""
        return (points - self.centre) / self.scale

    def outward(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points [n, 3] of the frame in the file's unit."""
        return points * self.scale + self.centre

    def mesh_inward(self, mesh: Mesh) -> Mesh:
        """A mesh in the frame."""
        return Mesh(np.ascontiguousarray(self.inward(mesh.vertices)), mesh.faces)

    def cloud_inward(self, cloud: PointCloud) -> PointCloud:
        """Points in the frame; normals stay as they are."""
        return PointCloud(np.ascontiguousarray(self.inward(cloud.points)), cloud.normals)
