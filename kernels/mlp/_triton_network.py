"""What the kernels are compiled for, and the parameters one after the other, padded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ._reference import accumulation_dtype

__all__ = ["Network", "halves", "layouts", "pack"]

# wider layers' tiles do not fit the registers, nor the shared memory of AMD
MAX_REGISTER_WIDTH = 64


class Network(NamedTuple):
    """What the kernels are compiled for, and how many networks there are."""

    widths: tuple[int, ...]
    """[L + 1] inputs, then outputs of each layer"""
    has_bias: tuple[bool, ...]
    """[L]"""
    n_nets: int
    dtype: torch.dtype
    """of the products"""
    acc: torch.dtype
    """of the sums"""

    @classmethod
    def of(cls, x: Tensor, parameters: Sequence[Tensor | None]) -> Network:
        """The network of these parameters."""
        weights, biases = halves(parameters)
        dtypes = {x.dtype, *(w.dtype for w in weights)}
        acc = accumulation_dtype(x, *parameters)
        is_half = len(dtypes) == 1 and acc == torch.float32
        return cls(
            widths=(x.shape[-1], *(w.shape[-1] for w in weights)),
            has_bias=tuple(b is not None for b in biases),
            n_nets=x.shape[0] if x.ndim == 3 else 1,
            dtype=x.dtype if is_half else acc,
            acc=acc,
        )

    @property
    def is_in_registers(self) -> bool:
        """Whether the tile stays in registers from layer to layer."""
        return self.dtype != self.acc and max(self.widths) <= MAX_REGISTER_WIDTH

    @property
    def padded(self) -> list[int]:
        """[L + 1] widths as powers of two from 16 on, one for all hidden layers: matrix units take no less than 16."""
        hidden = max(self.widths[1:-1], default=16)
        widths = [self.widths[0], *(hidden for _ in self.widths[1:-1]), self.widths[-1]]
        return [max(16, 1 << (width - 1).bit_length()) for width in widths]


class Layout(NamedTuple):
    """Parameters one after the other, as given and as packed."""

    sources: Tensor
    """[n_packed] int64, place among the given numbers; their count where there is padding"""
    places: Tensor
    """[n_given] int64, place among the packed numbers"""


@lru_cache(maxsize=64)
def layouts(
    widths: tuple[int, ...], padded: tuple[int, ...], has_bias: tuple[bool, ...], device: torch.device
) -> tuple[Layout, Layout]:
    """Of the weights and of the biases."""
    weights, biases, n_weights, n_biases = [], [], 0, 0
    for l, has in enumerate(has_bias):
        rows, cols = padded[l : l + 2]
        places = torch.arange(rows * cols).view(rows, cols)[: widths[l], : widths[l + 1]]
        weights.append(n_weights + places.reshape(-1))
        if has:
            biases.append(n_biases + torch.arange(widths[l + 1]))
        n_weights, n_biases = n_weights + rows * cols, n_biases + cols
    return _layout(weights, n_weights, device), _layout(biases, n_biases, device)


def _layout(parts: list[Tensor], n_packed: int, device: torch.device) -> Layout:
    places = torch.cat([torch.arange(0), *parts])
    sources = torch.full((n_packed,), len(places)).index_put((places,), torch.arange(len(places)))
    return Layout(sources.to(device), places.to(device))


def pack(x: Tensor, parameters: Sequence[Tensor | None]) -> tuple[Tensor, Tensor | None]:
    """Weights [n_nets, n_packed] in the dtype of the products, biases in that of the sums, None without any."""
    net, (weights, biases) = Network.of(x, parameters), halves(parameters)
    by_weights, by_biases = layouts(net.widths, tuple(net.padded), net.has_bias, x.device)
    biases = [b.reshape(-1, b.shape[-1]).expand(net.n_nets, -1) for b in biases if b is not None]
    packed = _gather([w.reshape(net.n_nets, w.shape[-2] * w.shape[-1]) for w in weights], by_weights, net.dtype)
    return packed, _gather(biases, by_biases, net.acc) if biases else None


def _gather(rows: Sequence[Tensor], layout: Layout, dtype: torch.dtype) -> Tensor:
    padding = rows[0].new_zeros(len(rows[0]), 1)
    return torch.cat([*rows, padding], dim=1).to(dtype).index_select(1, layout.sources)


def halves(parameters: Sequence) -> tuple[Sequence, Sequence]:
    return parameters[: len(parameters) // 2], parameters[len(parameters) // 2 :]
