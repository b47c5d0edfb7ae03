"""From k-space to a complex picture: noise, phase, weight, pixels and a field, mixed by held-out values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.fitting import FitSchedule, Fittable
from nerfkit.scenes.kspace_data import KspaceData
from nerfkit.scenes.observations.instrument import WholePicture
from nerfkit.workbench.instrument_fit import instrument_problem
from nerfkit.workbench.job import Job
from nerfkit.workbench.regression import pixel_centres, pixel_problem
from nerfkit.workbench.settings import AUTO

from .centre import noise_of
from .classical import KspaceProblem, choose_weight, deviation_of, least_variation, make_problem
from .held_lines import best_share, held_out, relative_error
from .magnitude import magnitude_field
from .refine import first_controls, refine, with_controls

__all__ = ["Reconstruction", "reconstruct"]

# of the stage that copies a picture, and of those that go on from it
BEGIN_RATE, RATE, WARMUP = 1e-2, 2e-3, 10
# a field is smooth by itself: of the weight that pixels want it takes this part (docs/decisions/0035)
FIELD_WEIGHT = 0.8
# parts of the steps: to become the picture of least variation; without what is held out; the rest has all values
BEGIN_FRACTION, HELD_FRACTION = 0.25, 0.4
# part of the pixels that a step of copying takes
BEGIN_PIXELS = 0.25


@dataclass(frozen=True)
class Reconstruction:
    """A complex picture and how it came about.

    Parameters
    ----------
    picture : ndarray of complex64, shape (h, w)
        In the data's unit.
    deviation : ndarray of float32, shape (h, w)
        How much the pixels of least variation would differ had the noise been another, standard deviation.
    prior : str
        What made it: ``field``, ``variation`` or ``mean``, of both.
    n_params : int
        Of the field; of total variation its pixels.
    problem, refined : KspaceProblem
        With the phase and the sensitivities of the centre, and with those that were found.
    curve : list of (float, float)
        Weights, and errors that the risk estimate expects of them, less the least.
    holdout : float or None
        Relative error of held-out values.
    chosen : dict
        Noise, weight, prior, the field's share of the picture and the held-out errors of each.
    """

    picture: NDArray[np.complex64]
    deviation: NDArray[np.float32]
    prior: str
    n_params: int
    problem: KspaceProblem
    refined: KspaceProblem
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
    is_held = problem.kspace.of_grid(held_out(data, config.seed).to(problem.values.device))
    controls = _controls(job, "maps_held_out", problem, first_controls(problem), 1 - is_held)
    known = with_controls(problem, controls)
    weight, curve = _weight(job, known)
    fields = _Fields(job, weight)
    makers = {"variation": lambda part, kept: _variation(job, part, weight, kept), "field": fields.fit}
    names = list(makers) if config.prior == AUTO else [config.prior]
    predicted = {name: known.phased.product(makers[name](known, 1 - is_held)) for name in names}
    errors = {name: relative_error(values, problem.values, is_held) for name, values in predicted.items()}
    share = float(names == ["field"])
    if len(names) > 1:
        share = best_share(predicted["variation"], predicted["field"], problem.values, is_held)
        mixed = torch.lerp(predicted["variation"], predicted["field"], share)
        errors["mean"] = relative_error(mixed, problem.values, is_held)
    refined = with_controls(problem, _controls(job, "maps", problem, controls, None))
    pixels = makers["variation"](refined, None) if share < 1 else torch.zeros(problem.shape, device=job.device)
    picture = torch.lerp(pixels, makers["field"](refined, None), share) if share > 0 else pixels
    prior = {0.0: "variation", 1.0: "field"}.get(share, "mean")
    chosen = {
        "prior": prior, "noise": float(f"{noise:.5g}"), "weight": float(f"{weight:.5g}"),
        "field_share": round(share, 3), "by": "held-out samples" if len(names) > 1 else "given",
        "held_out": {name: None if error is None else round(error, 5) for name, error in errors.items()},
    }  # fmt: skip
    deviation = deviation_of(refined, weight, config.seed, job.check_stopped) * problem.unit
    pictured = (picture * refined.phasor * problem.unit).cpu().numpy()
    return Reconstruction(
        pictured, deviation.cpu().numpy(), prior, fields.n_params or picture.numel(), problem, refined, curve,
        errors[prior], chosen,
    )  # fmt: skip


def _controls(job: Job, name: str, problem: KspaceProblem, start: Tensor, kept: Tensor | None) -> Tensor:
    """Control values of the phase or the coils, as they were decided or now."""

    def compute() -> list[Any]:
        return torch.view_as_real(refine(problem, start, kept, job.check_stopped)).tolist()

    return torch.view_as_complex(torch.tensor(job.decide(name, compute), device=start.device))


def _weight(job: Job, problem: KspaceProblem) -> tuple[float, list[tuple[float, float]]]:
    """The weight that is given, or the chosen one and the curve that it was read from."""
    if job.config.weight is not None:
        return job.config.weight, []

    def compute() -> list[Any]:
        found = choose_weight(problem, job.config.seed, job.check_stopped)
        return [found.weight, [list(pair) for pair in found.curve]]

    weight, curve = job.decide("weight", compute)
    job.say(f"weight of the total variation: {weight:.4g}, by the unbiased risk estimate")
    return weight, [(pair[0], pair[1]) for pair in curve]


@torch.no_grad()
def _variation(job: Job, problem: KspaceProblem, weight: float, kept: Tensor | None) -> Tensor:
    """The magnitude [h, w] of least variation."""
    weights = torch.tensor([weight], device=problem.values.device)
    found = least_variation(problem, weights, has_phase=True, kept=kept, check=job.check_stopped)[0]
    return found.abs()


class _Fields:
    """One field: it becomes the picture of least variation, is fitted to what is kept of the values, then to all."""

    def __init__(self, job: Job, weight: float) -> None:
        self.job, self.weight, self.field = job, weight, None

    @property
    def n_params(self) -> int:
        """Of the field; 0 where none was fitted."""
        return 0 if self.field is None else sum(parameter.numel() for parameter in self.field.parameters())

    def fit(self, problem: KspaceProblem, kept: Tensor | None) -> Tensor:
        """The magnitude [h, w] in the problem's unit, from values where ``kept`` is 1; None: from all."""
        job, steps = self.job, self.job.config.steps
        points = pixel_centres(*problem.shape).to(job.device)
        n_begin, n_held = round(BEGIN_FRACTION * steps), round(HELD_FRACTION * steps)
        if self.field is None:
            self.field = magnitude_field(problem.shape, job.config.seed).to(job.device)
            start = _variation(job, problem, self.weight, kept)[..., None]
            known = torch.ones_like(start[..., 0], dtype=torch.bool)
            copied = pixel_problem(
                self.field, start, known, learning_rate=BEGIN_RATE, n=max(1, round(BEGIN_PIXELS * known.numel())),
                seed=job.config.seed,
            )  # fmt: skip
            self._go("begin", copied, n_begin, BEGIN_FRACTION)
        fitted = instrument_problem(
            self.field, WholePicture(problem.phased, lambda values: values.view(problem.shape)), points,
            problem.values, problem.weights if kept is None else problem.weights * kept, FIELD_WEIGHT * self.weight,
            n_dims=2, learning_rate=RATE, seed=job.config.seed,
        )  # fmt: skip
        if kept is None:
            self._go("whole", fitted, steps - n_begin - n_held, 1.0)
        else:
            self._go("held_out", fitted, n_held, HELD_FRACTION)
        with torch.no_grad():
            return self.field(points).view(problem.shape)

    def _go(self, stage: str, fitted: Fittable, steps: int, fraction: float) -> None:
        schedule = FitSchedule(final_fraction=0.02, warmup_steps=WARMUP)
        self.job.fit(stage, fitted, max(1, steps), fraction=fraction, schedule=schedule)
