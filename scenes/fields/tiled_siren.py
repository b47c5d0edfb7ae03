"""An image held by many small sine networks that share the plane."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from nerfkit.scenes.fields.coordinate import in_range, taylor_in_range
from nerfkit.scenes.fields.image_field import Lattice
from nerfkit.scenes.fields.siren import SirenConfig, sine_network
from nerfkit.scenes.fields.taylor import Taylor, coordinates

__all__ = ["TiledSiren"]


class TiledSiren(nn.Module):
    """A small sine network for each of many overlapping squares, blended by a raised cosine.

    The blend's weights sum to 1 everywhere (a partition of unity), so the image is as smooth as the networks are; each
    network sees few points, which makes the whole far quicker to fit than one network of the same quality. Beyond the
    outermost squares, half an overlap outside of the image, values are the middle of their range.

    Parameters
    ----------
    config, size, bounds, generator
        As in :class:`nerfkit.scenes.fields.siren.Siren`; ``config.tile`` and ``config.stride`` are in
        the unit of ``size``.
    """

    n_dims = 2

    def __init__(
        self, config: SirenConfig, size: tuple[float, float], bounds: Tensor, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.counts = tuple(max(1, math.ceil(side / config.stride - 1e-9)) for side in size)
        self.network = sine_network(config, size, bounds, generator, self.counts[0] * self.counts[1])
        self.config, self.size, self.n_outputs = config, size, len(bounds)
        self.bounds: Tensor
        self.register_buffer("bounds", bounds.float())

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """All weights at one rate."""
        return [{"params": list(self.parameters()), "lr": learning_rate}]

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

    @property
    def _overlap(self) -> float:
        return self.config.tile - self.config.stride

    def _weights(self, inside: Tensor) -> Tensor:
        """Weight in the blend, before it is divided by the sum of all, of points ``inside`` their square."""
        edge = torch.minimum(inside, self.config.tile - inside)
        rising = 0.5 - 0.5 * torch.cos(math.pi * edge.clamp(min=0) / max(self._overlap, 1e-9))
        return torch.where(edge < self._overlap, rising, 1.0)

    def _axis(self, positions: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tiles that have points along an axis, and of their points [n_tiles, n]: which, where in [-1, 1], weight."""
        tile = self.config.tile
        starts = torch.arange(self.counts[axis], dtype=torch.float64) * self.config.stride - self._overlap / 2
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
        return tiles, index, inside * (2 / tile) - 1, self._weights(inside) * is_own

    def lattice(self, ys: Tensor, xs: Tensor) -> Lattice:
        """See :class:`nerfkit.scenes.fields.image_field.ImageField`; ``ys`` and ``xs`` must ascend."""
        row_tiles, rows, v, row_weights = self._axis(ys, 1)
        col_tiles, cols, u, col_weights = self._axis(xs, 0)
        n_points = rows.shape[1] * cols.shape[1]

        def each(of_rows: Tensor, of_cols: Tensor) -> tuple[Tensor, Tensor]:
            """Both for all pairs of a tile's row and column: [n_tiles, n_points]."""
            shape = (len(rows), len(cols), rows.shape[1], cols.shape[1])
            down = of_rows[:, None, :, None].expand(shape).reshape(-1, n_points)
            return down, of_cols[None, :, None, :].expand(shape).reshape(-1, n_points)

        row_index, col_index = each(rows, cols)
        index = row_index * len(xs) + col_index
        weights = torch.mul(*each(row_weights, col_weights))
        total = torch.zeros(len(ys) * len(xs), dtype=torch.float64).index_add_(0, index.view(-1), weights.view(-1))
        # beyond the outermost half overlaps there is one tile alone, whose weight must be all
        weights = weights / total.clamp(min=1e-12)[index]
        down, across = each(v, u)
        networks = (row_tiles[:, None] * self.counts[0] + col_tiles).view(-1)
        device = self.bounds.device
        return Lattice(
            (len(ys), len(xs)), torch.stack([across, down], -1).to(self.bounds), index.view(-1).to(device),
            weights[..., None].to(self.bounds), None if len(networks) == self._n_networks else networks.to(device),
        )  # fmt: skip

    @property
    def _n_networks(self) -> int:
        return self.counts[0] * self.counts[1]

    def evaluate_lattice(self, lattice: Lattice) -> Tensor:
        """See :class:`nerfkit.scenes.fields.image_field.ImageField`."""
        return self._blended(lattice).T.reshape(-1, *lattice.shape)

    def _blended(self, lattice: Lattice) -> Tensor:
        """Values [n_points, n_channels]."""
        assert lattice.index is not None and lattice.blend is not None
        values = self.network(lattice.points, lattice.networks) * lattice.blend
        blended = values.new_zeros(lattice.shape[0] * lattice.shape[1], values.shape[-1])
        return in_range(blended.index_add(0, lattice.index, values.flatten(0, 1)), self.bounds)

    def forward(self, coords: Tensor) -> Tensor:
        """Values [..., n_channels] at points ``coords`` [..., 2] (x, y)."""
        points = coords.reshape(-1, 2)
        if not len(points):
            return points.new_zeros(*coords.shape[:-1], self.n_outputs)
        return self._blended(self._placed(points)).reshape(*coords.shape[:-1], self.n_outputs)

    def taylor(self, coords: Tensor, order: int | str) -> Taylor:
        """As :meth:`nerfkit.scenes.fields.coordinate.CoordinateField.taylor`; see :meth:`lattice_taylor`."""
        return self.lattice_taylor(self._placed(coords), order)

    def lattice_taylor(self, lattice: Lattice, order: int | str) -> Taylor:
        """Values [n_points, n_channels] at the points of a lattice, row by row, and their derivatives.

        Blend and networks by the product rule. The second derivatives of the blend, and so of the image, jump where an
        overlap begins.
        """
        assert lattice.index is not None
        inputs = coordinates(lattice.points.flatten(0, 1), lattice.points.new_full((2,), 2 / self.config.tile), order)
        values = _product(self._blend_taylor(lattice, order), self.network.taylor(inputs, lattice.networks))
        index, n_points = lattice.index, lattice.shape[0] * lattice.shape[1]

        def together(part: Tensor) -> Tensor:
            return part.new_zeros(n_points, *part.shape[1:]).index_add(0, index, part)

        second = None if values.second is None else together(values.second)
        return taylor_in_range(Taylor(together(values.value), together(values.first), second), self.bounds)

    def _blend_taylor(self, lattice: Lattice, order: int | str) -> Taylor:
        """Weights in the blend and their derivatives, of each network's points, [n_networks * n_points, .., 1]."""
        assert lattice.blend is not None
        numbers = lattice.networks
        if numbers is None:
            numbers = torch.arange(self._n_networks, device=lattice.points.device)
        places = torch.stack([numbers % self.counts[0], numbers // self.counts[0]], -1)[:, None]
        counts = torch.tensor(self.counts, device=places.device)
        inside = (lattice.points + 1) * (self.config.tile / 2)
        # in the outermost half overlaps one network has all the weight
        is_rising = (inside < self._overlap) & (places > 0)
        is_falling = (self.config.tile - inside < self._overlap) & (places < counts - 1)
        rate = math.pi / max(self._overlap, 1e-9)
        phase = rate * torch.minimum(inside, self.config.tile - inside)
        # a row that fills up a network's points has no weight
        moves = (is_rising | is_falling) & (lattice.blend > 0)
        weights = torch.where(is_rising | is_falling, 0.5 - 0.5 * torch.cos(phase), 1.0)
        slopes = torch.where(is_rising, 0.5, -0.5) * rate * torch.sin(phase) * moves
        bends = 0.5 * rate**2 * torch.cos(phase) * moves
        (a, b), (da, db), (dda, ddb) = (part.flatten(0, 1).unbind(-1) for part in (weights, slopes, bends))
        seconds = {1: [], 2: [dda * b, da * db, a * ddb], "laplacian": [dda * b + a * ddb]}[order]
        second = torch.stack(seconds, 1)[..., None] if seconds else None
        return Taylor(lattice.blend.view(-1, 1), torch.stack([da * b, a * db], 1)[..., None], second)

    def _around(self, positions: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
        """The two tiles [n, 2] along an axis that ``positions`` [n] may be in: number, where in [-1, 1], weight."""
        tile, stride = self.config.tile, self.config.stride
        last = ((positions.detach() + self._overlap / 2) / stride).floor().long().clamp(0, self.counts[axis] - 1)
        tiles = torch.stack([last - 1, last], -1)
        # in the precision of the positions: whole numbers times a float would be single
        inside = positions[:, None] - (tiles.to(positions) * stride - self._overlap / 2)
        is_own = (inside >= 0) & (inside < tile) & (tiles >= 0)
        weights = torch.where(is_own, self._weights(inside), 0.0)
        weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-12)
        return tiles.clamp(min=0), inside * (2 / tile) - 1, weights

    def _placed(self, points: Tensor) -> Lattice:
        """``points`` [n, 2] as a lattice of one column; networks have as many points as the fullest, others at 0."""
        columns, u, col_weights = self._around(points[:, 0].double(), 0)
        rows, v, row_weights = self._around(points[:, 1].double(), 1)
        # the four pairs of a row and a column, [n, 4] each
        owners = (rows[:, :, None] * self.counts[0] + columns[:, None, :]).flatten(1)
        weights = (row_weights[:, :, None] * col_weights[:, None, :]).flatten(1)
        places = torch.stack([u[:, None, :].expand(-1, 2, 2), v[:, :, None].expand(-1, 2, 2)], -1).flatten(1, 2)
        point, corner = (weights.detach() > 0).nonzero(as_tuple=True)
        if not len(point):
            # all lie outside; the first network sees one of them, with the weight 0
            point, corner = torch.zeros(2, 1, dtype=torch.int64, device=points.device)
        networks, owner, counts = owners[point, corner].unique(return_inverse=True, return_counts=True)
        order = owner.argsort(stable=True)
        slot = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[owner[order]]
        at, shape = (owner[order], slot), (len(networks), int(counts.max()))
        point, corner = point[order], corner[order]

        def spread(values: Tensor) -> Tensor:
            return values.new_zeros(*shape, *values.shape[1:]).index_put(at, values)

        return Lattice(
            (len(points), 1), spread(places[point, corner]).to(self.bounds.dtype), spread(point).view(-1),
            spread(weights[point, corner])[..., None].to(self.bounds.dtype), networks,
        )  # fmt: skip


def _product(left: Taylor, right: Taylor) -> Taylor:
    """Of two functions of the same points, their features multiplied."""
    first = left.first * right.value[:, None] + left.value[:, None] * right.first
    if left.second is None or right.second is None:
        return Taylor(left.value * right.value, first)
    mixed = left._replace(first=left.first.expand_as(right.first)).products(right.first)
    if right.is_trace:
        mixed = 2 * mixed
    else:
        mixed = mixed + right.products(left.first.expand_as(right.first))
    second = left.second * right.value[:, None] + mixed + left.value[:, None] * right.second
    return Taylor(left.value * right.value, first, second)
