"""The hash-grid radiance field: a table of features, a small density network and a small colour network."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from nerfkit.kernels._memory import large_empty
from nerfkit.kernels.harmonics import harmonics
from nerfkit.kernels.hashgrid import HashGridSpec, hashgrid
from nerfkit.kernels.mlp import mlp
from nerfkit.kernels.radiance import RadianceParams, RadianceSpec
from nerfkit.scenes.fields.configs import HashFieldConfig
from nerfkit.scenes.fields.radiance import linear, truncated_exp

__all__ = ["HashField"]

# a network's weights act on every sample at once and bear smaller steps than an entry of the table
NETWORK_SHARE = 0.25


class HashField(nn.Module):
    """Multiresolution hash encoding with two small networks (instant-ngp, arXiv:2201.05989, section 5.4).

    Parameters
    ----------
    config : HashFieldConfig
        Sizes of the grid and of the networks.
    generator : torch.Generator
        Source of the initial weights, on the CPU, so that every device starts from the same ones.

    Notes
    -----
    The networks have no biases, as in the paper; the density's starting value is added to its logarithm.
    """

    Config = HashFieldConfig

    def __init__(self, config: HashFieldConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.spec = HashGridSpec.geometric(
            n_levels=config.n_levels,
            base_resolution=config.base_resolution,
            max_resolution=config.max_resolution,
            log2_table_size=config.log2_table_size,
            n_features=config.n_features,
        )
        table = large_empty(self.spec.n_entries, config.n_features, dtype=torch.float32)
        table.uniform_(-1e-4, 1e-4, generator=generator)
        self.table = nn.Parameter(table)
        width, n_encoding = config.width, config.n_levels * config.n_features
        n_harmonics = (config.harmonics_degree + 1) ** 2
        self.density_weights = nn.ParameterList(
            [linear(n_encoding, width, generator), linear(width, 1 + config.n_geometry, generator, gain=1.0)]
        )
        sizes = [1 + config.n_geometry + n_harmonics, *[width] * config.n_color_layers]
        hidden = [linear(n_in, n_out, generator) for n_in, n_out in pairwise(sizes)]
        self.color_weights = nn.ParameterList([*hidden, linear(width, 3, generator, gain=1.0)])
        self.log_density_offset: Tensor
        self.register_buffer("log_density_offset", torch.tensor(math.log(config.initial_density)))

    def _trunk(self, xyzs: Tensor) -> Tensor:
        """Log density and geometry [n_samples, 1 + n_geometry]."""
        return mlp(hashgrid(xyzs, self.table, self.spec), list(self.density_weights))

    def _sigmas(self, trunk: Tensor) -> Tensor:
        return truncated_exp(trunk[:, 0] + self.log_density_offset)

    def density(self, xyzs: Tensor) -> Tensor:
        """Density [n_samples] at ``xyzs`` [n_samples, 3] in [0, 1]."""
        return self._sigmas(self._trunk(xyzs))

    def forward(self, xyzs: Tensor, viewdirs: Tensor, ray_indices: Tensor) -> tuple[Tensor, Tensor]:
        """Density and colour of samples; see :class:`nerfkit.scenes.fields.radiance.RadianceField`."""
        trunk = self._trunk(xyzs)
        directions = harmonics(viewdirs, self.config.harmonics_degree)[ray_indices]
        rgbs = mlp(torch.cat([trunk, directions], dim=-1), list(self.color_weights), output="sigmoid")
        return self._sigmas(trunk), rgbs

    def radiance_params(self) -> tuple[RadianceParams, RadianceSpec]:
        """What :func:`nerfkit.kernels.radiance.radiance` takes to do all of this along rays."""
        params = RadianceParams(
            self.table, list(self.density_weights), list(self.color_weights), self.log_density_offset
        )
        return params, RadianceSpec(self.spec, self.config.harmonics_degree, color_sees_density=True)

    def parameter_groups(self, learning_rate: float) -> list[dict]:
        """The table at ``learning_rate``, the networks at ``NETWORK_SHARE`` of it."""
        networks = [p for name, p in self.named_parameters() if name != "table"]
        return [
            {"params": [self.table], "lr": learning_rate, "touched_only": self.config.touched_only},
            {"params": networks, "lr": learning_rate * NETWORK_SHARE},
        ]
