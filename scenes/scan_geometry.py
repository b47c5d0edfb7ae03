"""Where the rays of a tomograph run: parallel ones, or a fan from a source to a flat detector.

The plane has x to the right and y up, in millimetres, its origin on the axis of rotation. At the angle theta the
detector's axis is (cos theta, sin theta) and rays run along (sin theta, -cos theta), so that a parallel ray that meets
the detector at s is x cos theta + y sin theta = s (Kak and Slaney 1988, eq. 3.3). The source of a fan turns with it: at
theta = 0 it stands above the object.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["GEOMETRIES", "ScanGeometry"]

GEOMETRIES = ("parallel", "fan")


@dataclass(frozen=True)
class ScanGeometry:
    """Angles, bins and distances of a scan.

    Parameters
    ----------
    kind : {"parallel", "fan"}
        How the rays of one angle run.
    angles : tuple of float
        In degrees, anticlockwise with y up.
    n_bins : int
        Bins of the detector.
    bin_spacing : float
        From one to the next, millimetres; a bin is as wide.
    center : float
        Where the axis of rotation is seen on the detector, in bins: bin k has its middle at k.
    source_distance, detector_distance : float
        From the axis to the source and to the detector, millimetres, above 0; of a fan.

    Examples
    --------
    >>> scan = ScanGeometry("fan", (0.0, 90.0), 5, 2.0, 2.0, source_distance=100.0, detector_distance=100.0)
    >>> round(float(scan.field_of_view), 2)
    2.5
    """

    kind: str
    angles: tuple[float, ...]
    n_bins: int
    bin_spacing: float
    center: float
    source_distance: float = 0.0
    detector_distance: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in GEOMETRIES:
            raise ValueError(f"geometry must be one of {', '.join(GEOMETRIES)}; got {self.kind!r}")
        if not self.angles or not np.isfinite(self.angles).all():
            raise ValueError(f"angles must be finite numbers of degrees, one at least; got {list(self.angles)}")
        if self.n_bins < 2 or not self.bin_spacing > 0:
            raise ValueError(
                f"a detector has two bins or more and a bin_spacing above 0; got {self.n_bins} of {self.bin_spacing}"
            )
        if not 0 <= self.center <= self.n_bins - 1:
            raise ValueError(f"center must lie on the detector, between 0 and {self.n_bins - 1}; got {self.center}")
        if self.kind == "fan" and not (self.source_distance > 0 and self.detector_distance > 0):
            raise ValueError(
                "a fan has a source_distance and a detector_distance above 0, from the axis; got "
                f"{self.source_distance} and {self.detector_distance}"
            )

    @property
    def radians(self) -> NDArray[np.floating]:
        """The angles [n]."""
        return np.deg2rad(np.asarray(self.angles, np.float64))

    @property
    def edges(self) -> NDArray[np.floating]:
        """Edges [n_bins + 1] of the bins on the detector, millimetres from where the axis is seen."""
        return (np.arange(self.n_bins + 1) - 0.5 - self.center) * self.bin_spacing

    @property
    def magnification(self) -> float:
        """Size on the detector of what has size 1 at the axis."""
        return 1.0 if self.kind == "parallel" else 1 + self.detector_distance / self.source_distance

    @property
    def field_of_view(self) -> float:
        """Radius round the axis that the detector sees at every angle, millimetres."""
        reach = min(self.center + 0.5, self.n_bins - 0.5 - self.center) * self.bin_spacing
        if self.kind == "parallel":
            return reach
        return self.source_distance * np.sin(np.arctan2(reach, self.source_distance + self.detector_distance))

    def take(self, rows: Any) -> Self:
        """The same with the angles ``rows`` alone."""
        return replace(self, angles=tuple(np.asarray(self.angles)[rows]))
