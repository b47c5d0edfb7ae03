"""The weight of a prior by Stein's unbiased risk estimate: the error of the picture, estimated without the truth.

Of a solution u(b) from measurements b = A x + n with Gaussian noise of known variances V the error of what it predicts,
|R (A u - A x)|^2 for any linear R, has the unbiased estimate (Stein 1981; with a random probe, Ramani, Blu and Unser
2008, doi 10.1109/TIP.2008.2001404)

    |R (A u(b) - b)|^2 + 2 <z, R^T R (A u(b + d z) - A u(b))> / d + constant,    z ~ N(0, V).

R brings errors of measurements to errors of the picture: of line integrals the ramp filter, by which their sum of
squares over all angles is the picture's (Parseval and the projection theorem; Kak and Slaney 1988, section 3.3).
Without it the errors of coarse structures count for most, and the estimate is flat where the picture is not. Unlike
measurements that are held out, nothing is taken from a solution that has few measurements to begin with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nerfkit.heldout import lowest_place
from nerfkit.solvers.primal_dual import State, TvSolver

__all__ = ["WeightChoice", "choose_tv_weight"]

# size of the probe in standard deviations of the noise: large enough that a solution of few steps answers it
PROBE = 0.3
# added to the seed: a simulation that drew its noise by the same seed would have the probe for its noise
PROBE_SEED = 7919
# ratio of neighbouring weights, and how many are tried at most
RATIO, MOST = 1.6, 12


@dataclass(frozen=True)
class WeightChoice:
    """A weight, a solution near it, and the curve that it was read from.

    Parameters
    ----------
    weight : float
        Of the total variation.
    state : State
        The solution with the nearest weight that was tried.
    curve : list of (float, float)
        Rising weights, and estimated errors less the least one.
    """

    weight: float
    state: State
    curve: list[tuple[float, float]]


def choose_tv_weight(
    solver: TvSolver, values: Tensor, deviations: Tensor, start: Tensor, first: float, *, n_steps: tuple[int, int],
    metric: Callable[[Tensor], Tensor] = lambda values: values, seed: int = 0,
    check: Callable[[], None] = lambda: None,
) -> WeightChoice:  # fmt: skip
    """The weight with the least estimated error.

    Weights fall from ``first`` until the estimate rises, or rise where it rose at once; a parabola through the least
    three gives the one between them.

    Parameters
    ----------
    solver : TvSolver
        For the values and their weights.
    values, deviations : Tensor
        Measurements and the standard deviation of their noise.
    start : Tensor
        A picture to begin with.
    first : float
        The weight that is tried first; rather too high, as solutions lose detail slowly and gain it fast.
    n_steps : (int, int)
        Of the first solution, and of each that begins with its neighbour.
    metric : callable
        R^T R on values.
    seed : int
        Of the probe.
    check : callable
        Called at each step; what it raises ends the search.
    """
    generator = torch.Generator().manual_seed(seed + PROBE_SEED)
    noise = torch.randn(values.shape, generator=generator, dtype=values.dtype).to(values.device) * deviations
    probe, both = metric(noise), torch.stack([values, values + PROBE * noise])
    states: dict[int, State] = {}
    risks: dict[int, float] = {}

    def attempt(place: int, state: State, n: int) -> None:
        states[place] = solver.solve(both, first * RATIO**place, state, n, check=check)
        seen = solver.instrument.product(states[place].picture)
        misfit, answer = seen[0] - values, (seen[1] - seen[0]) / PROBE
        risks[place] = _inner(misfit, metric(misfit)) + 2 * _inner(probe, answer)

    attempt(0, solver.begin(start.expand(2, *start.shape)), n_steps[0])
    while len(risks) < MOST and (place := _next_place(risks)) is not None:
        attempt(place, states[min(states) if place < 0 else max(states)], n_steps[1])
    least = min(risks, key=lambda place: risks[place])
    curve = [(first * RATIO**place, risk - risks[least]) for place, risk in sorted(risks.items())]
    picture, dual, slopes = states[least]
    return WeightChoice(first * RATIO ** lowest_place(risks), State(picture[0], dual[0], slopes[:, 0]), curve)


def _inner(a: Tensor, b: Tensor) -> float:
    return float((a.conj() * b).real.double().sum())


def _next_place(risks: dict[int, float]) -> int | None:
    """Beyond the end where the least stands; None when it has a neighbour on both sides."""
    least = min(risks, key=lambda place: risks[place])
    if least == min(risks):
        return least - 1
    return least + 1 if least == max(risks) else None
