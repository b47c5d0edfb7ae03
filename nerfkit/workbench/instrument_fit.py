"""A field fitted to what an instrument measured of all of it: squared errors by their noise, and total variation.

1/2 sum w |A u - b|^2 + lambda TV(u), which :mod:`nerfkit.solvers.primal_dual` minimises over pixels, is minimised over
the weights of a network. The field is evaluated on the whole grid at each step: a few rays cost more and see less.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nerfkit.problem import Problem, Term
from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.measurements.whole import Whole
from nerfkit.scenes.observations.instrument import Measured, WholePicture
from nerfkit.solvers.primal_dual import gradient

__all__ = ["instrument_problem", "smooth_total_variation"]

# slopes below this fraction of the picture's scale count by their squares: |x| has no derivative at 0
SMOOTH = 1e-3


def smooth_total_variation(picture: Tensor, n_dims: int, smooth: float = SMOOTH) -> Tensor:
    """Sum of sqrt(|gradient|^2 + smooth^2) - smooth over the cells of ``picture`` [..., *shape], a scalar."""
    squares = gradient(picture, n_dims).abs().square().sum(0)
    return ((squares + smooth**2).sqrt() - smooth).sum()


def _squared(values: Tensor) -> Tensor:
    """Squared magnitudes; torch's ``abs`` of complex numbers takes a root that is then squared."""
    return torch.view_as_real(values).square().sum(-1) if values.is_complex() else values.square()


def instrument_problem(
    field: Any, observation: WholePicture, points: Tensor, values: Tensor, weights: Tensor, tv_weight: float, *,
    n_dims: int, learning_rate: float, seed: int,
) -> Problem:  # fmt: skip
    """The problem of a field and one set of measurements.

    Parameters
    ----------
    field : Field
        What is sought.
    observation : WholePicture
        The instrument, and how the field's values become its picture.
    points : Tensor, shape (n, d)
        The instrument's grid.
    values, weights : Tensor
        What was measured, and 1 / variance of each.
    tv_weight : float
        Lambda, for slopes from cell to cell.
    n_dims : int
        Last axes of the picture along which it varies.
    """

    def loss(predicted: Measured, measured: Tensor) -> Tensor:
        misfit = 0.5 * (weights * _squared(predicted.values - measured)).sum()
        # of the size of 1, whatever the noise: Adam's steps do not depend on it, what is printed does
        return (misfit + tv_weight * smooth_total_variation(predicted.picture, n_dims)) / values.numel()

    batch = Measurements(points, values)
    return Problem(field, [Term(observation, Whole(batch), loss)], learning_rate=learning_rate, seed=seed)
