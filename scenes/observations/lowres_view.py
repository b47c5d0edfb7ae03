"""What a camera of large pixels sees of an image: averaged over a PSF, sampled where each frame looks.

Lengths are low-res pixels, axes x (columns, right) and y (rows, down). Pixel (row i, column j) of a frame has its
centre at (j + 0.5, i + 0.5) of that frame and looks at the point of the reference frame that its motion takes it to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from nerfkit.kernels.footprints import Footprints, residual
from nerfkit.kernels.footprints import sample as sample_footprints
from nerfkit.kernels.lowres import NormalEquations, Samples, filter_valid, normal_equations, sample
from nerfkit.scenes.fields.grid import Grid, GridField
from nerfkit.scenes.motion import Motion

from .psf import Psf

__all__ = ["LowresView"]

# margin of the grid beyond what the motions need, and the most that it follows them, in low-res pixels
SPARE_MARGIN, MAX_MARGIN = 1, 5
# pixels of frames whose places are found at a time
CHUNK = 2**22
# change of a pixel's sides, as a fraction of them, from which on a box PSF turns and stretches with the frame: 7
# degrees; and the fraction of the frames of which it is asked
TURNED, FEW = 0.12, 0.05


@dataclass(frozen=True)
class LowresView:
    """Frames as samples of one image: a linear observation of a grid.

    Parameters
    ----------
    motion : Motion
        Where each frame looks.
    size : (int, int)
        Width and height of a frame in low-res pixels.
    psf : Psf
        Of a pixel; the same direction and size everywhere on the grid unless ``most_points`` allows otherwise.
    most_points : int
        Points along a pixel's side that may stand for its square, so that a box turns and stretches with its frame:
        several times the work of a step. 1: it lies as on the reference, which is enough to register by.
    """

    motion: Motion
    size: tuple[int, int]
    psf: Psf = Psf()  # noqa: RUF009  frozen
    most_points: int = 1

    def __len__(self) -> int:
        return len(self.motion)

    def __getitem__(self, chosen: slice | Tensor) -> LowresView:
        """Of some of the frames."""
        return replace(self, motion=self.motion[chosen])

    def moved(self, motion: Motion) -> LowresView:
        """The same frames looking elsewhere."""
        return replace(self, motion=motion)

    def with_psf(self, psf: Psf) -> LowresView:
        """The same frames with another PSF."""
        return replace(self, psf=psf)

    def window(self, top: int, left: int, height: int, width: int) -> LowresView:
        """The frames' pixels in a rectangle, as frames of their own."""
        corner, moves = torch.tensor([left, top], dtype=torch.float64), self.motion.displacement
        motion = self.motion.between_parts(corner, corner)
        if moves is not None:
            motion = motion.displaced(moves[:, top : top + height, left : left + width])
        return replace(self, motion=motion, size=(width, height))

    def chunks(self, n_values: int) -> Iterator[tuple[slice, LowresView]]:
        """A few frames at a time, of at most ``n_values`` pixels unless one frame has more, and which they are."""
        step = max(1, n_values // max(self.size[0] * self.size[1], 1))
        for first in range(0, len(self), step):
            part = slice(first, first + step)
            yield part, self[part]

    def nearest(self, is_used: Tensor) -> int:
        """The used frame that looks most nearly at what the picture covers: the reference if it is used itself."""
        width, height = self.size
        corners = torch.tensor([[0, 0], [width, 0], [0, height], [width, height]], dtype=torch.float64)
        apart = (self.motion.seen(corners) - corners).norm(dim=2).amax(1)
        return int(torch.where(is_used.cpu(), apart, torch.inf).argmin())

    @cached_property
    def n_points(self) -> int:
        """Points along a pixel's side that stand for its square: 1 where it lies like a cell of the grid."""
        if self.most_points == 1 or self.psf.kind != "box" or self.motion.model == "shift" or not len(self):
            return 1
        if self.motion.displacement is not None:
            # footprints are carried by matrices alone
            return 1
        width, height = self.size
        corners = torch.tensor([[0, 0], [width, 0], [0, height], [width, height]], dtype=torch.float64)
        apart = torch.zeros(len(self), dtype=torch.float64)
        for side in torch.eye(2, dtype=torch.float64):
            change = self.motion.seen(corners + side) - self.motion.seen(corners) - side
            apart = torch.maximum(apart, change.norm(dim=2).amax(1))
        return self.most_points if float((apart > TURNED).double().mean()) > FEW else 1

    @property
    def point_psf(self) -> Psf:
        """What a grid is filtered by before it is sampled: the PSF, or the part of it that a point stands for."""
        return self.psf if self.n_points == 1 else replace(self.psf, width=self.psf.width / self.n_points)

    def _into(self, grid: Grid) -> Tensor:
        """Homographies [n_frames, 3, 3] from points of the frames to (col, row) of the filtered grid."""
        offset = grid.margin - self.point_psf.n_taps(grid.cells) / (2 * grid.cells)
        to_cells = torch.tensor([[1, 0, offset], [0, 1, offset], [0, 0, 1 / grid.cells]], dtype=torch.float64)
        return to_cells @ self.motion.matrices

    def grid(self, cells: int) -> Grid:
        """A grid that holds what the frames see of the reference frame and of a few pixels round it."""
        reach = math.ceil(self.motion.reach(self.size)) if len(self) > 1 else 0
        margin = min(reach, MAX_MARGIN) + SPARE_MARGIN + math.ceil(self.psf.radius - 0.5)
        return Grid(self.size[1], self.size[0], cells, margin)

    def positions(self, grid: Grid, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Rows and columns [n_frames, h, w] in the filtered grid at which the pixels are samples of it."""
        # the filtered cell (i, j) is centred on row i + n_taps / 2 of the cells' edges
        offset = grid.margin - self.psf.n_taps(grid.cells) / (2 * grid.cells)
        shape = (len(self), *self.size[::-1])
        rows, cols = torch.empty(shape, device=device), torch.empty(shape, device=device)
        # where all frames look takes ten times their memory on the way, in float64
        for part, some in self.chunks(CHUNK):
            x, y = some.motion.looks_at(self.size)
            rows[part], cols[part] = (((at + offset) * grid.cells).float().to(device) for at in (y, x))
        return rows, cols

    def sample(self, grid: Grid, image: Tensor) -> tuple[Samples, Tensor]:
        """What the frames would measure of ``image`` [grid.shape], with slopes per cell, and where it is known.

        Returns
        -------
        samples : Samples
            Each [n_frames, h, w].
        is_known : Tensor, shape (n_frames, h, w), bool
            Whether a pixel's PSF lies within the grid.
        """
        filtered = filter_valid(image, self.point_psf.taps(grid.cells).to(image.device))
        if self.n_points > 1:
            width, height = self.size
            return sample_footprints(filtered, self._into(grid), self.n_points, self.psf.width, (height, width))
        rows, cols = self.positions(grid, image.device)
        is_known = (rows >= 0) & (cols >= 0) & (rows <= filtered.shape[0] - 1) & (cols <= filtered.shape[1] - 1)
        return sample(filtered, rows, cols), is_known

    def predict(self, field: GridField, where: slice | Tensor = slice(None)) -> Tensor:
        """What some of the frames would measure of the field's first channel [n_chosen, h, w]; 0 beyond its grid."""
        return _Seen.apply(field.values[0], self[where], field.grid)  # pyright: ignore[reportReturnType]

    def adjoint(self, values: Tensor, grid: Grid) -> Tensor:
        """The transpose of :meth:`predict`: values [n_frames, h, w] laid back on the cells [grid.shape]."""
        equations = self.equations(grid, values, torch.ones_like(values))
        taps = self.point_psf.taps(grid.cells).to(values.device)
        if isinstance(equations, Footprints):
            nothing = torch.zeros(*(n - len(taps) + 1 for n in grid.shape), device=values.device)
            rhs = -residual(nothing, equations)
        else:
            rhs = equations.rhs
        return filter_valid(pad(rhs, (taps.shape[-1] - 1,) * 4), taps.flip(-1))

    def equations(self, grid: Grid, values: Tensor, weights: Tensor) -> NormalEquations | Footprints:
        """The squared error, in the filtered grid, of pixels with ``values`` and ``weights`` [n_frames, h, w].

        Normal equations, whose cost does not depend on the number of frames, or the pixels themselves where each has a
        square of its own.
        """
        if self.n_points > 1:
            return Footprints(
                self._into(grid), self.n_points, self.psf.width, values.contiguous(), weights.contiguous()
            )
        cut = self.psf.n_taps(grid.cells) - 1
        rows, cols = self.positions(grid, values.device)
        shape = (grid.shape[0] - cut, grid.shape[1] - cut)
        return normal_equations(rows.view(-1), cols.view(-1), values.reshape(-1), weights.reshape(-1), shape)


class _Seen(torch.autograd.Function):
    """The values of :meth:`LowresView.sample`; their gradient is the adjoint, as of any linear map."""

    @staticmethod
    def forward(ctx, image: Tensor, view: LowresView, grid: Grid) -> Tensor:
        ctx.view, ctx.grid = view, grid
        return view.sample(grid, image)[0].values

    @staticmethod
    def backward(ctx, d_values: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.view.adjoint(d_values.contiguous(), ctx.grid), None, None
