"""Sizes of the fused networks as the kernels see them, and how their weights lie in one buffer.

Every size is padded to a power of two of 16 or more, what the matrix units take; padding is zero, so that it
changes no value. The weights of both networks are one run of numbers, written with one scatter and, as a gradient,
read back with one gather.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ._specs import RadianceSpec

if TYPE_CHECKING:
    from . import RadianceParams

__all__ = ["MAX_WIDTH", "Layout", "WeightShapes", "element_size", "layout_of", "shared_bytes", "slots"]

# at 256 a tile's activations and one layer's weights no longer fit registers and shared memory together
MAX_WIDTH = 128
MAX_GEOMETRY = 128
MAX_ENCODING = 128
MAX_FREQUENCIES = 128


@dataclass(frozen=True)
class Layout:
    """Padded sizes, and the first number of each block of weights; blocks are [inputs, outputs], row by row."""

    n_levels: int
    """levels of the hash grid that exist; 0: Fourier features"""
    L: int
    """levels of the hash grid"""
    F: int
    """features of a level"""
    FM: int
    """frequencies of the Fourier features"""
    H: int
    """width of all hidden layers"""
    GEO: int
    """outputs of the trunk that the colour network takes"""
    S: int
    """harmonics of the direction"""
    N_TRUNK: int
    """hidden layers of the trunk"""
    N_COLOR: int
    """hidden layers of the colour network"""
    SKIP: int
    """hidden layer of the trunk that takes the encoding again; 0: none"""
    HAS_BIAS: bool
    DENSITY_APART: bool
    """whether the density is an output of its own, or the first of those that the colour network takes"""

    @property
    def IS_HASH(self) -> bool:
        """Whether the encoding is a hash grid."""
        return self.n_levels > 0

    @property
    def widest(self) -> int:
        """Longest side of an operand of a product."""
        return max(self.H, self.GEO, self.E if self.IS_HASH else self.FM)

    @property
    def E(self) -> int:
        """Rows of the first layer; Fourier: 16 for the position (3 used), then cosines, then sines."""
        return self.L * self.F if self.IS_HASH else 16 + 2 * self.FM

    @property
    def AT_SKIP(self) -> int:
        """The encoding's part of the layer with the skip."""
        return self.E * self.H

    @property
    def AT_TRUNK(self) -> int:
        """Hidden layers of the trunk but the first."""
        return self.AT_SKIP + (self.E * self.H if self.SKIP else 0)

    @property
    def AT_GEOMETRY(self) -> int:
        """Output layer of the trunk."""
        return self.AT_TRUNK + (self.N_TRUNK - 1) * self.H * self.H

    @property
    def AT_DENSITY(self) -> int:
        """The column of the density, where it is apart."""
        return self.AT_GEOMETRY + self.H * self.GEO

    @property
    def AT_FROM_GEOMETRY(self) -> int:
        """First layer of the colour network: what it takes of the trunk."""
        return self.AT_DENSITY + self.H

    @property
    def AT_FROM_DIRECTIONS(self) -> int:
        """First layer of the colour network: what it takes of the direction."""
        return self.AT_FROM_GEOMETRY + self.GEO * self.H

    @property
    def AT_COLOR(self) -> int:
        """Hidden layers of the colour network but the first."""
        return self.AT_FROM_DIRECTIONS + self.S * self.H

    @property
    def AT_RGB(self) -> int:
        """Output layer of the colour network, [H, 16] with 3 columns used."""
        return self.AT_COLOR + (self.N_COLOR - 1) * self.H * self.H

    @property
    def AT_TRUNK_BIAS(self) -> int:
        """Biases of the trunk's hidden layers."""
        return self.AT_RGB + self.H * 16

    @property
    def AT_GEOMETRY_BIAS(self) -> int:
        """Biases of the trunk's output."""
        return self.AT_TRUNK_BIAS + self.N_TRUNK * self.H

    @property
    def AT_COLOR_BIAS(self) -> int:
        """Biases of the colour network's hidden layers."""
        return self.AT_GEOMETRY_BIAS + self.GEO

    @property
    def AT_RGB_BIAS(self) -> int:
        """Biases of the colour network's output."""
        return self.AT_COLOR_BIAS + self.N_COLOR * self.H

    @property
    def AT_DENSITY_BIAS(self) -> int:
        """Bias of the density where it is apart, then the offset of its logarithm."""
        return self.AT_RGB_BIAS + 16

    @property
    def AT_OFFSET(self) -> int:
        """Offset of the logarithm of the density."""
        return self.AT_DENSITY_BIAS + 1

    @property
    def TOTAL(self) -> int:
        """Numbers in the buffer."""
        return self.AT_DENSITY_BIAS + 16


