"""What a tomograph would have measured of a picture: exact strips of its own pixels, noise, and the picture it sees."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.observations.line_integrals import LineIntegrals
from nerfkit.scenes.readers.picture import PictureFile, read_picture
from nerfkit.scenes.scan_geometry import ScanGeometry

__all__ = ["LARGEST_INTEGRAL", "chosen_side", "even_angles", "simulate_scan", "within_disc"]

# attenuation of water by X-rays of about 70 keV, per millimetre
WATER = 0.0193
# the largest line integral of a picture that has no unit, where photons are counted
LARGEST_INTEGRAL = 5.0
# pixels of the picture along a pixel of the reconstruction that simulations are made with, where it has as many
FINE = 2


def simulate_scan(path: Path, keys: dict[str, Any], seed: int) -> tuple[dict[str, NDArray], PictureFile]:
    """Arrays of an npz of a scan, and the picture [side, side, 1] that is to come out, 0 outside the disc that is seen.

    Parameters
    ----------
    path : Path
        A picture, or a slice of DICOM in Hounsfield units.
    keys : dict
        ``angles`` and the ``range`` in degrees over which they are spread (0: half a turn, a whole one for a fan);
        ``noise``, a part of the largest line integral, or ``photons`` of an unattenuated ray; ``geometry``; ``size``,
        pixels of the result along a side, 0: half of the picture's.
    """
    values, pixel, slope, intercept = _attenuation(path)
    side = chosen_side(keys["size"], min(values.shape), path)
    block = min(values.shape) // side
    fine = _middle_square(values, side * block)
    truth = fine.reshape(side, block, side, block).mean((1, 3))
    spacing = pixel * block
    fine, truth = (within_disc(picture) for picture in (fine, truth))
    if keys["photons"] > 0 and slope == 1.0:
        # a picture without a unit lets as much through as a body does
        longest = float(fine.sum(0).max() * pixel)
        slope = longest / LARGEST_INTEGRAL
        fine, truth = fine / slope, truth / slope
    geometry = _geometry(keys, side, spacing, path)
    clean = LineIntegrals(geometry, fine.shape, pixel).product(torch.from_numpy(fine.astype(np.float32))).numpy()
    facts = {
        "angles": np.array(geometry.angles), "geometry": np.array(geometry.kind),
        "bin_spacing": np.array(geometry.bin_spacing), "pixel_spacing": np.array(spacing), "size": np.array(side),
        "center": np.array(geometry.center), "rescale_slope": np.array(slope), "rescale_intercept": np.array(intercept),
    }  # fmt: skip
    if geometry.kind == "fan":
        facts["source_distance"] = np.array(geometry.source_distance)
        facts["detector_distance"] = np.array(geometry.detector_distance)
    rng = np.random.default_rng(seed)
    if keys["photons"] > 0:
        counts = rng.poisson(keys["photons"] * np.exp(-clean.astype(np.float64)))
        facts |= {"counts": counts, "photons": np.array(keys["photons"])}
    else:
        deviation = keys["noise"] * float(clean.max())
        facts["sinogram"] = (clean + deviation * rng.standard_normal(clean.shape)).astype(np.float32)
    image = (slope * truth + intercept).astype(np.float32)
    return facts, PictureFile(image[..., None], 32)


def _attenuation(path: Path) -> tuple[NDArray[np.float64], float, float, float]:
    """Attenuation per millimetre [h, w] or values of a picture, its pixel, and the way back to the picture's unit."""
    if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy", ".npz", ".webp"):
        picture = read_picture(path)
        low = picture.range[0]
        values = picture.values[..., : 3 if picture.values.shape[2] > 2 else 1].mean(-1).astype(np.float64) - low
        return np.maximum(values, 0), 1.0, 1.0, float(low)
    from nerfkit.scenes.readers.volume import read_volume

    volume = read_volume(path)
    if volume.values.shape[0] != 1:
        raise NerfkitError(
            f"has {volume.values.shape[0]} slices; one is projected", where=path, fix="give the file of one slice"
        )
    hounsfield = np.maximum(volume.values[0].astype(np.float64), -1000.0)
    return WATER * (1 + hounsfield / 1000), float(volume.spacing[0]), 1000 / WATER, -1000.0


def chosen_side(size: int, available: int, path: Path) -> int:
    """Pixels of the result along a side: what is asked for, else half of what there is."""
    side = size or (available // FINE if available >= 256 else available)
    if not 8 <= side <= available:
        raise NerfkitError(
            f"size={size} of a picture of {available} pixels", where=path, fix=f"size={available // FINE}, 8 at least"
        )
    return side


def _middle_square(values: NDArray, side: int) -> NDArray:
    top, left = ((n - side) // 2 for n in values.shape)
    return values[top : top + side, left : left + side]


def within_disc(picture: NDArray) -> NDArray:
    """Pictures [..., h, h], 0 outside the disc that a detector as wide as they are sees, two pixels of 256 within."""
    side = picture.shape[-1]
    axis = np.arange(side) - (side - 1) / 2
    return picture * (axis[:, None] ** 2 + axis**2 < (0.492 * side) ** 2)


def _geometry(keys: dict[str, Any], side: int, spacing: float, path: Path) -> ScanGeometry:
    is_fan = keys["geometry"] == "fan"
    angles = even_angles(keys, 360.0 if is_fan else 180.0)
    if not is_fan:
        try:
            return ScanGeometry(keys["geometry"], angles, side, spacing, (side - 1) / 2)
        except ValueError as error:
            raise NerfkitError(str(error), where="--simulate", fix="geometry=parallel, fan or cone") from error
    # the source two pictures away, the detector as far on the other side; wide enough for the disc
    distance = 2.0 * side * spacing
    n_bins = int(1.5 * side)
    width = 2 * 2 * distance * math.tan(math.asin(0.5 * side * spacing / distance)) * 1.05
    return ScanGeometry("fan", angles, n_bins, width / n_bins, (n_bins - 1) / 2, distance, distance)


def even_angles(keys: dict[str, Any], turn: float) -> tuple[float, ...]:
    """``angles`` over the ``range``, or over ``turn`` degrees; raises NerfkitError where a key is wrong."""
    n, span = keys["angles"], keys["range"] or turn
    if n < 3 or keys["noise"] < 0 or keys["photons"] < 0:
        raise NerfkitError(
            f"angles={n}, noise={keys['noise']}, photons={keys['photons']}; wanted are 3 angles or more and no number "
            "below 0", where="--simulate", fix="angles=60,noise=0.01",
        )  # fmt: skip
    return tuple((np.arange(n) * span / n).tolist())
