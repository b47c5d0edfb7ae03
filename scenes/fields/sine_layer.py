"""One layer of sines with fixed frequencies, whose last layer a solver finds: fields that are linear in their weights.

u(x) = sin(K x + b) A. Everything that is asked of such a field, value or derivative, is linear in A, so that a residual
that is linear in the field is solved exactly by least squares (random features: Rahimi and Recht 2007; for equations
as "extreme learning machines": Dwivedi and Srinivasan 2020, doi 10.1016/j.neucom.2019.12.099).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nerfkit.scenes.fields.taylor import Taylor

__all__ = ["SineLayer", "ball_frequencies", "second_pairs"]


def ball_frequencies(n: int, n_dims: int, radius: float, generator: torch.Generator) -> Tensor:
    """Frequencies [n, n_dims], float64, spread evenly over a ball."""
    directions = torch.randn(n, n_dims, generator=generator, dtype=torch.float64)
    radii = radius * torch.rand(n, 1, generator=generator, dtype=torch.float64) ** (1 / n_dims)
    return directions / directions.norm(dim=-1, keepdim=True) * radii


def second_pairs(freqs: Tensor, order: int | str) -> Tensor:
    """Products of frequencies [p, n] that second derivatives bring, in the order of ``Taylor.second``."""
    if order == "laplacian":
        return freqs.square().sum(-1)[None]
    rows, cols = torch.triu_indices(freqs.shape[1], freqs.shape[1])
    return (freqs[:, rows] * freqs[:, cols]).T


class SineLayer(nn.Module):
    """Sines of fixed frequencies and phases, times weights.

    Parameters
    ----------
    freqs : Tensor, shape (n_features, d)
        Radians per half side of the box.
    phases : Tensor, shape (n_features,)
        Radians.
    box : sequence of (float, float), length d
        Least and greatest coordinate along each axis: it becomes [-1, 1]^d.
    n_outputs : int
        Functions; each has weights of its own for the same sines.

    Notes
    -----
    Computes in float64; what comes back is float64 where the coordinates are, else float32.

    Examples
    --------
    >>> layer = SineLayer(torch.tensor([[torch.pi]]), torch.zeros(1), [(0, 2)], 1)
    >>> with torch.no_grad():
    ...     _ = layer.weights.fill_(3.0)
    >>> round(layer(torch.tensor([[1.5]])).item(), 3)
    3.0
    """

    def __init__(self, freqs: Tensor, phases: Tensor, box: Sequence[tuple[float, float]], n_outputs: int) -> None:
        super().__init__()
        n_features, self.n_dims = freqs.shape
        if len(box) != self.n_dims or not all(low < high for low, high in box):
            raise ValueError(f"box must have {self.n_dims} pairs (least, greatest) of coordinates; got {list(box)}")
        if phases.shape != (n_features,):
            raise ValueError(f"phases must have shape ({n_features},); got {tuple(phases.shape)}")
        self.n_features, self.n_outputs = n_features, n_outputs
        limits = torch.tensor(box, dtype=torch.float64)
        half = (limits[:, 1] - limits[:, 0]) / 2
        self.slopes: Tensor
        self.phases: Tensor
        # by the coordinates' own unit
        self.register_buffer("slopes", freqs.double() / half)
        self.register_buffer("phases", phases.double() - self.slopes @ limits.mean(-1))
        self.weights = nn.Parameter(torch.zeros(n_features, n_outputs, dtype=torch.float64))

    def forward(self, coords: Tensor) -> Tensor:
        """Values [..., n_outputs] at ``coords`` [..., d]."""
        if coords.shape[-1:] != (self.n_dims,):
            raise ValueError(f"coords must have shape (..., {self.n_dims}); got {tuple(coords.shape)}")
        values = torch.sin(self._angles(coords.reshape(-1, self.n_dims))) @ self.weights
        return _as_wide(values, coords).reshape(*coords.shape[:-1], self.n_outputs)

    def taylor(self, coords: Tensor, order: int | str) -> Taylor:
        """Values and derivatives by the coordinates at ``coords`` [n, d]; of order 0 none."""
        angles = self._angles(coords)
        sines = torch.sin(angles)
        value = _as_wide(sines @ self.weights, coords)
        if order == 0:
            return Taylor(value, value.new_zeros(len(coords), 0, self.n_outputs))
        first = torch.cos(angles) @ _columns(self.slopes.T, self.weights)
        first = _as_wide(first.view(len(coords), self.n_dims, -1), coords)
        if order == 1:
            return Taylor(value, first)
        second = sines @ _columns(-second_pairs(self.slopes, order), self.weights)
        return Taylor(value, first, _as_wide(second.view(len(coords), -1, self.n_outputs), coords))

    def rows(self, coords: Tensor, by_value: Tensor, by_first: Tensor | None, by_second: Tensor | None) -> Tensor:
        """Derivatives [n, n_features] by the weights of one output of what depends on its values and derivatives.

        Parameters
        ----------
        coords : Tensor, shape (n, d)
            Points.
        by_value, by_first, by_second : Tensor, shapes (n,), (n, d), (n, p)
            How what is asked depends on the value, first and second derivatives there (p = 1: the Laplacian, where d
            is more than 1).
        """
        angles = self._angles(coords)
        found = torch.sin(angles)
        factor = by_value[:, None]
        if by_second is not None:
            order = "laplacian" if by_second.shape[1] == 1 else 2
            factor = factor - by_second @ second_pairs(self.slopes, order)
        found.mul_(factor)
        if by_first is not None:
            found.addcmul_(angles.cos_(), by_first @ self.slopes.T)
        return found

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """The weights, for Adam."""
        return [{"params": [self.weights], "lr": learning_rate}]

    def _angles(self, coords: Tensor) -> Tensor:
        return torch.addmm(self.phases, coords.double(), self.slopes.T)


def _columns(factors: Tensor, weights: Tensor) -> Tensor:
    """Weights [m, k * c] of k derivatives that multiply the features by ``factors`` [k, m]."""
    return (factors.T[:, :, None] * weights[:, None]).flatten(1)


def _as_wide(values: Tensor, coords: Tensor) -> Tensor:
    return values.to(torch.promote_types(coords.dtype, torch.float32))