@dataclass(frozen=True)
class WeightShapes:
    """Shapes of the weights as they are handed in, and which layers have a bias."""

    trunk: tuple[tuple[int, int], ...]
    color: tuple[tuple[int, int], ...]
    trunk_biases: tuple[bool, ...]
    color_biases: tuple[bool, ...]

    @classmethod
    def of(cls, params: RadianceParams) -> WeightShapes:
        """Those of ``params``."""
        weights = [tuple((w.shape[0], w.shape[1]) for w in ws) for ws in (params.trunk_weights, params.color_weights)]
        biases = [
            tuple(b is not None for b in bs) if bs is not None else (False,) * len(ws)
            for ws, bs in zip(weights, (params.trunk_biases, params.color_biases), strict=True)
        ]
        return cls(weights[0], weights[1], biases[0], biases[1])

    def params(self, encoding: Tensor, flat: Sequence[Tensor]) -> RadianceParams:
        """The inverse of :meth:`RadianceParams.weights`."""
        from . import RadianceParams

        tensors = iter(flat)
        weights = [[next(tensors) for _ in ws] for ws in (self.trunk, self.color)]
        biases = [[next(tensors) if has else None for has in bs] for bs in (self.trunk_biases, self.color_biases)]
        return RadianceParams(encoding, weights[0], weights[1], next(tensors), biases[0], biases[1])


