"""Settings of the samplers. Free of torch, so that the command line can list them at once."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OccupancySamplingConfig", "StratifiedSamplingConfig"]


@dataclass(frozen=True)
class OccupancySamplingConfig:
    """Regular steps through the occupied cells of a grid (instant-ngp, arXiv:2201.05989, appendix E.1)."""

    # cells a side of the grid of a bounded scene
    resolution: int = 64
    # cells a side of the grid of an unbounded scene
    unbounded_resolution: int = 128
    # steps along the diagonal of the box
    n_steps: int = 256
    # unbounded only: step length as a share of the distance
    cone_angle: float = 1 / 64
    # training steps between two updates of the grid
    update_every: int = 16


@dataclass(frozen=True)
class StratifiedSamplingConfig:
    """One random sample in each of ``n_samples`` regular intervals (NeRF, arXiv:2003.08934, eq. 2)."""

    # intervals along each ray
    n_samples: int = 64
    # samples of a second pass, drawn where the first found weight (NeRF, section 5.2); 0 for none
    n_importance: int = 0
