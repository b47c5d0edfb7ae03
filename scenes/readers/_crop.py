"""The part of every frame that is asked for, cut out as soon as a frame is decoded: the rest is not kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nerfkit.scenes.errors import NerfkitError

from ._images import Decoded

__all__ = ["Crop", "crop_decoded", "crop_pixels"]

# x, y, width and height in pixels of the frame
Crop = tuple[int, int, int, int]


def crop_pixels(pixels: np.ndarray, crop: Crop | None) -> np.ndarray:
    """The part of a frame [h, w] or [h, w, n_channels]; the whole where None is asked for.

    Raises
    ------
    NerfkitError
        The part is not within the frame.

    Examples
    --------
    >>> crop_pixels(np.arange(12).reshape(3, 4), (1, 0, 3, 2)).tolist()
    [[1, 2, 3], [5, 6, 7]]
    """
    if crop is None:
        return pixels
    (x, y, width, height), (rows, cols) = crop, pixels.shape[:2]
    if min(x, y) < 0 or min(width, height) < 1 or x + width > cols or y + height > rows:
        raise NerfkitError(
            f"the part {x},{y},{width},{height} is not within the frames of {cols}x{rows} pixels", where="--crop",
            fix=f"give X,Y,W,H with X + W up to {cols} and Y + H up to {rows}",
        )  # fmt: skip
    # a copy, since a view would keep the whole frame
    return pixels[y : y + height, x : x + width].copy()


def crop_decoded(frame: Decoded, crop: Crop | None) -> Decoded:
    """The part of a frame and of its alpha; it still says how large the whole was."""
    if crop is None:
        return frame
    alpha = None if frame.alpha is None else crop_pixels(frame.alpha, crop)
    return replace(frame, pixels=crop_pixels(frame.pixels, crop), alpha=alpha, whole_size=frame.size)
