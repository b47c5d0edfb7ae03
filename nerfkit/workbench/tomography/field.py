"""The field that holds a reconstruction: a hash grid whose values are an attenuation."""

from __future__ import annotations

from typing import Any

import torch

from nerfkit.scenes.fields.named import make_named_field
from nerfkit.scenes.fields.positive import Positive
from nerfkit.workbench.held_fields import ATTENUATION, HeldField

__all__ = ["make_attenuation_field"]

# levels from 8 cells to the picture's pixels, all of them without collisions up to 360 pixels (docs/decisions/0035)
LEVELS, BASE, WIDTH, LOG2_TABLE = 12, 8, 64, 17
# where the field begins, of the picture's scale: at the floor the bend of the softplus would hold it for a while
START = 0.2


def make_attenuation_field(recipe: dict[str, Any], *, seed: int) -> HeldField:
    """A field of a square picture, at its start.

    Parameters
    ----------
    recipe : dict
        ``side`` in pixels, ``radius`` of the disc that is seen, in pixels, ``floor`` and ``scale`` of the values.
    seed : int
        Of its weights.
    """
    side, middle = recipe["side"], recipe["side"] / 2
    inner: Any = make_named_field(
        "hash", [(0.0, side)] * 2, 1, 2**20, torch.Generator().manual_seed(seed), n_levels=LEVELS, n_features=2,
        base_resolution=min(BASE, side), max_resolution=max(side, BASE), log2_table_size=LOG2_TABLE, width=WIDTH,
        n_layers=1, is_spread=True,
    )  # fmt: skip
    with torch.no_grad():
        inner.network.biases[-1].fill_(START)
    field = Positive(inner, recipe["floor"], recipe["scale"], (middle, middle, recipe["radius"]))
    return HeldField(field, {"name": ATTENUATION, "size": [side, side]} | recipe)
