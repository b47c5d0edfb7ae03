"""Frames laid over one another on the output's pixels, no blur undone: what super-resolution is compared with."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.observations.lowres_view import LowresView

__all__ = ["PIXFRAC", "shift_and_add"]

# side of what a pixel is shrunk to before it is laid down, in low-res pixels (drizzle's pixfrac)
PIXFRAC = 0.5
# points along that side, each of which falls into one output pixel
N_POINTS = 4
# pixels of frames that are laid down at a time
CHUNK = 2**22


def shift_and_add(stack: FrameStack, view: LowresView, size: tuple[int, int], reference: int = 0) -> Tensor:
    """The weighted mean of the shrunken pixels that fall on each output pixel (drizzle, Fruchter and Hook 2002).

    Parameters
    ----------
    stack, view : FrameStack, LowresView
        One channel, the weights of its pixels, and where they look.
    size : (int, int)
        Width and height of the output, which covers the reference frame.
    reference : int
        Frame that fills pixels on which nothing falls, interpolated by cubics.

    Returns
    -------
    image : Tensor, shape (height, width)
    """
    width, height = size
    total, weight = np.zeros(width * height), np.zeros(width * height)
    for part, some in view.chunks(CHUNK):
        _lay_down(total, weight, FrameStack(stack.values[part], stack.weights[part]), some, size)
    image = torch.from_numpy(total / np.maximum(weight, 1e-12)).float().view(height, width)
    enlarged = torch.nn.functional.interpolate(stack.values[None, reference : reference + 1].cpu(), (height, width),
                                               mode="bicubic", align_corners=False)[0, 0]  # fmt: skip
    return torch.where(torch.from_numpy(weight > 0).view(height, width), image, enlarged)


def _lay_down(total: NDArray, weight: NDArray, stack: FrameStack, view: LowresView, size: tuple[int, int]) -> None:
    """Add to each output pixel [height * width] what falls on it, and how much."""
    width, height = size
    n_cols, n_rows = view.size
    counted = stack.weights.cpu()
    values = stack.values.cpu() * counted
    offsets = ((torch.arange(N_POINTS) + 0.5) / N_POINTS - 0.5) * PIXFRAC
    x, y = view.motion.looks_at(view.size)
    for dy in offsets.tolist():
        rows = ((y + dy) * (height / n_rows)).floor().long()
        for dx in offsets.tolist():
            cols = ((x + dx) * (width / n_cols)).floor().long()
            is_in = (rows >= 0) & (cols >= 0) & (rows < height) & (cols < width)
            index = (rows * width + cols)[is_in].numpy()
            total += np.bincount(index, values[is_in].numpy(), width * height)
            weight += np.bincount(index, counted[is_in].numpy(), width * height)
