"""How a shape is held: the field, what its values mean, and what it is trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LOSSES", "ShapeRecipe", "recipe_of"]

# loss -> what the field's values are
LOSSES = {"distance": "truncated", "eikonal": "distance", "occupancy": "logit"}


@dataclass(frozen=True)
class ShapeRecipe:
    """A field of space with what it is trained by.

    Parameters
    ----------
    n_params : int
        Parameters at most, where the sizes of ``options`` do not say.
    options : dict
        Of :func:`nerfkit.scenes.fields.named.make_named_field`.
    learning_rate : float
        Adam's peak rate.
    steps, batch : int
        Of the fit, and points of each.
    """

    n_params: int
    learning_rate: float
    steps: int
    batch: int
    options: dict[str, Any] = field(default_factory=dict)


HASH_SIZES = {
    "n_levels": 11, "n_features": 2, "log2_table_size": 18, "base_resolution": 8, "max_resolution": 400, "width": 32,
    "n_layers": 1,
}  # fmt: skip
HASH = ShapeRecipe(3_200_000, 1e-2, 2200, 2**13, HASH_SIZES)
# any other: three layers as wide as 128 of a sine network
NETWORK = ShapeRecipe(33_700, 1e-3, 2000, 2**13)
EIKONAL = ShapeRecipe(33_700, 1e-3, 3000, 2**12)


def recipe_of(name: str, loss: str, n_params: int | None) -> ShapeRecipe:
    """The recipe of a field's name and a loss; with a number of parameters the field's shape follows from it."""
    found = HASH if name in ("hash", "exp-hash") else EIKONAL if loss == "eikonal" else NETWORK
    if n_params is None:
        return found
    options = hash_sizes(n_params) if found is HASH else {}
    return ShapeRecipe(n_params, found.learning_rate, found.steps, found.batch, options)


def hash_sizes(n_params: int) -> dict[str, Any]:
    """Levels and table of a hash grid of space with at most ``n_params`` parameters; its network stays as it is.

    Examples
    --------
    >>> hash_sizes(60_000)["max_resolution"], hash_sizes(60_000)["log2_table_size"]
    (117, 12)
    """
    from nerfkit.kernels.hashgrid import HashGridSpec

    base, width = HASH_SIZES["base_resolution"], HASH_SIZES["width"]
    # as many cells as a table has entries are a cube of half that side: hashed levels may be a few times finer
    finest = max(base, min(HASH_SIZES["max_resolution"], round(3 * n_params ** (1 / 3))))
    n_levels = min(HASH_SIZES["n_levels"], 2 + round(1.6 * math.log2(finest / base)))
    sizes = HASH_SIZES | {"max_resolution": finest, "n_levels": n_levels}
    weights = (2 * n_levels + 1) * width + width + 1

    def count(log2_size: int) -> int:
        return 2 * HashGridSpec.geometric(n_levels, base, finest, log2_size, 2).n_entries + weights

    return sizes | {"log2_table_size": max(4, *(size for size in range(3, 25) if count(size) <= n_params or size == 3))}
