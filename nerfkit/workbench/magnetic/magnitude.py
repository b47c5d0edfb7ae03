"""The field of a magnitude: a hash grid above 0."""

from __future__ import annotations

from typing import Any

import torch

from nerfkit.scenes.fields.named import make_named_field
from nerfkit.scenes.fields.positive import Positive

__all__ = ["magnitude_field"]

# where the magnitude begins, of the picture's scale: from 0 a hash table learns slowly
START = 0.2
HASH = {
    "is_spread": True, "n_layers": 1, "n_levels": 12, "base_resolution": 8, "log2_table_size": 17, "width": 64,
}  # fmt: skip
MOST_PARAMETERS = 2**22


def magnitude_field(shape: tuple[int, int], seed: int) -> Positive:
    """A hash grid over [0, w] x [0, h], of values above 0 of about 1."""
    height, width = shape
    options = HASH | {"max_resolution": max(shape)}
    box = [(0.0, float(width)), (0.0, float(height))]
    field: Any = make_named_field("hash", box, 1, MOST_PARAMETERS, torch.Generator().manual_seed(seed), **options)
    with torch.no_grad():
        field.network.biases[-1].fill_(START)
    return Positive(field, 0.0, 1.0)
