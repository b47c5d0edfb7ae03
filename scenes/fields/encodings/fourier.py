"""Fourier features as an encoding: cosines and sines of the point along given or drawn frequencies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nerfkit.kernels.fourier import fourier
from nerfkit.scenes.fields.taylor import Taylor, concatenated, fourier_taylor

__all__ = ["FourierEncoding", "dyadic_encoding", "dyadic_frequencies", "gaussian_encoding", "gaussian_frequencies"]


def gaussian_frequencies(n_rows: int, n_dims: int, sigma: float, generator: torch.Generator) -> Tensor:
    """Rows of B [n_rows, n_dims] drawn from N(0, sigma^2) (arXiv:2006.10739, section 6)."""
    return torch.randn(n_rows, n_dims, generator=generator) * sigma


def dyadic_frequencies(n_octaves: int, n_dims: int) -> Tensor:
    """NeRF's positional encoding as rows of B [n_octaves * n_dims, n_dims] (arXiv:2003.08934, eq. 4).

    The unit cube is the paper's [-1, 1]: sin(2^k pi v) with v = 2 x - 1 has frequency 2^k in x, and the shift only
    changes signs, which the first layer absorbs.
    """
    octaves = 2.0 ** torch.arange(n_octaves)
    return (octaves[:, None, None] * torch.eye(n_dims)).reshape(-1, n_dims)


class FourierEncoding(nn.Module):
    """The point itself in [-1, 1], then its Fourier features.

    Parameters
    ----------
    freqs : Tensor, shape (m, d), d in 1..4
        One frequency vector a row, in cycles per unit cube; saved, not trained.
    has_coords : bool
        Whether the point itself comes first; without it these are the features of arXiv:2006.10739 alone.
    """

    def __init__(self, freqs: Tensor, *, has_coords: bool = True) -> None:
        super().__init__()
        self.freqs: Tensor
        self.register_buffer("freqs", freqs)
        self.has_coords, self.n_dims = has_coords, freqs.shape[1]
        self.n_outputs = self.n_dims * has_coords + 2 * len(freqs)

    def forward(self, x: Tensor) -> Tensor:
        """See :class:`nerfkit.scenes.fields.encodings.Encoding`."""
        features = fourier(x, self.freqs)
        return torch.cat([x * 2 - 1, features], dim=-1) if self.has_coords else features

    def taylor(self, points: Taylor) -> Taylor:
        """Features and their derivatives of points of the unit cube."""
        features = fourier_taylor(points, self.freqs.to(points.value))
        return concatenated(points.centred(), features) if self.has_coords else features

    def fused(self) -> tuple[Tensor, None] | None:
        """See :class:`nerfkit.scenes.fields.encodings.FusableEncoding`; the kernels put the point first."""
        return (self.freqs, None) if self.has_coords else None

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """None: frequencies stay as they are."""
        return []


def gaussian_encoding(
    n_dims: int, generator: torch.Generator, *, n_frequencies: int = 64, sigma: float = 6.0, has_coords: bool = True
) -> FourierEncoding:
    """``n_frequencies`` rows of B drawn from N(0, sigma^2), in cycles per unit cube."""
    return FourierEncoding(gaussian_frequencies(n_frequencies, n_dims, sigma, generator), has_coords=has_coords)


def dyadic_encoding(
    n_dims: int, generator: torch.Generator, *, n_frequencies: int = 8, has_coords: bool = True
) -> FourierEncoding:
    """``n_frequencies`` octaves along each axis; nothing is drawn."""
    return FourierEncoding(dyadic_frequencies(n_frequencies, n_dims), has_coords=has_coords)
