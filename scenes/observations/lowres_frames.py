"""What a camera of large pixels sees of an image: averaged over a footprint, sampled where each frame looks.

Lengths are low-res pixels, axes x (columns, right) and y (rows, down). Pixel (row i, column j) of a frame has its
centre at (j + 0.5, i + 0.5) of that frame and looks at ``transform(j + 0.5, i + 0.5) + shift`` of the reference frame.
The image lives on a grid of ``cells`` x ``cells`` per low-res pixel that covers the reference frame and a margin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.kernels.lowres import NormalEquations, Samples, filter_valid, normal_equations, sample

__all__ = ["Grid", "LowresFrames", "Psf"]

# a Gaussian footprint is cut here, in standard deviations: 6e-5 of it is beyond
GAUSSIAN_RADIUS = 4.0
# margin of the grid beyond what the shifts need, and the most that it follows them, in low-res pixels
SPARE_MARGIN, MAX_MARGIN = 1, 5
# share of a sampled footprint's weights that may be left out, so that few products are left: below what 8 bits hold
LEFT_OUT = 5e-4


@dataclass(frozen=True)
class Psf:
    """How a low-res pixel weighs what lies round it.

    Parameters
    ----------
    kind : {"box", "gaussian", "file"}
        Uniform over a square, a Gaussian bell, or sampled: then made by :meth:`of_picture`.
    width : float
        Side of the square, standard deviation of the Gaussian, or side of the samples together, in low-res pixels.
    terms : Tensor, shape (n_terms, 2, n_samples), float64, optional
        Of a sampled footprint: products of weights by row and by column, which are summed.
    """

    kind: str = "box"
    width: float = 1.0
    terms: Tensor | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in ("box", "gaussian", "file") or (self.kind == "file") != (self.terms is not None):
            raise ValueError(f"kind must be 'box' or 'gaussian', or 'file' with terms; got {self.kind!r}")
        if not 0 < self.width < math.inf:
            raise ValueError(f"width must be positive and finite; got {self.width}")

    @classmethod
    def of_picture(cls, picture: NDArray[np.floating], width: float) -> Psf:
        """The footprint of an instrument that makes ``picture`` [m, m] of a point of light, m odd.

        The point lies under the middle sample, a sample is constant on its square, the sum is made 1. A point to the
        left of a pixel's centre shows to the right of the point in the picture, so the footprint is the picture turned
        by half a turn. Products are left out whose weights add up to less than ``LEFT_OUT``.

        Examples
        --------
        >>> bright_to_the_right = np.array([[0.0, 0, 0], [0, 2, 1], [0, 0, 0]])
        >>> Psf.of_picture(bright_to_the_right, 1.0).weights(3)[1].abs()
        tensor([0.3333, 0.6667, 0.0000])
        """
        if picture.ndim != 2 or picture.shape[0] != picture.shape[1] or len(picture) % 2 == 0:
            raise ValueError(f"picture must be square with an odd side; got {picture.shape}")
        samples = torch.from_numpy(np.ascontiguousarray(picture[::-1, ::-1], dtype=np.float64))
        if not samples.isfinite().all() or samples.min() < 0 or samples.sum() <= 0:
            raise ValueError("picture must be finite, nowhere negative and not zero everywhere")
        samples = samples / samples.sum()
        left, sizes, right = torch.linalg.svd(samples)
        terms = torch.stack([left.T * sizes[:, None], right], dim=1)
        missing = samples - torch.einsum("kr,kc->krc", terms[:, 0], terms[:, 1]).cumsum(0)
        n_terms = int((missing.abs().sum((1, 2)) > LEFT_OUT).sum()) + 1
        terms = terms[:n_terms]
        total = (terms.sum(2).prod(1)).sum()
        return cls("file", width, torch.stack([terms[:, 0] / total, terms[:, 1]], dim=1))

    def picture(self) -> NDArray[np.float64]:
        """What :meth:`of_picture` was given, the sum made 1."""
        if self.terms is None:
            raise ValueError(f"a footprint of kind {self.kind!r} was not made of a picture")
        return torch.einsum("kr,kc->rc", self.terms[:, 0], self.terms[:, 1]).flip(0, 1).numpy()

    @property
    def radius(self) -> float:
        """How far it reaches, in low-res pixels."""
        return self.width * GAUSSIAN_RADIUS if self.kind == "gaussian" else self.width / 2

    def n_taps(self, cells: int) -> int:
        """Grid cells along an axis that it covers."""
        reach = self.radius * cells
        # a whole number of cells is met edge on edge; anything else is centred on a cell
        is_whole = abs(2 * reach - round(2 * reach)) < 1e-6
        return max(round(2 * reach) if is_whole else 2 * math.ceil(reach - 0.5) + 1, 1)

    def taps(self, cells: int) -> Tensor:
        """Weights of the grid cells, summing to 1; the footprint's centre is their middle.

        Each weight is the footprint's integral over the cell: exact for an image that is constant on each cell,
        wherever the footprint's edges fall.

        Returns
        -------
        taps : Tensor, shape (n_taps,), or (n_terms, 2, n_taps) of a sampled footprint
            As :func:`nerfkit.kernels.lowres.filter_valid` takes them.

        Examples
        --------
        >>> Psf("box", 1.0).taps(4)
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
        >>> Psf("box", 0.5).taps(3)
        tensor([0.1667, 0.6667, 0.1667])
        """
        n_taps = self.n_taps(cells)
        edges = torch.arange(n_taps + 1, dtype=torch.float64) - n_taps / 2
        if self.terms is not None:
            return (self.terms @ _shares(edges, self.terms.shape[2], self.width * cells)).float()
        if self.kind == "box":
            reach = self.radius * cells
            integral = edges.clamp(-reach, reach)
        else:
            integral = torch.special.ndtr(edges / (self.width * cells))
        weights = integral.diff()
        return (weights / weights.sum()).float()

    def weights(self, cells: int) -> Tensor:
        """The same as one square [n_taps, n_taps]."""
        taps = self.taps(cells)
        return taps[:, None] * taps if taps.ndim == 1 else torch.einsum("kr,kc->rc", taps[:, 0], taps[:, 1])


def _shares(edges: Tensor, n_samples: int, side: float) -> Tensor:
    """Share [n_samples, n_cells] of each of the samples, ``side`` cells together, that lies in each cell."""
    bounds = (torch.arange(n_samples + 1, dtype=torch.float64) / n_samples - 0.5) * side
    ends = torch.minimum(bounds[1:, None], edges[None, 1:])
    return (ends - torch.maximum(bounds[:-1, None], edges[None, :-1])).clamp(min=0) * (n_samples / side)


@dataclass(frozen=True)
class Grid:
    """A grid of square cells over the reference frame and a margin.

    Parameters
    ----------
    height, width : int
        Size of the reference frame in low-res pixels.
    cells : int
        Cells along the side of a low-res pixel.
    margin : int
        Low-res pixels of the grid beyond each side of the reference frame.
    """

    height: int
    width: int
    cells: int
    margin: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return (self.height + 2 * self.margin) * self.cells, (self.width + 2 * self.margin) * self.cells

    def crop(self, image: Tensor) -> Tensor:
        """The cells [.., height * cells, width * cells] of the reference frame alone."""
        first = self.margin * self.cells
        return image[..., first : first + self.height * self.cells, first : first + self.width * self.cells]

    def enlarge(self, frame: Tensor) -> Tensor:
        """A smooth image on the grid to start from: ``frame`` [height, width] interpolated, its border continued."""
        size = (self.height * self.cells, self.width * self.cells)
        fine = torch.nn.functional.interpolate(frame[None, None], size, mode="bicubic", align_corners=False)
        return torch.nn.functional.pad(fine, (self.margin * self.cells,) * 4, mode="replicate")[0, 0]


class LowresFrames:
    """Frames as samples of one image on a grid.

    Parameters
    ----------
    frames : Tensor, shape (n_frames, h, w), float32
        What was measured, one channel.
    shifts : Tensor, shape (n_frames, 2), float64
        Where each frame looks: (dx, dy) in low-res pixels.
    psf : Psf
        Footprint of a pixel; the same direction and size everywhere on the grid.
    transforms : Tensor, shape (n_frames, 3, 3), float64, optional
        Homographies from frame pixels to reference pixels, before the shifts; None: the identity.
    """

    def __init__(self, frames: Tensor, shifts: Tensor, psf: Psf, transforms: Tensor | None = None) -> None:
        if frames.ndim != 3 or shifts.shape != (len(frames), 2):
            raise ValueError(
                f"frames [n, h, w] need shifts [n, 2]; got {tuple(frames.shape)} and {tuple(shifts.shape)}"
            )
        self.frames, self.shifts, self.psf, self.transforms = frames, shifts, psf, transforms

    def __len__(self) -> int:
        return len(self.frames)

    def grid(self, cells: int) -> Grid:
        """A grid that holds what the frames see of the reference frame and of a few pixels round it."""
        height, width = self.frames.shape[1:]
        reach = math.ceil(self._reach()) if len(self) > 1 else 0
        return Grid(height, width, cells, min(reach, MAX_MARGIN) + SPARE_MARGIN + math.ceil(self.psf.radius - 0.5))

    def _reach(self) -> float:
        """How far frames look beyond the reference frame, low-res pixels."""
        if self.transforms is None:
            return float(self.shifts.abs().max())
        height, width = self.frames.shape[1:]
        corners = torch.tensor([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]], dtype=torch.float64)
        seen = self.matrices() @ corners
        x, y = (seen[:, axis] / seen[:, 2] for axis in (0, 1))
        return max(0.0, float(torch.stack([-x, -y, x - width, y - height]).max()))

    def moved(self, shifts: Tensor, transforms: Tensor | None = None) -> LowresFrames:
        """The same frames looking elsewhere; the transforms stay as they are unless others are given."""
        return LowresFrames(self.frames, shifts, self.psf, self.transforms if transforms is None else transforms)

    def matrices(self) -> Tensor:
        """Homographies [n_frames, 3, 3] from frame pixels to reference pixels, the shifts included."""
        moves = torch.eye(3, dtype=torch.float64).repeat(len(self), 1, 1)
        moves[:, :2, 2] = self.shifts
        return moves if self.transforms is None else moves @ self.transforms

    def motions(self) -> Tensor:
        """How far each frame's centre is moved [n_frames, 2] (dx, dy), low-res pixels."""
        height, width = self.frames.shape[1:]
        centre = torch.tensor([width / 2, height / 2, 1.0], dtype=torch.float64)
        seen = self.matrices() @ centre
        return seen[:, :2] / seen[:, 2:] - centre[:2]

    def with_psf(self, psf: Psf) -> LowresFrames:
        """The same frames seen with another footprint."""
        return LowresFrames(self.frames, self.shifts, psf, self.transforms)

    def with_values(self, frames: Tensor) -> LowresFrames:
        """Frames of another channel that look where these do."""
        return LowresFrames(frames, self.shifts, self.psf, self.transforms)

    def chunks(self, n_values: int) -> Iterator[tuple[slice, LowresFrames]]:
        """A few frames at a time, of at most ``n_values`` pixels unless one frame has more, and which they are."""
        size = max(1, n_values // max(self.frames[0].numel(), 1))
        for first in range(0, len(self), size):
            part = slice(first, first + size)
            transforms = None if self.transforms is None else self.transforms[part]
            yield part, LowresFrames(self.frames[part], self.shifts[part], self.psf, transforms)

    def window(self, top: int, left: int, height: int, width: int) -> LowresFrames:
        """The frames' pixels in a rectangle, as frames of their own."""
        frames = self.frames[:, top : top + height, left : left + width].contiguous()
        if self.transforms is None:
            return LowresFrames(frames, self.shifts, self.psf)
        offset = torch.eye(3, dtype=torch.float64)
        offset[0, 2], offset[1, 2] = left, top
        return LowresFrames(frames, self.shifts, self.psf, torch.linalg.inv(offset) @ self.transforms @ offset)

    def looks_at(self) -> tuple[Tensor, Tensor]:
        """Where each pixel looks, x and y [n_frames, h, w] in low-res pixels of the reference frame, float64."""
        n, h, w = self.frames.shape
        y, x = torch.arange(h, dtype=torch.float64) + 0.5, torch.arange(w, dtype=torch.float64) + 0.5
        dx, dy = (self.shifts[:, axis, None, None] for axis in (0, 1))
        if self.transforms is None:
            return (x[None, None, :] + dx).expand(n, h, w), (y[None, :, None] + dy).expand(n, h, w)
        points = torch.stack([*torch.meshgrid(x, y, indexing="xy"), torch.ones(h, w, dtype=torch.float64)])
        seen = (self.transforms @ points.view(3, -1)).view(n, 3, h, w)
        return seen[:, 0] / seen[:, 2] + dx, seen[:, 1] / seen[:, 2] + dy

    def positions(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Rows and columns [n_frames, h, w] in the filtered grid at which the pixels are samples of it."""
        # the filtered cell (i, j) is centred on row i + n_taps / 2 of the cells' edges
        offset = grid.margin - self.psf.n_taps(grid.cells) / (2 * grid.cells)
        x, y = self.looks_at()
        rows, cols = (((part + offset) * grid.cells).float() for part in (y, x))
        device = self.frames.device
        return rows.contiguous().to(device), cols.contiguous().to(device)

    def equations(self, grid: Grid, weights: Tensor | None = None) -> NormalEquations:
        """Normal equations of all pixels in the filtered grid; ``weights`` [n_frames, h, w] default to 1."""
        weights = torch.ones_like(self.frames) if weights is None else weights
        cut = self.psf.n_taps(grid.cells) - 1
        shape = (grid.shape[0] - cut, grid.shape[1] - cut)
        rows, cols = self.positions(grid)
        values = self.frames.reshape(-1)
        return normal_equations(rows.view(-1), cols.view(-1), values, weights.reshape(-1), shape)

    def predict(self, grid: Grid, image: Tensor) -> tuple[Samples, Tensor]:
        """What the frames would have measured of ``image`` [grid.shape], with slopes per cell, and where it is known.

        Returns
        -------
        samples : Samples
            Each [n_frames, h, w].
        is_known : Tensor, shape (n_frames, h, w), bool
            Whether a pixel's footprint lies within the grid.
        """
        taps = self.psf.taps(grid.cells).to(image.device)
        filtered = filter_valid(image, taps)
        rows, cols = self.positions(grid)
        is_known = (rows >= 0) & (cols >= 0) & (rows <= filtered.shape[0] - 1) & (cols <= filtered.shape[1] - 1)
        return sample(filtered, rows, cols), is_known
