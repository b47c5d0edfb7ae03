"""Where the rays of a cone run: from a source on a circle to a flat detector, whose middle line is that of a fan.

Space has the plane of :mod:`nerfkit.scenes.scan_geometry` as z = 0, in which the source turns, and z upwards along the
axis of rotation; the detector stands upright, its first row on top.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.scan_geometry import ScanGeometry

__all__ = ["ConeGeometry"]


@dataclass(frozen=True)
class ConeGeometry:
    """A fan and the rows above and below it.

    Parameters
    ----------
    fan : ScanGeometry
        Of kind "fan": angles, columns of the detector, distances.
    n_rows : int
        Of the detector.
    row_spacing : float
        From one to the next, millimetres.
    center_row : float
        Row at which the plane of the source is seen; row r has its middle at r, the first is on top.

    Examples
    --------
    >>> fan = ScanGeometry("fan", (0.0, 90.0), 5, 2.0, 2.0, source_distance=100.0, detector_distance=100.0)
    >>> ConeGeometry(fan, 3, 2.0, 1.0).row_edges.tolist()
    [-3.0, -1.0, 1.0, 3.0]
    """

    fan: ScanGeometry
    n_rows: int
    row_spacing: float
    center_row: float

    def __post_init__(self) -> None:
        if self.fan.kind != "fan":
            raise ValueError(f"the middle of a cone is a fan; got {self.fan.kind!r}")
        if self.n_rows < 1 or not self.row_spacing > 0:
            raise ValueError(f"rows have a row_spacing above 0; got {self.n_rows} of {self.row_spacing}")
        if not 0 <= self.center_row <= self.n_rows - 1:
            raise ValueError(f"center_row must be a row, between 0 and {self.n_rows - 1}; got {self.center_row}")

    @property
    def row_edges(self) -> NDArray[np.floating]:
        """Edges [n_rows + 1] of the rows, rising, millimetres on the detector above the source's plane."""
        return (np.arange(self.n_rows + 1) - 0.5 - (self.n_rows - 1 - self.center_row)) * self.row_spacing

    def reach(self, radius: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Least and greatest z that all angles see at places ``radius`` from the axis, millimetres."""
        nearest = (self.fan.source_distance - radius) / (self.fan.source_distance + self.fan.detector_distance)
        return self.row_edges[0] * nearest, self.row_edges[-1] * nearest
