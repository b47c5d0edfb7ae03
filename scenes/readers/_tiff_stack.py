"""Stacks of pages in a TIFF, with the spacing that ImageJ and OME files have."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.machine_memory import check_floats
from nerfkit.scenes.volumes import MAX_VOXELS, Volume, affine_of_spacing

from ._xml import parse_xml
from .picture_size import BROKEN_PICTURE
from .tiff_files import open_tiff

__all__ = ["is_tiff_stack", "read_tiff_stack"]

# mm of the units that ImageJ and OME write
MM = {
    "m": 1000.0, "cm": 10.0, "mm": 1.0, "millimeter": 1.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "\\u00b5m": 1e-3,
    "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3, "nm": 1e-6, "inch": 25.4, "in": 25.4,
}  # fmt: skip
# names of an axis of slices: z, of pages that are not told apart, or of pages of one shape
SLICES = "ZIQ"


def is_tiff_stack(path: Path) -> bool:
    """Whether a TIFF has several slices of one size; no where it cannot be read: whoever reads it says why."""
    try:
        with open_tiff(path) as file:
            series = file.series[0]
            return any(n > 1 for axis, n in zip(series.axes, series.shape, strict=True) if axis in SLICES)
    except (NerfkitError, *BROKEN_PICTURE):
        return False


def read_tiff_stack(path: Path) -> list[Callable[[], Volume]]:
    """What reads each volume of the file: one for each time."""
    try:
        with open_tiff(path) as file:
            series = file.series[0]
            axes, shape, dtype, n_series = series.axes, series.shape, series.dtype, len(file.series)
            spacing, said = _spacing(file)
    except BROKEN_PICTURE as error:
        raise _unreadable(path, error) from error
    said += (f"the first of {n_series} images was read",) if n_series > 1 else ()
    sizes = dict(zip(axes, shape, strict=True))
    _check(path, sizes, dtype)
    return [functools.partial(_read, path, axes, time, spacing, said) for time in range(sizes.get("T", 1))]


def _check(path: Path, sizes: dict[str, int], dtype: Any) -> None:
    """Raise NerfkitError unless the file is slices of real numbers, perhaps at several times."""
    if len(sizes) < 2 or min(sizes.values()) < 1:
        raise NerfkitError(f"declares the shape {sizes}; slices of rows and columns are wanted", where=path)
    if dtype is None or dtype.kind not in "iufb":
        raise NerfkitError(f"its values are {dtype}; real numbers are wanted", where=path, fix="save the magnitude")
    other = {axis: n for axis, n in sizes.items() if axis not in SLICES + "TYX" and n > 1}
    if other:
        names = ", ".join(f"{axis} ({n})" for axis, n in other.items())
        raise NerfkitError(
            f"has channels or other axes, {names}; one value a voxel is wanted", where=path,
            fix="save one channel as a stack",
        )  # fmt: skip
    n_voxels = math.prod(n for axis, n in sizes.items() if axis != "T")
    if n_voxels > MAX_VOXELS:
        raise NerfkitError(
            f"declares {n_voxels:,} voxels; at most {MAX_VOXELS:,} are read",
            where=path,
            fix="crop it, or scale it down",
        )
    check_floats(n_voxels * sizes.get("T", 1), path)
    if sum(n > 1 for axis, n in sizes.items() if axis in SLICES) > 1:
        raise NerfkitError(f"has two axes of slices, {sizes}", where=path, fix="save one stack")


def _read(
    path: Path, axes: str, time: int, spacing: tuple[float, float, float], said: tuple[str, ...]
) -> Volume:  # fmt: skip
    try:
        with open_tiff(path) as file:
            values = file.series[0].asarray()
    except BROKEN_PICTURE as error:
        raise _unreadable(path, error) from error
    if "T" in axes:
        values = values.take(time, axes.index("T"))
    return Volume(values.reshape(-1, *values.shape[-2:]).astype(np.float32), affine_of_spacing(spacing), said=said)


def _unreadable(path: Path, error: Exception) -> NerfkitError:
    return NerfkitError(f"cannot be read as TIFF ({error})", where=path, fix="save it anew")


def _spacing(file: Any) -> tuple[tuple[float, float, float], tuple[str, ...]]:
    """Millimetres between voxels (x, y, z), and what was assumed."""
    found = _ome_spacing(file.ome_metadata) if file.ome_metadata else _imagej_spacing(file)
    if found is None or not all(math.isfinite(side) and side > 0 for side in found):
        return (1.0, 1.0, 1.0), ("it says nothing of its spacing: 1 mm was taken",)
    return found, ()


def _imagej_spacing(file: Any) -> tuple[float, float, float] | None:
    """ImageJ writes the pitch of slices and a unit in its description, and pixels a unit in the tags of resolution."""
    facts, tags = file.imagej_metadata, file.pages[0].tags
    unit = MM.get(str((facts or {}).get("unit", "")).strip())
    if unit is None or not {"XResolution", "YResolution"} <= {tag.name for tag in tags}:
        return None
    x, y = ((lambda n, d: unit * d / n if n else 0.0)(*tags[f"{axis}Resolution"].value) for axis in "XY")
    return x, y, unit * float(facts.get("spacing", 1.0))


def _ome_spacing(text: str) -> tuple[float, float, float] | None:
    """PhysicalSizeX, Y and Z of the first image; micrometres unless it says otherwise (OME 2016-06)."""
    root = parse_xml(text)
    pixels = next((item for item in root.iter() if item.tag.endswith("}Pixels")), None)
    if pixels is None or "PhysicalSizeX" not in pixels.attrib:
        return None
    x, y, z = (
        float(pixels.get(f"PhysicalSize{axis}", "nan")) * MM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"), math.nan)
        for axis in "XYZ"
    )
    return x, y, z
