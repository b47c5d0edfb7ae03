"""Where the axis of rotation is seen on the detector, when nobody says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import minimize_scalar
from torch import Tensor

from nerfkit.scenes.scan_geometry import ScanGeometry
from nerfkit.workbench.tomography.back_projection import filtered_back_projection
from nerfkit.workbench.tomography.scan import Scan
from nerfkit.workbench.tomography.trial import coarse_misfit

__all__ = ["find_centre"]

# bins round the first guess in which the sharpest picture is looked for, coarse steps of it, and pixels a side
REACH, COARSE, SIDE, FAN_SIDE = 6.0, 13, 192, 64


def find_centre(scan: Scan) -> ScanGeometry:
    """The geometry with the centre of rotation that fits a scan.

    Of parallel rays the centre of mass runs along a sine round it, whatever the object is (the first of the conditions
    of Helgason and Ludwig). From there the filtered back projection with the least sum of absolute values is looked
    for: a wrong centre adds streaks of both signs (Donath et al. 2006, doi 10.1364/JOSAA.23.001048, I_A). Of a fan it
    is the centre, from the middle of the detector on, with which a coarse picture explains most.
    """
    geometry, is_parallel = scan.geometry, scan.geometry.kind == "parallel"
    first = _by_mass(geometry, scan.sinogram) if is_parallel else geometry.center

    def score(center: float) -> float:
        centred = replace(geometry, center=float(np.clip(center, 0, geometry.n_bins - 1)))
        if not is_parallel:
            return coarse_misfit(scan, centred, FAN_SIDE)
        trial = replace(scan, geometry=centred, side=SIDE, pixel=2 * geometry.field_of_view / SIDE)
        return float(filtered_back_projection(trial, "hann").abs().sum())

    places = first + np.linspace(-REACH, REACH, COARSE)
    best = places[int(np.argmin([score(place) for place in places]))]
    step = places[1] - places[0]
    found = minimize_scalar(score, bounds=(best - step, best + step), method="bounded", options={"xatol": 0.02})
    return replace(geometry, center=float(np.clip(found.x, 0, geometry.n_bins - 1)))


def _by_mass(geometry: ScanGeometry, sinogram: Tensor) -> float:
    values = sinogram.double().clamp(min=0).numpy()
    mass = values.sum(1)
    if geometry.n_bins < 3 or (mass <= 0).any():
        return geometry.center
    middles = values @ np.arange(geometry.n_bins) / mass
    angles = geometry.radians
    sines = np.stack([np.ones_like(angles), np.cos(angles), np.sin(angles)], 1)
    found = np.linalg.lstsq(sines, middles, rcond=None)[0][0]
    return float(np.clip(found, 0.25 * geometry.n_bins, 0.75 * geometry.n_bins))
