"""From a file of a cone's views and the settings to a scan of a volume."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.cone_geometry import ConeGeometry
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.sinogram import ScanFile
from nerfkit.scenes.scan_geometry import ScanGeometry
from nerfkit.workbench.tomography.cone_scan import ConeScan
from nerfkit.workbench.tomography.inputs import (
    CtData,
    line_integrals,
    plane_geometry,
    plane_grid,
    rescaling,
    turned_angles,
)

__all__ = ["is_cone", "make_cone_data", "scanner_affine"]

# volumes and views that the primal-dual algorithm holds at once, and the memory that they may take
VOLUMES, VIEWS, MAX_BYTES = 20, 8, 16e9


def is_cone(file: ScanFile, config: Any) -> bool:
    """Whether the settings, or else the file, say so."""
    return (config.geometry or file.facts.get("geometry")) == "cone"


def make_cone_data(file: ScanFile, config: Any, path: Path) -> CtData[ConeScan]:
    """As :func:`nerfkit.workbench.tomography.inputs.make_data`, of a volume.

    Raises
    ------
    NerfkitError
        Something is missing, wrong, or too large.
    """
    said = [f"{path.name}: {', '.join(file.unread)} not read"] if file.unread else []
    if file.values.ndim != 3 or min(file.values.shape) < 3:
        raise NerfkitError(
            f"has values of shape {list(file.values.shape)}; those of a cone are [n_angles, n_rows, n_bins], three of "
            "each at least", where=path, fix="--set geometry=fan, or parallel, for one row",
        )  # fmt: skip
    if config.row is not None:
        raise NerfkitError(
            f"row {config.row} of a cone", where=path, fix="leave row out, or --set geometry=fan for the middle one"
        )
    angles = turned_angles(file, config, path)
    sinogram, deviations, notes = line_integrals(file, config, path)
    _, n_rows, _ = sinogram.shape
    center_row, row_spacing = (_given(file.facts, config, name) for name in ("center_row", "row_spacing"))
    center_row = (n_rows - 1) / 2 if center_row is None else center_row
    middle = min(max(round(center_row), 0), n_rows - 1)
    fan, more = plane_geometry(
        "fan", file.facts, config, angles, sinogram[:, middle], deviations[:, middle], path
    )  # fmt: skip
    try:
        geometry = ConeGeometry(fan, n_rows, fan.bin_spacing if row_spacing is None else row_spacing, center_row)
    except ValueError as error:
        raise NerfkitError(str(error), where=path, fix="mend it in the file, or --set NAME=VALUE") from error
    side, pixel = plane_grid(file.facts, config, fan, path)
    slices, height = _slices(file.facts, config, geometry, pixel, path)
    shape = slices, side, side
    _check_memory(shape, sinogram.numel(), path)
    affine = scanner_affine(shape, pixel, height) if file.affine is None else file.affine
    facts = {
        "geometry": "cone", "angles": len(angles), "rows": n_rows, "bins": fan.n_bins, "center": round(fan.center, 3),
        "center_row": round(center_row, 3), "pixel_spacing": float(f"{pixel:.6g}"),
        "slice_spacing": float(f"{height:.6g}"), "side": side, "slices": slices,
        "noise": float(f"{float(deviations[deviations.isfinite()].square().mean().sqrt()):.4g}"),
    }  # fmt: skip
    scan = ConeScan(geometry, sinogram, deviations, shape, pixel, height, affine)
    return CtData(scan, *rescaling(file.facts), (*said, *notes, *more, *_arc(fan)), facts)


def scanner_affine(shape: tuple[int, int, int], pixel: float, height: float) -> NDArray[np.float64]:
    """From voxels to the scan's own millimetres, 0 where the axis meets the source's plane."""
    sides = np.array([pixel, pixel, height])
    affine = np.diag([*sides, 1.0])
    affine[:3, 3] = -sides * (np.array(shape[::-1]) - 1) / 2
    return affine


def _given(facts: dict[str, Any], config: Any, name: str) -> float | None:
    value = getattr(config, name)
    return facts.get(name) if value is None else value


def _slices(facts: dict[str, Any], config: Any, geometry: ConeGeometry, pixel: float, path: Path) -> tuple[int, float]:
    """How many slices and how far apart: cubes, as many as are seen on the axis."""
    height = _given(facts, config, "slice_spacing") or pixel
    slices = _given(facts, config, "slices") or 2 * math.ceil(float(np.abs(geometry.reach(np.zeros(1))).max()) / height)
    if slices < 1 or not height > 0:
        raise NerfkitError(f"{slices:g} slices of {height:g} mm", where=path, fix="--set slices=128")
    return int(slices), float(height)


def _check_memory(shape: tuple[int, int, int], n_values: int, path: Path) -> None:
    need = 4 * (VOLUMES * math.prod(shape) + VIEWS * n_values)
    if need > MAX_BYTES:
        raise NerfkitError(
            f"{shape[2]}x{shape[1]}x{shape[0]} voxels and {n_values:,} values take {need / 1e9:.0f} GB of memory; "
            f"{MAX_BYTES / 1e9:.0f} are allowed", where=path,
            fix=f"--set side={int(shape[2] * (MAX_BYTES / need) ** (1 / 3))}, or bin the detector",
        )  # fmt: skip


def _arc(fan: ScanGeometry) -> list[str]:
    """A word about a circle that is not whole: the quick volume weighs all views alike."""
    n = len(fan.angles)
    turn = (max(fan.angles) - min(fan.angles)) * n / (n - 1)
    return [f"{turn:.0f} degrees are no whole turn: FDK, which starts the solution, is off by that"] * (turn < 350)
