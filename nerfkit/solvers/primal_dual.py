"""Pictures that agree with a linear observation and have little total variation: the primal-dual algorithm.

min_u 1/2 sum w |A u - b|^2 + lambda TV(u), u >= a bound or not, by Chambolle and Pock 2011 (doi
10.1007/s10851-010-0251-1, algorithm 1), with A scaled to norm 1. Pictures and volumes may be complex, of any number of
dimensions, and several may be sought at once. Where instruments of very different norms have measured, each value may
have a step of its own (Pock and Chambolle 2011, doi 10.1109/ICCV.2011.6126441).
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


def _ascend(slopes: Tensor, picture: Tensor, sigma: float, bound: Tensor, n_dims: int) -> None:
    """A step of the slopes [n_dims, ..., *shape] along the gradient, and back to lengths of at most ``bound``."""
    for part, axis in zip(slopes, range(-n_dims, 0), strict=True):
        part.narrow(axis, 0, part.shape[axis] - 1).add_(picture.diff(dim=axis), alpha=sigma)
    # torch.linalg.vector_norm along the first axis is thirty times as slow
    lengths = slopes.abs().square_().sum(0).sqrt_()
    slopes.div_(lengths.div_(bound).clamp_(min=1))


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
    rows : Tensor, optional
        Factors of the values' shape that bring the parts of an instrument to one norm; the solution is the same, and
        found in fewer steps. None: all are 1.
    norm : float, optional
        Bound of the norm of the instrument times ``rows``, for weights of 0 to 1; None: it is estimated, and the
        instrument scaled to norm 1.
    power_steps : int
        Of the power iteration that estimates the norm.
    """

    def __init__(
        self, instrument: Instrument, weights: Tensor, shape: tuple[int, ...], *, least: float | None = 0.0,
        dtype: torch.dtype = torch.float32, rows: Tensor | None = None, norm: float | None = None,
        power_steps: int = POWER_STEPS,
    ) -> None:  # fmt: skip
        self.instrument, self.shape, self.least, self.dtype = instrument, tuple(shape), least, dtype
        self.unit = float(weights.max().sqrt()) or 1.0
        self._root = weights.sqrt() / self.unit
        self._rows = torch.ones_like(self._root) if rows is None else rows
        # what the instrument is divided by, and the bound of its squared norm then
        self._norm, self._bound = (self._estimated_norm(power_steps), 1.0) if norm is None else (1.0, norm**2)

    def _estimated_norm(self, power_steps: int) -> float:
        """Of the scaled instrument, by a power iteration."""
        picture = torch.ones(self.shape, dtype=self.dtype, device=self._root.device)
        squared, norm = (self._rows * self._root).square(), 1.0
        for _ in range(power_steps):
            picture = self.instrument.adjoint(squared * self.instrument.product(picture))
            norm = float(torch.linalg.vector_norm(picture)) or 1.0
            picture = picture / norm
        return norm**0.5 * NORM_MARGIN

    def begin(self, start: Tensor) -> State:
        """A state from pictures [..., *shape]."""
        picture = start.to(self.dtype)
        # values may be complex where pictures are not
        values = self.instrument.product(torch.zeros(self.shape, dtype=self.dtype, device=start.device))
        dual = values.new_zeros(*start.shape[: -len(self.shape)], *self._root.shape)
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
        n_dims, factor = len(self.shape), self._rows * self._root / self._norm
        tau = STEP_RATIO / (self._bound + 4 * n_dims) ** 0.5 * scale
        sigma = 1 / ((self._bound + 4 * n_dims) * tau)
        data = values * factor
        # lambda against squared errors of the scaled values
        bound = torch.as_tensor(tv_weight, dtype=torch.float32) / (self.unit * self._norm) ** 2
        bound = bound.view(*bound.shape, *[1] * n_dims).clamp(min=1e-20)
        # what is given stays as it is; what is here changes in place
        picture, dual, slopes = (part.clone() for part in state)
        ahead = picture.clone()
        shrink = 1 / (1 + sigma * self._rows.square())
        for _ in range(n_steps):
            check()
            dual.add_(self.instrument.product(ahead).mul(factor).sub_(data), alpha=sigma).mul_(shrink)
            _ascend(slopes, ahead, sigma, bound, n_dims)
            step = self.instrument.adjoint(dual * factor) - _divergence(slopes, n_dims)
            ahead.copy_(picture)
            picture.sub_(step, alpha=tau)
            if self.least is not None:
                picture.clamp_(min=self.least)
            ahead.mul_(-1).add_(picture, alpha=2)
        return State(picture, dual, slopes)
