"""Whether a picture explains a scan, and if not which mistake about the geometry would.

A scan whose geometry is right is explained to within its noise. Where it is not, the usual mistakes are undone one
after the other, and the one that explains it much better is named with the setting that undoes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from nerfkit.scenes.scan_geometry import ScanGeometry
from nerfkit.workbench.tomography.centre import find_centre
from nerfkit.workbench.tomography.scan import Scan
from nerfkit.workbench.tomography.trial import coarse_misfit

__all__ = ["Mistake", "explain", "find_mistake", "usual_distances"]

# mean squared misfit, in variances of the noise, from which on mistakes are looked for, as noise estimates are off by a
# tenth and pixels add some of their own; and from which on a scan is doubted although none is found: voxels of twice
# the detail's size leave 1.7
UNEXPLAINED, DOUBTFUL = 1.6, 3.0
# bins that a centre may be off, and the range of angles up to which they may be radians
OFF_CENTRE, MOST_RADIANS = 0.25, 7.0
# a mistake is named where undoing it leaves less than this part of the misfit beyond the noise
EXPLAINS = 0.5


@dataclass(frozen=True)
class Mistake:
    """What a scan fits better with.

    Parameters
    ----------
    words : str
        What it is, such as "source_distance of 100 mm".
    setting : str
        What undoes it, for ``--set``.
    before, after : float
        Misfit of a coarse picture as it is, and with the setting, in variances of the noise.
    """

    words: str
    setting: str
    before: float
    after: float


def find_mistake(scan: Scan) -> Mistake | None:
    """The usual mistake about the geometry that explains a scan best, if undoing one leaves much less of it."""
    now = coarse_misfit(scan, scan.geometry)
    if now < UNEXPLAINED:
        return None
    found = [
        Mistake(words, setting, now, coarse_misfit(scan, geometry)) for geometry, words, setting in _mistakes(scan)
    ]
    best = min(found, key=lambda mistake: mistake.after)
    return best if best.after - 1 < EXPLAINS * (now - 1) else None


def explain(scan: Scan, left: float) -> str | None:
    """What is to be said of a scan of which the picture leaves ``left`` of the misfit; None where all is well."""
    if left < UNEXPLAINED:
        return None
    mistake = find_mistake(scan)
    says = f"the picture leaves {left:.1f} times the variance of the noise unexplained"
    if mistake is not None:
        return f"{says}; it fits better with {mistake.words}: --set {mistake.setting}"
    if left < DOUBTFUL:
        return None
    return (
        f"{says}, and no usual mistake about the geometry explains it: check the angles, the noise, the object's edge"
    )


def _mistakes(scan: Scan) -> Iterator[tuple[ScanGeometry, str, str]]:
    geometry = scan.geometry
    turned = replace(geometry, angles=tuple(-angle for angle in geometry.angles))
    yield turned, "angles that turn the other way", "is_clockwise=true"
    centred = find_centre(scan)
    if abs(centred.center - geometry.center) > OFF_CENTRE:
        yield centred, f"the centre of rotation at bin {centred.center:.2f}", f"center={centred.center:.2f}"
    if max(geometry.angles) - min(geometry.angles) < MOST_RADIANS:
        degrees = tuple(np.rad2deg(geometry.angles).tolist())
        yield replace(geometry, angles=degrees), "angles in radians", "angle_unit=radians"
    if geometry.kind == "fan":
        yield from usual_distances(geometry)


def usual_distances(geometry: ScanGeometry) -> Iterator[tuple[ScanGeometry, str, str]]:
    """Centimetres for millimetres, or the reverse, of bins or of one of two distances or of both; the detector's
    distance from the source instead of the axis.
    """
    source, detector = geometry.source_distance, geometry.detector_distance
    tried = [
        ({name: getattr(geometry, name) * factor for name in names}, "if it is given in another unit")
        for names in (
            ("bin_spacing",), ("source_distance",), ("detector_distance",), ("source_distance", "detector_distance")
        )
        for factor in (0.1, 10.0)
    ]  # fmt: skip
    if detector > source:
        tried.append(({"detector_distance": detector - source}, "if its distance is given from the source"))
    for change, why in tried:
        words = " and ".join(f"{name} of {value:.6g} mm" for name, value in change.items())
        settings = " --set ".join(f"{name}={value:.6g}" for name, value in change.items())
        yield replace(geometry, **change), f"{words}, {why}", settings
