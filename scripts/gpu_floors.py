"""What the operations of the GPU benchmark need at least, what a card gives, and the goals.

A floor is what a perfect kernel would take: the bytes that have to come from memory or go there, once each, and the
products of a forward and a backward, at the rates of the card. It counts nothing that a kernel does twice. Traffic with
the second-level cache stands apart: how much of it there is depends on the order in which a kernel takes its samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from nerfkit.kernels.hashgrid import HashGridSpec
from nerfkit.kernels.hashgrid._reference import dense_index, hash_index

__all__ = [
    "GOALS",
    "H200",
    "LEGO_GOALS",
    "RENDER_GOALS",
    "SECTOR",
    "Goal",
    "Least",
    "Rates",
    "grid_traffic",
    "streamed",
]

# bytes that a cache moves at least
SECTOR = 32


@dataclass(frozen=True)
class Rates:
    """What a card does in a second."""

    # of a large copy, read and written
    copy_bytes: float
    # of products in bfloat16, and in float32 without tf32
    half_flops: float
    float32_flops: float
    # read and written within the second-level cache
    cache_bytes: float


@dataclass(frozen=True)
class Least:
    """What forward and backward need, whoever computes them."""

    # to and from the device's memory, each number once
    memory_bytes: float
    # of matrix products: one of the forward is two of the backward
    flops: float = 0.0
    # whether they may be half precision
    is_half: bool = False
    # between the multiprocessors and the second-level cache, by whole sectors; 0 where it is that of the memory
    cache_bytes: float = 0.0

    def milliseconds(self, rates: Rates) -> dict[str, float]:
        """By what takes it: memory, products, cache."""
        flops = rates.half_flops if self.is_half else rates.float32_flops
        return {
            "memory": 1e3 * self.memory_bytes / rates.copy_bytes,
            "products": 1e3 * self.flops / flops,
            "cache": 1e3 * max(self.cache_bytes, self.memory_bytes) / rates.cache_bytes,
        }

    def floor(self, rates: Rates) -> float:
        """Milliseconds of a perfect kernel: memory and products side by side, caches as large as need be."""
        parts = self.milliseconds(rates)
        return max(parts["memory"], parts["products"])


@dataclass(frozen=True)
class Goal:
    """A figure that is good, and the one to reach; milliseconds, or dB and frames a second, of which more is better."""

    good: float
    best: float
    is_least: bool = False

    def verdict(self, value: float) -> str:
        """Reached, good or missed.

        Examples
        --------
        >>> [Goal(1.0, 0.5).verdict(x) for x in (0.4, 0.9, 2.0)], Goal(30, 32, is_least=True).verdict(33)
        (['reached', 'good', 'missed'], 'reached')
        """
        sign = -1 if self.is_least else 1
        if not sign * value <= sign * self.good:
            return "missed"
        return "reached" if sign * value <= sign * self.best else "good"


# copy and bfloat16 as measured on such a card; float32 by the vendor's data sheet, and the cache by what is reported of
# the H100, which has the same: both to be measured
H200 = Rates(4.3e12, 790e12, 67e12, 5.5e12)

# milliseconds of a million samples, forward and backward
GOALS = {
    ("radiance", "hash, bfloat16"): Goal(1.0, 0.5),
    # three quarters of a million samples that light reaches, of 2^18 rays; the regular row's, and the slots of rays
    # that have ended
    ("radiance", "hash, bfloat16, an object"): Goal(1.2, 0.6),
    ("radiance", "Fourier 8 x 256, bfloat16"): Goal(14.0, 9.0),
}
# against the definition run eagerly in float32: so many times faster, in so many times less memory
EAGER_GOALS = {("radiance", "hash, bfloat16"): (Goal(10, 20, is_least=True), Goal(50, 200, is_least=True))}
# dB of lego_400's test views after so many seconds of training
LEGO_GOALS = {5.0: Goal(30, 32, is_least=True), 15.0: Goal(33, 35, is_least=True), 60.0: Goal(35, 36, is_least=True)}
# frames of 800 x 800 a second
RENDER_GOALS = Goal(30, 100, is_least=True)


def streamed(bytes_a_sample: float, flops_a_sample: float = 0.0, *, is_half: bool = False) -> Callable[[int], Least]:
    """Of an operation whose samples each have their own numbers."""
    return lambda n: Least(n * bytes_a_sample, n * flops_a_sample, is_half)


def products(*layers: Sequence[int]) -> int:
    """Multiplications of a sample in networks of these sizes.

    Examples
    --------
    >>> products((32, 64, 16))
    3072
    """
    return sum(a * b for sizes in layers for a, b in pairwise(sizes))


def grid_traffic(spec: HashGridSpec, xyzs: torch.Tensor, entry_bytes: int, tile: int) -> float:
    """Sectors of the cache a sample that a kernel touches which takes ``tile`` samples at a time, each sector once.

    Parameters
    ----------
    spec : HashGridSpec
        The grid.
    xyzs : Tensor, shape (n, 3)
        Positions in the unit cube, in the order in which they are taken; n a multiple of ``tile``.
    entry_bytes : int
        Bytes of an entry: features times those of a number.
    tile : int
        Samples that share what they touch.
    """
    touched = 0
    for resolution, offset, size, dense in zip(spec.resolutions, spec.offsets, spec.sizes, spec.is_dense, strict=True):
        cells = (xyzs.clamp(0, 1) * (resolution - 1) + 0.5).floor().long()
        corners = torch.stack([torch.tensor([c & 1, c >> 1 & 1, c >> 2 & 1], device=xyzs.device) for c in range(8)])
        vertices = (cells[:, None] + corners).view(-1, 3)
        index = offset + (dense_index(vertices, resolution) if dense else hash_index(vertices, size))
        sectors = (index * entry_bytes // SECTOR).view(-1, tile * 8).sort(dim=1).values
        touched += int((sectors.diff(dim=1) != 0).sum()) + len(sectors)
    return touched / len(xyzs)
