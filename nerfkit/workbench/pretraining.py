"""The "best effort" of a ReLU network: its first half learns a periodic embedding before anything else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nerfkit.fitting import Budget, FitSchedule, fit
from nerfkit.problem import Problem, Term
from nerfkit.scenes.fields.encodings.fourier import FourierEncoding, gaussian_frequencies
from nerfkit.scenes.fields.encodings.learned import LearnedEncoding
from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.observations.points import PointValues

__all__ = ["STEPS", "teach_embedding"]

# steps, points a step and rate: a quarter of the fit that follows
STEPS, POINTS, LEARNING_RATE = 250, 2**10, 4e-3


class _Embedding:
    """Points of the unit square, drawn anew at every step, and their Fourier features."""

    def __init__(self, encoding: FourierEncoding) -> None:
        self.encoding = encoding

    def draw(self, n: int, generator: torch.Generator) -> Measurements:
        where = torch.rand(n, self.encoding.n_dims, generator=generator, device=generator.device)
        return Measurements(where, self.encoding(where))


class _Network:
    """The encoding's network as a field of the unit square."""

    def __init__(self, encoding: LearnedEncoding) -> None:
        self.encoding = encoding
        self.parameters, self.state_dict = encoding.parameters, encoding.state_dict
        self.load_state_dict, self.parameter_groups = encoding.load_state_dict, encoding.parameter_groups

    def __call__(self, coords: Tensor) -> Tensor:
        return self.encoding(coords)


def teach_embedding(field: Any, sigma: float, seed: int) -> None:
    """Let the learned encoding of ``field``, if it has one, give cosines and sines of frequencies N(0, sigma^2).

    Parameters
    ----------
    field : Field
        A coordinate field; any other is left as it is.
    sigma : float
        In cycles along the longer side.
    seed : int
        Of the frequencies and the points.
    """
    encoding = getattr(field, "encoding", None)
    if not isinstance(encoding, LearnedEncoding):
        return
    generator = torch.Generator().manual_seed(seed)
    frequencies = gaussian_frequencies(encoding.n_outputs // 2, encoding.n_dims, sigma, generator)
    target = FourierEncoding(frequencies, has_coords=False).to(next(encoding.parameters()).device)
    term = Term(PointValues(), _Embedding(target), n=POINTS)
    problem = Problem(_Network(encoding), [term], learning_rate=LEARNING_RATE, seed=seed)
    fit(problem, Budget(steps=STEPS), schedule=FitSchedule(final_fraction=0.02))
