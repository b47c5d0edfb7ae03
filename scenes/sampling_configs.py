"""Settings of the samplers. Free of torch, so that the command line can list them at once."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, ClassVar

from nerfkit.scenes.settings import Settings, check_range

__all__ = ["SAMPLERS", "OccupancySamplingConfig", "StratifiedSamplingConfig", "sampler_class"]

# kind -> 'module:class'; a string, so that listing the kinds loads no torch
SAMPLERS = {
    "occupancy": "nerfkit.scenes.samplers:OccupancySampler",
    "stratified": "nerfkit.scenes.samplers:StratifiedSampler",
}


@dataclass(frozen=True)
class OccupancySamplingConfig(Settings):
    """Regular steps through the occupied cells of a grid (instant-ngp, arXiv:2201.05989, appendix E.1)."""

    kind: ClassVar[str] = "occupancy"

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
        super().__post_init__()
        for name in ("resolution", "unbounded_resolution"):
            value = getattr(self, name)
            # even, so that the bits fill bytes
            if not 2 <= value <= 512 or value % 2:
                raise ValueError(f"{name} must be even and between 2 and 512; got {value}")
        check_range("n_steps", self.n_steps, 1, 65536)
        # below it a ray to the far end takes thousands of steps
        check_range("cone_angle", self.cone_angle, 0.001, 1)
        if self.update_every < 1:
            raise ValueError(f"update_every must be 1 or more; got {self.update_every}")


@dataclass(frozen=True)
class StratifiedSamplingConfig(Settings):
    """One random sample in each of ``n_samples`` regular intervals (NeRF, arXiv:2003.08934, eq. 2)."""

    kind: ClassVar[str] = "stratified"

    # intervals along each ray, 1 or more
    n_samples: int = 64
    # samples of a second pass, drawn where the first found weight (NeRF, section 5.2); 0 for none
    n_importance: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_samples < 1:
            raise ValueError(f"n_samples must be 1 or more; got {self.n_samples}")
        if self.n_importance < 0:
            raise ValueError(f"n_importance must be 0 or more; got {self.n_importance}")


def sampler_class(kind: str) -> Any:
    """The class registered under ``kind``.

    Examples
    --------
    >>> sampler_class("stratified").__name__
    'StratifiedSampler'
    """
    if kind not in SAMPLERS:
        raise ValueError(f"unknown sampling {kind!r}; there are {', '.join(SAMPLERS)}")
    module, _, attribute = SAMPLERS[kind].partition(":")
    return getattr(importlib.import_module(module), attribute)
