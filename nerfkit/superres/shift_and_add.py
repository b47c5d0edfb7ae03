"""Frames laid over one another on the output's pixels, no blur undone: what super-resolution is compared with."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.scenes.observations.lowres_frames import LowresFrames

__all__ = ["PIXFRAC", "shift_and_add"]

# side of what a pixel is shrunk to before it is laid down, in low-res pixels (drizzle's pixfrac)
PIXFRAC = 0.5
# points along that side, each of which falls into one output pixel
N_POINTS = 4
# pixels of frames that are laid down at a time
CHUNK = 2**22


def shift_and_add(
    frames: LowresFrames, size: tuple[int, int], reference: int = 0, weights: Tensor | None = None
) -> Tensor:
    """The weighted mean of the shrunken pixels that fall on each output pixel (drizzle, Fruchter and Hook 2002).

    Parameters
    ----------
    frames : LowresFrames
        One channel, and where the frames look.
    size : (int, int)
        Width and height of the output, which covers the reference frame.
    reference : int
        Frame that fills pixels on which nothing falls, interpolated by cubics.
    weights : Tensor, shape (n_frames,), optional
        Weight of each frame.

    Returns
    -------
    image : Tensor, shape (height, width)
    """
    width, height = size
    total, weight = np.zeros(width * height), np.zeros(width * height)
    weights = torch.ones(len(frames)) if weights is None else weights.float()
    for part, some in frames.chunks(CHUNK):
        _lay_down(total, weight, some, size, weights[part])
    image = torch.from_numpy(total / np.maximum(weight, 1e-12)).float().view(height, width)
    enlarged = torch.nn.functional.interpolate(frames.frames[None, reference : reference + 1].cpu(), (height, width),
                                               mode="bicubic", align_corners=False)[0, 0]  # fmt: skip
    return torch.where(torch.from_numpy(weight > 0).view(height, width), image, enlarged)


def _lay_down(total: NDArray, weight: NDArray, frames: LowresFrames, size: tuple[int, int], weights: Tensor) -> None:
    """Add to each output pixel [height * width] what falls on it, and how much."""
    width, height = size
    n_rows, n_cols = frames.frames.shape[1:]
    counted = weights[:, None, None].expand_as(frames.frames)
    values = frames.frames * counted
    offsets = ((torch.arange(N_POINTS) + 0.5) / N_POINTS - 0.5) * PIXFRAC
    x, y = frames.looks_at()
    for dy in offsets.tolist():
        rows = ((y + dy) * (height / n_rows)).floor().long()
        for dx in offsets.tolist():
            cols = ((x + dx) * (width / n_cols)).floor().long()
            is_in = (rows >= 0) & (cols >= 0) & (rows < height) & (cols < width)
            index = (rows * width + cols)[is_in].numpy()
            total += np.bincount(index, values[is_in].numpy(), width * height)
            weight += np.bincount(index, counted[is_in].numpy(), width * height)
