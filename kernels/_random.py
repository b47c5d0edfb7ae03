"""Random numbers as a hash of what they belong to: the same on every device, in any order, and nothing to store."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["hashed", "uniform"]

_LOW = 2**32 - 1  # int64 keeps the 32 low bits of a product of two 32-bit numbers, as uint32 does


def hashed(rows: Tensor, k: Tensor, seed: int | Tensor) -> Tensor:
    """Integers in [0, 2**32) from row, number and seed: PCG-RXS-M-XS (O'Neill, HMC-CS-2014-0905).

    Parameters
    ----------
    rows, k : Tensor of int64
        What a number belongs to; shapes that broadcast.
    seed : int or Tensor of int64, 0 to 2**31 - 1
        A tensor of one number stays where it is: nothing waits for a device.
    """
    h = (rows * 747796405 & _LOW) ^ (k * 2891336453 & _LOW) ^ seed
    h = h * 747796405 + 2891336453 & _LOW
    h = ((h >> ((h >> 28) + 4)) ^ h) * 277803737 & _LOW
    return (h >> 22) ^ h


def uniform(rows: Tensor, k: Tensor, seed: int | Tensor) -> Tensor:
    """Numbers in [0, 1) of 24 bits, float64, as :func:`hashed` makes them."""
    return (hashed(rows, k, seed) >> 8).to(torch.float64) / 2**24