def layout_of(params: RadianceParams, spec: RadianceSpec) -> Layout:
    """Padded sizes of a field; a ValueError where it cannot be fused."""
    shapes = WeightShapes.of(params)
    widths = {w for ws in (shapes.trunk, shapes.color) for _, w in ws[:-1]}
    width, n_geometry = max(widths), shapes.color[0][0] - (spec.harmonics_degree + 1) ** 2
    n_frequencies = 0 if spec.grid is not None else len(params.encoding)
    n_encoding = spec.grid.n_levels * spec.grid.n_features if spec.grid is not None else 0
    for name, value, limit in (
        ("width", width, MAX_WIDTH),
        ("outputs of the trunk", n_geometry, MAX_GEOMETRY),
        ("features of the hash grid", n_encoding, MAX_ENCODING),
        ("frequencies", n_frequencies, MAX_FREQUENCIES),
    ):
        if value > limit:
            raise ValueError(f"radiance: the fused kernels hold {name} up to {limit}; got {value}")
    if len(widths) > 1:
        raise ValueError(f"radiance: the fused kernels need one width for all hidden layers; got {sorted(widths)}")
    if spec.grid is not None and spec.grid.n_features not in (1, 2, 4, 8, 16):
        raise ValueError(
            f"radiance: the fused kernels need 1, 2, 4, 8 or 16 features a level; got {spec.grid.n_features}"
        )
    F = spec.grid.n_features if spec.grid is not None else 1
    return Layout(
        n_levels=spec.grid.n_levels if spec.grid is not None else 0,
        L=max(_power(spec.grid.n_levels), 16 // F) if spec.grid is not None else 1,
        F=F,
        FM=_padded(n_frequencies) if spec.grid is None else 16,
        H=_padded(width),
        GEO=_padded(n_geometry),
        S=_padded((spec.harmonics_degree + 1) ** 2),
        N_TRUNK=len(shapes.trunk) - 1,
        N_COLOR=len(shapes.color) - 1,
        SKIP=spec.skip or 0,
        HAS_BIAS=any(shapes.trunk_biases + shapes.color_biases),
        DENSITY_APART=not spec.color_sees_density,
    )


def element_size(dtype: torch.dtype, precision: str) -> int:
    """Bytes of a number of a product's operands."""
    return 2 if precision in ("bfloat16", "float16") else dtype.itemsize


def shared_bytes(layout: Layout, element_size: int, *, is_amd: bool = False) -> int:
    """Most shared memory that a program of the kernels takes, by its operands: weights, activations, their gradients.

    Parameters
    ----------
    layout : Layout
        The padded field.
    element_size : int
        Bytes of a number of the operands.
    is_amd : bool
        Whether the products' operands come from registers, as on AMD's matrix units, which share less.

    Notes
    -----
    What the compiler takes depends on its version; the ahead-of-time compilation fails where this is too little.

    Examples
    --------
    >>> from nerfkit.kernels.radiance._cases import fourier_field
    >>> layouts = [layout_of(*fourier_field(width, 4)) for width in (64, 128)]
    >>> [shared_bytes(layout, size) // 1024 for layout in layouts for size in (2, 4)]
    [48, 96, 144, 288]
    """
    n = layout.widest
    # three matrices and three tiles of 64 rows, at least what tf32x3 takes at width 32; AMD: two matrices, or a tile
    return element_size * (max(2 * n * n, 64 * 64) if is_amd else max(n * (3 * n + 192), 10240))


@lru_cache(maxsize=16)
def slots(layout: Layout, shapes: WeightShapes, n_frequencies: int, device: torch.device) -> Tensor:
    """Place in the buffer of each number of the weights, the biases and the offset, in the order of the arguments."""
    parts = [*_weights(layout, shapes, n_frequencies), *_biases(layout, shapes), torch.tensor([layout.AT_OFFSET])]
    return torch.cat([part.reshape(-1) for part in parts]).to(device)


def _weights(layout: Layout, shapes: WeightShapes, n_frequencies: int) -> Iterator[Tensor]:
    H, rows = layout.H, torch.arange
    if layout.IS_HASH:
        encoding = rows(shapes.trunk[0][0])
    else:
        # [position, cosines, sines], each padded
        encoding = torch.cat([rows(3), 16 + rows(n_frequencies), 16 + layout.FM + rows(n_frequencies)])
    for l, (n_in, n_out) in enumerate(shapes.trunk[:-1]):
        if l == 0:
            yield _block(encoding, rows(n_out), 0, H)
            continue
        hidden = _block(rows(shapes.trunk[l - 1][1]), rows(n_out), layout.AT_TRUNK + (l - 1) * H * H, H)
        again = _block(encoding, rows(n_out), layout.AT_SKIP, H)
        yield torch.cat([hidden, again])[:n_in]
    n_in, n_out = shapes.trunk[-1]
    geometry = _block(rows(n_in), rows(n_out - layout.DENSITY_APART), layout.AT_GEOMETRY, layout.GEO)
    density = _block(rows(n_in), rows(int(layout.DENSITY_APART)), layout.AT_DENSITY, 1)
    yield torch.cat([density, geometry], dim=1)
    n_in, n_out = shapes.color[0]
    n_geometry = shapes.trunk[-1][1] - layout.DENSITY_APART
    yield torch.cat(
        [
            _block(rows(n_geometry), rows(n_out), layout.AT_FROM_GEOMETRY, H),
            _block(rows(n_in - n_geometry), rows(n_out), layout.AT_FROM_DIRECTIONS, H),
        ]
    )
    for l, (n_in, n_out) in enumerate(shapes.color[1:-1]):
        yield _block(rows(n_in), rows(n_out), layout.AT_COLOR + l * H * H, H)
    yield _block(rows(shapes.color[-1][0]), rows(3), layout.AT_RGB, 16)


def _biases(layout: Layout, shapes: WeightShapes) -> Iterator[Tensor]:
    *hidden, last = zip(shapes.trunk, shapes.trunk_biases, strict=True)
    for l, ((_, n_out), has_bias) in enumerate(hidden):
        if has_bias:
            yield layout.AT_TRUNK_BIAS + l * layout.H + torch.arange(n_out)
    if last[1]:
        n_geometry = last[0][1] - layout.DENSITY_APART
        density = layout.AT_DENSITY_BIAS + torch.arange(int(layout.DENSITY_APART))
        yield torch.cat([density, layout.AT_GEOMETRY_BIAS + torch.arange(n_geometry)])
    *hidden, last = zip(shapes.color, shapes.color_biases, strict=True)
    for l, ((_, n_out), has_bias) in enumerate(hidden):
        if has_bias:
            yield layout.AT_COLOR_BIAS + l * layout.H + torch.arange(n_out)
    if last[1]:
        yield layout.AT_RGB_BIAS + torch.arange(3)


def _block(rows: Tensor, columns: Tensor, first: int, n_columns: int) -> Tensor:
    return first + rows[:, None] * n_columns + columns[None, :]


def _power(n: int) -> int:
    return 1 << (n - 1).bit_length()


def _padded(n: int) -> int:
    return max(16, _power(n))
