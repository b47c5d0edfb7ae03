"""Where the parts of a network lie: in the flat parameters of the caller, and padded in the loops' scratch."""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from ._microkernel import VECTOR_BYTES

__all__ = ["BLOCK", "Plan", "make_plan"]

BLOCK = 64
"""Samples that go through all layers together; a hidden layer of 32 units then takes 8 KiB."""


class Plan(NamedTuple):
    """Sizes of the L layers and offsets in elements; arrays are int64."""

    widths: np.ndarray
    """[L + 1] inputs, then outputs of each layer"""
    padded: np.ndarray
    """[L + 1] the same in whole vectors"""
    weight_at: np.ndarray
    """[L] place of weights[l] among the parameters of one net"""
    bias_at: np.ndarray
    """[L] place of biases[l] there; -1 where there is none"""
    packed_weight_at: np.ndarray
    """[L] place of weights[l], columns padded, in the scratch; its gradient lies there in a partial sum"""
    packed_bias_at: np.ndarray
    """[L] the same for biases[l]"""
    is_flipped: np.ndarray
    """[L] whether a partial sum holds the gradient of weights[l] transposed, which is then smaller"""
    n_packed: int
    """elements of a partial sum"""
    transposed_at: np.ndarray
    """[L] place of weights[l] transposed, columns padded"""
    hidden_at: np.ndarray
    """[L + 1] place of the outputs of layer l - 1 for a block; nothing at 0, where x serves"""
    slope_at: np.ndarray
    """[L + 1] place of the derivative of the activation at these outputs"""
    d_hidden_at: np.ndarray
    """[2] places of the gradients to a layer's outputs and to its inputs, which take turns"""
    ones_at: int
    """place of a vector of ones"""
    zeros_at: int
    """place of a row of zeros"""
    n_scratch: int
    """elements of the scratch"""


@lru_cache(maxsize=256)
def make_plan(widths: tuple[int, ...], has_bias: tuple[bool, ...], itemsize: int) -> Plan:
    """Lay out a network of these widths in elements of ``itemsize`` bytes."""
    lanes = VECTOR_BYTES // itemsize
    padded = [-(-width // lanes) * lanes for width in widths]
    pairs = list(pairwise(widths))
    n_layers = len(pairs)
    sizes = [d_in * d_out for d_in, d_out in pairs]
    *weight_at, n_weights = accumulate(sizes, initial=0)
    shifts = [d_out if has else 0 for (_, d_out), has in zip(pairs, has_bias, strict=True)]
    bias_at = [at if has else -1 for at, has in zip(accumulate(shifts, initial=n_weights), has_bias, strict=False)]

    packed = [d_in * p_out for d_in, p_out in zip(widths, padded[1:], strict=False)]
    transposed = [d_out * p_in for d_out, p_in in zip(widths[1:], padded, strict=False)]
    blocks = [0] + [BLOCK * p for p in padded[1:]]
    parts = [packed, padded[1:], transposed, blocks, blocks, [BLOCK * max(padded)] * 2, [lanes], [max(padded)]]
    places = list(accumulate((size for part in parts for size in part), initial=0))
    offsets = []
    for part in parts:
        offsets.append(np.array(places[: len(part)], np.int64))
        places = places[len(part) :]
    return Plan(
        widths=np.array(widths, np.int64),
        padded=np.array(padded, np.int64),
        weight_at=np.array(weight_at, np.int64),
        bias_at=np.array(bias_at, np.int64),
        packed_weight_at=offsets[0],
        packed_bias_at=offsets[1],
        # the rows of x are not padded, so the first gradient has its columns along the outputs
        is_flipped=np.array([l > 0 and transposed[l] < packed[l] for l in range(n_layers)]),
        n_packed=sum(packed) + sum(padded[1:]),
        transposed_at=offsets[2],
        hidden_at=offsets[3],
        slope_at=offsets[4],
        d_hidden_at=offsets[5],
        ones_at=int(offsets[6][0]),
        zeros_at=int(offsets[7][0]),
        n_scratch=places[0],
    )
