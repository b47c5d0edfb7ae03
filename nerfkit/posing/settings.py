"""What can be chosen when poses are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nerfkit.scenes.settings import Settings, check_range

__all__ = ["LENSES", "MATCHINGS", "PosingSettings"]

MATCHINGS = ("auto", "exhaustive", "sequential")
LENSES = ("perspective", "fisheye")


@dataclass(frozen=True)
class PosingSettings(Settings):
    """Settings of :func:`nerfkit.posing.process`."""

    # frames that are chosen from a video, 3 or more; None: by how far the picture moves
    frames: int | None = None
    # which photos are matched: each with each, or each with those after it; auto: by what they are and how many
    matching: Literal["auto", "exhaustive", "sequential"] = "auto"
    # what the cameras' lenses are: Brown's polynomial, or that of a fisheye
    lens: Literal["perspective", "fisheye"] = "perspective"
    # pixels of the longest side at which features are looked for, 200 to 10 000
    max_side: int = 1600
    # features of a photo at most, 200 to 50 000
    max_features: int = 4096
    # fraction of the photos below which what was found is no dataset, 0 to 1
    min_share: float = 0.5
    # seed of every random draw
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames is not None:
            check_range("frames", self.frames, 3, 10_000)
        for name, values in (("matching", MATCHINGS), ("lens", LENSES)):
            if getattr(self, name) not in values:
                raise ValueError(f"{name} must be one of {', '.join(values)}; got {getattr(self, name)!r}")
        check_range("max_side", self.max_side, 200, 10_000)
        check_range("max_features", self.max_features, 200, 50_000)
        check_range("min_share", self.min_share, 0, 1)
