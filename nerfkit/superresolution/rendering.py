"""A super-resolved image at any size: the network sampled finer than the pixels, then averaged over them."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.scenes.fields.image_field import ImageField, render_lattice
from nerfkit.scenes.transfer import Transfer

__all__ = ["render_image"]

# samples of the network that are averaged to pixels at a time, which bounds the memory
STRIP_SAMPLES = 2**22


def render_image(
    field: ImageField, transfer: Transfer, size: tuple[int, int], cells: int,
    crop: tuple[int, int, int, int] | None = None,
) -> NDArray[np.float32]:  # fmt: skip
    """Pixels of the image that ``field`` holds.

    Parameters
    ----------
    field : ImageField
        The linear radiance of the image, ``field.size`` low-res pixels wide and high.
    transfer : Transfer
        How files hold it.
    size : (int, int)
        Width and height of the whole image in pixels.
    cells : int
        Cells along a low-res pixel that the network was fitted to; a pixel is the mean of at least as many samples.
    crop : (x, y, width, height), optional
        Part of it, in its pixels; None: all.

    Returns
    -------
    image : ndarray of float32, shape (h, w) or (h, w, n_channels)
        File values.
    """
    left, top, width, height = crop or (0, 0, *size)

    def samples(first: int, count: int, whole: int, extent: float) -> tuple[torch.Tensor, int]:
        n_sub = max(1, math.ceil(cells * extent / whole - 1e-6))
        return (first + (torch.arange(count * n_sub, dtype=torch.float64) + 0.5) / n_sub) * (extent / whole), n_sub

    ys, down = samples(top, height, size[1], field.size[1])
    xs, across = samples(left, width, size[0], field.size[0])
    pixels = torch.empty(transfer.n_channels, height, width)
    rows = max(1, STRIP_SAMPLES // (down * len(xs)))
    for first in range(0, height, rows):
        fine = render_lattice(field, ys[first * down : (first + rows) * down], xs)
        pixels[:, first : first + rows] = fine.view(len(fine), -1, down, width, across).mean((2, 4))
    return transfer.image(pixels)
