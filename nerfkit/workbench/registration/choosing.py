"""How smooth a displacement is, chosen by blocks of the fixed image that a fit at half the resolution has not seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["BENDINGS", "Judged", "block_means", "choose_smoothest", "held_out_blocks"]

# weights of bending that are tried, the smoothest first
BENDINGS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
# fraction of the blocks that is held out
HELD_OUT = 0.2
# a smoother displacement is taken unless it is worse by more than this many standard errors
SURE = 1.0
# weaker bending than the best so far is tried this many times
PATIENCE = 2


class Judged(NamedTuple):
    """What the held-out blocks say of a candidate."""

    bending: float
    # mean unlikeness of each block [n_blocks]; NaN where nothing of it looks into the moving image
    errors: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Over the blocks."""
        return float(np.nanmean(self.errors))


def held_out_blocks(size: tuple[int, ...], side: int, seed: int) -> NDArray[np.int64]:
    """The number of the held-out block of each pixel [(d,) h, w], -1 where it is in none.

    Parameters
    ----------
    size : tuple of int
        Pixels along x, y(, z).
    side : int
        Of a block in pixels: as wide as what a displacement can bend, so that one that follows the noise round a block
        is wrong inside it.
    """
    side = max(1, min(side, min(size) // 4))
    counts = [-(-n // side) for n in reversed(size)]
    n_blocks = int(np.prod(counts))
    order = np.random.default_rng(seed).permutation(n_blocks)
    numbers = np.full(n_blocks, -1)
    numbers[order[: max(1, round(HELD_OUT * n_blocks))]] = np.arange(max(1, round(HELD_OUT * n_blocks)))
    blocks = numbers.reshape(counts)
    for axis, n in enumerate(reversed(size)):
        blocks = np.repeat(blocks, side, axis).take(range(n), axis)
    return blocks


def block_means(errors: Tensor, weights: Tensor, blocks: Tensor) -> NDArray[np.float64]:
    """Mean error of each block; arrays of one shape, ``blocks`` as :func:`held_out_blocks` numbers them."""
    inside = blocks >= 0
    n_blocks = int(blocks.max()) + 1
    at, weights = blocks[inside], weights[inside].double()
    sums = torch.bincount(at, errors[inside].double() * weights, n_blocks)
    return (sums / torch.bincount(at, weights, n_blocks)).numpy()


def choose_smoothest(attempt: Callable[[float], Judged]) -> tuple[Judged, list[Judged]]:
    """The smoothest candidate that the best does not surely beat, and all that were tried.

    ``attempt`` fits with a weight of bending; it is called for the strongest first, until the last ones are worse than
    the best.
    """
    tried: list[Judged] = []
    for bending in BENDINGS:
        tried.append(attempt(bending))
        best = min(range(len(tried)), key=lambda index: tried[index].mean)
        if len(tried) - 1 - best >= PATIENCE:
            break
    best = min(tried, key=lambda found: found.mean)
    return next(found for found in tried if not _is_surely_worse(found, best)), tried


def _is_surely_worse(found: Judged, best: Judged) -> bool:
    excess = found.errors - best.errors
    excess = excess[np.isfinite(excess)]
    if len(excess) < 2:
        return found.mean > best.mean
    return float(excess.mean()) > SURE * float(excess.std(ddof=1)) / len(excess) ** 0.5


def tried_table(tried: list[Judged]) -> list[list[Any]]:
    """Plain values: weight of bending, mean unlikeness."""
    return [[found.bending, float(f"{found.mean:.6g}")] for found in tried]
