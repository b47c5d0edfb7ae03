"""How well a coarse picture explains a scan: by what geometries are compared."""

from __future__ import annotations

import math

import torch

from nerfkit.scenes.scan_geometry import ScanGeometry
from nerfkit.solvers.primal_dual import TvSolver
from nerfkit.workbench.tomography.back_projection import filtered_back_projection
from nerfkit.workbench.tomography.scan import Scan

__all__ = ["coarse_misfit", "misfit"]

# pixels a side, and steps of the primal-dual algorithm
SIDE, STEPS = 96, 60


def misfit(scan: Scan, picture: torch.Tensor) -> float:
    """Mean squared misfit of a picture, in variances of the noise."""
    known = scan.deviations.isfinite()
    left = (scan.instrument.product(picture) - scan.sinogram) / scan.deviations
    return float(left[known].square().mean())


def coarse_misfit(scan: Scan, geometry: ScanGeometry, side: int = SIDE) -> float:
    """:func:`misfit` of a picture of ``side`` pixels that was made with another geometry; infinite where the source of
    a fan stands within the picture.
    """
    width = 2 * geometry.field_of_view
    if geometry.kind == "fan" and geometry.source_distance <= 1.01 * width / 2**0.5:
        return math.inf
    trial = Scan(geometry, scan.sinogram, scan.deviations, side, width / side)
    solver = TvSolver(trial.instrument, trial.weights, (side, side))
    start = filtered_back_projection(trial, "hann").clamp(min=0)
    unit = float(start.max()) or 1.0
    return misfit(trial, solver.solve(trial.sinogram, 0.0, solver.begin(start), STEPS, scale=unit).picture)
