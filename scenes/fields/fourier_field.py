"""The Fourier-feature radiance field: sines and cosines of the position before a ReLU network."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from nerfkit.kernels.fourier import fourier
from nerfkit.kernels.harmonics import harmonics
from nerfkit.scenes.fields.configs import FourierFieldConfig
from nerfkit.scenes.fields.radiance import linear, truncated_exp

__all__ = ["FourierField", "dyadic_frequencies", "gaussian_frequencies"]


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


class FourierField(nn.Module):
    """Gaussian Fourier features or the dyadic positional encoding, then a ReLU network.

    Parameters
    ----------
    config : FourierFieldConfig
        Sizes of the encoding and of the network.
    generator : torch.Generator
        Source of the frequencies and of the initial weights, on the CPU.
    """

    Config = FourierFieldConfig

    def __init__(self, config: FourierFieldConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        if config.encoding == "gaussian":
            freqs = gaussian_frequencies(config.n_frequencies, 3, config.sigma, generator)
        else:
            freqs = dyadic_frequencies(config.n_frequencies, 3)
        self.register_buffer("freqs", freqs)
        self.freqs: Tensor
        width, n_harmonics = config.width, (config.harmonics_degree + 1) ** 2
        sizes = [3 + 2 * len(freqs)] + [width] * config.n_layers
        self.hidden = nn.ParameterList([linear(a, b, generator) for a, b in pairwise(sizes)])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(width)) for _ in range(config.n_layers)])
        self.density_out = linear(width, 1, generator, gain=0.1)
        self.color_features = linear(width, width, generator)
        self.color_harmonics = linear(n_harmonics, width, generator)
        self.color_out = linear(width, 3, generator, gain=1.0)
        self.color_bias = nn.Parameter(torch.zeros(3))
        self.log_density_offset: Tensor
        self.register_buffer("log_density_offset", torch.tensor(math.log(config.initial_density)))

    def _trunk(self, xyzs: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.cat([xyzs * 2 - 1, fourier(xyzs, self.freqs)], dim=-1)
        for weight, bias in zip(self.hidden, self.biases, strict=True):
            hidden = torch.addmm(bias, hidden, weight).relu_()
        return truncated_exp((hidden @ self.density_out)[:, 0] + self.log_density_offset), hidden

    def density(self, xyzs: Tensor) -> Tensor:
        """Density [n_samples] at ``xyzs`` [n_samples, 3] in [0, 1]."""
        return self._trunk(xyzs)[0]

    def forward(self, xyzs: Tensor, viewdirs: Tensor, ray_indices: Tensor) -> tuple[Tensor, Tensor]:
        """Density and colour of samples; see :class:`nerfkit.scenes.fields.radiance.RadianceField`."""
        sigmas, hidden = self._trunk(xyzs)
        directions = harmonics(viewdirs, self.config.harmonics_degree)[ray_indices]
        hidden = torch.addmm(hidden @ self.color_features, directions, self.color_harmonics).relu_()
        return sigmas, torch.addmm(self.color_bias, hidden, self.color_out).sigmoid()

    def parameter_groups(self, learning_rate: float) -> list[dict]:
        """All weights at ``learning_rate``."""
        return [{"params": list(self.parameters()), "lr": learning_rate}]
