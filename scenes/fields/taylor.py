"""Derivatives that travel forward through a network: value, gradient and second derivatives, layer by layer together.

A value costs a product with each layer's matrix; each derivative costs one more, in the same call. Nothing is
differentiated backwards for them, so a loss of derivatives needs one backward pass, as any other loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["DERIVATIVES", "Taylor", "concatenated", "coordinates", "fourier_taylor", "propagate"]


class Taylor(NamedTuple):
    """Features of points, and their derivatives by the d coordinates."""

    # [n, w]
    value: Tensor
    # [n, d, w]
    first: Tensor
    # of pairs (0, 0), (0, 1), ..., (d-1, d-1), the first index not above the second, [n, d (d + 1) / 2, w]; or the
    # Laplacian [n, 1, w]; None: not asked for
    second: Tensor | None = None

    @property
    def is_trace(self) -> bool:
        """Whether the second derivatives are the Laplacian alone; in one dimension the two are the same."""
        return self.second is not None and self.second.shape[1] == 1

    def products(self, other: Tensor) -> Tensor:
        """Products of first derivatives [n, d, w] that belong to the second ones: of pairs, or their sum."""
        if self.is_trace:
            return (self.first * other).sum(1, keepdim=True)
        rows, cols = torch.triu_indices(self.first.shape[1], self.first.shape[1])
        return self.first[:, rows] * other[:, cols]

    def centred(self) -> Taylor:
        """The unit cube as [-1, 1]."""
        return Taylor(self.value * 2 - 1, self.first * 2, None if self.second is None else self.second * 2)

    def through(self, function: tuple[Tensor, Tensor, Tensor | None]) -> Taylor:
        """After a function of each value, given as its value and derivatives there [n, w] (the chain rule)."""
        value, slope, curvature = function
        second = None
        if self.second is not None and curvature is not None:
            second = curvature[:, None] * self.products(self.first) + slope[:, None] * self.second
        return Taylor(value, slope[:, None] * self.first, second)

    def linear(self, weight: Tensor, bias: Tensor | None) -> Taylor:
        """After ``x @ weight + bias``: one product for the value and all derivatives.

        ``weight`` [n_networks, w, v] and ``bias`` [n_networks, v] are those of many networks, each for its own points,
        as many for each and one network's after another's.
        """
        n, d = self.first.shape[:2]
        parts = torch.cat([self.value[:, None], self.first, *([] if self.second is None else [self.second])], 1)
        rows = parts.flatten(0, 1) if weight.ndim == 2 else parts.view(len(weight), -1, parts.shape[-1])
        mapped = (rows @ weight).view(n, -1, weight.shape[-1])
        if bias is not None and bias.ndim == 2:
            bias = bias.repeat_interleave(n // len(bias), 0)
        value = mapped[:, 0] if bias is None else mapped[:, 0] + bias
        return Taylor(value, mapped[:, 1 : 1 + d], None if self.second is None else mapped[:, 1 + d :])


def _relu(z: Tensor, scale: float, order: int) -> tuple[Tensor, Tensor, Tensor | None]:
    slope = (z > 0).to(z)
    return z * slope, slope, torch.zeros_like(z) if order > 1 else None


def _sine(z: Tensor, scale: float, order: int) -> tuple[Tensor, Tensor, Tensor | None]:
    value = torch.sin(scale * z)
    return value, scale * torch.cos(scale * z), -(scale**2) * value if order > 1 else None


def _gaussian(z: Tensor, scale: float, order: int) -> tuple[Tensor, Tensor, Tensor | None]:
    value, slope = torch.exp(-((scale * z) ** 2)), -2 * scale**2 * z
    return value, slope * value, (slope.square() - 2 * scale**2) * value if order > 1 else None


def _finer(z: Tensor, scale: float, order: int) -> tuple[Tensor, Tensor, Tensor | None]:
    inner, slope = (z.abs() + 1) * z, 2 * z.abs() + 1
    value, cosine = torch.sin(scale * inner), torch.cos(scale * inner)
    curvature = scale * 2 * z.sign() * cosine - (scale * slope).square() * value if order > 1 else None
    return value, scale * slope * cosine, curvature


# activation -> its value, first and second derivative at z [n, w], with its scale, up to an order
DERIVATIVES: dict[str, Callable[[Tensor, float, int], tuple[Tensor, Tensor, Tensor | None]]] = {
    "relu": _relu, "sine": _sine, "gaussian": _gaussian, "finer": _finer,
}  # fmt: skip


def propagate(
    features: Taylor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], activation: str, scale: float
) -> Taylor:
    """What a fully connected network makes of ``features``: its outputs and their derivatives.

    Parameters
    ----------
    features : Taylor
        Of the network's inputs.
    weights, biases : sequences of Tensor
        Of each layer, as :func:`nerfkit.kernels.mlp.mlp` takes them.
    activation, scale
        One of ``DERIVATIVES``, between the layers.
    """
    if activation not in DERIVATIVES:
        raise ValueError(f"activation must be one of {', '.join(DERIVATIVES)}; got {activation!r}")
    order = 1 if features.second is None else 2
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if layer:
            features = features.through(DERIVATIVES[activation](features.value, scale, order))
        features = features.linear(weight, bias)
    return features


def fourier_taylor(points: Taylor, freqs: Tensor) -> Taylor:
    """cos(2 pi B v) and sin(2 pi B v) of ``points``, freqs B [m, d] (arXiv:2006.10739, eq. 5)."""
    phases = points.linear(2 * math.pi * freqs.T, None)
    cosine, sine = torch.cos(phases.value), torch.sin(phases.value)
    has_second = phases.second is not None
    of_cosine = phases.through((cosine, -sine, -cosine if has_second else None))
    of_sine = phases.through((sine, cosine, -sine if has_second else None))
    return concatenated(of_cosine, of_sine)


def concatenated(*parts: Taylor) -> Taylor:
    """Features side by side."""
    seconds = [part.second for part in parts if part.second is not None]
    return Taylor(
        torch.cat([part.value for part in parts], -1), torch.cat([part.first for part in parts], -1),
        torch.cat(seconds, -1) if seconds else None,
    )  # fmt: skip


def coordinates(points: Tensor, slopes: Tensor, order: int | str) -> Taylor:
    """``points`` [n, d] that are linear in the coordinates with ``slopes`` [d] along each axis."""
    n, d = points.shape
    first = torch.diag(slopes.to(points)).expand(n, d, d)
    n_second = {1: 0, 2: d * (d + 1) // 2, "laplacian": 1}[order]
    return Taylor(points, first, points.new_zeros(n, n_second, d) if n_second else None)
