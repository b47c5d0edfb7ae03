"""The mean of the aligned frames, enlarged: what a super-resolved picture must be better than."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.measurements.lattice_values import cell_centres
from nerfkit.scenes.motion import Motion, between
from nerfkit.scenes.observations.lowres_view import LowresView

__all__ = ["aligned_mean"]

# pixels of the output that are laid down at a time
STRIP = 2**20


def aligned_mean(stack: FrameStack, view: LowresView, size: tuple[int, int]) -> Tensor:
    """The mean of the used frames, each interpolated by cubics where it looks (shift-and-add); no blur is undone.

    Parameters
    ----------
    stack, view : FrameStack, LowresView
        One channel, and where its frames look; a frame counts by the mean weight of its pixels.
    size : (int, int)
        Width and height of the output, which covers the reference frame.

    Returns
    -------
    image : Tensor, shape (height, width), float32
        Where no frame looks, the frame that lies best over the picture, its border continued.
    """
    (width, height), (n_cols, n_rows) = size, view.size
    ys, xs = cell_centres(height, n_rows), cell_centres(width, n_cols)
    n = max(1, STRIP // width)
    strips = [slice(first, first + n) for first in range(0, height, n)]
    total, counted, beyond = torch.zeros(height, width), torch.zeros(height, width), torch.zeros(height, width)
    weights, nearest = stack.weights.mean((1, 2)).tolist(), view.nearest(stack.is_used)
    for index in sorted({*stack.is_used.nonzero()[:, 0].tolist(), nearest}):
        frame = _Frame(stack.values[index].cpu(), view.motion, index)
        for rows in strips:
            laid, is_seen = frame.laid(ys[rows], xs)
            total[rows] += weights[index] * laid * is_seen
            counted[rows] += weights[index] * is_seen
            if index == nearest:
                beyond[rows] = laid
    return torch.where(counted > 0, total / counted.clamp(min=1e-12), beyond)


class _Frame:
    """A frame [h, w] that is laid down where it looks."""

    def __init__(self, values: Tensor, motion: Motion, index: int) -> None:
        self.values, self.motion, self.index = values, motion.displaced(None), index
        # found for the pixels of the reference, and interpolated: it takes rounds, and is smooth
        self.moves = None if motion.displacement is None else motion.displacement_seen_from(index)

    def laid(self, ys: Tensor, xs: Tensor) -> tuple[Tensor, Tensor]:
        """Its values [len(ys), len(xs)] at rows and columns of the reference, and whether it is seen."""
        points = torch.stack(torch.meshgrid(xs.double(), ys.double(), indexing="xy"), -1)
        at = self.motion.seen_from(self.index, points)
        return _laid(self.values, at if self.moves is None else at + between(self.moves, points))


def _laid(frame: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """A frame at some of its points [h, w, 2], and whether they lie within it."""
    n_rows, n_cols = frame.shape
    x, y = at.unbind(-1)
    is_seen = (x >= 0) & (x <= n_cols) & (y >= 0) & (y <= n_rows)
    # grid_sample counts from -1 to 1 over the whole extent
    where = torch.stack([2 * x / n_cols - 1, 2 * y / n_rows - 1], -1).float()
    laid = grid_sample(frame[None, None], where[None], mode="bicubic", padding_mode="border", align_corners=False)
    return laid[0, 0], is_seen
