"""Waves in a run folder: as pictures of the plane, over space and time in one dimension, at a moment in two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nerfkit.scenes.fields.standing_waves import StandingWaves
from nerfkit.workbench.waves.windows import WindowedWaves

__all__ = ["WAVES", "Moment", "make_waves", "recipe_of"]

# name in a recipe
WAVES = "waves"


class Moment(nn.Module):
    """A field of space and time at one moment: a field of space."""

    def __init__(self, field: WindowedWaves, time: float) -> None:
        super().__init__()
        self.field, self.time = field, time

    has_lattice = True

    def lattice(self, ys: Tensor, xs: Tensor) -> tuple[Tensor, Tensor]:
        """The points at heights ``ys`` [n_rows] and ``xs`` [n_cols]."""
        return self.field.layer.lattice(ys, xs)

    def evaluate_lattice(self, lattice: tuple[Tensor, Tensor]) -> Tensor:
        """Values [1, n_rows, n_cols], float32."""
        ys, xs = lattice
        return self.field.at(self.time, [xs, ys])[None].float()

    def forward(self, coords: Tensor) -> Tensor:
        """Values [..., 1] at ``coords`` [..., 2]."""
        return self.field(torch.cat([coords, torch.full_like(coords[..., :1], self.time)], -1))


def recipe_of(
    field: WindowedWaves | Moment | StandingWaves, size: Sequence[float], pixels: tuple[int, int]
) -> dict[str, Any]:  # fmt: skip
    """What :func:`make_waves` takes; ``size`` is width and height of the picture that the field is, in its unit."""
    over_time = field.field if isinstance(field, Moment) else field
    layer = over_time.layer if isinstance(over_time, WindowedWaves) else over_time
    recipe = {
        "name": WAVES, "n_features": layer.n_features, "n_dims": layer.n_dims, "n_windows": 0,
        "bounds": [[-1.0, 1.0]] * layer.n_outputs, "size": [float(side) for side in size], "pixels": list(pixels),
    }  # fmt: skip
    if isinstance(over_time, WindowedWaves):
        recipe |= {"n_windows": over_time.n_windows, "duration": over_time.duration}
    return recipe | ({"moment": field.time} if isinstance(field, Moment) else {})


def make_waves(recipe: dict[str, Any]) -> WindowedWaves | Moment | StandingWaves:
    """A field of that recipe, whose frequencies and weights are still to be loaded."""
    freqs = torch.zeros(recipe["n_features"], recipe["n_dims"], dtype=torch.float64)
    layer = StandingWaves(freqs, freqs, [0.0] * recipe["n_dims"], len(recipe["bounds"]))
    if not recipe["n_windows"]:
        return layer
    field = WindowedWaves(layer, recipe["duration"], recipe["n_windows"])
    return Moment(field, recipe["moment"]) if "moment" in recipe else field
