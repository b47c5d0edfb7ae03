"""An equation solved by the last layer of fixed sines: exact where it is linear in the field, else Gauss-Newton."""

from __future__ import annotations

from typing import Any

import torch

from nerfkit.checkpoints import CheckpointFolder
from nerfkit.solvers.frequencies import choose_radii
from nerfkit.solvers.last_layer import (
    MOST_STEPS,
    ROWS_PER_WEIGHT,
    Solved,
    draw,
    solve_last_layer,
    spread_of_unknowns,
)
from nerfkit.workbench.equation import Equation
from nerfkit.workbench.equations.solution import Solution, judge
from nerfkit.workbench.held_fields import HeldField, make_held_sines
from nerfkit.workbench.job import Job

__all__ = ["solve_by_last_layer"]

# sines where nobody says; the system is rows * weights**2 operations
N_FEATURES = 1_000


def solve_by_last_layer(job: Job, equation: Equation) -> Solution:
    """Choose how high the frequencies are, and solve for the weights.

    Raises
    ------
    NotLeastSquares
        A term has another loss than the squared error.
    """
    config, terms, n_outputs = job.config, equation.terms, equation.n_outputs
    n_features = max(1, (config.n_params or N_FEATURES * n_outputs) // n_outputs)

    def on_trial(radii: list[float], loss: float) -> bool:
        job.check_stopped()
        return not job.limit.is_over

    def search() -> list[float]:
        radii = choose_radii(
            equation.sides, terms, n_outputs, n_features, seed=config.seed, device=job.device,
            unknowns=equation.unknowns, on_trial=on_trial,
        )  # fmt: skip
        if job.limit.is_over:
            job.limit.cut.append("the search for frequencies")
        return [float(f"{radius:.4g}") for radius in radii]

    radii = [config.scale] * len(equation.sides) if config.scale else job.decide("radii", search)
    job.say(f"last layer: {n_features:,} sines up to {_listed(radii)} radians a half side")
    held = make_held_sines(equation.sides, n_outputs, n_features, radii, seed=config.seed, device=job.device)
    rows = draw_rows(equation, n_features, config.seed, job.device)
    solved = _solve(job, held, rows)
    spreads = None if equation.unknowns is None else spread_of_unknowns(held.field, rows, equation.unknowns).tolist()
    loss, residual = judge(held.field, terms, config.seed, job.device)
    how = "exact in one step" if solved.is_linear else f"Gauss-Newton, {solved.n_steps} steps"
    return Solution(
        "last-layer", held, n_features * n_outputs, loss, residual, solved.is_converged,
        {"radii": radii}, f"the last layer of {n_features:,} fixed sines by least squares, {how}", spreads,
    )  # fmt: skip


def draw_rows(equation: Equation, n_features: int, seed: int, device: str) -> Any:
    """Points of the solution."""
    generator = torch.Generator(device).manual_seed(seed)
    return draw(equation.terms, int(ROWS_PER_WEIGHT * n_features * equation.n_outputs), generator)


def _solve(job: Job, held: HeldField, batches: Any) -> Solved:
    """Gauss-Newton, from the step at which an earlier attempt was stopped."""
    unknowns = job.data.unknowns
    folder = CheckpointFolder(job.run.folder / "checkpoints" / "last_layer")
    done = 0
    if folder.steps():
        state = folder.load_newest()
        held.field.load_state_dict(state["field"])
        if unknowns is not None:
            unknowns.values = state["unknowns"]
        done = state["steps"]

    class OverLimit(Exception):
        pass

    def on_step(step: int, loss: float) -> None:
        state = {"field": held.field.state_dict(), "steps": done + step}
        folder.save(done + step, state if unknowns is None else state | {"unknowns": unknowns.values})
        job.on_part(done + step, MOST_STEPS)
        job.check_stopped()
        if job.limit.is_over:
            raise OverLimit(step, loss)

    try:
        solved = solve_last_layer(
            held.field, batches, most_steps=max(1, MOST_STEPS - done), unknowns=unknowns, on_step=on_step
        )
    except OverLimit as over:
        step, loss = over.args
        job.limit.cut.append(f"Gauss-Newton after {done + step} steps")
        return Solved(loss, done + step, False, False)
    return Solved(solved.loss, done + solved.n_steps, solved.is_converged, solved.is_linear and not done)


def _listed(radii: list[float]) -> str:
    return " x ".join(f"{radius:.3g}" for radius in radii)
