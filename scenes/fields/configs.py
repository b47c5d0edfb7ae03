"""Sizes of the fields. Free of torch, so that the command line can list them at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nerfkit.scenes.fields.encodings import ENCODINGS
from nerfkit.scenes.settings import Settings, check_positive, check_range

__all__ = ["FourierFieldConfig", "HashFieldConfig", "RadianceNetworks"]


@dataclass(frozen=True)
class RadianceNetworks:
    """How the density and the colour network of a radiance field are built, beside their width."""

    # hidden layers of each
    n_density_layers: int
    n_color_layers: int
    # features that the density network hands to the colour network
    n_geometry: int
    # whether the colour network takes the logarithm of the density as well
    color_sees_density: bool
    has_biases: bool
    # variance of the density network's last weights times its width: how far from plain fog the scene starts
    density_gain: float


@dataclass(frozen=True)
class HashFieldConfig(Settings):
    """A multiresolution hash grid with two small networks (instant-ngp, arXiv:2201.05989)."""

    kind: ClassVar[str] = "hash"
    # not a setting: the only encoding that these sizes are for
    encoding: ClassVar[str] = "hash"

    # levels of the grid, 1 to 32
    n_levels: int = 8
    # features a level, one of 1, 2, 4, 8
    n_features: int = 4
    # log2 of the most entries a level may have, 8 to 24
    log2_table_size: int = 17
    # cells a side of the coarsest level
    base_resolution: int = 16
    # cells a side of the finest level
    max_resolution: int = 512
    # width of the density and of the colour network, 4 to 1024
    width: int = 32
    # hidden layers of the colour network, 1 to 16
    n_color_layers: int = 2
    # features that the density network hands to the colour network, 1 to 255
    n_geometry: int = 15
    # degree of the spherical harmonics of the viewing direction, 0 to 4
    harmonics_degree: int = 3
    # density at the start, in 1 / normalised unit: the scene starts as a thin fog, never empty
    initial_density: float = 1.0
    # whether Adam leaves out entries of the table that no sample of a step came near
    touched_only: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("n_levels", self.n_levels, 1, 32)
        if self.n_features not in (1, 2, 4, 8):
            raise ValueError(f"n_features must be 1, 2, 4 or 8; got {self.n_features}")
        check_range("log2_table_size", self.log2_table_size, 8, 24)
        check_range("base_resolution", self.base_resolution, 2, 4096)
        check_range("max_resolution", self.max_resolution, self.base_resolution, 65536)
        check_range("width", self.width, 4, 1024)
        check_range("n_color_layers", self.n_color_layers, 1, 16)
        check_range("n_geometry", self.n_geometry, 1, 255)
        check_range("harmonics_degree", self.harmonics_degree, 0, 4)
        check_positive("initial_density", self.initial_density)

    @property
    def networks(self) -> RadianceNetworks:
        """No biases, as in the paper."""
        return RadianceNetworks(1, self.n_color_layers, self.n_geometry, True, has_biases=False, density_gain=1.0)


@dataclass(frozen=True)
class FourierFieldConfig(Settings):
    """Fourier features before a ReLU network (arXiv:2006.10739); the dyadic are NeRF's (arXiv:2003.08934)."""

    kind: ClassVar[str] = "fourier"

    # name as registered in scenes/fields/encodings. "gaussian": rows of B drawn from N(0, sigma^2); "dyadic": powers of
    # two along each axis, NeRF's encoding; "identity": the position itself, the baseline
    encoding: str = "dyadic"
    # gaussian: rows of B, 1 to 512; dyadic: octaves, so 3 rows each, 1 to 24
    n_frequencies: int = 8
    # gaussian only: standard deviation of the frequencies, cycles per unit cube
    sigma: float = 6.0
    # width of the hidden layers, 4 to 1024
    width: int = 64
    # hidden layers of the density network, 1 to 16
    n_layers: int = 4
    # degree of the spherical harmonics of the viewing direction, 0 to 4
    harmonics_degree: int = 2
    # density at the start, in 1 / normalised unit: the scene starts as a thin fog, never empty
    initial_density: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoding not in ENCODINGS:
            raise ValueError(f"encoding must be one of {', '.join(ENCODINGS)}; got {self.encoding!r}")
        # float32 holds 24 bits of a position: octaves beyond them would be noise
        check_range("n_frequencies", self.n_frequencies, 1, 24 if self.encoding == "dyadic" else 512)
        check_range("width", self.width, 4, 1024)
        check_range("n_layers", self.n_layers, 1, 16)
        check_range("harmonics_degree", self.harmonics_degree, 0, 4)
        check_positive("sigma", self.sigma)
        check_positive("initial_density", self.initial_density)

    @property
    def networks(self) -> RadianceNetworks:
        """The colour network has one hidden layer, as NeRF's."""
        return RadianceNetworks(self.n_layers, 1, self.width, False, has_biases=True, density_gain=0.1)
