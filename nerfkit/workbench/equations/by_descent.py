"""An equation solved by gradient descent: a network of sines, all its weights by Adam, new points at every step."""

from __future__ import annotations

from nerfkit.problem import Problem
from nerfkit.scenes.fields.named import count_parameters
from nerfkit.workbench.equation import Equation
from nerfkit.workbench.equations.solution import Solution, judge
from nerfkit.workbench.held_fields import make_held_equation_field
from nerfkit.workbench.job import Job

__all__ = ["solve_by_descent"]

# parameters of the network where nobody says
N_PARAMS = 9_000


def solve_by_descent(job: Job, equation: Equation) -> Solution:
    """Minimise the residuals on points that are drawn anew at every step."""
    config = job.config
    scale = config.scale or equation.scale
    held = make_held_equation_field(
        equation.sides, equation.n_outputs, config.n_params or N_PARAMS, config.n_layers, scale, seed=config.seed,
        device=job.device,
    )  # fmt: skip
    problem = Problem(held.field, equation.terms, learning_rate=config.learning_rate, seed=config.seed)
    n_params = count_parameters(held.field)
    job.say(f"Adam: {n_params:,} parameters, residuals on new points at every step")
    done = job.fit("solve", problem, config.steps)
    loss, residual = judge(held.field, equation.terms, config.seed, job.device)
    return Solution(
        "adam", held, n_params, loss, residual, not done.is_cut, {"scale": scale},
        f"a network of sines by Adam, {done.steps} steps",
    )  # fmt: skip
