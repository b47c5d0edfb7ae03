"""The radiance field of an encoding and two networks: one for the density, one for the colour."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from nerfkit.kernels.harmonics import harmonics
from nerfkit.kernels.radiance import RadianceParams, RadianceSpec
from nerfkit.scenes.fields.configs import FourierFieldConfig, HashFieldConfig
from nerfkit.scenes.fields.encodings import FusableEncoding, make_encoding
from nerfkit.scenes.fields.networks import FullyConnected, encoded_groups
from nerfkit.scenes.fields.radiance import truncated_exp

__all__ = ["EncodedRadiance"]


class EncodedRadiance(nn.Module):
    """Encoding, density network, colour network; see :class:`nerfkit.scenes.fields.radiance.RadianceField`.

    With a hash grid and networks without biases this is instant-ngp (arXiv:2201.05989, section 5.4); with Fourier
    features, NeRF (arXiv:2003.08934) with one short network.

    Parameters
    ----------
    config : HashFieldConfig or FourierFieldConfig
        Names the encoding; sizes of all parts.
    generator : torch.Generator
        Source of the encoding's tensor and of the initial weights, on the CPU, so that every device starts from the
        same ones.
    """

    def __init__(self, config: HashFieldConfig | FourierFieldConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config, sizes = config, config.networks
        self.encoding = make_encoding(config.encoding, 3, generator, vars(config))
        n_harmonics = (config.harmonics_degree + 1) ** 2
        # features of the density network from this one on go to the colour network
        self.first_feature = 0 if sizes.color_sees_density else 1
        self.density_network = FullyConnected(
            [self.encoding.n_outputs, *[config.width] * sizes.n_density_layers, 1 + sizes.n_geometry], generator,
            last_gain=sizes.density_gain, has_biases=sizes.has_biases,
        )  # fmt: skip
        n_inputs = 1 + sizes.n_geometry - self.first_feature + n_harmonics
        self.color_network = FullyConnected(
            [n_inputs, *[config.width] * sizes.n_color_layers, 3], generator, output="sigmoid",
            has_biases=sizes.has_biases,
        )  # fmt: skip
        self.log_density_offset: Tensor
        self.register_buffer("log_density_offset", torch.tensor(math.log(config.initial_density)))

    def _features(self, xyzs: Tensor) -> Tensor:
        """Log density without its offset, and geometry [n_samples, 1 + n_geometry]."""
        return self.density_network(self.encoding(xyzs))

    def _sigmas(self, features: Tensor) -> Tensor:
        return truncated_exp(features[:, 0] + self.log_density_offset)

    def density(self, xyzs: Tensor) -> Tensor:
        """Density [n_samples] at ``xyzs`` [n_samples, 3] in [0, 1]."""
        return self._sigmas(self._features(xyzs))

    def forward(self, xyzs: Tensor, viewdirs: Tensor, ray_indices: Tensor) -> tuple[Tensor, Tensor]:
        """Density and colour of samples; see :class:`nerfkit.scenes.fields.radiance.RadianceField`."""
        features = self._features(xyzs)
        directions = harmonics(viewdirs, self.config.harmonics_degree)[ray_indices]
        rgbs = self.color_network(torch.cat([features[:, self.first_feature :], directions], dim=-1))
        return self._sigmas(features), rgbs

    def radiance_params(self) -> tuple[RadianceParams, RadianceSpec] | None:
        """What :func:`nerfkit.kernels.radiance.radiance` takes to do all of this along rays; None: it cannot."""
        fused = self.encoding.fused() if isinstance(self.encoding, FusableEncoding) else None
        if fused is None:
            return None
        density, color = self.density_network, self.color_network
        params = RadianceParams(
            fused[0], list(density.weights), list(color.weights), self.log_density_offset,
            list(density.biases) or None, list(color.biases) or None,
        )  # fmt: skip
        spec = RadianceSpec(
            fused[1], self.config.harmonics_degree, color_sees_density=self.config.networks.color_sees_density
        )
        return params, spec

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """What the encoding trains, and the networks."""
        return encoded_groups(self.encoding, [self.density_network, self.color_network], learning_rate)
