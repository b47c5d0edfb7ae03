"""Scans of a tomograph: npz, npy and TIFF of sinograms or counts, HDF5 of the Data Exchange form (De Carlo et al. 2014,
doi 10.1107/S160057751401604X).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.finite import not_finite
from nerfkit.scenes.readers._hdf5 import read_hdf5
from nerfkit.scenes.readers.array_files import open_arrays
from nerfkit.scenes.readers.picture import load_array, read_picture
from nerfkit.scenes.readers.tiff_files import open_tiff

__all__ = ["SCAN_KEYS", "ScanFile", "read_scan"]

# arrays of an npz that are numbers about the scan, and those that are texts
NUMBERS = (
    "bin_spacing", "pixel_spacing", "source_distance", "detector_distance", "center", "photons", "noise", "size",
    "rescale_slope", "rescale_intercept", "row_spacing", "center_row", "slices", "slice_spacing",
)  # fmt: skip
ARRAYS = ("sinogram", "counts", "angles", "geometry", "affine")
SCAN_KEYS = (*ARRAYS, *NUMBERS)
HDF5 = (".h5", ".hdf5", ".hdf", ".nxs")
# a value of NumPy's that nobody's detector has
MAX_VALUES = 2**31


@dataclass(frozen=True)
class ScanFile:
    """What a file says of a scan.

    Parameters
    ----------
    values : ndarray, float64
        Line integrals or counts, [n_angles, n_bins] or [n_angles, n_rows, n_bins].
    is_counts : bool
        Whether they are photons that arrived; then ``facts`` may have the ``photons`` that were sent.
    angles : ndarray, shape (n_angles,), optional
        Degrees.
    facts : dict
        What else it says, by the names of ``SCAN_KEYS``.
    unread : list of str
        What it holds that was not looked at.
    affine : ndarray, shape (4, 4), optional
        From voxels of the volume of a cone to millimetres in RAS+.
    raw : ndarray, optional
        What the detector read, of the shape of ``values``, where these were corrected by dark and white frames. By it
        saturation is judged. Corrected values are NaN in dead bins, and below 0 where noise took them there.
    """

    values: NDArray[np.float64]
    is_counts: bool = False
    angles: NDArray[np.float64] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    affine: NDArray[np.float64] | None = None
    raw: NDArray | None = None


# counts of a free ray: fewer, and what is given was normalised before
LEAST_BEAM = 10.0


def read_scan(path: str | Path) -> ScanFile:
    """Read a scan, as it is in the file.

    Raises
    ------
    NerfkitError
        It is no scan, or what it says is no number.
    """
    path = Path(path)
    if not path.is_file():
        raise NerfkitError("there is no such file", where=path, fix="give an npz, npy, TIFF or HDF5 file of a scan")
    suffix = path.suffix.lower()
    found = _read_npz(path) if suffix == ".npz" else _read_exchange(path) if suffix in HDF5 else _read_plain(path)
    shape = found.values.shape
    if found.values.ndim not in (2, 3) or min(shape) < 1 or found.values.size > MAX_VALUES:
        raise NerfkitError(
            f"has an array of shape {list(shape)}; wanted is [n_angles, n_bins], or [n_angles, n_rows, n_bins]",
            where=path, fix="save the sinogram alone, a row an angle",
        )  # fmt: skip
    _check_angles(found.angles, shape, path)
    return found


def _check_angles(angles: NDArray[np.float64] | None, shape: tuple[int, ...], path: Path) -> None:
    if angles is None:
        return
    fix = "give an angle in degrees for each row of the sinogram"
    if angles.size != shape[0]:
        if angles.size == shape[1]:
            fix = "transpose it, numpy.swapaxes(array, 0, 1): angles are its first axis"
        raise NerfkitError(f"has {angles.size} angles for {shape[0]} rows", where=path, fix=fix)
    if bad := not_finite(angles, "row {}"):
        raise NerfkitError(f"angles: {bad}", where=path, fix=fix)


def _read_plain(path: Path) -> ScanFile:
    if path.suffix.lower() == ".npy":
        return ScanFile(_real(load_array(path), path))
    picture = read_picture(path, has_unknown=True)
    if picture.values.shape[2] != 1:
        raise NerfkitError(
            f"has {picture.values.shape[2]} channels; a sinogram has one", where=path, fix="save it in grey, as floats"
        )
    unread = []
    if path.suffix.lower() in (".tif", ".tiff"):
        with open_tiff(path) as file:
            n_pages = len(file.pages)
        unread = [f"pages 2 to {n_pages}"] * (n_pages > 1)
    return ScanFile(picture.values[..., 0].astype(np.float64), unread=unread)


def _read_npz(path: Path) -> ScanFile:
    file = open_arrays(path, "save it again with numpy.savez")
    arrays = {name: file.load(name) for name in file.names}
    present = [name for name in ("sinogram", "counts") if name in arrays]
    if len(present) != 1:
        raise NerfkitError(
            f"has {' and '.join(present) or 'none'} of sinogram and counts; its arrays: {', '.join(sorted(arrays))}",
            where=path, fix="name the array of line integrals sinogram, or that of photons counts",
        )  # fmt: skip
    facts: dict[str, Any] = {}
    for name in NUMBERS:
        if name in arrays:
            value = arrays[name]
            if value.size != 1 or value.dtype.kind not in "iuf" or not np.isfinite(value.item()):
                raise NerfkitError(
                    f"has {name} = {value.tolist()!r}; wanted is a number", where=path, fix=f"mend {name}"
                )
            facts[name] = float(value.item())
    if "geometry" in arrays:
        facts["geometry"] = str(arrays["geometry"].item()) if arrays["geometry"].size == 1 else ""
    angles = arrays.get("angles")
    return ScanFile(
        _real(arrays[present[0]], path), present[0] == "counts",
        None if angles is None else _real(angles, path).reshape(-1), facts,
        sorted(set(arrays) - set(SCAN_KEYS)), _affine(arrays.get("affine"), path),
    )  # fmt: skip


def _affine(array: NDArray | None, path: Path) -> NDArray[np.float64] | None:
    if array is None:
        return None
    fix = "mend affine, or leave it out"
    if array.shape != (4, 4) or array.dtype.kind not in "iuf":
        raise NerfkitError(
            f"has an affine of shape {list(array.shape)}; [4, 4] of numbers is wanted", where=path, fix=fix
        )
    if bad := not_finite(array, "row {}, column {}"):
        raise NerfkitError(f"affine: {bad}", where=path, fix=fix)
    return array.astype(np.float64)


def _read_exchange(path: Path) -> ScanFile:
    """Counts, brought to those of an even beam: dark frames taken off, divided by the white ones; NaN in dead bins."""
    found = read_hdf5(path, "exchange", fix="copy the file again, or save the sinogram as npz")
    if found.facts.get("is_kspace"):
        raise NerfkitError(
            "is an ISMRMRD file of k-space, no scan of a tomograph", where=path,
            fix=f"nerfkit fit mri {shlex.quote(str(path))} -o picture.npy",
        )  # fmt: skip
    if "data" not in found.arrays:
        raise NerfkitError(
            f"has no exchange/data, but {', '.join(found.facts['others']) or 'nothing'}", where=path,
            fix="give a file of the Data Exchange form, or save the sinogram as npz",
        )  # fmt: skip
    data = found.arrays["data"].astype(np.float64)
    white, dark = (_mean_frame(found.arrays.get(name), name, data, path) for name in ("data_white", "data_dark"))
    theta = found.arrays["theta"].astype(np.float64).reshape(-1) if "theta" in found.arrays else None
    if white is None:
        raise NerfkitError(
            "has no data_white: what arrives without an object is not known", where=path,
            fix="add the white frames, or save line integrals as npz",
        )  # fmt: skip
    dark = np.zeros_like(white) if dark is None else dark
    is_alive = white > dark
    if not is_alive.any():
        raise NerfkitError(
            "has no bin whose data_white is above its data_dark", where=path, fix="look whether the two are exchanged"
        )
    beam = np.where(is_alive, white - dark, np.nan)
    mean = float(beam[is_alive].mean())
    if mean < LEAST_BEAM:
        raise NerfkitError(
            f"has white frames of {mean:.3g} above the dark ones, no counts: data was divided by them before",
            where=path, fix="save -log(data) as sinogram in an npz, with angles",
        )  # fmt: skip
    if theta is not None and found.facts["unit"].startswith("rad"):
        theta = np.rad2deg(theta)
    counts = (data - dark) / beam * mean
    return ScanFile(counts, True, theta, {"photons": mean}, found.facts["unread"], raw=found.arrays["data"])


def _mean_frame(frames: NDArray | None, name: str, data: NDArray, path: Path) -> NDArray[np.float64] | None:
    if frames is None:
        return None
    if not frames.shape[:1] > (0,) or frames.shape[1:] != data.shape[1:]:
        raise NerfkitError(
            f"exchange/{name} has shape {list(frames.shape)}; wanted are frames like those of data, "
            f"{list(data.shape)}", where=path, fix="write those of the same detector, or leave them out",
        )  # fmt: skip
    frames = frames.astype(np.float64)
    # one of them would take its bin from every angle
    if bad := not_finite(frames, "index " + ", ".join(["{}"] * frames.ndim)):
        raise NerfkitError(f"exchange/{name}: {bad}", where=path, fix="take those frames out")
    return frames.mean(0)


def _real(values: NDArray, path: Path) -> NDArray[np.float64]:
    if values.dtype.kind not in "iuf":
        raise NerfkitError(f"has values of kind {values.dtype}; real numbers are wanted", where=path, fix="save floats")
    return values.astype(np.float64)
