"""Pictures that agree with a linear observation and have little total variation: the primal-dual algorithm.

min_u 1/2 sum w |A u - b|^2 + lambda TV(u), u >= a bound or not, by Chambolle and Pock 2011 (doi
10.1007/s10851-010-0251-1, algorithm 1), with A scaled to norm 1. Pictures may be complex, of any number of
dimensions, and several may be sought at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from nerfkit.scenes.observations.instrument import Instrument

__all__ = ["State", "TvSolver", "gradient"]

# steps of the power iteration that estimates the norm, and what it may be short by
POWER_STEPS, NORM_MARGIN = 20, 1.02
# ratio of the primal step to the dual one, for pictures whose values are about 1
STEP_RATIO = 10.0


class State(NamedTuple):
    """Where the algorithm stands: another solution begins there, and needs fewer steps than from its picture alone."""

    # [..., *shape]
    picture: Tensor
    # of the data, scaled [..., *values_shape]
    dual: Tensor
    # of the slopes [n_dims, ..., *shape]
    slopes: Tensor


def gradient(picture: Tensor, n_dims: int) -> Tensor:
    """Forward differences [n_dims, ..., *shape] along the last ``n_dims`` axes, 0 at the far border."""
    return torch.stack([
        pad(picture.diff(dim=axis), [0, 0] * (-axis - 1) + [0, 1]) for axis in range(-n_dims, 0)
    ])  # fmt: skip


def _divergence(parts: Tensor, n_dims: int) -> Tensor:
    """Minus the transpose of :func:`gradient`."""
    found = torch.zeros_like(parts[0])
    for part, axis in zip(parts, range(-n_dims, 0), strict=True):
        n = part.shape[axis] - 1
        inner = part.narrow(axis, 0, n)
        found.narrow(axis, 0, n).add_(inner)
        found.narrow(axis, 1, n).sub_(inner)
    return found


class TvSolver:
    """Solutions for one instrument and one set of weights.

    Parameters
    ----------
    instrument : Instrument
        Its ``product`` and ``adjoint`` take several pictures at once, along a leading axis.
    weights : Tensor
        1 / variance of each value, of the values' shape; 0: it was not measured.
    shape : tuple of int
        Of a picture.
    least : float, optional
        Bound of the picture's values from below; complex pictures have none.
    dtype : torch.dtype
        Of pictures.
    power_steps : int
        Of the power iteration that estimates the norm.
    """

    def __init__(
        self, instrument: Instrument, weights: Tensor, shape: tuple[int, ...], *, least: float | None = 0.0,
        dtype: torch.dtype = torch.float32, power_steps: int = POWER_STEPS,
    ) -> None:  # fmt: skip
        self.instrument, self.shape, self.least, self.dtype = instrument, tuple(shape), least, dtype
        self.unit = float(weights.max().sqrt()) or 1.0
        self._root = weights.sqrt() / self.unit
        picture = torch.ones(self.shape, dtype=dtype, device=weights.device)
        norm = 1.0
        for _ in range(power_steps):
            picture = instrument.adjoint(self._root.square() * instrument.product(picture))
            norm = float(torch.linalg.vector_norm(picture)) or 1.0
            picture = picture / norm
        self._norm = norm**0.5 * NORM_MARGIN

    def begin(self, start: Tensor) -> State:
        """A state from pictures [..., *shape]."""
        picture = start.to(self.dtype)
        dual = torch.zeros(*start.shape[: -len(self.shape)], *self._root.shape, dtype=self.dtype, device=start.device)
        return State(picture, dual, torch.zeros_like(gradient(picture, len(self.shape))))

    @torch.no_grad()
    def solve(
        self, values: Tensor, tv_weight: Tensor | float, state: State, n_steps: int, *, scale: float = 1.0,
        check: Callable[[], None] = lambda: None,
    ) -> State:  # fmt: skip
        """``n_steps`` of the algorithm from a state.

        Parameters
        ----------
        values : Tensor
            What was measured [..., *values_shape].
        tv_weight : Tensor or float
            Lambda, one or one for each picture.
        state : State
            Where to begin.
        n_steps : int
            Of the algorithm.
        scale : float
            About how large the picture's values are: steps are in proportion to it.
        check : callable
            Called at each step; what it raises ends the solution.
        """
        n_dims, factor = len(self.shape), self._root / self._norm
        tau = STEP_RATIO / (1 + 4 * n_dims) ** 0.5 * scale
        sigma = 1 / ((1 + 4 * n_dims) * tau)
        data = values * factor
        # lambda against squared errors of the scaled values
        bound = torch.as_tensor(tv_weight, dtype=torch.float32) / (self.unit * self._norm) ** 2
        bound = bound.view(*bound.shape, *[1] * n_dims).clamp(min=1e-20)
        picture, dual, slopes = state
        ahead = picture
        for _ in range(n_steps):
            check()
            dual = (dual + sigma * (self.instrument.product(ahead) * factor - data)) / (1 + sigma)
            slopes = slopes + sigma * gradient(ahead, n_dims)
            slopes = slopes / (slopes.abs().square().sum(0).sqrt() / bound).clamp(min=1)
            moved = picture - tau * (self.instrument.adjoint(dual * factor) - _divergence(slopes, n_dims))
            if self.least is not None:
                moved = moved.clamp(min=self.least)
            ahead, picture = 2 * moved - picture, moved
        return State(picture, dual, slopes)
