"""Whether a picture explains a scan, and if not which mistake about the geometry would.

A scan whose geometry is right is explained to within its noise. Where it is not, the usual mistakes are undone one
after the other, and the one that explains it much better is named with the setting that undoes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from nerfkit.scenes.scan_geometry import ScanGeometry
from nerfkit.workbench.tomography.centre import find_centre
from nerfkit.workbench.tomography.scan import Scan
from nerfkit.workbench.tomography.trial import coarse_misfit

__all__ = ["explain"]

# mean squared misfit, in variances of the noise, from which on a scan is not explained: noise estimates are off by
# a tenth, pixels add some of their own
UNEXPLAINED = 1.6
# a mistake is named where undoing it leaves less than this part of the misfit beyond the noise
EXPLAINS = 0.5


def explain(scan: Scan, left: float) -> str | None:
    """What is to be said of a scan of which the picture leaves ``left`` of the misfit; None where all is well."""
    if left < UNEXPLAINED:
        return None
    now = coarse_misfit(scan, scan.geometry)
    found = [(coarse_misfit(scan, geometry), words) for geometry, words in _mistakes(scan)]
    least, words = min(found, default=(now, ""))
    says = f"the picture leaves {left:.1f} times the variance of the noise unexplained"
    if least - 1 < EXPLAINS * (now - 1):
        return f"{says}; it fits better with {words}"
    return (
        f"{says}, and no usual mistake about the geometry explains it: check the angles, the noise, the object's edge"
    )


def _mistakes(scan: Scan) -> Iterator[tuple[ScanGeometry, str]]:
    geometry = scan.geometry
    turned = replace(geometry, angles=tuple(-angle for angle in geometry.angles))
    yield turned, "angles that turn the other way: --set is_clockwise=true"
    centred = find_centre(scan)
    if abs(centred.center - geometry.center) > 0.25:
        yield centred, f"the centre of rotation at bin {centred.center:.2f}: --set center={centred.center:.2f}"
    if max(geometry.angles) - min(geometry.angles) < 7:
        degrees = replace(geometry, angles=tuple(torch.rad2deg(torch.tensor(geometry.angles)).tolist()))
        yield degrees, "angles in degrees: these look like radians"
    if geometry.kind == "fan":
        for name in ("source_distance", "detector_distance"):
            for factor in (0.1, 10.0):
                value = getattr(geometry, name) * factor
                yield replace(geometry, **{name: value}), f"{name} of {value:g} mm: --set {name}={value:g}"
        between = geometry.detector_distance - geometry.source_distance
        if between > 0:
            says = f"the detector {between:g} mm behind the axis, if its distance is given from the source"
            yield replace(geometry, detector_distance=between), f"{says}: --set detector_distance={between:g}"
