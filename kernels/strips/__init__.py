"""Mean line integrals over the bins of a detector: a matrix of square pixels against strips of rays.

A pixel's shadow on the detector is a trapezoid between the images of its corners, as high as the way of the ray through
its middle. For parallel rays that is exact; for a fan it is the separable footprint of Long, Fessler and Balter 2010
(IEEE TMI 29:1839). An entry is the trapezoid's mean over the bin, so that a bin of any width is taken as it is. See
README.md.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Strips", "strip_matrix"]


class Strips(NamedTuple):
    """The transposed matrix in compressed rows: a row a pixel, line by line; a column a bin, angle by angle."""

    # [h * w + 1] int64: where the entries of each row begin
    starts: NDArray[np.int64]
    # [n] int32
    columns: NDArray[np.int32]
    # [n] float32, in the unit of lengths
    values: NDArray[np.float32]


def strip_matrix(
    shape: tuple[int, int], pixel: float, radians: NDArray[np.floating], edges: NDArray[np.floating],
    source_distance: float = 0.0, detector_distance: float = 0.0, *, impl: str = "cpu",
) -> Strips:  # fmt: skip
    """The matrix that turns a picture into a sinogram, transposed.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the picture, whose middle is the axis of rotation; the first row is on top.
    pixel : float
        Side of a pixel, in the unit of all lengths, above 0.
    radians : ndarray, shape (n_angles,)
        Angles; see :mod:`nerfkit.scenes.scan_geometry` for where they begin and how they turn.
    edges : ndarray, shape (n_bins + 1,)
        Of the bins on the detector, evenly spaced and rising, from where the axis is seen.
    source_distance, detector_distance : float
        From the axis; 0 and 0: rays are parallel. The source must lie beyond the picture's corners.
    impl : {"cpu", "reference"}
        Loops of numba, or numpy.
    """
    height, width = shape
    if height < 1 or width < 1 or not pixel > 0:
        raise ValueError(f"a picture has pixels of a side above 0; got {height}x{width} of {pixel}")
    if len(edges) < 2 or not edges[1] > edges[0]:
        raise ValueError("edges must rise, two of them at least")
    if source_distance and source_distance <= 0.5 * pixel * np.hypot(height, width):
        raise ValueError(f"the source, {source_distance:g} from the axis, is within the picture")
    if impl == "reference":
        from ._reference import strips_reference as strips
    else:
        from ._cpu import strips_cpu as strips
    return Strips(*strips(
        height, width, float(pixel), np.asarray(radians, np.float64), np.asarray(edges, np.float64),
        float(source_distance), float(detector_distance),
    ))  # fmt: skip
