"""Settings of the samplers. Free of torch, so that the command line can list them at once."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OccupancySamplingConfig", "StratifiedSamplingConfig"]


@dataclass(frozen=True)
class OccupancySamplingConfig:
    """Regular steps through the occupied cells of a grid (instant-ngp, arXiv:2201.05989, appendix E.1)."""

    # cells a side of the grid of a bounded scene, even, 2 to 512
    resolution: int = 64
    # cells a side of the grid of an unbounded scene, even, 2 to 512
    unbounded_resolution: int = 128
    # steps along the diagonal of the box, 1 to 65536
    n_steps: int = 256
    # unbounded only: step length as a share of the distance, 0.001 to 1
    cone_angle: float = 1 / 64
    # training steps between two updates of the grid, 1 or more
    update_every: int = 16

    def __post_init__(self) -> None:
        for name in ("resolution", "unbounded_resolution"):
            value = getattr(self, name)
            # even, so that the bits fill bytes
            if not 2 <= value <= 512 or value % 2:
                raise ValueError(f"{name} must be even and between 2 and 512; got {value}")
        if not 1 <= self.n_steps <= 65536:
            raise ValueError(f"n_steps must be between 1 and 65536; got {self.n_steps}")
        # below it a ray to the far end takes thousands of steps
        if not 0.001 <= self.cone_angle <= 1:
            raise ValueError(f"cone_angle must be between 0.001 and 1; got {self.cone_angle}")
        if self.update_every < 1:
            raise ValueError(f"update_every must be 1 or more; got {self.update_every}")


@dataclass(frozen=True)
class StratifiedSamplingConfig:
    """One random sample in each of ``n_samples`` regular intervals (NeRF, arXiv:2003.08934, eq. 2)."""

    # intervals along each ray, 1 or more
    n_samples: int = 64
    # samples of a second pass, drawn where the first found weight (NeRF, section 5.2); 0 for none
    n_importance: int = 0

    def __post_init__(self) -> None:
        if self.n_samples < 1:
            raise ValueError(f"n_samples must be 1 or more; got {self.n_samples}")
        if self.n_importance < 0:
            raise ValueError(f"n_importance must be 0 or more; got {self.n_importance}")
