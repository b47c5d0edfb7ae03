"""Holes filled by a network of least total variation; its weight, held-out holes choose."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.fitting import Budget, FitSchedule, fit
from nerfkit.heldout import Trial, search_line
from nerfkit.problem import Term
from nerfkit.scenes.fields.named import RECIPES, count_parameters
from nerfkit.scenes.measurements.domains import Box
from nerfkit.scenes.observations.differences import NeighbourDifferences, total_variation
from nerfkit.workbench.held_fields import make_held_field
from nerfkit.workbench.inpainting.filled import REACH, Filled, choice_charts, tried_rows
from nerfkit.workbench.inpainting.holes import held_out_holes
from nerfkit.workbench.job import Job
from nerfkit.workbench.many.beginning import begin_with
from nerfkit.workbench.regression import pixel_problem, sample_picture

__all__ = ["fill_by_network"]

# weight of the total variation of a network's field, where nothing chooses and where a search begins
VARIATION, VARIATION_STEP = 0.1, 3.0
# points at which it is taken in a step
VARIATION_POINTS = 2048
# of networks: steps of a fit and of a trial, and parameters unless they are given
STEPS, TRIAL_STEPS, N_PARAMS = 300, 100, 34_000


def fill_by_network(job: Job, name: str) -> Filled:
    """A field of least total variation that has the values of the known pixels."""
    config, recipe, span = job.config, RECIPES[name], job.data.picture.range
    width, height = job.data.picture.size
    values = torch.from_numpy(job.data.picture.values).to(job.device)
    known = torch.from_numpy(job.data.known)
    bounds = [list(span)] * values.shape[2]
    start = begin_with(job, values.shape[2], (width, height))
    bounds = bounds if start is None else start.bounds
    fixed_knob = config.knob if start is None else start.knob
    n_params = (config.n_params or N_PARAMS) if start is None else start.n_params
    rate = config.learning_rate or (recipe.learning_rate if start is None else start.rate)
    # differences of range 1: the weight means the same for any unit
    domain = Box([(0.0, width - 1.0), (0.0, height - 1.0)])

    def make(knob: float, variation: float, seen: torch.Tensor) -> tuple[Any, Any]:
        held = make_held_field(
            name, (width, height), bounds, n_params, seed=config.seed, knob=knob, device=job.device,
            options=None if start is None else start.options,
        )  # fmt: skip
        if start is not None:
            start.adapt(held, values, seen.to(values.device))
        weight = variation * (span[1] - span[0])
        smooth = Term(NeighbourDifferences(), domain, total_variation, weight, VARIATION_POINTS)
        problem = pixel_problem(
            held.field, values, seen.to(values.device), learning_rate=rate, n=recipe.batch, seed=config.seed,
            extra=[smooth] if variation else [],
        )  # fmt: skip
        return held, problem

    def sampled(held: Any) -> torch.Tensor:
        return sample_picture(held.field, (width, height), (width, height))

    def errors(held: Any, held_out: NDArray[np.bool_]) -> torch.Tensor:
        difference = (sampled(held) - values.cpu())[torch.from_numpy(held_out)] / (span[1] - span[0])
        return difference.double().square().mean(-1)

    held_out = held_out_holes(job.data.known, config.seed + 1, config.holdout)

    def attempt(setting: tuple[float, float], best: Any) -> Trial[tuple[float, float]] | None:
        return fitted(setting) if job.limit.allows(0, "the choice of detail and smoothness") else None

    def fitted(setting: tuple[float, float]) -> Trial[tuple[float, float]]:
        job.check_stopped()
        held, problem = make(*setting, known & ~torch.from_numpy(held_out))
        steps = min(TRIAL_STEPS, config.steps or TRIAL_STEPS)
        fit(problem, Budget(steps=steps), schedule=FitSchedule(final_fraction=0.02))
        return Trial(setting, torch.empty(0), errors(held, held_out))

    def search() -> dict[str, Any]:
        knob = fixed_knob or recipe.default
        variation = VARIATION if config.variation is None else config.variation
        tried, best = {}, None
        if recipe.knob and fixed_knob is None:
            best = fitted((knob, variation))
            found = search_line(best, lambda at: (knob * 2.0**at, variation) if abs(at) <= REACH else None, attempt)
            best = min(found.values(), key=lambda trial: trial.mse)
            tried[recipe.knob] = tried_rows([(trial.setting[0], trial) for trial in found.values()])
            knob = best.setting[0]
        if config.variation is None:
            best = fitted((knob, variation)) if best is None else best
            step = VARIATION_STEP
            found = search_line(best, lambda at: (knob, variation * step**at) if abs(at) <= REACH else None, attempt)
            best = min(found.values(), key=lambda trial: trial.mse)
            tried["variation"] = tried_rows([(trial.setting[1], trial) for trial in found.values()])
            variation = best.setting[1]
        return {"knob": knob, "variation": variation, "tried": tried}

    job.say("choosing the field's detail and its smoothness by holes that are moved onto known pixels")
    chosen = dict(job.decide("choice", search))
    knob, variation = chosen.pop("knob"), chosen["variation"]
    steps = config.steps or STEPS
    others = held_out_holes(job.data.known, config.seed + 2, config.holdout)
    held, problem = make(knob, variation, known & ~torch.from_numpy(others))
    job.fit("held_out", problem, steps, fraction=0.5)
    mse = float(errors(held, others).mean())
    held_out_fit, (held, problem) = held, make(knob, variation, known)
    held.go_on_from(held_out_fit)
    job.fit("fit", problem, steps)
    if recipe.knob:
        chosen[recipe.knob] = knob
    charts = choice_charts(chosen["tried"])
    return Filled(sampled(held).numpy(), count_parameters(held.field), mse, chosen, charts, held)
