"""Phase and sensitivities together with the picture: each in turn, the other being known.

The centre of k-space gives a phase without its detail, and what is wrong with it no real picture explains. So the
squared misfit of all coefficients is lessened by the few control values of :mod:`.smooth_maps` (L-BFGS, Liu and Nocedal
1989), between steps towards the picture of least total variation; for unknown coils this is joint estimation of
picture and sensitivities (Ying and Sheng 2007, doi 10.1002/mrm.21245).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nerfkit.solvers.primal_dual import TvSolver

from .classical import KspaceProblem, start_of
from .smooth_maps import control_values, directions, smooth_coils

__all__ = ["first_controls", "refine", "with_controls"]

# steps towards the picture and of the control values in a round
PICTURE_STEPS, MAP_STEPS = 40, 8
# rounds at most; the fall of the misfit in a round, as a fraction of it, below which there is no next one
MOST_ROUNDS, LEAST_FALL = 20, 0.02
# weight of the total variation meanwhile, for a picture of peak 1 and noise 1: a fourth of where its choice begins
WEIGHT = 0.2


def first_controls(problem: KspaceProblem) -> Tensor:
    """Control values [n, k, l] of the sensitivities where they were estimated, else of the centre's phase [1, k, l]."""
    coils = problem.kspace.sensitivities
    if problem.has_coils:
        return control_values(problem.centre[None])
    return control_values(coils * problem.centre.abs())


def with_controls(problem: KspaceProblem, controls: Tensor) -> KspaceProblem:
    """The problem with that phase, or with those sensitivities, which then hold the phase too."""
    if problem.has_coils:
        return problem.changed(problem.kspace.sensitivities, directions(controls, problem.shape)[0])
    coils = smooth_coils(controls, problem.shape)
    return problem.changed(coils, torch.ones_like(coils[0]))


def refine(
    problem: KspaceProblem, controls: Tensor, kept: Tensor | None, check: Callable[[], None] = lambda: None
) -> Tensor:
    """Control values that explain the measurements better.

    Parameters
    ----------
    problem : KspaceProblem
        With the phase and the sensitivities of the centre.
    controls : Tensor, shape (n, k, l)
        Where to begin.
    kept : Tensor, optional
        1 where values count, 0 where they are held out.
    check : callable
        Called at each step towards the picture; what it raises ends this.
    """
    weights = problem.weights if kept is None else problem.weights * kept
    controls = controls.clone().requires_grad_(True)
    solver = state = None
    before = float("inf")
    for _ in range(MOST_ROUNDS):
        with torch.no_grad():
            now = with_controls(problem, controls)
        if solver is None or state is None:
            solver = TvSolver(now.phased, weights, problem.shape)
            state = solver.begin(start_of(now, kept))
        # smooth maps of size 1 leave the norm of the instrument as it is
        solver.instrument = now.phased
        state = solver.solve(problem.values, WEIGHT / problem.noise, state, PICTURE_STEPS, check=check)
        misfit = _lessen(problem, controls, state.picture, weights)
        if misfit > before * (1 - LEAST_FALL):
            break
        before = misfit
    return controls.detach()


def _lessen(problem: KspaceProblem, controls: Tensor, picture: Tensor, weights: Tensor) -> float:
    """Change the control values to lessen the misfit of that picture [h, w]; returns what it was."""
    optimiser = torch.optim.LBFGS([controls], max_iter=MAP_STEPS, line_search_fn="strong_wolfe")

    def misfit() -> Tensor:
        optimiser.zero_grad()
        predicted = with_controls(problem, controls).phased.apply(picture)
        loss = 0.5 * (weights * (predicted - problem.values).abs().square()).mean()
        loss.backward()
        return loss

    return torch.as_tensor(optimiser.step(misfit)).item()
