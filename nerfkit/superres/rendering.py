"""A super-resolved image at any size: the network sampled finer than the pixels, then averaged over them."""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.scenes.fields.siren import Siren, TiledSiren, render_lattice

__all__ = ["png_bytes_of_depth", "render_image"]


def render_image(
    field: Siren | TiledSiren, size: tuple[int, int], cells: int, crop: tuple[int, int, int, int] | None = None
) -> NDArray[np.float32]:
    """Pixels of the image that ``field`` holds.

    Parameters
    ----------
    field : Siren or TiledSiren
        The image, ``field.size`` low-res pixels wide and high.
    size : (int, int)
        Width and height of the whole image in pixels.
    cells : int
        Cells along a low-res pixel that the network was fitted to; a pixel is the mean of at least as many samples.
    crop : (x, y, width, height), optional
        Part of it, in its pixels; None: all.

    Returns
    -------
    image : ndarray of float32, shape (h, w) or (h, w, 3)
        In [0, 1].
    """
    left, top, width, height = crop or (0, 0, *size)

    def samples(first: int, count: int, whole: int, extent: float) -> tuple[torch.Tensor, int]:
        n_sub = max(1, math.ceil(cells * extent / whole - 1e-6))
        return (first + (torch.arange(count * n_sub, dtype=torch.float64) + 0.5) / n_sub) * (extent / whole), n_sub

    ys, down = samples(top, height, size[1], field.size[1])
    xs, across = samples(left, width, size[0], field.size[0])
    fine = render_lattice(field, ys, xs)
    pixels = fine.view(len(fine), height, down, width, across).mean((2, 4)).clamp(0, 1).numpy()
    return pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))


def png_bytes_of_depth(image: NDArray[np.floating], bit_depth: int, icc_profile: bytes | None = None) -> bytes:
    """A PNG file of an image [h, w] or [h, w, 3] in [0, 1], with 8 or 16 bits a value.

    Written here because Pillow has no 16-bit colour (PNG specification, third edition, section 11).
    """
    if bit_depth not in (8, 16):
        raise ValueError(f"bit_depth must be 8 or 16; got {bit_depth}")
    height, width = image.shape[:2]
    values = np.rint(np.clip(image, 0, 1) * (2**bit_depth - 1)).astype(">u2" if bit_depth == 16 else np.uint8)
    rows = values.reshape(height, -1).view(np.uint8)
    # each row begins with the number of its filter; 2 stores differences to the row above
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.hstack([np.full((height, 1), 2, np.uint8), rows - above])

    def chunk(kind: bytes, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))

    color_type = 2 if image.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    profile = b"" if icc_profile is None else chunk(b"iCCP", b"profile\0\0" + zlib.compress(icc_profile))
    data = chunk(b"IDAT", zlib.compress(filtered.tobytes(), 6))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + profile + data + chunk(b"IEND", b"")
