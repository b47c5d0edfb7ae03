"""The judge of pictures: frames that were held out whole, where a registration that no picture had a part in has them.

A picture and the motions that it was solved with explain each other, right or wrong, and frames that contradict them
are left out. The frames' neighbours (:mod:`nerfkit.superresolution.chain`) know nothing of either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from nerfkit.scenes.fields.grid import Grid
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.motion import basis
from nerfkit.scenes.observations.exposure import Exposure
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.scenes.observations.psf import Psf

__all__ = ["WholeFrames"]

# sides of the box through which a picture is seen, low-res pixels: the best for each is taken. A mean of frames has
# been seen through one already; the first is the one that pictures are moved by
WIDTHS = (0.75, 0.25, 0.5, 1.0, 1.25)
# steps by which a picture is moved onto the frames that it is judged by, with the first width and with each other
MOVES, MORE_MOVES = 6, 3
# low-res pixels at the border of a picture where no frame judges it: all pictures are judged by the same pixels
BORDER = 1.5
# least of the normal matrix's diagonal, as a fraction of its mean, that a picture is moved by
DAMPING = 1e-6


@dataclass(frozen=True)
class WholeFrames:
    """Frames that judge pictures of which they know nothing.

    Parameters
    ----------
    stack, view : FrameStack, LowresView
        The frames alone that judge, and where neighbours have them look.
    shares : Tensor, shape (n_frames,)
        What each counts, 1 in all: all frames alike, those that were used as well as those that were left out.
    """

    stack: FrameStack
    view: LowresView
    shares: Tensor

    @torch.no_grad()
    def error(self, image: Tensor, cells: int) -> float:
        """Mean squared error of the frames as a picture predicts them, up to a gain and an offset for each.

        Where the picture's axes lie is known only as well as its reference frame was registered: it is moved by one
        affine map, the same for all frames, that fits them best.

        Parameters
        ----------
        image : Tensor, shape (h * cells, w * cells)
            Grey linear radiance of the reference frame, on ``cells`` cells a low-res pixel.
        cells : int
            Enough that the widths are whole numbers of them, or nearly.
        """
        width, height = self.view.size
        grid = Grid(height, width, cells, 1)
        image = pad(image[None, None], (cells,) * 4, mode="replicate")[0, 0]
        start, found = replace(self.view, most_points=1), []
        for side in WIDTHS:
            least, moved = self._moved(grid, image, start.with_psf(Psf(width=side)), MORE_MOVES if found else MOVES)
            start = start if found else moved
            found.append(least)
        return min(found)

    def _moved(self, grid: Grid, image: Tensor, view: LowresView, n_moves: int) -> tuple[float, LowresView]:
        """The least error on the way of Gauss-Newton to the affine map that fits best, and the last view."""
        least = float("inf")
        for _ in range(n_moves):
            samples, is_known = view.sample(grid, image)
            counted = self.stack.where_measured(is_known & self._is_inside).float()
            exposure = Exposure.fit(self.stack.values, samples.values, counted)
            off = (exposure.expose(samples.values) - self.stack.values) * counted
            totals = counted.sum((1, 2))
            shares = self.shares * (totals > 0)
            means = off.square().sum((1, 2)) / totals.clamp(min=1)
            least = min(least, float((means * shares).sum() / shares.sum().clamp(min=1e-12)))
            gains = exposure.gains.to(off)[:, None, None] * counted * grid.cells
            x, y = (part.to(off) for part in view.motion.looks_at(view.size))
            along_x, along_y = basis(x, y, view.size, "affine")
            columns = along_x * (gains * samples.d_cols)[..., None] + along_y * (gains * samples.d_rows)[..., None]
            columns = columns.flatten(0, 2)  # [n_pixels, 6]
            normal = (columns.T @ columns).double()
            normal += DAMPING * normal.diagonal().mean() * torch.eye(6, dtype=torch.float64) + 1e-12
            step = torch.linalg.solve(normal, -(columns.T @ off.flatten()).double()).cpu()
            view = view.moved(view.motion.stepped(step.expand(len(view), 6), view.size))
        return least, view

    @property
    def _is_inside(self) -> Tensor:
        """Which pixels [n_frames, h, w] look well within every picture."""
        width, height = self.view.size
        x, y = self.view.motion.looks_at(self.view.size)
        is_inside = (x > BORDER) & (x < width - BORDER) & (y > BORDER) & (y < height - BORDER)
        return is_inside.to(self.stack.values.device)
