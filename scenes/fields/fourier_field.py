"""The Fourier-feature radiance field: sines and cosines of the position before a ReLU network."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from nerfkit.kernels.fourier import fourier
from nerfkit.kernels.harmonics import harmonics
from nerfkit.kernels.mlp import mlp
from nerfkit.kernels.radiance import RadianceParams, RadianceSpec
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
        sizes = [3 + 2 * len(freqs), *[width] * config.n_layers]
        hidden = [linear(n_in, n_out, generator) for n_in, n_out in pairwise(sizes)]
        self.trunk_weights = nn.ParameterList([*hidden, linear(width, 1 + width, generator, gain=0.1)])
        self.trunk_biases = nn.ParameterList([nn.Parameter(torch.zeros(len(w.T))) for w in self.trunk_weights])
        self.color_weights = nn.ParameterList(
            [linear(width + n_harmonics, width, generator), linear(width, 3, generator, gain=1.0)]
        )
        self.color_biases = nn.ParameterList([nn.Parameter(torch.zeros(len(w.T))) for w in self.color_weights])
        self.log_density_offset: Tensor
        self.register_buffer("log_density_offset", torch.tensor(math.log(config.initial_density)))

    def _trunk(self, xyzs: Tensor) -> Tensor:
        """Log density and features [n_samples, 1 + width]."""
        encoding = torch.cat([xyzs * 2 - 1, fourier(xyzs, self.freqs)], dim=-1)
        return mlp(encoding, list(self.trunk_weights), list(self.trunk_biases))

    def _sigmas(self, trunk: Tensor) -> Tensor:
        return truncated_exp(trunk[:, 0] + self.log_density_offset)

    def density(self, xyzs: Tensor) -> Tensor:
        """Density [n_samples] at ``xyzs`` [n_samples, 3] in [0, 1]."""
        return self._sigmas(self._trunk(xyzs))

    def forward(self, xyzs: Tensor, viewdirs: Tensor, ray_indices: Tensor) -> tuple[Tensor, Tensor]:
        """Density and colour of samples; see :class:`nerfkit.scenes.fields.radiance.RadianceField`."""
        trunk = self._trunk(xyzs)
        directions = harmonics(viewdirs, self.config.harmonics_degree)[ray_indices]
        inputs = torch.cat([trunk[:, 1:], directions], dim=-1)
        return self._sigmas(trunk), mlp(inputs, list(self.color_weights), list(self.color_biases), output="sigmoid")

    def radiance_params(self) -> tuple[RadianceParams, RadianceSpec]:
        """What :func:`nerfkit.kernels.radiance.radiance` takes to do all of this along rays."""
        params = RadianceParams(
            self.freqs, list(self.trunk_weights), list(self.color_weights), self.log_density_offset,
            list(self.trunk_biases), list(self.color_biases),
        )  # fmt: skip
        return params, RadianceSpec(None, self.config.harmonics_degree)

    def parameter_groups(self, learning_rate: float) -> list[dict]:
        """All weights at ``learning_rate``."""
        return [{"params": list(self.parameters()), "lr": learning_rate}]
