"""Volumes as files: NIfTI with its place in space, ImageJ's TIFF stack with its spacing, npy; each read again."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerfkit.files import npy_bytes, write_atomically
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.extras import import_extra
from nerfkit.scenes.readers.volume import read_volume
from nerfkit.scenes.volumes import Volume

__all__ = ["WRITTEN_VOLUMES", "check_volume_name", "nifti_bytes", "volume_bytes", "write_volume"]

WRITTEN_VOLUMES = (".nii.gz", ".nii", ".npy", ".tif", ".tiff")
# longest side that NIfTI-1 can say
NIFTI1_SIDE = 32767
# codes of NIfTI: what the affine is relative to is the scanner
SCANNER = 1


def write_volume(path: str | Path, volume: Volume) -> Volume:
    """Write a volume, and give what its file has.

    Parameters
    ----------
    path : str or Path
        Its suffix, one of ``WRITTEN_VOLUMES``, says the format. NIfTI keeps the whole affine, TIFF the spacing, npy
        nothing but the values.
    volume : Volume
        What is written, as float32.

    Raises
    ------
    NerfkitError
        The suffix is none of these, or the file cannot be written.
    """
    path = Path(path)
    write_atomically(path, volume_bytes(path, volume))
    return read_volume(path)


def check_volume_name(path: Path) -> str:
    """The one of ``WRITTEN_VOLUMES`` that a name ends in; raises NerfkitError where it is none."""
    suffix = next((end for end in WRITTEN_VOLUMES if path.name.lower().endswith(end)), None)
    if suffix is None:
        raise NerfkitError(
            f"volumes are written as {', '.join(WRITTEN_VOLUMES)}; got {path.suffix or 'a name without suffix'}",
            where=path, fix="end its name in .nii.gz",
        )  # fmt: skip
    return suffix


def volume_bytes(path: Path, volume: Volume) -> bytes:
    """What a file of that name holds; :func:`write_volume` writes it."""
    suffix = check_volume_name(path)
    if suffix == ".npy":
        return npy_bytes(volume.values.astype(np.float32))
    if suffix in (".tif", ".tiff"):
        return _tiff_bytes(volume)
    nifti = nifti_bytes(volume.values.T, volume.affine, where=path)
    # without the time, so that equal volumes are equal files
    return gzip.compress(nifti, 6, mtime=0) if suffix == ".nii.gz" else nifti


def nifti_bytes(values: NDArray, affine: NDArray[np.float64], *, where: str | Path = "") -> bytes:
    """A NIfTI file of values [w, h, d] or [w, h, d, ...], i first, and their affine to mm in RAS+."""
    nibabel = import_extra("nibabel", "medical", where)
    kind = nibabel.Nifti1Image if max(values.shape) <= NIFTI1_SIDE else nibabel.Nifti2Image
    image = kind(np.asarray(values, np.float32), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, SCANNER)
    # a qform is a rotation and spacings: with code 0 where it cannot hold a shear
    is_sheared = Volume(np.empty((1, 1, 1), np.float32), affine).is_sheared
    image.set_qform(affine, 0 if is_sheared else SCANNER)
    return image.to_bytes()


def _tiff_bytes(volume: Volume) -> bytes:
    """As ImageJ has it: the pitch of slices and the unit in its description, pixels a mm in the tags."""
    import tifffile

    x, y, z = volume.spacing
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, volume.values.astype(np.float32), imagej=True, resolution=(1 / x, 1 / y), resolutionunit=1,
        metadata={"axes": "ZYX", "spacing": z, "unit": "mm"},
    )  # fmt: skip
    return buffer.getvalue()
