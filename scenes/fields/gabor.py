"""A network of complex Gabor wavelets (WIRE, arXiv:2301.05187)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["GaborNetwork"]


class GaborNetwork(nn.Module):
    """Fully connected layers with ``exp(i omega z - |s z|^2)`` between them; the real part comes out.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, width of each hidden layer, outputs. A complex weight counts as two parameters.
    generator : torch.Generator
        Source of the initial weights, on the CPU.
    scale : float
        Frequency omega of the wavelets.
    spread : float
        Inverse width s of their envelopes.

    Examples
    --------
    >>> GaborNetwork([2, 16, 3], torch.Generator().manual_seed(0))(torch.rand(5, 2)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self, sizes: Sequence[int], generator: torch.Generator, *, scale: float = 10.0, spread: float = 10.0
    ) -> None:
        super().__init__()
        self.n_inputs, self.n_outputs, self.scale, self.spread = sizes[0], sizes[-1], scale, spread
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer, (n_in, n_out) in enumerate(pairwise(sizes)):
            # real inputs meet real weights; later ones are pairs (real, imaginary), which files can hold
            pair = () if layer == 0 else (2,)
            bound = 1 / math.sqrt(n_in)
            self.weights.append(torch.empty(n_in, n_out, *pair).uniform_(-bound, bound, generator=generator))
            self.biases.append(torch.empty(n_out, *pair).uniform_(-bound, bound, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [n, n_outputs] of ``x`` [n, n_inputs]."""
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if layer:
                weight, bias = torch.view_as_complex(weight), torch.view_as_complex(bias)
                x = _wavelet(x, self.scale, self.spread)
            x = x.to(weight.dtype) @ weight + bias
        return x.real if x.is_complex() else x


def _wavelet(z: Tensor, omega: float, s: float) -> Tensor:
    """``exp(i omega z - |s z|^2)`` of real or complex ``z`` by length and phase, a third cheaper than as one power."""
    if not z.is_complex():
        return torch.polar(torch.exp(-(s * z).square()), omega * z)
    real, imaginary = z.real, z.imag
    length = torch.exp(-omega * imaginary - s**2 * (real.square() + imaginary.square()))
    return torch.polar(length, omega * real)
