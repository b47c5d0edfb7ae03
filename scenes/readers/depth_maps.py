"""Depth maps beside photos: distance along the optical axis, as nerfstudio's transforms.json names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nerfkit.scenes.errors import NerfkitError

from .array_files import read_npy
from .picture_size import BROKEN_PICTURE, open_picture

__all__ = ["MILLIMETRES", "read_depth_map"]

# world units in one of a map's where the dataset does not say
MILLIMETRES = 1e-3


def read_depth_map(path: Path, unit: float = MILLIMETRES) -> np.ndarray:
    """A depth map [h, w] in world units; 0 where nothing is known.

    Parameters
    ----------
    path : Path
        An image of one channel (usually 16 bits), or an npy of shape (h, w) or (h, w, 1).
    unit : float
        World units in one of the file's.

    Raises
    ------
    NerfkitError
        It is absent, unreadable, or no map.
    """
    fix = "make it again, or train without depth maps (--set depth_weight=0)"
    values = read_npy(path, fix) if path.suffix.lower() == ".npy" else _read_picture(path, fix)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise NerfkitError(
            f"must hold one number a pixel; got shape {'x'.join(map(str, values.shape))} of {values.dtype}",
            where=path, fix=fix,
        )  # fmt: skip
    with np.errstate(over="ignore"):
        depths = values.astype(np.float32) * np.float32(unit)
    return np.where(np.isfinite(depths) & (depths > 0), depths, 0)


def _read_picture(path: Path, fix: str) -> np.ndarray:
    try:
        with open_picture(path) as image:
            return np.asarray(image)
    except BROKEN_PICTURE as error:
        raise NerfkitError(f"is no depth map that can be read ({error})", where=path, fix=fix) from error
