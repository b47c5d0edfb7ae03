"""A slice as a NIfTI volume of one layer, its pixels in millimetres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.volumes import Volume
from nerfkit.volume_files import write_volume

__all__ = ["write_slice"]


def write_slice(output: Path, image: NDArray[np.floating], pixel: float) -> NDArray[np.float32]:
    """Write a slice [h, w, 1] round the axis of rotation; gives it as the file has it.

    The first row is on top, which is y upwards: of the volume it is the last.
    """
    affine = np.diag([pixel, pixel, pixel, 1.0])
    affine[:2, 3] = -pixel * (np.array(image.shape[1::-1]) - 1) / 2
    return write_volume(output, Volume(image[None, ::-1, :, 0], affine)).values[0, ::-1, :, None]
