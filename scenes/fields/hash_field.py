"""The hash-grid radiance field: a table of features, a small density network and a small colour network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nerfkit.kernels.harmonics import harmonics
from nerfkit.kernels.hashgrid import HashGridSpec, hashgrid
from nerfkit.scenes.fields.configs import HashFieldConfig
from nerfkit.scenes.fields.radiance import linear, truncated_exp

__all__ = ["HashField"]


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
        table = torch.empty(self.spec.n_entries, config.n_features).uniform_(-1e-4, 1e-4, generator=generator)
        self.table = nn.Parameter(table)
        width, n_encoding = config.width, config.n_levels * config.n_features
        n_harmonics = (config.harmonics_degree + 1) ** 2
        self.density_in = linear(n_encoding, width, generator)
        self.density_out = linear(width, 1 + config.n_geometry, generator, gain=1.0)
        # one matrix for geometry and one for harmonics: their sum is the product with the concatenation
        self.color_geometry = linear(config.n_geometry, width, generator)
        self.color_harmonics = linear(n_harmonics, width, generator)
        hidden = [linear(width, width, generator) for _ in range(config.n_color_layers - 1)]
        self.color_hidden = nn.ParameterList(hidden)
        self.color_out = linear(width, 3, generator, gain=1.0)
        self.log_density_offset: Tensor
        self.register_buffer("log_density_offset", torch.tensor(math.log(config.initial_density)))

    def _trunk(self, xyzs: Tensor) -> tuple[Tensor, Tensor]:
        encoding = hashgrid(xyzs, self.table, self.spec)  # [n_samples, n_levels * n_features]
        hidden = (encoding @ self.density_in).relu_()
        out = hidden @ self.density_out  # [n_samples, 1 + n_geometry]
        return truncated_exp(out[:, 0] + self.log_density_offset), out[:, 1:]

    def density(self, xyzs: Tensor) -> Tensor:
        """Density [n_samples] at ``xyzs`` [n_samples, 3] in [0, 1]."""
        return self._trunk(xyzs)[0]

    def forward(self, xyzs: Tensor, viewdirs: Tensor, ray_indices: Tensor) -> tuple[Tensor, Tensor]:
        """Density and colour of samples; see :class:`nerfkit.scenes.fields.radiance.RadianceField`."""
        sigmas, geometry = self._trunk(xyzs)
        directions = harmonics(viewdirs, self.config.harmonics_degree)[ray_indices]
        hidden = torch.addmm(geometry @ self.color_geometry, directions, self.color_harmonics).relu_()
        for weight in self.color_hidden:
            hidden = (hidden @ weight).relu_()
        return sigmas, (hidden @ self.color_out).sigmoid()

    def parameter_groups(self, learning_rate: float) -> list[dict]:
        """The table and the networks, both at ``learning_rate``."""
        networks = [p for name, p in self.named_parameters() if name != "table"]
        return [{"params": [self.table], "lr": learning_rate}, {"params": networks, "lr": learning_rate}]
