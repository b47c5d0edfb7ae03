"""Images held by sine networks (SIREN, arXiv:2006.09661): one network, or many small ones that share the plane.

Both are asked for a lattice: rows at heights ys and columns at xs, in the unit of the size that they were made with.
What depends on the lattice alone is a :class:`Lattice`, made once by ``lattice(ys, xs)`` and used in every step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from nerfkit.kernels.mlp import mlp

__all__ = ["IMAGE_FIELDS", "ImageField", "Lattice", "Siren", "SirenConfig", "TiledSiren", "render_lattice"]

# factor before the logistic function that keeps values in their range: 4 gives it slope 1 at the middle
SQUASH = 4.0
# points that a chunk of a rendering asks for, which bounds the memory it takes
CHUNK_POINTS = 2**19


@dataclass(frozen=True)
class SirenConfig:
    """Sizes of a sine network, or of each of many."""

    # width of the hidden layers
    width: int = 32
    # hidden layers
    n_layers: int = 2
    # factor omega_0 on the argument of each sine: the higher, the finer the detail it starts with
    omega: float = 15.0
    # side of a network's square and distance between two of them, in the unit of the size; the single network has none
    tile: float = 6.5
    stride: float = 5.5

    def __post_init__(self) -> None:
        if self.width < 1 or self.n_layers < 1 or not 0 < self.omega < math.inf:
            raise ValueError(
                f"width, n_layers and omega must be positive; got {self.width}, {self.n_layers}, {self.omega}"
            )
        if not 0 < self.stride <= self.tile <= 2 * self.stride:
            raise ValueError(f"need 0 < stride <= tile <= 2 stride; got {self.stride} and {self.tile}")


@dataclass(frozen=True)
class Lattice:
    """What a network needs to know of a lattice of points."""

    # rows and columns of points
    shape: tuple[int, int]
    # [n_networks or 1, n_points, 2] coordinates (y, x) in [-1, 1] of each network's square
    points: Tensor
    # of each network's points: which point of the lattice, and its share of the blend; None for the single network
    index: Tensor | None = None
    shares: Tensor | None = None
    # which networks have points at all; None: every one
    networks: Tensor | None = None


class ImageField(Protocol):
    """An image of any resolution."""

    config: SirenConfig
    size: tuple[float, float]

    def lattice(self, ys: Tensor, xs: Tensor) -> Lattice:
        """Prepare the points at heights ``ys`` [n_rows] and ``xs`` [n_cols]."""
        ...

    def __call__(self, lattice: Lattice) -> Tensor:
        """Values [n_channels, n_rows, n_cols] at the points."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """All weights."""
        ...


class _SineImage(nn.Module):
    """Weights of ``n_networks`` equal networks, and the range of their values."""

    def __init__(
        self,
        config: SirenConfig,
        size: tuple[float, float],
        bounds: Tensor,
        n_networks: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if not (size[0] > 0 and size[1] > 0) or bounds.ndim != 2 or bounds.shape[1] != 2:
            raise ValueError(f"need a positive size and bounds [n_channels, 2]; got {size} and {tuple(bounds.shape)}")
        self.config, self.size = config, size
        self.bounds: Tensor
        self.register_buffer("bounds", bounds.float())
        sizes = [2, *[config.width] * config.n_layers, len(bounds)]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
            # arXiv:2006.09661, section 3.2 and its supplement: the arguments of every sine start out alike
            bound = 1 / n_in if layer == 0 else math.sqrt(6 / n_in) / config.omega
            offset = 1 / math.sqrt(n_in) if layer == 0 else 0.0
            weight = torch.empty(n_networks, n_in, n_out).uniform_(-bound, bound, generator=generator)
            bias = torch.empty(n_networks, 1, n_out).uniform_(-offset, offset, generator=generator)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(bias))

    def _evaluate(self, lattice: Lattice) -> Tensor:
        """Values [n_networks, n_points, n_channels] before the blend and the range."""
        weights, biases = list(self.weights), list(self.biases)
        if lattice.networks is not None:
            weights = [weight[lattice.networks] for weight in weights]
            biases = [bias[lattice.networks] for bias in biases]
        offsets = [bias[:, 0] for bias in biases]
        return mlp(lattice.points, weights, offsets, activation="sine", scale=self.config.omega)

    def _in_range(self, values: Tensor) -> Tensor:
        low, high = self.bounds[:, 0, None, None], self.bounds[:, 1, None, None]
        return low + (high - low) * torch.sigmoid(SQUASH * values)


class Siren(_SineImage):
    """One sine network for the whole image.

    Parameters
    ----------
    config : SirenConfig
        Its sizes.
    size : (float, float)
        Width and height of the image, in the unit in which points are given.
    bounds : Tensor, shape (n_channels, 2)
        Least and greatest value of each channel.
    generator : torch.Generator
        Source of the initial weights, on the CPU.

    Examples
    --------
    >>> image = Siren(SirenConfig(), (8.0, 4.0), torch.tensor([[0.0, 1.0]]), torch.Generator().manual_seed(0))
    >>> image(image.lattice(torch.arange(4) + 0.5, torch.arange(8) + 0.5)).shape
    torch.Size([1, 4, 8])
    """

    def __init__(
        self, config: SirenConfig, size: tuple[float, float], bounds: Tensor, generator: torch.Generator
    ) -> None:
        super().__init__(config, size, bounds, 1, generator)

    def lattice(self, ys: Tensor, xs: Tensor) -> Lattice:
        """See :class:`ImageField`; the longer side spans [-1, 1]."""
        half = max(self.size) / 2
        grid = torch.meshgrid((ys - self.size[1] / 2) / half, (xs - self.size[0] / 2) / half, indexing="ij")
        points = torch.stack(grid, -1).reshape(1, -1, 2)
        return Lattice((len(ys), len(xs)), points.to(self.bounds))

    def forward(self, lattice: Lattice) -> Tensor:
        """See :class:`ImageField`."""
        values = self._evaluate(lattice)
        return self._in_range(values[0].T.reshape(-1, *lattice.shape))


class TiledSiren(_SineImage):
    """A small sine network for each of many overlapping squares, blended by a raised cosine.

    The blend's shares sum to 1 everywhere (a partition of unity), so the image is as smooth as the networks are; each
    network sees few points, which makes the whole far quicker to fit than one network of the same quality.

    Parameters
    ----------
    config, size, bounds, generator
        As in :class:`Siren`; ``config.tile`` and ``config.stride`` are in the unit of ``size``.
    """

    def __init__(
        self, config: SirenConfig, size: tuple[float, float], bounds: Tensor, generator: torch.Generator
    ) -> None:
        self.counts = tuple(max(1, math.ceil(side / config.stride - 1e-9)) for side in size)
        super().__init__(config, size, bounds, self.counts[0] * self.counts[1], generator)

    def _numbers(self, rows: range, cols: range) -> Tensor:
        """Which networks those of some rows and columns of squares are."""
        return (torch.tensor(rows)[:, None] * self.counts[0] + torch.tensor(cols)).view(-1)

    def part(self, rows: range, cols: range) -> TiledSiren:
        """The networks of a block of squares as an image of their own, whose origin is that of the block.

        It is the same image except in the half overlaps at the block's borders, where the neighbours are missing: what
        fits a part in its whole squares fits the image, which blends such parts.
        """
        size = (len(cols) * self.config.stride, len(rows) * self.config.stride)
        part = TiledSiren(self.config, size, self.bounds.cpu(), torch.Generator()).to(self.bounds.device)
        chosen = self._numbers(rows, cols).to(self.bounds.device)
        with torch.no_grad():
            for own, whole in zip(part.parameters(), self.parameters(), strict=True):
                own.copy_(whole[chosen])
        return part

    def take(self, part: TiledSiren, rows: range, cols: range) -> None:
        """The inverse of :meth:`part`: its networks replace those of the block."""
        chosen = self._numbers(rows, cols).to(self.bounds.device)
        with torch.no_grad():
            for own, whole in zip(part.parameters(), self.parameters(), strict=True):
                whole[chosen] = own

    def _axis(self, positions: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tiles that have points along an axis, and of their points [n_tiles, n]: which, where in [-1, 1], share."""
        tile, overlap = self.config.tile, self.config.tile - self.config.stride
        starts = torch.arange(self.counts[axis], dtype=torch.float64) * self.config.stride - overlap / 2
        positions = positions.double()
        first = torch.searchsorted(positions.contiguous(), starts)
        last = torch.searchsorted(positions.contiguous(), starts + tile)
        tiles = (last > first).nonzero()[:, 0]
        starts, first, last = starts[tiles], first[tiles], last[tiles]
        n = int((last - first).max())
        index = first[:, None] + torch.arange(n)
        is_own = index < last[:, None]
        index = index.clamp(max=len(positions) - 1)
        inside = positions[index] - starts[:, None]
        edge = torch.minimum(inside, tile - inside)
        share = torch.where(
            edge < overlap, 0.5 - 0.5 * torch.cos(math.pi * edge.clamp(min=0) / max(overlap, 1e-9)), 1.0
        )
        return tiles, index, inside * (2 / tile) - 1, share * is_own

    def lattice(self, ys: Tensor, xs: Tensor) -> Lattice:
        """See :class:`ImageField`; ``ys`` and ``xs`` must ascend."""
        row_tiles, rows, v, row_shares = self._axis(ys, 1)
        col_tiles, cols, u, col_shares = self._axis(xs, 0)
        n_points = rows.shape[1] * cols.shape[1]

        def each(of_rows: Tensor, of_cols: Tensor) -> tuple[Tensor, Tensor]:
            """Both for all pairs of a tile's row and column: [n_tiles, n_points]."""
            shape = (len(rows), len(cols), rows.shape[1], cols.shape[1])
            down = of_rows[:, None, :, None].expand(shape).reshape(-1, n_points)
            return down, of_cols[None, :, None, :].expand(shape).reshape(-1, n_points)

        row_index, col_index = each(rows, cols)
        index = row_index * len(xs) + col_index
        shares = torch.mul(*each(row_shares, col_shares))
        total = torch.zeros(len(ys) * len(xs), dtype=torch.float64).index_add_(0, index.view(-1), shares.view(-1))
        # beyond the outermost half overlaps there is one tile alone, whose share must be all
        shares = shares / total.clamp(min=1e-12)[index]
        points = torch.stack(each(v, u), -1)
        networks = (row_tiles[:, None] * self.counts[0] + col_tiles).view(-1)
        device = self.bounds.device
        return Lattice(
            (len(ys), len(xs)), points.to(self.bounds), index.view(-1).to(device), shares[..., None].to(self.bounds),
            None if len(networks) == len(self.weights[0]) else networks.to(device),
        )  # fmt: skip

    def forward(self, lattice: Lattice) -> Tensor:
        """See :class:`ImageField`."""
        assert lattice.index is not None and lattice.shares is not None
        values = self._evaluate(lattice) * lattice.shares
        blended = values.new_zeros(lattice.shape[0] * lattice.shape[1], values.shape[-1])
        blended = blended.index_add(0, lattice.index, values.flatten(0, 1))
        return self._in_range(blended.T.reshape(-1, *lattice.shape))


# name -> class, as written to the configuration of a run
IMAGE_FIELDS: dict[str, type[Siren] | type[TiledSiren]] = {"single": Siren, "tiled": TiledSiren}


@torch.no_grad()
def render_lattice(field: ImageField, ys: Tensor, xs: Tensor) -> Tensor:
    """Values [n_channels, n_rows, n_cols] of a lattice of any size, in chunks of rows that fit in memory."""
    rows = max(1, CHUNK_POINTS // len(xs))
    return torch.cat([field(field.lattice(part, xs)).cpu() for part in ys.split(rows)], dim=1)
