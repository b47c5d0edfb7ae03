"""From a file and the settings to a scan: units, centre, noise, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.finite import not_finite
from nerfkit.scenes.readers.sinogram import ScanFile
from nerfkit.scenes.scan_geometry import GEOMETRIES, ScanGeometry
from nerfkit.workbench.tomography.centre import find_centre
from nerfkit.workbench.tomography.cone_scan import ConeScan
from nerfkit.workbench.tomography.reconstruct import noise_deviation
from nerfkit.workbench.tomography.scan import Scan

__all__ = ["CtData", "line_integrals", "make_data", "plane_geometry", "plane_grid", "rescaling", "turned_angles"]

# fewest angles and bins that a picture is made from, and the largest share of values that may be missing
MIN_ANGLES, MIN_BINS, MOST_MISSING = 3, 8, 0.5
# photons of a ray of which nothing arrived, for its logarithm
LEAST_COUNT = 0.5
# share of the rays with the same greatest count from which on the detector is taken for saturated
SATURATED = 0.02
# entries of the matrix of line integrals at most, and the bytes of one: it is held by rays and by pixels
MAX_ENTRIES, BYTES = 3e8, 16


AnyScan = TypeVar("AnyScan", Scan, ConeScan)


@dataclass(frozen=True)
class CtData(Generic[AnyScan]):
    """A scan, how its unit becomes that of the result, and what there is to say of it."""

    scan: AnyScan
    # result = slope * attenuation per mm + intercept
    slope: float
    intercept: float
    said: tuple[str, ...]
    # facts of the report
    facts: dict[str, Any]


def make_data(file: ScanFile, config: Any, path: Path) -> CtData[Scan]:
    """What the task works on; settings go before what the file says.

    Raises
    ------
    NerfkitError
        Something is missing, wrong, or too large.
    """
    said = [f"{path.name}: {', '.join(file.unread)} not read"] if file.unread else []
    if file.values.ndim == 3:
        row = _row(file.values.shape[1], config.row, path)
        said.append(f"row {row} of {file.values.shape[1]}")
        raw = None if file.raw is None else file.raw[:, row]
        file = replace(file, values=file.values[:, row], raw=raw)
    values, angles = file.values, turned_angles(file, config, path)
    if min(values.shape) < MIN_ANGLES or values.shape[1] < MIN_BINS:
        raise NerfkitError(
            f"has {values.shape[0]} angles of {values.shape[1]} bins; {MIN_ANGLES} of {MIN_BINS} at least are wanted",
            where=path, fix="a row of the sinogram is an angle; transpose it where columns are",
        )  # fmt: skip
    sinogram, deviations, notes = line_integrals(file, config, path)
    said += notes
    kind = config.geometry or file.facts.get("geometry", "parallel")
    geometry, notes = plane_geometry(kind, file.facts, config, angles, sinogram, deviations, path)
    side, pixel = plane_grid(file.facts, config, geometry, path)
    facts = {
        "geometry": geometry.kind, "angles": len(angles), "bins": geometry.n_bins,
        "center": round(geometry.center, 3), "pixel_spacing": float(f"{pixel:.6g}"), "side": side,
        "noise": float(f"{float(deviations[deviations.isfinite()].square().mean().sqrt()):.4g}"),
    }  # fmt: skip
    scan = Scan(geometry, sinogram, deviations, side, pixel)
    return CtData(scan, *rescaling(file.facts), (*said, *notes), facts)


def rescaling(facts: dict[str, Any]) -> tuple[float, float]:
    """Slope and intercept from attenuation per mm to the unit of the result."""
    return float(facts.get("rescale_slope", 1.0)), float(facts.get("rescale_intercept", 0.0))


def _row(n_rows: int, row: int | None, path: Path) -> int:
    taken = n_rows // 2 if row is None else row
    if not 0 <= taken < n_rows:
        raise NerfkitError(f"row {taken} is not one of {n_rows}", where=path, fix=f"--set row={n_rows // 2}")
    return taken


def turned_angles(file: ScanFile, config: Any, path: Path) -> tuple[float, ...]:
    """Of the scan, in degrees, anticlockwise."""
    if config.angle_range is None and file.angles is not None:
        found = np.rad2deg(file.angles) if config.angle_unit == "radians" else file.angles
    elif config.angle_range is None:
        raise NerfkitError(
            "says no angles", where=path, fix="add them in degrees as angles, or --set angle_range=180 for even ones"
        )
    else:
        n = file.values.shape[0]
        found = np.arange(n) * config.angle_range / n
    return tuple((found * (-1 if config.is_clockwise else 1)).tolist())


def line_integrals(file: ScanFile, config: Any, path: Path) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Line integrals and the standard deviations of their noise, infinite where nothing is known."""
    values = file.values
    is_known, said = _known(file, config)
    if is_known.mean() < 1 - MOST_MISSING:
        raise NerfkitError(
            f"has {1 - is_known.mean():.0%} values that are NaN, infinite or saturated",
            where=path,
            fix="mend the sinogram",
        )
    if file.is_counts:
        integrals, deviations, notes = _of_counts(file, is_known, config, path)
        said += notes
    else:
        integrals = np.where(is_known, values, 0.0)
        noise = config.noise or file.facts.get("noise")
        if noise is None:
            noise = noise_deviation(torch.from_numpy(np.where(is_known, values, np.nan)))
        # a sinogram without noise: what a float32 has
        deviations = np.full(values.shape, max(noise, 1e-6 * float(np.abs(integrals).max())) or 1.0)
    if not np.ptp(integrals[is_known]) > 0:
        raise NerfkitError(
            f"has the same value everywhere, {values[is_known].flat[0]:g}", where=path, fix="give another sinogram"
        )
    deviations = np.where(is_known, deviations, np.inf)
    integrals = np.where(is_known, integrals, 0.0).astype(np.float32)
    return torch.from_numpy(integrals), torch.from_numpy(deviations.astype(np.float32)), said


