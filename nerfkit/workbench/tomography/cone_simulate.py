"""What a cone's detector would have measured of a volume: its own voxels' line integrals, and noise."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.scenes.cone_geometry import ConeGeometry
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.observations.cone_integrals import ConeIntegrals
from nerfkit.scenes.readers.volume import read_volume
from nerfkit.scenes.scan_geometry import ScanGeometry
from nerfkit.scenes.volumes import Volume
from nerfkit.workbench.tomography.simulate import LARGEST_INTEGRAL, chosen_side, even_angles, within_disc

__all__ = ["simulate_cone"]

# from the axis to the source, and to the detector, in sides of the volume: 7 degrees of cone at its edge
DISTANCE = 4.0
# bins over pixels, and how much wider the detector is than the disc that is to be seen
BINS, MARGIN = 1.5, 1.05


def simulate_cone(path: Path, keys: dict[str, Any], seed: int) -> tuple[dict[str, NDArray], Volume]:
    """Arrays of an npz of a scan, and the volume that is to come out, its least value outside the disc that is seen.

    Parameters
    ----------
    path : Path
        A volume with square pixels across the axis of rotation, which is that of its slices.
    keys : dict
        As :func:`nerfkit.workbench.tomography.simulate.simulate_scan` takes them; values are in the volume's unit,
        from its least one on.
    """
    volume = read_volume(path)
    pixel, other, height = volume.spacing
    if abs(pixel - other) > 1e-3 * pixel:
        raise NerfkitError(
            f"has pixels of {pixel:.4g} x {other:.4g} mm; square ones are projected", where=path,
            fix=f"resample it: nerfkit fit volume {path.name} -o even.nii.gz --set spacing={pixel:.4g}",
        )  # fmt: skip
    side = chosen_side(keys["size"], min(volume.shape[1:]), path)
    block = min(volume.shape[1:]) // side
    fine, affine = _middle(volume, block, side)
    lowest = float(fine.min())
    fine = within_disc(fine - lowest)
    truth = fine.reshape(-1, block, side, block, side, block).mean((1, 3, 5), dtype=np.float64).astype(np.float32)
    slope = 1.0
    if keys["photons"] > 0:
        # a volume without a unit lets as much through as a body does
        slope = float(fine.sum(1).max() * pixel) / LARGEST_INTEGRAL or 1.0
    geometry = _geometry(keys, side, pixel * block, len(fine) * height)
    clean = ConeIntegrals(geometry, fine.shape, pixel, height).product(torch.from_numpy(fine / np.float32(slope)))
    fan = geometry.fan
    arrays = {
        "angles": np.array(fan.angles), "geometry": np.array("cone"), "bin_spacing": np.array(fan.bin_spacing),
        "row_spacing": np.array(geometry.row_spacing), "center": np.array(fan.center),
        "center_row": np.array(geometry.center_row), "source_distance": np.array(fan.source_distance),
        "detector_distance": np.array(fan.detector_distance), "pixel_spacing": np.array(pixel * block),
        "slice_spacing": np.array(height * block), "size": np.array(side), "slices": np.array(len(truth)),
        "rescale_slope": np.array(slope), "rescale_intercept": np.array(lowest), "affine": affine,
    }  # fmt: skip
    rng, values = np.random.default_rng(seed), clean.numpy()
    if keys["photons"] > 0:
        counts = rng.poisson(keys["photons"] * np.exp(-values.astype(np.float64)))
        arrays |= {"counts": counts, "photons": np.array(keys["photons"])}
    else:
        noise = keys["noise"] * float(values.max()) * rng.standard_normal(values.shape, np.float32)
        arrays["sinogram"] = (values + noise).astype(np.float32)
    return arrays, Volume(truth + np.float32(lowest), affine)


def _middle(volume: Volume, block: int, side: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The middle of a volume, whole blocks of voxels, and the affine of the blocks."""
    size = (volume.shape[0] // block * block, side * block, side * block)
    start = [(n - wanted) // 2 for n, wanted in zip(volume.shape, size, strict=True)]
    values = volume.values[tuple(slice(at, at + n) for at, n in zip(start, size, strict=True))]
    affine = volume.affine.copy()
    affine[:3, :3] *= block
    affine[:3, 3] = volume.to_mm(np.array(start[::-1]) + (block - 1) / 2)
    return values, affine


def _geometry(keys: dict[str, Any], side: int, pixel: float, tall: float) -> ConeGeometry:
    """Source and detector on either side of the axis; a detector of square pixels that sees all of the disc."""
    distance, radius = DISTANCE * side * pixel, side * pixel / 2
    n_bins = int(BINS * side)
    spacing = MARGIN * 4 * distance * math.tan(math.asin(radius / distance)) / n_bins
    n_rows = math.ceil(MARGIN * tall * 2 * distance / (distance - radius) / spacing)
    fan = ScanGeometry("fan", even_angles(keys, 360.0), n_bins, spacing, (n_bins - 1) / 2, distance, distance)
    return ConeGeometry(fan, n_rows, spacing, (n_rows - 1) / 2)
