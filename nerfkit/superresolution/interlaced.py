"""Fields of interlaced video as frames of their own, whose missing rows are filled in and not measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.readers.frames import Frames

__all__ = ["split_fields"]


def split_fields(frames: Frames) -> tuple[Frames, NDArray[np.float32]]:
    """A frame for each field, that of the even rows first, and which pixels were measured [2 n, h, w].

    Which of the two was taken first is not always found right, and does not matter once each is registered.

    Parameters
    ----------
    frames : Frames
        Of two times each, without alpha.
    """
    images = np.repeat(frames.images, 2, axis=0)
    measured = np.zeros(images.shape[:3], np.float32)
    for start in (0, 1):
        measured[start::2, start::2] = 1
        images[start::2] = _filled(frames.images, start)
    return replace(
        frames, images=images, files=[f"{file}:{name}" for file in frames.files for name in ("top", "bottom")],
        icc_profiles=[profile for profile in frames.icc_profiles for _ in range(2)],
    ), measured  # fmt: skip


def _filled(images: NDArray[np.float32], start: int) -> NDArray[np.float32]:
    """Images with the rows beside those from ``start`` on filled in by cubics (Keys 1981) along columns."""
    out, rows = images.copy(), images[:, start::2]
    padded = np.concatenate([rows[:, :1], rows[:, :1], rows, rows[:, -1:], rows[:, -1:]], axis=1)
    between = (9 * (padded[:, 1:-2] + padded[:, 2:-1]) - padded[:, :-3] - padded[:, 3:]) / 16
    n_missing = images[:, 1 - start :: 2].shape[1]
    # the first of them lies above the first row, where ``start`` is 1
    out[:, 1 - start :: 2] = between[:, 1 - start :][:, :n_missing]
    return out
