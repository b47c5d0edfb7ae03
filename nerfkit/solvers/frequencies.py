"""How high the frequencies of a layer of sines have to be, by the residual at points that the solution did not see.

Frequencies are spread over an ellipsoid, a radius an axis: a front that stands still needs high ones along x and low
ones along t, and a ball for both would spend its features on what is not there. Where the residual at
points not seen was least, so was the error (docs/decisions/0042).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from nerfkit.problem import Term
from nerfkit.scenes.fields.sine_layer import SineLayer, ball_frequencies
from nerfkit.solvers.last_layer import draw, loss_of, solve_last_layer
from nerfkit.solvers.unknowns import Unknowns

__all__ = ["choose_radii", "make_sine_layer"]

# ratio of neighbouring radii, the place of the first one, and strides of the search
RATIO, FIRST, STRIDES = 1.5, 5, (2, 1)
# features of trials, rows for each, steps of Gauss-Newton, and points that judge
TRIAL_FEATURES, TRIAL_ROWS, TRIAL_STEPS, N_JUDGED = 300, 4.0, 6, 2**12
# highest place: 1.5**20 radians a half side are 500 waves
MOST_PLACE = 20


def make_sine_layer(
    sides: Sequence[tuple[float, float]], n_outputs: int, n_features: int, radii: Sequence[float], *, seed: int,
    device: str = "cpu",
) -> SineLayer:  # fmt: skip
    """A layer over a box with frequencies spread over an ellipsoid of ``radii``, radians per half side."""
    generator = torch.Generator().manual_seed(seed)
    freqs = ball_frequencies(n_features, len(sides), 1.0, generator) * torch.tensor(radii, dtype=torch.float64)
    phases = 2 * math.pi * torch.rand(n_features, generator=generator, dtype=torch.float64)
    return SineLayer(freqs, phases, sides, n_outputs).to(device)


def choose_radii(
    sides: Sequence[tuple[float, float]], terms: Sequence[Term], n_outputs: int, n_features: int, *, seed: int,
    device: str = "cpu", unknowns: Unknowns | None = None,
    on_trial: Callable[[list[float], float], bool] = lambda radii, loss: True,
) -> list[float]:  # fmt: skip
    """Radii for ``n_features`` features, one an axis.

    Axes are searched in turns, each up and down while the loss at held-out points falls, with few features; so many
    times more features fill an ellipsoid of so many times the volume as densely.

    Parameters
    ----------
    unknowns : Unknowns, optional
        Numbers that the terms read; each trial begins with them anew, and so does what follows.
    on_trial : callable
        Called with the radii of a trial and its loss at held-out points; whether there may be another.
    """
    n_trial = min(n_features, TRIAL_FEATURES)
    batches = draw(terms, int(TRIAL_ROWS * n_trial * n_outputs), torch.Generator(device).manual_seed(seed))
    held_out = draw(terms, N_JUDGED, torch.Generator(device).manual_seed(seed + 1))
    known: dict[tuple[int, ...], float] = {}
    may_go_on = True

    def loss_at(places: tuple[int, ...]) -> float:
        nonlocal may_go_on
        if places not in known and (not may_go_on or max(places) > MOST_PLACE or min(places) < 0):
            return math.inf
        if places not in known:
            radii = [RATIO**place for place in places]
            field = make_sine_layer(sides, n_outputs, n_trial, radii, seed=seed, device=device)
            solve_last_layer(field, batches, most_steps=TRIAL_STEPS, unknowns=unknowns)
            found = loss_of(field, held_out)
            if unknowns is not None:
                unknowns.reset()
            known[places] = found if math.isfinite(found) else math.inf
            may_go_on = on_trial(radii, known[places])
        return known[places]

    best = (FIRST,) * len(sides)
    for stride in STRIDES:
        while (better := _round(best, stride, loss_at)) != best:
            best = better
    factor = (n_features / n_trial) ** (1 / len(sides))
    return [RATIO**place * factor for place in best]


def _round(best: tuple[int, ...], stride: int, loss_at: Callable[[tuple[int, ...]], float]) -> tuple[int, ...]:
    """The best place after each axis was searched once."""
    for axis in range(len(best)):
        for step in (stride, -stride):
            while loss_at(moved := (*best[:axis], best[axis] + step, *best[axis + 1 :])) < loss_at(best):
                best = moved
    return best
