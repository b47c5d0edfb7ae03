"""How fine the detail is that a field starts with, and its learning rate, chosen by held-out pixels of short fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from nerfkit.fitting import Budget, FitSchedule, fit
from nerfkit.heldout import Trial, search_line
from nerfkit.report.blocks import Chart, Series
from nerfkit.scenes.fields.named import RECIPES
from nerfkit.workbench.held_fields import make_held_field
from nerfkit.workbench.regression import decibels, pixel_centres, pixel_problem

__all__ = ["choice_chart", "choose_knob", "choose_rate", "detailed_part", "hold_out"]

# a trial's field, steps and pixels a step: what orders the candidates as the whole fit does, at a fraction of its price
TRIAL_PARAMS, TRIAL_STEPS, TRIAL_BATCH = 40_000, 120, 512
# fields whose trials see as much a step as their fits: a lattice, or look-ups that cost little
WHOLE_BATCHES = ("tiled", "hash", "exp-hash", "grid")
# side of the part of the picture that tiled fields are tried on; their networks see no more of it anyway
TRIAL_SIDE = 96
# fraction of the pixels that trials hold out
HELD_OUT = 0.1
# times that the default is halved or doubled at most
REACH = 4
# factors on the recipe's rate in the trials of sigma and scale: at the rate of whole fits short ones of a SIREN want
# twice the scale (docs/decisions/0048)
HASTE = {"siren": 2.0}
# times that the recipe's learning rate is halved at most; short fits like higher rates than whole ones, so that it is
# never raised (docs/decisions/0048)
RATE_REACH = 3


def hold_out(shape: Sequence[int], fraction: float, seed: int) -> Tensor:
    """Which pixels [h, w] are held out: each by chance, one at least."""
    generator = torch.Generator().manual_seed(seed)
    held_out = torch.rand(tuple(shape), generator=generator) < fraction
    if fraction > 0 and not held_out.any():
        held_out.view(-1)[int(torch.randint(held_out.numel(), (1,), generator=generator))] = True
    return held_out


def detailed_part(values: Tensor, side: int) -> Tensor:
    """The square part [side, side, c] of a picture [h, w, c] with the strongest differences of neighbours."""
    height, width, _ = values.shape
    rows, cols = min(side, height), min(side, width)
    energy = torch.zeros(height, width)
    energy[:-1] += values.diff(dim=0).square().mean(-1).cpu()
    energy[:, :-1] += values.diff(dim=1).square().mean(-1).cpu()
    sums = torch.nn.functional.pad(energy.cumsum(0).cumsum(1), (1, 0, 1, 0))
    inside = sums[rows:, cols:] - sums[:-rows, cols:] - sums[rows:, :-cols] + sums[:-rows, :-cols]
    top, left = divmod(int(inside.argmax()), inside.shape[1])
    return values[top : top + rows, left : left + cols]


def choose_knob(
    name: str, values: Tensor, known: Tensor, bounds: list[list[float]], n_params: int, *, seed: int,
    check: Callable[[], None] = lambda: None, options: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The value of a field's sigma or scale that predicts held-out pixels best.

    Parameters
    ----------
    name : str
        The field.
    values : Tensor, shape (h, w, c)
        The picture.
    known : Tensor of bool, shape (h, w)
        Pixels that may be used.
    bounds, n_params, options
        As :func:`nerfkit.workbench.held_fields.make_held_field` takes them.
    check : callable
        Called before each trial; may raise.

    Returns
    -------
    chosen : dict
        ``knob``, its name; ``value``; and what was tried: ``tried`` [[value, held-out PSNR], ...].
    """
    recipe, trials = RECIPES[name], _Trials(name, values, known, bounds, n_params, seed, check, options)

    def attempt(value: float, best: Trial[float] | None = None) -> Trial[float]:
        return trials.attempt(value, value, HASTE.get(name, 1.0) * recipe.learning_rate)

    first = attempt(recipe.default)
    found = search_line(first, lambda place: recipe.default * 2.0**place if abs(place) <= REACH else None, attempt)
    best = min(found.values(), key=lambda trial: trial.mse)
    return {"knob": recipe.knob, "value": best.setting, "tried": trials.told(found.values())}


