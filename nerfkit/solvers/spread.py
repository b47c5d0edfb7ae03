"""How sure a solution is: how much it would differ had the noise been another."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nerfkit.solvers.primal_dual import State, TvSolver

__all__ = ["noise_spread"]

# repetitions of the measurement, and steps in which a solution answers other noise
REPEATS, STEPS = 6, 80


def noise_spread(
    solver: TvSolver, values: Tensor, deviations: Tensor, weight: float, state: State, *, seed: int,
    check: Callable[[], None] = lambda: None,
) -> Tensor:  # fmt: skip
    """Standard deviation [h, w] of pictures from measurements with their noise drawn once more (parametric bootstrap).

    What the prior takes away or adds alike in all of them, its bias, is not in it.

    Parameters
    ----------
    solver : TvSolver
        That made the picture.
    values, deviations : Tensor
        Measurements and the standard deviation of their noise; of a complex draw's two parts together.
    weight : float
        Of the prior.
    state : State
        The solution.
    seed : int
        Of the noise.
    check : callable
        Called at each step; may raise.
    """
    generator = torch.Generator().manual_seed(seed + 1)
    draws = torch.randn(REPEATS, *values.shape, generator=generator, dtype=values.dtype).to(values.device)
    repeated = State(
        state.picture.expand(REPEATS, *state.picture.shape), state.dual.expand(REPEATS, *state.dual.shape),
        state.slopes[:, None].expand(-1, REPEATS, *state.slopes.shape[1:]),
    )  # fmt: skip
    found = solver.solve(values + draws * deviations, weight, repeated, STEPS, check=check).picture
    return (found - state.picture).abs().square().mean(0).sqrt()
