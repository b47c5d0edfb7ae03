"""What is fused and how rays are sampled: sizes and options, free of tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nerfkit.kernels.hashgrid import HashGridSpec

__all__ = ["CHUNK", "PRECISIONS", "MarchSampling", "RadianceSpec", "RegularSampling"]

# samples of a ray between two looks of the loops for CPUs whether it has ended
CHUNK = 16
# of the matrix products; sums are float32 in all of them
PRECISIONS = ("float32", "tf32x3", "tf32", "bfloat16", "float16")


@dataclass(frozen=True)
class RadianceSpec:
    """Encoding and order of the networks of a radiance field; the sizes are those of its weights.

    Parameters
    ----------
    grid : HashGridSpec, optional
        Levels of a hash grid of 3 dimensions. None means Fourier features: the first layer takes
        ``[2 x - 1, cos(2 pi B x), sin(2 pi B x)]``.
    harmonics_degree : int in 0..4
        Degree of the spherical harmonics of the direction, the last inputs of the colour network.
    color_sees_density : bool
        Whether the first output of the trunk, the logarithm of the density, is an input of the colour network too.
    skip : int, optional
        Hidden layer of the trunk, 1 or more, whose input is ``[layer before, encoding]``. None is no skip.
    """

    grid: HashGridSpec | None = None
    harmonics_degree: int = 3
    color_sees_density: bool = False
    skip: int | None = None

    def __post_init__(self) -> None:
        if self.grid is not None and self.grid.n_dims != 3:
            raise ValueError(f"grid must have 3 dimensions; got {self.grid.n_dims}")
        if self.harmonics_degree not in range(5):
            raise ValueError(f"harmonics_degree must be one of 0..4; got {self.harmonics_degree!r}")
        if self.skip is not None and self.skip < 1:
            raise ValueError(f"skip must be 1 or more, or None; got {self.skip}")


@dataclass(frozen=True)
class RegularSampling:
    """One sample in each of ``n_samples`` intervals between near and far.

    Parameters
    ----------
    n_samples : int
        Intervals of a ray, regular in the distance t; with ``contract`` in ``t`` up to 1 and ``2 - 1/t`` beyond
        (mip-NeRF 360, arXiv:2111.12077, section 4).
    contract : bool
        Map all of space into the cube, as :func:`nerfkit.kernels.march.march` does.
    min_transmittance : float in [0, 1)
        A ray ends before the first sample that less light than this reaches. What lies behind counts as nothing:
        colour and opacity are off by at most this much (times the range of the colours), depths by at most
        ``min_transmittance * far``. 0 follows every ray to its end.
    """

    n_samples: int
    contract: bool = False
    min_transmittance: float = 0.0

    def __post_init__(self) -> None:
        if self.n_samples < 1:
            raise ValueError(f"n_samples must be 1 or more; got {self.n_samples}")
        _check_transmittance(self.min_transmittance)

    @property
    def max_samples(self) -> int:
        """Most samples of a ray."""
        return self.n_samples

    @property
    def max_depth(self) -> float:
        """Optical depth at which a ray ends."""
        return _max_depth(self.min_transmittance)


@dataclass(frozen=True)
class MarchSampling:
    """Samples where an occupancy grid has a bit, on the lattice of :func:`nerfkit.kernels.march.march`.

    Parameters
    ----------
    resolution, step, cone_angle, contract, max_samples
        As :func:`nerfkit.kernels.march.march` takes them. In the fused kernels a training step takes 6 bytes for each
        of ``max_samples`` and ray.
    min_transmittance : float in [0, 1)
        As in :class:`RegularSampling`.
    """

    resolution: int
    step: float
    cone_angle: float = 0.0
    contract: bool = False
    max_samples: int = 1024
    min_transmittance: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.resolution <= 1024:
            raise ValueError(f"resolution must be between 1 and 1024; got {self.resolution}")
        if not self.step > 0 or not self.cone_angle >= 0 or self.max_samples < 1:
            raise ValueError(
                "need step > 0, cone_angle >= 0 and max_samples >= 1; "
                f"got {self.step}, {self.cone_angle}, {self.max_samples}"
            )
        _check_transmittance(self.min_transmittance)

    @property
    def max_depth(self) -> float:
        """Optical depth at which a ray ends."""
        return _max_depth(self.min_transmittance)


def _check_transmittance(value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"min_transmittance must be in [0, 1); got {value}")


def _max_depth(min_transmittance: float) -> float:
    return -math.log(min_transmittance) if min_transmittance > 0 else math.inf