def choose_rate(
    name: str, values: Tensor, known: Tensor, bounds: list[list[float]], n_params: int, knob: float | None, *,
    seed: int, check: Callable[[], None] = lambda: None, options: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Adam's rate: the recipe's, or half, a quarter, ... of it where that predicts held-out pixels better.

    Parameters
    ----------
    name, values, known, bounds, n_params, seed, check, options
        As :func:`choose_knob` takes them.
    knob : float or None
        Value of the field's sigma or scale; None: its default.

    Returns
    -------
    chosen : dict
        ``value``, and ``tried`` [[rate, held-out PSNR], ...].
    """
    rate = RECIPES[name].learning_rate
    trials = _Trials(name, values, known, bounds, n_params, seed, check, options)

    def attempt(value: float, best: Trial[float] | None = None) -> Trial[float]:
        return trials.attempt(value, knob, value)

    found = search_line(
        attempt(rate), lambda place: rate * 2.0**place if -RATE_REACH <= place < 0 else None, attempt
    )  # fmt: skip
    best = min(found.values(), key=lambda trial: trial.mse)
    return {"value": best.setting, "tried": trials.told(found.values())}


class _Trials:
    """Short fits of a field to a picture, or to the part of it with the most detail."""

    def __init__(
        self, name: str, values: Tensor, known: Tensor, bounds: list[list[float]], n_params: int, seed: int,
        check: Callable[[], None], options: dict[str, Any] | None,
    ) -> None:  # fmt: skip
        if name == "tiled":
            n_pixels = values.shape[0] * values.shape[1]
            marked = torch.cat([values, known[..., None].to(values)], -1)
            part = detailed_part(marked, TRIAL_SIDE)
            values, known = part[..., :-1].contiguous(), part[..., -1] > 0
            n_params = max(16, n_params * values.shape[0] * values.shape[1] // n_pixels)
        else:
            n_params = min(n_params, TRIAL_PARAMS)
        self.name, self.values, self.known, self.bounds, self.n_params = name, values, known, bounds, n_params
        self.seed, self.check, self.options = seed, check, options
        self.held_out = hold_out(values.shape[:2], HELD_OUT, seed + 1).to(known.device) & known

    def attempt(self, setting: float, knob: float | None, learning_rate: float) -> Trial[float]:
        """The squared errors of held-out pixels after a short fit."""
        self.check()
        (height, width, n_channels), batch = self.values.shape, RECIPES[self.name].batch
        held = make_held_field(
            self.name, (width, height), self.bounds, self.n_params, seed=self.seed, knob=knob,
            device=str(self.values.device), options=self.options,
        )  # fmt: skip
        problem = pixel_problem(
            held.field, self.values, self.known & ~self.held_out, learning_rate=learning_rate,
            n=batch if self.name in WHOLE_BATCHES else TRIAL_BATCH, seed=self.seed,
        )  # fmt: skip
        fit(problem, Budget(steps=TRIAL_STEPS), schedule=FitSchedule(final_fraction=0.02))
        with torch.no_grad():
            rows = self.held_out.view(-1).nonzero()[:, 0]
            predicted = held.field(pixel_centres(height, width).to(self.values.device)[rows])
        errors = predicted - self.values.view(height * width, n_channels)[rows]
        return Trial(setting, torch.empty(0), errors.square().mean(-1))

    def told(self, found: Iterable[Trial[float]]) -> list[list[float]]:
        """Settings and PSNR of trials, by setting."""
        span = self.bounds[0][1] - self.bounds[0][0]
        return sorted([trial.setting, round(decibels(trial.mse, span), 3)] for trial in found)


def choice_chart(chosen: dict[str, Any]) -> Chart:
    """The held-out PSNR of what was tried."""
    tried = chosen["tried"]
    series = Series("held out", [value for value, _ in tried], [psnr for _, psnr in tried])
    return Chart(f"How fine: {chosen['knob']} {chosen['value']:g} is taken", [series], chosen["knob"], "dB")
