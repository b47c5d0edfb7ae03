"""Large frames in parts that overlap: which pixels of each frame look at a part, and how parts become one image again.

A part is solved with some pixels more on each side, and blended with its neighbours over a few of them; what it lacks
beyond does not reach that far.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.scenes.motion import Motion

__all__ = ["Cut", "Tile", "look_into", "make_tiles"]

# low-res pixels on each side of a border between two parts: that are solved in both, and over which they are blended
OVERLAP, BLEND = 8, 2
# low-res pixels beyond the image's own borders, which some frames see
BEYOND = 2


@dataclass(frozen=True)
class Span:
    """A part along one axis, in low-res pixels: what is solved, and the borders between which it counts.

    At the image's own borders what is solved reaches beyond, unless the part is the whole.
    """

    first: int
    last: int
    # borders with the neighbours; None at the image's own
    before: int | None
    after: int | None

    def blend_weights(self, cells: int) -> Tensor:
        """Weight [n_cells] of each cell in the blend; those of all parts sum to 1."""
        at = self.first + (torch.arange((self.last - self.first) * cells) + 0.5) / cells
        weights = torch.ones_like(at)
        if self.before is not None:
            weights *= ((at - self.before) / (2 * BLEND) + 0.5).clamp(0, 1)
        if self.after is not None:
            weights *= ((self.after - at) / (2 * BLEND) + 0.5).clamp(0, 1)
        return weights


@dataclass(frozen=True)
class Tile:
    """A part of the reference frame."""

    rows: Span
    cols: Span

    @property
    def is_whole(self) -> bool:
        """Whether it is all there is."""
        return all(edge is None for span in (self.rows, self.cols) for edge in (span.before, span.after))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in low-res pixels of what is solved."""
        return self.rows.last - self.rows.first, self.cols.last - self.cols.first

    def blend(self, whole: Tensor, part: Tensor, cells: int) -> None:
        """Add its part of the blend, ``part`` [.., shape * cells] to the image [.., h, w]."""
        places, cuts = [], []
        for span, length in ((self.rows, whole.shape[-2]), (self.cols, whole.shape[-1])):
            first, last = max(0, span.first * cells), min(length, span.last * cells)
            places.append(slice(first, last))
            cuts.append(slice(first - span.first * cells, last - span.first * cells))
        weights = self.rows.blend_weights(cells)[:, None] * self.cols.blend_weights(cells)
        whole[..., places[0], places[1]] += (part * weights)[..., cuts[0], cuts[1]]


def make_tiles(height: int, width: int, side: int) -> list[Tile]:
    """The fewest equal parts of at most ``side`` low-res pixels, before they overlap.

    Examples
    --------
    >>> [tile.rows.first for tile in make_tiles(200, 60, 128)], make_tiles(100, 128, 128)[0].is_whole
    ([-2, 92], True)
    """
    return [Tile(rows, cols) for rows, cols in itertools.product(_spans(height, side), _spans(width, side))]


def _spans(length: int, side: int) -> list[Span]:
    n = math.ceil(length / side)
    edges = [round(index * length / n) for index in range(n + 1)]
    if n == 1:
        return [Span(0, length, None, None)]
    return [
        Span(
            first - (BEYOND if first == 0 else OVERLAP), last + (BEYOND if last == length else OVERLAP),
            first if first > 0 else None, last if last < length else None,
        )
        for first, last in itertools.pairwise(edges)
    ]  # fmt: skip


@dataclass(frozen=True)
class Cut:
    """Which pixels of each frame look at a part.

    Parameters
    ----------
    rows, cols : ndarray of int, shapes (n_frames, height) and (n_frames, width)
        Of the frames; of what lies beyond a frame's border those of its border.
    is_inside : ndarray of bool, shape (n_frames, height, width)
        Whether a pixel is in the frame.
    corners : Tensor, shape (n_frames, 2), float64
        The part's corner (x, y) in each frame.
    """

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    is_inside: NDArray[np.bool_]
    corners: Tensor

    @classmethod
    def of_frames(cls, motion: Motion, tile: Tile, size: tuple[int, int]) -> Cut:
        """Squares that lie upright in frames of ``size`` (width, height), by whole pixels and matrices alone."""
        (w, h), (height, width) = size, tile.shape
        top, left = tile.rows.first, tile.cols.first
        moves = _moves(motion.matrices, (left + width / 2, top + height / 2))
        rows = top + np.arange(height) + moves[:, 1:]
        cols = left + np.arange(width) + moves[:, :1]
        is_inside = ((rows >= 0) & (rows < h))[:, :, None] & ((cols >= 0) & (cols < w))[:, None]
        corners = torch.from_numpy(moves) + torch.tensor([left, top], dtype=torch.float64)
        return cls(rows.clip(0, h - 1), cols.clip(0, w - 1), is_inside, corners)

    def take(self, images: NDArray) -> NDArray:
        """The pixels [n_frames, height, width, ..] of images [n_frames, h, w, ..]."""
        places = zip(images, self.rows, self.cols, strict=True)
        return np.stack([image[row[:, None], col] for image, row, col in places])

    def add(self, images: NDArray, parts: NDArray) -> None:
        """Add to images [n_frames, h, w, ..], where they are inside, the pixels [n_frames, height, width, ..]."""
        for image, part, row, col, is_in in zip(images, parts, self.rows, self.cols, self.is_inside, strict=True):
            inside = np.ix_(is_in.any(1), is_in.any(0))
            image[np.ix_(row[is_in.any(1)], col[is_in.any(0)])] += part[inside]


def look_into(
    images: NDArray[np.float32], motion: Motion, tile: Tile
) -> tuple[NDArray[np.float32], Motion, Tensor]:  # fmt: skip
    """The pixels that look at a part of the reference frame, whichever they are in each frame.

    Parameters
    ----------
    images : ndarray, shape (n_frames, h, w) or (n_frames, h, w, n_channels)
        What is cut.
    motion : Motion
        Where the images look.
    tile : Tile
        The part.

    Returns
    -------
    images : ndarray, shape (n_frames, *tile.shape, ..)
        Of pixels beyond a frame's border its border pixels.
    motion : Motion
        Where they look in the part.
    is_inside : Tensor, shape (n_frames, *tile.shape), bool
        Whether a pixel is in the frame.
    """
    n, h, w = images.shape[:3]
    if tile.is_whole:
        return images, motion, torch.ones(n, h, w).bool()
    cut = Cut.of_frames(motion, tile, (w, h))
    corner = torch.tensor([tile.cols.first, tile.rows.first], dtype=torch.float64)
    seen = motion.between_parts(cut.corners, corner)
    if motion.displacement is not None:
        seen = seen.displaced(torch.from_numpy(cut.take(motion.displacement.cpu().numpy())))
    return cut.take(images), seen, torch.from_numpy(cut.is_inside)


def _moves(matrices: Tensor, centre: tuple[float, float]) -> NDArray[np.int64]:
    """Whole pixels [n_frames, 2] (x, y) from a point of the reference to the pixel of each frame that looks there."""
    point = torch.tensor([*centre, 1.0], dtype=torch.float64)
    seen = torch.linalg.solve(matrices, point.expand(len(matrices), 3))
    return (seen[:, :2] / seen[:, 2:] - point[:2]).round().long().numpy()
