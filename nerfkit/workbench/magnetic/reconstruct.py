"""From k-space to a complex picture: noise, weight, a field, and what predicts held-out lines better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.fitting import FitSchedule
from nerfkit.scenes.kspace_data import KspaceData
from nerfkit.workbench.instrument_fit import instrument_problem
from nerfkit.workbench.job import Job
from nerfkit.workbench.regression import pixel_centres
from nerfkit.workbench.settings import AUTO

from .centre import noise_of
from .classical import KspaceProblem, choose_weight, least_variation, make_problem
from .held_lines import held_out, relative_error
from .phased_field import PhasedField, PhasedPicture, magnitude_field

__all__ = ["Reconstruction", "reconstruct"]

LEARNING_RATE = 2e-2
# the risk estimate sees the error of measured coefficients alone; for the whole picture about half of the weight that
# it finds is best (docs/decisions/0036)
RATIO = 0.5
# part of the steps, and of the seconds, that goes without what is held out; the rest has all values
HELD_FRACTION = 0.6


@dataclass(frozen=True)
class Reconstruction:
    """A complex picture and how it came about.

    Parameters
    ----------
    picture : ndarray of complex64, shape (h, w)
        In the data's unit.
    prior : str
        What made it: ``field`` or ``variation``.
    n_params : int
        Of the field; of total variation its pixels.
    problem : KspaceProblem
        What was solved.
    curve : list of (float, float)
        Weights, and errors that the risk estimate expects of them, less the least.
    holdout : float or None
        Relative error of held-out values.
    chosen : dict
        Noise, weight, prior and the held-out errors of each.
    """

    picture: NDArray[np.complex64]
    prior: str
    n_params: int
    problem: KspaceProblem
    curve: list[tuple[float, float]]
    holdout: float | None
    chosen: dict[str, Any]


def reconstruct(job: Job) -> Reconstruction:
    """Solve what the job's k-space asks for."""
    data: KspaceData = job.data
    config = job.config
    noise = config.noise or noise_of(data)
    job.say(f"noise: {noise:.4g}{'' if config.noise else ', estimated'}")
    problem = make_problem(data, noise, job.device)
    weight, curve = _weight(job, problem)
    is_held = held_out(data, config.seed).to(problem.values.device)
    fields = _Fields(job, problem, weight)
    makers = {"variation": lambda kept: _variation(job, problem, weight, kept), "field": fields.fit}
    names = list(makers) if config.prior == AUTO else [config.prior]
    errors: dict[str, float | None] = {}
    for name in names:
        predicted = problem.kspace.product(makers[name](1 - is_held))
        errors[name] = relative_error(predicted, problem.values, is_held)
    prior = min(names, key=lambda name: errors[name] or 0.0)
    picture = makers[prior](None)
    n_params = fields.n_params if prior == "field" else picture.numel()
    chosen = {
        "prior": prior, "noise": float(f"{noise:.5g}"), "weight": float(f"{weight:.5g}"),
        "by": "held-out lines" if len(names) > 1 else "given",
        "held_out": {name: None if error is None else round(error, 5) for name, error in errors.items()},
    }  # fmt: skip
    return Reconstruction(
        (picture * problem.unit).cpu().numpy(), prior, n_params, problem, curve, errors[prior], chosen
    )


def _weight(job: Job, problem: KspaceProblem) -> tuple[float, list[tuple[float, float]]]:
    """The weight that is given, or the chosen one and the curve that it was read from."""
    if job.config.weight is not None:
        return job.config.weight, []

    def compute() -> list[Any]:
        found = choose_weight(problem, job.config.seed, job.check_stopped)
        return [RATIO * found.weight, [list(pair) for pair in found.curve]]

    weight, curve = job.decide("weight", compute)
    job.say(f"weight of the total variation: {weight:.4g}, half of what the unbiased risk estimate finds")
    return weight, [(pair[0], pair[1]) for pair in curve]


@torch.no_grad()
def _variation(job: Job, problem: KspaceProblem, weight: float, kept: Tensor | None) -> Tensor:
    return least_variation(
        problem, torch.tensor([weight], device=problem.values.device), has_phase=True, kept=kept,
        check=job.check_stopped,
    )[0]  # fmt: skip


class _Fields:
    """One field, fitted to what is kept of the values, and from there to all of them."""

    def __init__(self, job: Job, problem: KspaceProblem, weight: float) -> None:
        self.job, self.problem, self.weight = job, problem, weight
        magnitude = magnitude_field(problem.shape, job.config.seed)
        self.field = PhasedField(magnitude, problem.centre.cpu()).to(job.device)
        self.n_params = sum(parameter.numel() for parameter in self.field.parameters())

    def fit(self, kept: Tensor | None) -> Tensor:
        """The complex picture [h, w] in the problem's unit, from values where ``kept`` is 1; None: from all."""
        problem, job = self.problem, self.job
        weights = problem.weights if kept is None else problem.weights * kept
        points = pixel_centres(*problem.shape).to(job.device)
        fitted = instrument_problem(
            self.field, PhasedPicture(problem.kspace), points, problem.values, weights, self.weight, n_dims=2,
            learning_rate=LEARNING_RATE, seed=job.config.seed,
        )  # fmt: skip
        n_held = round(HELD_FRACTION * job.config.steps)
        job.fit(
            "whole" if kept is None else "held_out", fitted,
            max(1, job.config.steps - n_held if kept is None else n_held),
            fraction=1.0 if kept is None else HELD_FRACTION, schedule=FitSchedule(final_fraction=0.02),
        )  # fmt: skip
        with torch.no_grad():
            return self.field(points).view(problem.shape) * self.field.phasor()
