"""Volumes as arrays: npy, and npz with their place in space; several stacks in one npz."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.volumes import Volume, affine_of_spacing

from ._tiff_stack import is_tiff_stack
from .picture import array_names, load_array

__all__ = ["holds_volume", "read_npy", "read_npz", "volume_arrays"]

# names in an npz; those of further stacks end in _2, _3
KEYS = ("volume", "affine", "spacing", "thickness")
# channels that a picture has at most: an array of more along its last axis is a volume
MAX_CHANNELS = 4


def volume_arrays(volumes: list[Volume]) -> dict[str, NDArray]:
    """The arrays of an npz that :func:`read_npz` makes the same volumes of."""
    found: dict[str, NDArray] = {}
    for number, volume in enumerate(volumes, 1):
        end = "" if number == 1 else f"_{number}"
        found |= {f"volume{end}": volume.values, f"affine{end}": volume.affine}
        if volume.thickness is not None:
            found[f"thickness{end}"] = np.array(volume.thickness)
    return found


def holds_volume(path: Path) -> bool:
    """Whether a file is NIfTI, a TIFF of several slices, an npz with a volume, or an array of three axes of which the
    last are no channels.
    """
    name = path.name.lower()
    if name.endswith(".npz"):
        return "volume" in array_names(path)
    if name.endswith(".npy"):
        found = load_array(path)
        return found.ndim == 3 and found.shape[2] > MAX_CHANNELS
    if name.endswith((".tif", ".tiff")):
        return is_tiff_stack(path)
    return name.endswith((".nii", ".nii.gz"))


def read_npy(path: Path) -> list[Callable[[], Volume]]:
    """The array [d, h, w], 1 mm apart."""
    return [functools.partial(_read, path, {"volume": load_array(path)})]


def read_npz(path: Path) -> list[Callable[[], Volume]]:
    """The stacks ``volume``, ``volume_2``, ... with ``affine`` or ``spacing`` (x, y, z) mm, and ``thickness``."""
    names = array_names(path)
    ends = [""] if "volume" in names else []
    while f"volume_{len(ends) + 1}" in names and ends:
        ends.append(f"_{len(ends) + 1}")
    if not ends and len(names) == 1:
        return [functools.partial(_read, path, {"volume": load_array(path)})]
    if not ends:
        raise NerfkitError(
            f"has no array named volume; there are {', '.join(names) or 'none'}", where=path,
            fix="save it with volume=..., and affine= [4, 4] or spacing= (x, y, z) mm",
        )  # fmt: skip
    return [functools.partial(_read, path, _stack(path, names, end)) for end in ends]


def _stack(path: Path, names: list[str], end: str) -> dict[str, NDArray]:
    return {key: load_array(path, key + end) for key in KEYS if key + end in names}


def _read(path: Path, arrays: Mapping[str, NDArray]) -> Volume:
    values = arrays["volume"]
    if values.dtype.kind not in "biuf" or values.ndim != 3:
        raise NerfkitError(
            f"has {values.dtype} values of shape {values.shape}; real numbers [d, h, w] are wanted", where=path,
            fix="save one volume, z slowest; of complex values the magnitude",
        )  # fmt: skip
    affine, said = _affine(path, arrays)
    thickness = _thickness(path, arrays)
    return Volume(values.astype(np.float32), affine, thickness, said)


def _affine(path: Path, arrays: Mapping[str, NDArray]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    if {"affine", "spacing"} <= set(arrays):
        raise NerfkitError("has both affine and spacing", where=path, fix="leave spacing out")
    if "affine" in arrays:
        return _numbers(path, arrays["affine"], "affine", (4, 4)), ()
    if "spacing" not in arrays:
        return np.eye(4), ("it says nothing of its spacing: 1 mm was taken",)
    spacing = _numbers(path, arrays["spacing"], "spacing", (3,))
    if not (spacing > 0).all():
        raise NerfkitError(f"its spacing is {spacing.tolist()}; (x, y, z) mm above 0 is wanted", where=path)
    x, y, z = spacing.tolist()
    return affine_of_spacing((x, y, z)), ()


def _thickness(path: Path, arrays: Mapping[str, NDArray]) -> float | None:
    if "thickness" not in arrays:
        return None
    found = float(_numbers(path, arrays["thickness"], "thickness", ()))
    if not 0 < found < np.inf:
        raise NerfkitError(f"its thickness is {found}; mm above 0 are wanted", where=path, fix="leave it out")
    return found


def _numbers(path: Path, array: NDArray, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    if array.dtype.kind not in "iuf" or array.shape != shape:
        raise NerfkitError(
            f"its {name} is {array.dtype} of shape {array.shape}; real numbers of shape {shape} are wanted", where=path,
            fix=f"save {name} so, or leave it out",
        )  # fmt: skip
    return array.astype(np.float64)
