"""The codec's small networks: trained in float32, sent as whole numbers, evaluated in integers.

A network is three layers with ReLU between them. Its weights and biases are sent as whole multiples of ``2**-shift``.
What enters has ``bits_in`` bits behind the point; hidden values and what comes out have ``BITS``. Sums have 64 bits and
every value is bounded, so nothing overflows whatever a file says, and every machine arrives at the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import linear

from .range_coder import LOGITS, Reader, Writer, place_of, read_bits, read_number, write_bits, write_number

__all__ = [
    "BITS",
    "FINEST",
    "SHIFTS",
    "IntegerNetwork",
    "SmallNetwork",
    "evaluate",
    "likeliest_places",
    "read_network",
    "write_network",
]

# bits behind the point of hidden values and of what comes out
BITS = 8
# steps that weights may be sent in, 2**-shift each; the finest is as good as float32 here
SHIFTS = (2, 3, 4, 5, 6, 7)
FINEST = 10
# bits of a shift and of a place in the table of chances, as they are written
_SHIFT_BITS, _PLACE_BITS = 4, 8
# largest weight, as a whole number, and largest value between layers: sums of 2**15 * 2**24 fit into 64 bits
_LARGEST_WEIGHT, _LARGEST_VALUE = (1 << 15) - 1, 1 << 24


class IntegerNetwork(NamedTuple):
    """Weights [d_out, d_in] and biases [d_out] of three layers, in units of ``2**-shift``."""

    w1: NDArray[np.int64]
    b1: NDArray[np.int64]
    w2: NDArray[np.int64]
    b2: NDArray[np.int64]
    w3: NDArray[np.int64]
    b3: NDArray[np.int64]
    shift: int

    @classmethod
    def of(cls, arrays: Sequence[NDArray[np.int64]], shift: int) -> IntegerNetwork:
        """A network of its arrays in the order above."""
        w1, b1, w2, b2, w3, b3 = arrays
        return cls(w1, b1, w2, b2, w3, b3, shift)


class SmallNetwork(nn.Module):
    """Three linear layers with ReLU between them.

    Parameters
    ----------
    sizes : sequence of int
        Of the input, two hidden layers and the output.
    last : float
        Factor of the last layer's start; 0 starts with an output of nothing.

    Attributes
    ----------
    shift : int or None
        Weights act as multiples of ``2**-shift``, as they will be sent; None: as they are.
    """

    def __init__(self, sizes: Sequence[int], generator: torch.Generator, last: float) -> None:
        super().__init__()
        self.shift: int | None = None
        factors = (1.0, 1.0, last)
        self.layers = nn.ModuleList(nn.Linear(d_in, d_out) for d_in, d_out in pairwise(sizes))
        with torch.no_grad():
            for layer, factor in zip(self._linears(), factors, strict=True):
                # He et al. 2015 (arXiv:1502.01852, equation 10)
                layer.weight.normal_(0, factor * (2 / layer.in_features) ** 0.5, generator=generator)
                layer.bias.zero_()

    def _linears(self) -> Iterator[nn.Linear]:
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            yield layer

    def forward(self, x: Tensor) -> Tensor:
        """Values [n, d_out] of inputs [n, d_in], by rounded weights once there is a ``shift``."""
        for k, layer in enumerate(self._linears()):
            x = linear(torch.relu(x) if k else x, self._rounding(layer.weight), self._rounding(layer.bias))
        return x

    def _rounding(self, weights: Tensor) -> Tensor:
        if self.shift is None:
            return weights
        # straight through: the gradient is that of the weights themselves (arXiv:1308.3432)
        return weights + (torch.round(weights.detach() * 2**self.shift) / 2**self.shift - weights.detach())

    @torch.no_grad()
    def rounded(self, shift: int) -> IntegerNetwork:
        """The network in whole multiples of ``2**-shift``."""
        arrays: list[NDArray[np.int64]] = []
        for layer in self._linears():
            for tensor in (layer.weight, layer.bias):
                whole = torch.round(tensor.double() * 2**shift).clamp(-_LARGEST_WEIGHT, _LARGEST_WEIGHT)
                arrays.append(whole.cpu().numpy().astype(np.int64))
        return IntegerNetwork.of(arrays, shift)


@njit(cache=True, error_model="numpy", nogil=True)
def _layer(out, x, weights, biases, bits_in, shift, has_relu):
    down = bits_in + shift - BITS
    for k in range(len(biases)):
        total = biases[k] << bits_in
        for m in range(len(x)):
            total += weights[k, m] * x[m]
        total = total >> down if down >= 0 else total << -down
        lowest = np.int64(0) if has_relu else -np.int64(_LARGEST_VALUE)
        out[k] = min(max(total, lowest), np.int64(_LARGEST_VALUE))


@njit(cache=True, error_model="numpy", nogil=True)
def evaluate(out, hidden, x, network, bits_in):
    """Values ``out`` [d_out] of inputs ``x`` [d_in], integers; ``hidden`` [2, d_hidden] is scratch."""
    w1, b1, w2, b2, w3, b3, shift = network
    _layer(hidden[0], x, w1, b1, bits_in, shift, True)
    _layer(hidden[1], hidden[0], w2, b2, BITS, shift, True)
    _layer(out, hidden[1], w3, b3, BITS, shift, False)


def likeliest_places(numbers: NDArray[np.int64]) -> tuple[int, int]:
    """Places in the table of chances of what numbers like these are most likely with."""
    sizes = np.abs(numbers)
    n_zeros, n_others = int((sizes == 0).sum()), int((sizes > 0).sum())
    # a geometric distribution's maximum of likelihood, each with one more of either kind
    return place_of((n_zeros + 1) / (len(numbers) + 2)), place_of((n_others + 1) / (int(sizes.sum()) + 2))


def write_network(writer: Writer, network: IntegerNetwork) -> None:
    """Write a network whose sizes the reader knows."""
    numbers = np.concatenate([array.ravel() for array in network[:6]])
    places = likeliest_places(numbers)
    write_bits(writer, network.shift, _SHIFT_BITS)
    for place in places:
        write_bits(writer, place, _PLACE_BITS)
    _write_numbers(writer, numbers, places)


def read_network(reader: Reader, sizes: Sequence[int]) -> IntegerNetwork:
    """The inverse of :func:`write_network`."""
    shift = read_bits(reader, _SHIFT_BITS)
    places = [min(read_bits(reader, _PLACE_BITS), len(LOGITS) - 1) for _ in range(2)]
    shapes = [shape for d_in, d_out in pairwise(sizes) for shape in ((d_out, d_in), (d_out,))]
    counts = [int(np.prod(shape)) for shape in shapes]
    numbers = np.zeros(sum(counts), np.int64)
    _read_numbers(numbers, reader, tuple(places))
    numbers = np.clip(numbers, -_LARGEST_WEIGHT, _LARGEST_WEIGHT)
    parts = np.split(numbers, np.cumsum(counts)[:-1])
    return IntegerNetwork.of([part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)], shift)


@njit(cache=True, error_model="numpy", nogil=True)
def _write_numbers(writer, numbers, places):
    for value in numbers:
        write_number(writer, value, places[0], places[1])


@njit(cache=True, error_model="numpy", nogil=True)
def _read_numbers(numbers, reader, places):
    for at in range(len(numbers)):
        numbers[at] = read_number(reader, places[0], places[1])
