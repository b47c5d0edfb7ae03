"""Mean line integrals over the pixels of a flat detector: voxels under a cone of rays from a source on a circle.

The shadow of a voxel is taken for the product of a trapezoid along the detector's lines, that of a fan's pixel
(:mod:`nerfkit.kernels.strips`), and a rectangle along its columns: the separable footprint SF-TR of Long, Fessler and
Balter 2010 (IEEE TMI 29:1839). No matrix is kept: it would have 10**10 entries for a volume of 256 voxels a side.
See README.md.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cone", "cone_back_project", "cone_project"]


class Cone(NamedTuple):
    """Where rays run and how large voxels are; all lengths in one unit.

    The volume's middle lies on the axis of rotation and in the plane of the source's circle.
    """

    # angles [n_angles]; see nerfkit.scenes.scan_geometry for where they begin and how they turn
    radians: NDArray[np.floating]
    # edges [n_bins + 1] of the detector's columns and [n_rows + 1] of its lines, evenly spaced and rising, from where
    # the axis is seen, and from where the source's plane is
    bin_edges: NDArray[np.floating]
    row_edges: NDArray[np.floating]
    # from the axis, above 0
    source_distance: float
    detector_distance: float
    # sides of a voxel across the axis and along it, above 0
    pixel: float
    height: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Angles, bins, rows."""
        return len(self.radians), len(self.bin_edges) - 1, len(self.row_edges) - 1

    @property
    def lengthening(self) -> NDArray[np.float64]:
        """How much longer the way of the ray to the middle of each pixel [n_bins, n_rows] is than that below it."""
        distance = self.source_distance + self.detector_distance
        along, up = ((edges[1:] + edges[:-1]) / 2 for edges in (self.bin_edges, self.row_edges))
        return np.sqrt(1 + up**2 / (distance**2 + along[:, None] ** 2))


def cone_project(volume: NDArray[np.floating], cone: Cone, *, impl: str = "cpu") -> NDArray[np.floating]:
    """Line integrals of a volume.

    Parameters
    ----------
    volume : ndarray, shape (h, w, d), float32 or float64
        y rises along the first axis, x along the second, z, the axis of rotation, along the last.
    cone : Cone
        Where rays run. The source must lie beyond the volume's edges.
    impl : {"cpu", "reference"}
        Loops of numba, or numpy.

    Returns
    -------
    values : ndarray, shape (n_angles, n_bins, n_rows)
        Means over the pixels of the detector, in the volume's unit times that of lengths.
    """
    _check(volume.shape, cone)
    if impl == "reference":
        from ._reference import project_reference as project
    else:
        from ._cpu import project_cpu as project
    return project(np.ascontiguousarray(volume), cone)


def cone_back_project(
    values: NDArray[np.floating], shape: tuple[int, int, int], cone: Cone, *, impl: str = "cpu"
) -> NDArray[np.floating]:
    """The transpose of :func:`cone_project`: values [n_angles, n_bins, n_rows] laid back on a volume [h, w, d]."""
    _check(shape, cone)
    if values.shape != cone.shape:
        raise ValueError(f"values must have shape {cone.shape}; got {values.shape}")
    if impl == "reference":
        from ._reference import back_project_reference as back_project
    else:
        from ._cpu import back_project_cpu as back_project
    return back_project(np.ascontiguousarray(values), shape, cone)


def _check(shape: tuple[int, ...], cone: Cone) -> None:
    if len(shape) != 3 or min(shape) < 1 or not (cone.pixel > 0 and cone.height > 0):
        raise ValueError(
            f"a volume [h, w, d] has voxels of sides above 0; got {shape} of {cone.pixel} and {cone.height}"
        )
    for edges in (cone.bin_edges, cone.row_edges):
        if len(edges) < 2 or not edges[1] > edges[0]:
            raise ValueError("edges must rise, two of them at least")
    if not cone.detector_distance > 0:
        raise ValueError(f"the detector must lie behind the axis; got {cone.detector_distance}")
    if cone.source_distance <= 0.5 * cone.pixel * np.hypot(*shape[:2]):
        raise ValueError(f"the source, {cone.source_distance:g} from the axis, is within the volume")
