"""A field of the position alone, measured beside the guided one: a sine network stopped before it learns the noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.fitting import Budget, FitSchedule, fit
from nerfkit.heldout import Trial, search_line
from nerfkit.problem import Problem, Term
from nerfkit.scenes.fields.siren import Siren, SirenConfig
from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.observations.points import PointValues

__all__ = ["CoordinateFit", "fit_coordinate_field"]

# factors of the first sine that are tried, the middle one first, and steps of a trial and of the final fit
SCALES, TRIAL_STEPS, STEPS = (8.0, 12.0, 18.0, 27.0, 40.0), 200, 800
# pixels in a step; fraction of the pixels that is held out; steps between two judgements
BATCH, HELD_OUT, JUDGE_EVERY = 4096, 0.1, 25
LEARNING_RATE = 1e-3
CHUNK = 2**15


@dataclass(frozen=True)
class CoordinateFit:
    """The picture [h, w, c] by a field of the position alone, and what held-out pixels chose."""

    picture: NDArray[np.float32]
    # factor of the first sine, and the step after which held-out noisy pixels were predicted best
    scale: float
    step: int
    # mean squared error of held-out noisy pixels: it holds the noise's variance
    held_out_mse: float


class _EarlyStopping(Problem):
    """Pixels at their places; the weights that predict held-out pixels best are kept."""

    def __init__(self, field: Siren, known: Measurements, held_out: Measurements, seed: int) -> None:
        super().__init__(
            field, [Term(PointValues(), known, n=min(BATCH, len(known)))], learning_rate=LEARNING_RATE, seed=seed
        )
        self.held_out = held_out
        self.best_step, self.squares = 0, torch.full((len(held_out),), math.inf)
        self.best = {name: value.clone() for name, value in field.state_dict().items()}

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Judge from time to time."""
        if step % JUDGE_EVERY:
            return
        squares = (self.field(self.held_out.where) - self.held_out.values).square().mean(1)
        if squares.mean() < self.squares.mean():
            self.best_step, self.squares = step, squares
            self.best = {name: value.clone() for name, value in self.field.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """The problem, and the best weights."""
        best = {"best": self.best, "best_step": self.best_step, "squares": self.squares}
        return {**super().state_dict(), **best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        super().load_state_dict(state)
        self.best, self.best_step, self.squares = state["best"], state["best_step"], state["squares"]


def fit_coordinate_field(
    picture: NDArray[np.float32], *, seconds: float = math.inf, seed: int = 0, width: int = 96, n_layers: int = 3,
    scales: tuple[float, ...] = SCALES, steps: int = STEPS,
) -> CoordinateFit:  # fmt: skip
    """Fit a sine network to a noisy picture; its scale and its last step are those that predict held-out pixels best.

    Parameters
    ----------
    picture : ndarray, shape (h, w, c)
        Noisy values.
    seconds : float
        A limit; unless it is met the result does not depend on it.
    seed : int
        Of the initial weights, the batches, and what is held out.
    width, n_layers : int
        Of the network.
    scales : tuple of float
        Factors of the first sine to choose from.
    steps : int
        Of the final fit.
    """
    height, n_cols, n_channels = picture.shape
    rows, cols = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(n_cols) + 0.5, indexing="ij")
    places = torch.stack([cols, rows], -1).reshape(-1, 2)
    pixels = Measurements(where=places, values=torch.from_numpy(np.ascontiguousarray(picture)).view(-1, n_channels))
    known, held_out = pixels.hold_out(HELD_OUT, torch.Generator().manual_seed(seed))
    bounds = torch.tensor([[-0.05, 1.05]]).expand(n_channels, 2)
    schedule = FitSchedule(final_fraction=0.05, epsilon=1e-8)

    def solve(scale: float, n_steps: int, limit: float) -> tuple[_EarlyStopping, Trial[float]]:
        generator = torch.Generator().manual_seed(seed)
        field = Siren(SirenConfig(width, n_layers, scale), (n_cols, height), bounds, generator)
        problem = _EarlyStopping(field, known, held_out, seed)
        fit(problem, Budget(limit, n_steps), schedule=schedule)
        field.load_state_dict(problem.best)
        return problem, Trial(scale, torch.empty(0), problem.squares)

    def attempt(scale: float, best: Trial[float]) -> Trial[float]:
        return solve(scale, min(TRIAL_STEPS, steps), seconds / 10)[1]

    middle = len(scales) // 2
    first = solve(scales[middle], min(TRIAL_STEPS, steps), seconds / 10)[1]
    found = search_line(
        first, lambda place: scales[middle + place] if 0 <= middle + place < len(scales) else None, attempt
    )
    scale = min(found.values(), key=lambda trial: trial.mse).setting
    problem, trial = solve(scale, steps, seconds / 2)
    return CoordinateFit(_rendered(problem.field, places, picture.shape), scale, problem.best_step, trial.mse)


@torch.no_grad()
def _rendered(field: Siren, places: Tensor, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return torch.cat([field(part) for part in places.split(CHUNK)]).view(shape).clamp(0, 1).numpy()
