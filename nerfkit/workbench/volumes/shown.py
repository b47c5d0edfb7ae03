"""Three slices of a volume through its middle, turned so that the patient's left is on the left.

That is the neurological convention. Pictures have square pixels whatever the voxels are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from nerfkit.scenes.volumes import Volume
from nerfkit.workbench.outcome import Shown

__all__ = ["error_pictures", "mm_wide", "montage", "volume_pictures", "window_of"]

# quantiles of the values that become black and white
WINDOW = (0.002, 0.998)
# an error of this fraction of the range shows as white
WHITE_ERROR = 0.1
NAMES = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}


def window_of(values: NDArray) -> tuple[float, float]:
    """The values that are shown black and white."""
    low, high = (float(q) for q in np.quantile(values.ravel()[:: max(1, values.size // 2**20)], WINDOW))
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def _turned(volume: Volume) -> tuple[NDArray, tuple[float, float, float], NDArray]:
    """Values [x, y, z] along the axes of RAS that the volume's are nearest to, spacing in mm, and the centre in mm."""
    axes = np.abs(volume.directions).argmax(0).tolist()
    if len(set(axes)) < 3:
        axes = [0, 1, 2]
    order = [axes.index(axis) for axis in range(3)]
    values = volume.values.T.transpose(order)
    flips = [axis for axis, own in enumerate(order) if volume.directions[axis, own] < 0]
    x, y, z = (volume.spacing[own] for own in order)
    centre = volume.to_mm((np.array(volume.shape[::-1]) - 1) / 2)
    return np.flip(values, tuple(flips)), (x, y, z), centre


def _slices(volume: Volume) -> dict[str, tuple[NDArray, str]]:
    """Each of ``NAMES`` [h, w], rows from the front or the head downwards, and what it is."""
    values, spacing, centre = _turned(volume)
    finest, found = min(spacing), {}
    for name, (across, up, right) in NAMES.items():
        picture = values.take(values.shape[across] // 2, across)
        picture = picture.T if right < up else picture
        rows, columns = spacing[up], spacing[right]
        picture = zoom(picture[::-1], (rows / finest, columns / finest), order=1, grid_mode=True, mode="nearest")
        height, width = values.shape[up] * rows, values.shape[right] * columns
        place = f"{'xyz'[across]} = {centre[across]:.1f} mm"
        found[name] = picture, f"{name}, {place}, {width:.0f} x {height:.0f} mm"
    return found


def montage(volume: Volume) -> tuple[NDArray[np.float32], str]:
    """The three slices side by side [h, w], and what they are."""
    found = _slices(volume)
    height = max(picture.shape[0] for picture, _ in found.values())
    low = float(volume.values.min())
    parts = [
        np.pad(picture, ((0, height - picture.shape[0]), (0, 2)), constant_values=low) for picture, _ in found.values()
    ]
    words = "; ".join(caption for _, caption in found.values())
    return np.concatenate(parts, 1).astype(np.float32), f"{words}; the patient's left is on the left"


def mm_wide(volume: Volume, picture: NDArray) -> float:
    """Width in millimetres of a montage of the volume."""
    return picture.shape[1] * min(volume.spacing)


def volume_pictures(volumes: Mapping[str, Volume], window: tuple[float, float], *, inverted: bool) -> list[Shown]:
    """A montage of each volume, black to white over the window; captions by name."""
    shown = []
    for name, volume in volumes.items():
        picture = montage(volume)[0]
        # black and white: an inverted picture has its large values dark
        black, white = reversed(window) if inverted else window
        pixels = (picture - black) / (white - black)
        shown.append(Shown(_file_name(name), pixels, name, mm_wide(volume, picture), (black, white)))
    return shown


def error_pictures(volumes: Mapping[str, Volume], truth: Volume) -> list[Shown]:
    """Absolute errors of each volume, a tenth of the truth's range white."""
    white, shown = (truth.range[1] - truth.range[0]) * WHITE_ERROR, []
    for name, volume in volumes.items():
        picture = montage(Volume(np.abs(volume.values - truth.values), volume.affine))[0]
        words = f"{name}: error, white is a tenth of the range"
        shown.append(Shown(f"error_{_file_name(name)}", picture / white, words, mm_wide(volume, picture)))
    return shown


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)
