"""What sets a wave off, and how long it runs: settings that the user left out follow from the medium."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nerfkit.scenes.errors import NerfkitError
from nerfkit.workbench.waves.medium import Medium
from nerfkit.workbench.waves.settings import WaveConfig

__all__ = ["Pulse", "duration", "make_pulse"]

# middle of the source as a fraction of the sides
PLACE = (0.55, 0.4)
# width of the source, and way of the fastest wave, in lengths, by the number of dimensions
WIDTHS, WAYS = {1: 0.05, 2: 0.075}, {1: 1.0, 2: 0.75}
# greatest value of a pulse on a border that holds the field at 0
LEAST_START = 1e-3


@dataclass(frozen=True)
class Pulse:
    """exp(-(r / width)^2) about a place, in the unit of length."""

    place: tuple[float, ...]
    width: float

    def __call__(self, points: Tensor) -> Tensor:
        """Values [n], float64, at ``points`` [n, d]; coordinates beyond those of the place are left out."""
        place = torch.tensor(self.place, dtype=torch.float64, device=points.device)
        distances = (points[:, : len(self.place)].double() - place) / self.width
        return torch.exp(-distances.square().sum(-1))


def make_pulse(medium: Medium, config: WaveConfig) -> Pulse:
    """The source.

    Raises
    ------
    NerfkitError
        It lies outside, or reaches a border that is fixed.
    """
    places = []
    for name, given, fraction, side in zip("xy", (config.source_x, config.source_y), PLACE, medium.sides, strict=False):
        place = fraction * side if given is None else given
        if not 0 < place < side:
            raise NerfkitError(
                f"the source is outside: {name} = {place:g}, and the domain is {name} = 0 to {side:g}",
                where=f"--set source_{name}", fix="give a place inside",
            )  # fmt: skip
        places.append(place)
    if medium.n_dims == 1 and config.source_y is not None:
        raise NerfkitError("the domain has x alone", where="--set source_y", fix="leave it out")
    width = WIDTHS[medium.n_dims] * config.length if config.width is None else config.width
    near = min(min(place, side - place) for place, side in zip(places, medium.sides, strict=True))
    if config.equation == "wave" and config.border == "fixed" and math.exp(-((near / width) ** 2)) > LEAST_START:
        raise NerfkitError(
            f"the source, {width:g} wide, is {near:g} from the border, which holds the field at 0 from the start",
            where="--set source_x, width",
            fix=f"make it narrower than {near / math.sqrt(-math.log(LEAST_START)):.3g}, or --set border=free",
        )  # fmt: skip
    return Pulse(tuple(places), width)


def duration(medium: Medium, config: WaveConfig) -> float:
    """How long the wave runs."""
    return WAYS[medium.n_dims] * config.length / medium.fastest if config.time is None else config.time
