"""NIfTI-1 and NIfTI-2 by nibabel: slope and intercept applied, either byte order, the unit of length brought to mm."""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.extras import import_extra
from nerfkit.scenes.machine_memory import check_floats
from nerfkit.scenes.volumes import MAX_VOXELS, Volume

__all__ = ["read_nifti", "read_vectors"]

# mm of a unit, by nibabel's name; nibabel leaves the affine in the file's own unit
MM = {"meter": 1000.0, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}
# what nibabel, gzip and zlib raise on damaged files
_BROKEN = (
    OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, MemoryError, zlib.error,
)  # fmt: skip
# how far, in voxels, the two affines of a file may differ at a corner without being spoken of
SAME_PLACE = 0.1


def read_nifti(path: Path) -> list[Callable[[], Volume]]:
    """What reads each volume of the file."""
    nibabel = import_extra("nibabel", "medical", path)
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        image = nibabel.load(path)
        shape, dtype = image.shape, image.get_data_dtype()
    except (*_BROKEN, ImageFileError, HeaderDataError) as error:
        raise _unreadable(path, error) from error
    _check_values(path, shape, dtype)
    n_volumes = shape[3] if len(shape) > 3 else 1
    affine, said = _affine(image, path)
    return [functools.partial(_read, path, image, index, affine, said) for index in range(n_volumes)]


def read_vectors(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Vectors [d, h, w, 3] of a file of shape (w, h, d, 1, 3) as it has them, and the affine to mm."""
    nibabel = import_extra("nibabel", "medical", path)
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        image = nibabel.load(path)
        shape, dtype = image.shape, image.get_data_dtype()
        if len(shape) != 5 or shape[3:] != (1, 3) or dtype.kind not in "iuf":
            raise NerfkitError(
                f"has {dtype} values of shape {shape}; a vector for each voxel, (w, h, d, 1, 3), is wanted", where=path,
                fix="give displacement.nii.gz of a registration",
            )  # fmt: skip
        check_floats(math.prod(shape), path)
        values = np.asarray(image.dataobj, np.float32)[:, :, :, 0]
    except (*_BROKEN, ImageFileError, HeaderDataError) as error:
        raise _unreadable(path, error) from error
    return np.ascontiguousarray(values.transpose(2, 1, 0, 3)), _affine(image, path)[0]


def _check_values(path: Path, shape: tuple[int, ...], dtype: Any) -> None:
    """Raise NerfkitError unless each voxel has a real number, perhaps at several times."""
    if dtype.kind not in "iuf":
        what = "complex" if dtype.kind == "c" else "colours, or of another kind"
        raise NerfkitError(
            f"its values are {what} ({dtype}); real numbers are wanted", where=path,
            fix="save the magnitude, or one channel, as floats",
        )  # fmt: skip
    if min(shape, default=0) < 1 or math.prod(shape[:3]) > MAX_VOXELS:
        raise NerfkitError(
            f"its header declares the shape {shape}; 1 to {MAX_VOXELS:,} voxels are read", where=path,
            fix="crop it, or scale it down",
        )  # fmt: skip
    check_floats(math.prod(shape[:3]), path)
    if len(shape) < 3 or any(side > 1 for side in shape[4:]):
        what = "has several values a voxel (vectors)" if len(shape) > 4 else "is no volume"
        raise NerfkitError(
            f"{what}: its shape is {shape}; (w, h, d) is wanted", where=path, fix="save one component as a volume"
        )


def _read(path: Path, image: Any, index: int, affine: NDArray[np.float64], said: tuple[str, ...]) -> Volume:
    rest = (index, *[0] * (len(image.shape) - 4)) if len(image.shape) > 3 else ()
    try:
        values = np.asarray(image.dataobj[(..., *rest)], np.float32)
    except _BROKEN as error:
        raise _unreadable(path, error) from error
    if len(image.shape) > 3 and image.shape[3] > 1:
        said = (*said, f"volume {index} of {image.shape[3]} was read")
    # Fortran's order in the file, i fastest, is C's order of [k, j, i]
    return Volume(np.ascontiguousarray(values.T), affine, said=said)


def _unreadable(path: Path, error: object) -> NerfkitError:
    return NerfkitError(f"cannot be read as NIfTI ({error})", where=path, fix="fetch or save it again")


def _affine(image: Any, path: Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The affine in mm, and what is to be said of it.

    The sform wins where both are there, as in nibabel: it is where a later program has put the volume (NIfTI-1, method
    3), and it can hold a shear. A sform that spans no space, which some programs write, counts as absent.
    """
    header = image.header
    try:
        unit = header.get_xyzt_units()[0]
    except KeyError as error:
        raise _unreadable(path, f"its unit of length is {error}, which there is not") from error
    sform, qform = (None if form is None else np.asarray(form, np.float64) for form in _forms(header, path))
    said = []
    if sform is not None and abs(np.linalg.det(sform[:3, :3])) < 1e-12:
        said.append("its sform spans no space and was left unread")
        sform = None
    found = qform if sform is None else sform
    if found is None:
        found = np.asarray(header.get_base_affine(), np.float64)
        said.append("it says nothing of its orientation: the spacing of its header, and axes left, front, up")
    elif sform is not None and qform is not None and (apart := _apart(sform, qform, image.shape)) > SAME_PLACE:
        said.append(f"its sform and its qform are up to {apart:.3g} voxels apart; the sform was taken")
    if unit not in ("mm", "unknown"):
        said.append(f"its lengths are in the unit {unit}; they were brought to mm")
    return np.diag([*[MM.get(unit, 1.0)] * 3, 1.0]) @ found, tuple(said)


def _forms(header: Any, path: Path) -> tuple[Any, Any]:
    """The sform and the qform, each None where its code is 0."""
    try:
        return header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def _apart(first: NDArray, second: NDArray, shape: tuple[int, ...]) -> float:
    """Greatest distance between the corners of a volume in two places, in its smallest voxel side."""
    corners = np.stack(np.meshgrid(*[(0, side - 1) for side in shape[:3]], [1]), -1).reshape(-1, 4)
    distances = np.linalg.norm(corners @ (first - second).T, axis=1)
    return float(distances.max() / np.linalg.norm(first[:3, :3], axis=0).min())
