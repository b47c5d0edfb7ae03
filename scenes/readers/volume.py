"""Volumes from files: NIfTI, DICOM series and multi-frame files, TIFF stacks, npy and npz."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.finite import not_finite
from nerfkit.scenes.volumes import MAX_VOXELS, Volume

__all__ = ["VOLUME_SUFFIXES", "read_vector_field", "read_volume", "read_volumes"]

# how a name ends -> 'module:function'; the function takes the path, and gives all volumes that the file holds
READERS = {
    ".nii": "nerfkit.scenes.readers._nifti:read_nifti",
    ".nii.gz": "nerfkit.scenes.readers._nifti:read_nifti",
    ".npy": "nerfkit.scenes.readers.volume_arrays:read_npy",
    ".npz": "nerfkit.scenes.readers.volume_arrays:read_npz",
    ".tif": "nerfkit.scenes.readers._tiff_stack:read_tiff_stack",
    ".tiff": "nerfkit.scenes.readers._tiff_stack:read_tiff_stack",
}
VOLUME_SUFFIXES = tuple(READERS)
# anything else: DICOM files have many suffixes, and often none
DICOM = "nerfkit.scenes.readers._dicom:read_dicom"
WANTED = "NIfTI (.nii, .nii.gz), a folder or file of DICOM, TIFF stack, npy or npz"


def read_volume(path: str | Path, *, index: int | None = None, series: str | None = None) -> Volume:
    """Read one volume.

    Parameters
    ----------
    path : str or Path
        A file, or a folder of DICOM files.
    index : int, optional
        Which volume of a file that holds several, from 0: a time series, several stacks.
    series : str, optional
        Which series of a folder of DICOM files: its number, description or UID; None: the one of most slices.

    Raises
    ------
    NerfkitError
        There is no such file, it is no volume, its values are not real numbers, its place in space is not known, or it
        holds several and none was chosen.
    """
    path = Path(path)
    volumes = read_volumes(path, index=index, series=series)
    if len(volumes) > 1:
        raise NerfkitError(f"holds {len(volumes)} volumes; one is wanted", where=path, fix=_choose(len(volumes)))
    return volumes[0]


def read_volumes(path: str | Path, *, index: int | None = None, series: str | None = None) -> list[Volume]:
    """Read all stacks of an npz, or the one volume of any other file; see :func:`read_volume`."""
    path = Path(path)
    if not path.exists():
        raise NerfkitError("there is no such file or folder", where=path, fix=f"give {WANTED}")
    name = path.name.lower()
    suffix = next((end for end in sorted(READERS, key=len, reverse=True) if name.endswith(end)), None)
    module, _, function = (DICOM if path.is_dir() or suffix is None else READERS[suffix]).partition(":")
    read = getattr(importlib.import_module(module), function)
    volumes = read(path, series) if module.endswith("_dicom") else read(path)
    if series is not None and not module.endswith("_dicom"):
        raise NerfkitError(f"has no series {series!r}: it is no DICOM", where=path, fix="leave series out")
    if index is not None:
        if not 0 <= index < len(volumes):
            raise NerfkitError(
                f"has no volume {index}: there are 0 to {len(volumes) - 1}", where=path, fix=_choose(len(volumes))
            )
        volumes = volumes[index : index + 1]
    elif len(volumes) > 1 and not name.endswith(".npz"):
        # a time series is no set of stacks of one body
        raise NerfkitError(f"holds {len(volumes)} volumes; one is wanted", where=path, fix=_choose(len(volumes)))
    return [_checked(make(), path) for make in volumes]


def read_vector_field(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Vectors [d, h, w, 3] from NIfTI, x first, and the affine [4, 4] from voxels to mm.

    Raises
    ------
    NerfkitError
        There is no such file, or it has no vector for each voxel.
    """
    from ._nifti import read_vectors

    if not path.is_file():
        raise NerfkitError("there is no such file", where=path, fix="give NIfTI with vectors")
    return read_vectors(path)


def _choose(n: int) -> str:
    return f"choose one, 0 to {n - 1}: --set index=0, or index=0 from Python"


def _checked(volume: Volume, path: Path) -> Volume:
    """The volume, unless something in it cannot be worked with."""
    values, affine = volume.values, volume.affine
    if values.ndim != 3 or 0 in values.shape:
        raise NerfkitError(f"has shape {values.shape}; [d, h, w] is wanted", where=path, fix="save one volume")
    if values.size > MAX_VOXELS:
        raise NerfkitError(
            f"has {values.size:,} voxels; at most {MAX_VOXELS:,} are read", where=path, fix="crop it, or scale it down"
        )
    if bad := not_finite(values, "voxel ({2}, {1}, {0})"):
        raise NerfkitError(bad, where=path, fix="replace them, such as by numpy.nan_to_num")
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.allclose(affine[3], [0, 0, 0, 1]):
        raise NerfkitError(
            f"its affine is {affine.tolist()}; [4, 4] of finite numbers, the last row 0 0 0 1, is wanted", where=path,
            fix="save it anew with an affine from voxels to millimetres",
        )  # fmt: skip
    if min(volume.spacing) <= 0 or abs(np.linalg.det(volume.directions)) < 1e-3:
        raise NerfkitError(
            f"its affine is singular: its axes {volume.affine[:3, :3].tolist()} do not span space", where=path,
            fix="save it anew with an affine from voxels to millimetres",
        )  # fmt: skip
    return volume