def _known(file: ScanFile, config: Any) -> tuple[NDArray[np.bool_], list[str]]:
    """Which values are measured ones, and what is to be said of the others."""
    said, values = [], file.values
    raw = values if file.raw is None else file.raw
    is_known, is_read = np.isfinite(values), np.isfinite(raw)
    if bad := not_finite(raw, "angle {}, bin {}" if raw.ndim == 2 else "angle {}, row {}, bin {}"):
        said.append(f"{bad}; they are left out")
    is_dead = (is_read & ~is_known).any(0)
    if n_dead := int(is_dead.sum()):
        said.append(
            f"{n_dead} of {is_dead.size} bins are dead, no brighter in the white frames than in the dark ones; "
            "they are left out"
        )
    if config.saturation is not None:
        is_saturated = is_known & (raw >= config.saturation)
        said.append(f"{is_saturated.sum()} saturated values, from {config.saturation:g} on, are left out")
        is_known &= ~is_saturated
    return is_known, said


def _of_counts(
    file: ScanFile, is_known: NDArray[np.bool_], config: Any, path: Path
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Line integrals of counts, their standard deviations, and what is to be said of them."""
    said, values = [], file.values
    photons = config.photons or file.facts.get("photons") or float(values[is_known].max())
    if n_below := int((values[is_known] < 0).sum()):
        if file.raw is None:
            raise NerfkitError(
                f"has counts below 0, down to {values[is_known].min():g}", where=path,
                fix="name them sinogram where they are line integrals",
            )  # fmt: skip
        said.append(f"{n_below} values are below their dark frame; they are taken for counts of 0")
    raw = values if file.raw is None else file.raw
    top = raw[is_known].max()
    is_top = is_known & (raw == top)
    share = is_top.sum() / is_known.sum()
    if share > SATURATED and np.median(values[is_top]) > 0.5 * photons:
        said.append(
            f"{share:.1%} of the rays have the same greatest count, {top:g}: the detector may be saturated; "
            f"--set saturation={top:.12g} leaves them out"
        )
    counts = np.where(is_known, np.maximum(values, LEAST_COUNT), 1.0)
    if empty := int((values[is_known] < LEAST_COUNT).sum()):
        said.append(f"{empty} rays let nothing through; they count little")
    return -np.log(counts / photons), counts**-0.5, said


def plane_geometry(
    kind: str, facts: dict[str, Any], config: Any, angles: tuple[float, ...], sinogram: torch.Tensor,
    deviations: torch.Tensor, path: Path,
) -> tuple[ScanGeometry, list[str]]:  # fmt: skip
    """Of one row of the detector, its centre found where nobody says it; and what is to be said."""

    def given(name: str, default: float) -> float:
        value = getattr(config, name)
        return float(facts.get(name, default) if value is None else value)

    if kind not in GEOMETRIES:
        kinds = ", ".join((*GEOMETRIES, "cone"))
        raise NerfkitError(
            f"geometry must be one of {kinds}; got {kind!r}", where=path,
            fix="mend it in the file, or --set geometry=parallel, fan or cone",
        )  # fmt: skip
    center = config.center if config.center is not None else facts.get("center")
    n_bins, spacing = sinogram.shape[1], given("bin_spacing", 1.0)
    try:
        geometry = ScanGeometry(
            kind, angles, n_bins, spacing, (n_bins - 1) / 2 if center is None else center,
            given("source_distance", 0.0), given("detector_distance", 0.0),
        )  # fmt: skip
    except ValueError as error:
        raise NerfkitError(str(error), where=path, fix="mend it in the file, or --set NAME=VALUE") from error
    if center is not None:
        return geometry, []
    found = find_centre(Scan(geometry, sinogram, deviations, 1, 1.0))
    middle = (n_bins - 1) / 2
    said = [f"centre of rotation found at bin {found.center:.2f} (the middle is {middle:g}); --set center=... fixes it"]
    return found, said if abs(found.center - middle) > 0.05 else []


def plane_grid(facts: dict[str, Any], config: Any, geometry: ScanGeometry, path: Path) -> tuple[int, float]:
    """Pixels along a side, and their spacing: bins at the axis, as many as the detector sees."""
    pixel = config.pixel_spacing or facts.get("pixel_spacing")
    side = config.side or (int(facts["size"]) if "size" in facts else None)
    diameter = 2 * geometry.field_of_view
    if pixel is None:
        pixel = diameter / side if side else geometry.bin_spacing / geometry.magnification
    side = side or max(8, 2 * round(diameter / pixel / 2))
    if not pixel > 0 or side < 8:
        raise NerfkitError(f"{side} pixels of {pixel:g} mm make no picture", where=path, fix="--set side=256")
    source, detector = geometry.source_distance, geometry.detector_distance
    if geometry.kind == "fan" and side * pixel > 2**0.5 * source:
        raise NerfkitError(
            f"the source, {source:g} mm from the axis, stands within the picture of {side * pixel:g} mm", where=path,
            fix="all lengths are millimetres; from centimetres: --set "
            f"source_distance={10 * source:g} --set detector_distance={10 * detector:g}",
        )  # fmt: skip
    widest = 2 + 1.5 * pixel * geometry.magnification / geometry.bin_spacing
    entries = side**2 * len(geometry.angles) * widest
    if entries > MAX_ENTRIES:
        smaller = int(side * (MAX_ENTRIES / entries) ** 0.5)
        raise NerfkitError(
            f"{side}x{side} pixels and {len(geometry.angles)} angles take {entries * BYTES / 1e9:.0f} GB of memory; "
            f"{MAX_ENTRIES * BYTES / 1e9:.1f} are allowed", where=path, fix=f"--set side={smaller}",
        )  # fmt: skip
    return side, float(pixel)
