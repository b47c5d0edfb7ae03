"""Holes filled by pixels of least energy; which energy, held-out holes choose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.heldout import Trial, search_line
from nerfkit.workbench.inpainting.filled import REACH, Filled, choice_charts, tried_rows, unit_range
from nerfkit.workbench.inpainting.holes import GridEnergy, Smoothness, fill, held_out_holes
from nerfkit.workbench.job import Job

__all__ = ["fill_by_grid"]

# where the search for what is smooth begins and, unless another is surely better, stays; and the factors of its steps
CONTRAST, CONTRAST_STEP = 0.01, 2.0
BENDING, BENDING_STEP = 0.03, 3.0
# solves of a trial, which begins with the edges of the best one before
TRIAL_SOLVES = 2


def fill_by_grid(job: Job) -> Filled:
    """Pixels of least energy; what energy, held-out holes choose."""
    config, known = job.config, job.data.known
    span = job.data.picture.range
    values = unit_range(job.data.picture.values, span)
    energy = GridEnergy(known.shape)
    held_out = held_out_holes(known, config.seed + 1, config.holdout)

    def attempt(setting: Smoothness, best: Trial[Smoothness]) -> Trial[Smoothness] | None:
        return solved(setting, best.image.numpy()) if job.limit.allows(0, "the choice of what is smooth") else None

    def solved(setting: Smoothness, start: NDArray | None = None) -> Trial[Smoothness]:
        job.check_stopped()
        picture = fill(energy, values, known & ~held_out, setting, start, TRIAL_SOLVES)
        squares = np.square(picture - values)[held_out].mean(-1)
        return Trial(setting, torch.from_numpy(picture), torch.from_numpy(squares))

    def search() -> dict[str, Any]:
        contrast, bending = config.contrast or CONTRAST, BENDING if config.bending is None else config.bending
        best = solved(Smoothness(bending, contrast))
        tried: dict[str, list[list[float]]] = {}
        for what, start, step in (("contrast", contrast, CONTRAST_STEP), ("bending", bending, BENDING_STEP)):
            if getattr(config, what) is None:
                found = search_line(best, _along(best.setting, what, start, step), attempt)
                lowest = min(found.values(), key=lambda trial: trial.mse)
                best = lowest if lowest.is_surely_better(best) else best
                tried[what] = tried_rows([(getattr(trial.setting, what), trial) for trial in found.values()])
        return {"contrast": best.setting.contrast, "bending": best.setting.bending, "tried": tried}

    job.say("choosing what is smooth by holes that are moved onto known pixels")
    chosen = job.decide("smoothness", search)
    setting = Smoothness(chosen["bending"], chosen["contrast"])
    job.say(f"contrast {setting.contrast:g}, bending {setting.bending:g}: none is surely better at held-out pixels")

    def predict_others() -> float:
        others = held_out_holes(known, config.seed + 2, config.holdout)
        return float(np.square(fill(energy, values, known & ~others, setting) - values)[others].mean())

    mse = job.decide("held_out_mse", predict_others)
    picture = fill(energy, values, known, setting)
    image = (picture * (span[1] - span[0]) + span[0]).astype(np.float32)
    return Filled(image, image.size, mse, chosen, choice_charts(chosen["tried"]))


def _along(best: Smoothness, what: str, start: float, step: float) -> Any:
    """Settings along a line of one of the two numbers."""
    return lambda place: replace(best, **{what: start * step**place}) if abs(place) <= REACH else None
