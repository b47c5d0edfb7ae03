"""Products of fixed sines, one an axis, whose last layer a solver finds: waves that stand in a box.

u(x) = sum over j of A_j prod over i of sin(k_ji (x_i - o_i) + b_ji). With k_ji a multiple of pi over the side of the
box each product is 0 on the two faces across that axis (b = 0), or has no slope there (b = pi / 2): what is to hold on
the border holds exactly, and takes no term. It is the sum of the plane waves that reflections make of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nerfkit.scenes.fields.taylor import Taylor

__all__ = ["StandingWaves"]


class StandingWaves(nn.Module):
    """Products of sines of fixed frequencies, times weights.

    Parameters
    ----------
    freqs : Tensor, shape (n_features, d)
        Radians per unit of each coordinate.
    phases : Tensor, shape (n_features, d)
        Radians, at the ``origin``.
    origin : sequence of float, length d
        The corner of the box from which coordinates count.
    n_outputs : int
        Functions; each has weights of its own for the same products.

    Notes
    -----
    Computes in float64; what comes back is float64 where the coordinates are, else float32.

    Examples
    --------
    >>> field = StandingWaves(torch.tensor([[torch.pi, 0.0]]), torch.tensor([[0.0, torch.pi / 2]]), [0.0, 0.0], 1)
    >>> with torch.no_grad():
    ...     _ = field.weights.fill_(3.0)
    >>> round(field(torch.tensor([[0.5, 7.0]])).item(), 3)
    3.0
    """

    def __init__(self, freqs: Tensor, phases: Tensor, origin: Sequence[float], n_outputs: int) -> None:
        super().__init__()
        self.n_features, self.n_dims = freqs.shape
        if phases.shape != freqs.shape or len(origin) != self.n_dims:
            raise ValueError(
                f"phases must have the shape of freqs, {tuple(freqs.shape)}, and origin {self.n_dims} numbers; got "
                f"{tuple(phases.shape)} and {len(origin)}"
            )
        self.n_outputs = n_outputs
        self.freqs: Tensor
        self.phases: Tensor
        self.register_buffer("freqs", freqs.double())
        self.register_buffer("phases", phases.double() - self.freqs * torch.tensor(origin, dtype=torch.float64))
        self.weights = nn.Parameter(torch.zeros(self.n_features, n_outputs, dtype=torch.float64))

    def forward(self, coords: Tensor) -> Tensor:
        """Values [..., n_outputs] at ``coords`` [..., d]."""
        if coords.shape[-1:] != (self.n_dims,):
            raise ValueError(f"coords must have shape (..., {self.n_dims}); got {tuple(coords.shape)}")
        values = self._factors(coords.reshape(-1, self.n_dims)).value @ self.weights
        return _as_wide(values, coords).reshape(*coords.shape[:-1], self.n_outputs)

    def on_lattice(self, axes: Sequence[Tensor], weights: Tensor, *, is_slope: bool = False) -> Tensor:
        """Values, float64, at all combinations of the coordinates of ``axes``, [n_d, ..., n_1] of d = 2 or 3.

        ``weights`` [n_features] stand for the field's; ``is_slope`` asks for the derivative by the last coordinate.
        """
        angles = [axis.double()[:, None] * self.freqs[:, i] + self.phases[:, i] for i, axis in enumerate(axes)]
        last = torch.cos(angles[-1]) * self.freqs[:, -1] if is_slope else torch.sin(angles[-1])
        first, *others = [torch.sin(angle) for angle in angles[:-1]]
        if not others:
            return (last * weights) @ first.T
        return torch.stack([(others[0] * (weights * row)) @ first.T for row in last])

    @property
    def has_lattice(self) -> bool:
        """Whether rows and columns of a plane are evaluated faster than a list of points."""
        return self.n_dims == 2

    def lattice(self, ys: Tensor, xs: Tensor) -> tuple[Tensor, Tensor]:
        """The points at heights ``ys`` [n_rows] and ``xs`` [n_cols]."""
        return ys.to(self.weights.device), xs.to(self.weights.device)

    def evaluate_lattice(self, lattice: tuple[Tensor, Tensor]) -> Tensor:
        """Values [n_outputs, n_rows, n_cols], float32."""
        ys, xs = lattice
        return torch.stack([self.on_lattice([xs, ys], weights) for weights in self.weights.unbind(-1)]).float()

    def taylor(self, coords: Tensor, order: int | str, weights: Tensor | None = None) -> Taylor:
        """Values and derivatives by the coordinates at ``coords`` [n, d]; of order 0 none.

        ``weights`` [n, n_features], for each point, stand for the field's of one output.
        """
        n_second = {0: 0, 1: 0, "laplacian": 1}.get(order, len(_pairs(self.n_dims)))
        if weights is None and not self.weights.any():
            # a solver that begins asks what depends on what, not for values
            nothing = _as_wide(self.weights.new_zeros(len(coords), 1 + self.n_dims + n_second, self.n_outputs), coords)
            value, first, second = nothing.split([1, self.n_dims, n_second], 1)
            return Taylor(value[:, 0], first if order else first[:, :0], second if n_second else None)
        factors = self._factors(coords)

        def weighted(products: Tensor) -> Tensor:
            found = products @ self.weights if weights is None else (products * weights).sum(-1, keepdim=True)
            return _as_wide(found, coords)

        value = weighted(factors.value)
        if order == 0:
            return Taylor(value, value.new_zeros(len(coords), 0, self.n_outputs))
        first = torch.stack([weighted(factors.first(i)) for i in range(self.n_dims)], 1)
        if order == 1:
            return Taylor(value, first)
        if order == "laplacian":
            second = [weighted(factors.value * -self.freqs.square().sum(-1))]
        else:
            second = [weighted(factors.second(i, j)) for i, j in _pairs(self.n_dims)]
        return Taylor(value, first, torch.stack(second, 1))

    def rows(self, coords: Tensor, by_value: Tensor, by_first: Tensor | None, by_second: Tensor | None) -> Tensor:
        """Derivatives [n, n_features] by the weights of one output, as those of ``SineLayer.rows``."""
        factors, pairs = self._factors(coords), _pairs(self.n_dims)
        by_square = torch.zeros(len(coords), self.n_dims, dtype=torch.float64, device=coords.device)
        mixed = []
        if by_second is not None and by_second.shape[1] == 1:
            by_square = by_second.expand(-1, self.n_dims)
        elif by_second is not None:
            by_square = by_second[:, [pairs.index((i, i)) for i in range(self.n_dims)]]
            mixed = [(i, j, by_second[:, at]) for at, (i, j) in enumerate(pairs) if i != j]
        found = factors.value * (by_value[:, None] - by_square @ self.freqs.square().T)
        for i in range(self.n_dims if by_first is not None else 0):
            assert by_first is not None
            if by_first[:, i].any():
                found.addcmul_(by_first[:, i : i + 1], factors.first(i))
        for i, j, by in mixed:
            if by.any():
                found.addcmul_(by[:, None], factors.second(i, j))
        return found

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """The weights, for Adam."""
        return [{"params": [self.weights], "lr": learning_rate}]

    def _factors(self, coords: Tensor) -> _Factors:
        return _Factors(coords.double(), self.freqs, self.phases)


class _Factors:
    """The products at points [n, d], and their derivatives, [n, m] each."""

    def __init__(self, coords: Tensor, freqs: Tensor, phases: Tensor) -> None:
        self.freqs = freqs
        # a matrix an axis
        self.angles = [coords[:, i : i + 1] * freqs[:, i] + phases[:, i] for i in range(freqs.shape[1])]
        self.sines = [torch.sin(angle) for angle in self.angles]
        self.value = self._product({})

    def first(self, i: int) -> Tensor:
        """By coordinate i."""
        return self._product({i: torch.cos(self.angles[i]) * self.freqs[:, i]})

    def second(self, i: int, j: int) -> Tensor:
        """By coordinates i and j."""
        if i == j:
            return self.value * -self.freqs[:, i].square()
        return self._product({at: torch.cos(self.angles[at]) * self.freqs[:, at] for at in (i, j)})

    def _product(self, instead: dict[int, Tensor]) -> Tensor:
        first, *others = [instead.get(i, sines) for i, sines in enumerate(self.sines)]
        for other in others:
            first = first * other
        return first


def _pairs(n_dims: int) -> list[tuple[int, int]]:
    """In the order of ``Taylor.second``."""
    return [(i, j) for i in range(n_dims) for j in range(i, n_dims)]


def _as_wide(values: Tensor, coords: Tensor) -> Tensor:
    return values.to(torch.promote_types(coords.dtype, torch.float32))
