"""From a scan to a picture: the prior's weight by the unbiased risk, a field fitted with it, and how sure it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nerfkit.fitting import FitSchedule
from nerfkit.scenes.observations.instrument import WholePicture
from nerfkit.solvers.primal_dual import TvSolver
from nerfkit.solvers.risk import RATIO, choose_tv_weight
from nerfkit.solvers.spread import noise_spread
from nerfkit.workbench.held_fields import HeldField
from nerfkit.workbench.instrument_fit import instrument_problem
from nerfkit.workbench.job import Job
from nerfkit.workbench.regression import pixel_centres
from nerfkit.workbench.tomography.back_projection import filtered_back_projection, ramp
from nerfkit.workbench.tomography.field import make_attenuation_field
from nerfkit.workbench.tomography.scan import Scan

__all__ = ["Smooth", "choose_weight", "fit_field", "noise_deviation", "quick_picture", "unit_of"]

# steps of the primal-dual algorithm: of the first solution, and of each next one
FIRST_STEPS, NEXT_STEPS = 300, 120
# the weight by which the field is smoothed, times the curvature of the misfit, where the search begins; seven scans
# had their best between 0.9 and 1.3 (docs/decisions/0035)
FIRST_WEIGHT = 1.1 * RATIO
# of the field's fit
STEPS, RATE, WARMUP = 500, 1e-2, 10
# a field is smooth by itself: of the weight that pixels want it takes this part (docs/decisions/0035)
FIELD_WEIGHT = 0.8
# rays that the fit does not see
HELD_OUT = 0.02


@dataclass(frozen=True)
class Smooth:
    """The picture of least total variation, and the weight that it has.

    Parameters
    ----------
    weight : float
        Lambda, for a picture in the unit of :func:`unit_of`.
    picture : Tensor, shape (side, side)
        In that unit.
    deviation : Tensor, shape (side, side)
        How much it would differ had the noise been another, standard deviation, in that unit.
    curve : list of (float, float)
        Weights that were tried, and the estimated error of each less the least one's.
    """

    weight: float
    picture: Tensor
    deviation: Tensor
    curve: list[tuple[float, float]]


def quick_picture(scan: Scan) -> Tensor:
    """A picture [side, side] to begin with, not below 0."""
    return filtered_back_projection(scan, "hann").clamp(min=0) * scan.seen


def unit_of(picture: Tensor) -> float:
    """The size of its values, so that steps and bounds fit any unit."""
    values = picture[picture > 0]
    return float(values.sort().values[int(0.99 * (len(values) - 1))]) if len(values) else 1.0


def curvature(scan: Scan) -> float:
    """Root of the misfit's second derivative by a pixel's value, all rays as sure as a usual one."""
    sure = scan.deviations[scan.deviations.isfinite()]
    return float((scan.instrument.squares / int(scan.seen.sum()) / sure.square().mean()).sqrt())


def choose_weight(
    scan: Scan, start: Tensor, *, weight: float | None, seed: int, check: Callable[[], None] = lambda: None
) -> Smooth:  # fmt: skip
    """The weight of the total variation, and its picture.

    Parameters
    ----------
    scan : Scan
        In units of :func:`unit_of`.
    start : Tensor
        A picture in that unit.
    weight : float, optional
        Lambda; None: by the unbiased risk estimate.
    seed : int
        Of the probe, and of the noise of repetitions.
    check : callable
        Called at each step; may raise.
    """
    solver = TvSolver(scan.instrument, scan.weights, (scan.side, scan.side))
    deviations = torch.where(scan.deviations.isfinite(), scan.deviations, 0.0)
    curve = []
    if weight is None:
        found = choose_tv_weight(
            solver, scan.sinogram, deviations, start, FIRST_WEIGHT * curvature(scan),
            n_steps=(FIRST_STEPS, NEXT_STEPS), metric=ramp, seed=seed, check=check,
        )  # fmt: skip
        weight, curve, state = found.weight, found.curve, found.state
    else:
        state = solver.solve(scan.sinogram, weight, solver.begin(start), FIRST_STEPS, check=check)
    state = solver.solve(scan.sinogram, weight, state, NEXT_STEPS, check=check)
    spread = noise_spread(solver, scan.sinogram, deviations, weight, state, seed=seed, check=check)
    return Smooth(weight, state.picture, spread, curve)


def fit_field(job: Job, scan: Scan, smooth: Smooth, floor: float, scale: float) -> tuple[HeldField, float]:
    """The field, in the unit of the result, and the root mean square error of held-out rays in the scan's unit.

    ``floor`` and ``scale`` are what 0 and 1 of :func:`unit_of`'s unit become.
    """
    recipe = {"side": scan.side, "radius": scan.radius, "floor": floor, "scale": scale}
    held = make_attenuation_field(recipe, seed=job.config.seed)
    generator = torch.Generator().manual_seed(job.config.seed)
    kept = (torch.rand(scan.sinogram.shape, generator=generator) >= HELD_OUT) & scan.deviations.isfinite()
    points = pixel_centres(scan.side, scan.side)

    def picture(values: Tensor) -> Tensor:
        return ((values[:, 0] - floor) / scale).view(scan.side, scan.side)

    problem = instrument_problem(
        held.field, WholePicture(scan.instrument, picture), points, scan.sinogram, scan.weights * kept,
        FIELD_WEIGHT * smooth.weight, n_dims=2, learning_rate=RATE, seed=job.config.seed,
    )  # fmt: skip
    schedule = FitSchedule(final_fraction=0.02, warmup_steps=WARMUP)
    job.fit("field", problem, job.config.steps or STEPS, schedule=schedule)
    with torch.no_grad():
        misfit = scan.instrument.product(picture(held.field(points))) - scan.sinogram
    left = misfit[~kept & scan.deviations.isfinite()]
    return held, float(left.square().mean().sqrt()) if len(left) else 0.0


def noise_deviation(sinogram: Tensor) -> float:
    """Standard deviation of the noise of line integrals, from fourth differences from bin to bin.

    What is seen changes little over five bins, but at few edges, which the median does not see. Seven made scans: right
    to within 8 %.
    """
    coefficients: Any = torch.tensor([1.0, -4.0, 6.0, -4.0, 1.0], dtype=torch.float64)
    differences = sinogram.double().unfold(-1, 5, 1) @ (coefficients / coefficients.norm())
    known = differences[differences.isfinite()].abs()
    return float(known.median()) / 0.6745 if len(known) else 0.0
