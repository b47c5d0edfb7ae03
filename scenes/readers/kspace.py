"""K-space from files: npz with the arrays that docs/mri.md names, ISMRMRD HDF5."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.finite import not_finite
from nerfkit.scenes.kspace_data import KspaceData

from .picture import array_names, load_array

__all__ = ["checked_grid", "checked_samples", "is_kspace", "read_kspace"]

HDF5 = (".h5", ".hdf5")
# a peak further from the middle than this fraction of a side is no zero frequency
FAR = 0.25
# least side of a picture, and the greatest
MIN_SIDE, MAX_SIDE = 16, 4096
MAX_COILS = 256


def is_kspace(path: Path) -> bool:
    """Whether the file holds k-space by its name or its arrays, and no picture."""
    return path.suffix.lower() in HDF5 or bool({"kspace", "samples"} & set(array_names(path)))


def read_kspace(path: Path, size: tuple[int, int] | None = None) -> KspaceData:
    """Read k-space.

    Parameters
    ----------
    path : Path
        npz with ``kspace`` (and ``mask``) or ``samples`` and ``trajectory``, or an ISMRMRD file.
    size : (int, int), optional
        Width and height of the picture, where a trajectory's file has no array ``size``.

    Raises
    ------
    NerfkitError
        The file cannot be read, or what it holds is no k-space of one slice.
    """
    if not path.is_file():
        raise NerfkitError("is no file", where=path, fix="give an npz or an ISMRMRD file of k-space")
    if path.suffix.lower() in HDF5:
        from .kspace_ismrmrd import read_ismrmrd

        return read_ismrmrd(path)
    names = set(array_names(path))
    coils = load_array(path, "sensitivities") if "sensitivities" in names else None
    if "kspace" in names:
        mask = load_array(path, "mask") if "mask" in names else None
        return checked_grid(load_array(path, "kspace"), mask, coils, path)
    if not {"samples", "trajectory"} <= names:
        raise NerfkitError(
            f"has the arrays {', '.join(sorted(names)) or 'of no npz'}; wanted are kspace [n_coils, ky, kx] and mask "
            "[ky, kx], or samples [n_coils, n] and trajectory [n, 2]", where=path, fix="save it with numpy.savez",
        )  # fmt: skip
    if size is None and "size" in names:
        found = load_array(path, "size")
        size = (int(found[0]), int(found[1])) if found.shape == (2,) else None
    return checked_samples(load_array(path, "samples"), load_array(path, "trajectory"), size, coils, path)


def checked_grid(kspace: NDArray, mask: NDArray | None, coils: NDArray | None, path: Path) -> KspaceData:
    """K-space on the grid; a coil's axis that is missing is added, a mask that is missing is where values are not 0."""
    kspace = kspace[None] if kspace.ndim == 2 else kspace
    if kspace.ndim != 3:
        raise NerfkitError(
            f"kspace has shape {kspace.shape}; [n_coils, ky, kx] of one slice is wanted", where=path,
            fix="transform along the third axis, and give one slice: kspace[:, index]",
        )  # fmt: skip
    shape = (kspace.shape[1], kspace.shape[2])
    _check_values(kspace, shape, "kspace", path)
    is_measured = (kspace != 0).any(0) if mask is None else _checked_mask(mask, shape, path)
    if not is_measured.any():
        raise NerfkitError("the mask is empty: nothing was measured", where=path, fix="mark measured places by 1")
    values = np.where(is_measured, kspace, 0).astype(np.complex64)
    _check_middle(values, path)
    return KspaceData(values, shape, is_measured, None, _checked_coils(coils, (len(values), *shape), path))


def checked_samples(
    samples: NDArray, trajectory: NDArray, size: tuple[int, int] | None, coils: NDArray | None, path: Path
) -> KspaceData:
    """Samples on a trajectory."""
    samples = samples[None] if samples.ndim == 1 else samples
    if samples.ndim != 2 or trajectory.shape != (samples.shape[-1], 2):
        raise NerfkitError(
            f"samples have shape {samples.shape}, the trajectory {trajectory.shape}; wanted are [n_coils, n] and "
            "[n, 2]", where=path, fix="flatten the spokes: samples.reshape(n_coils, -1), trajectory.reshape(-1, 2)",
        )  # fmt: skip
    if size is None and coils is not None and coils.ndim == 3:
        size = (coils.shape[2], coils.shape[1])
    if size is None:
        raise NerfkitError(
            "says nowhere how large the picture is", where=path,
            fix="add an array size (width, height) to it, or --set size=[W,H]",
        )  # fmt: skip
    shape = (size[1], size[0])
    _check_values(samples, shape, "samples", path)
    if trajectory.dtype.kind not in "fiu":
        raise NerfkitError(
            f"the trajectory holds {trajectory.dtype}; real numbers are wanted", where=path, fix="save x and y"
        )
    if bad := not_finite(trajectory, "row {}, column {}"):
        raise NerfkitError(f"trajectory: {bad}", where=path, fix="leave their samples out")
    if not len(trajectory):
        raise NerfkitError("has no samples", where=path, fix="give what was measured")
    if (reach := float(np.abs(trajectory).max())) > 0.5 + 1e-6:
        raise NerfkitError(
            f"the trajectory reaches {reach:.4g}; cycles a pixel are within -0.5 to 0.5", where=path,
            fix="divide radians by 2 pi, and cycles over the field of view by its pixels",
        )  # fmt: skip
    found = _checked_coils(coils, (len(samples), *shape), path)
    return KspaceData(samples.astype(np.complex64), shape, None, trajectory.astype(np.float32), found)


def _check_values(values: NDArray, shape: tuple[int, int], name: str, path: Path) -> None:
    if not np.iscomplexobj(values):
        raise NerfkitError(
            f"{name} are {values.dtype}: k-space is complex, its magnitude is not enough", where=path,
            fix="give real + 1j * imaginary",
        )  # fmt: skip
    if min(shape) < MIN_SIDE or max(shape) > MAX_SIDE or not 1 <= len(values) <= MAX_COILS:
        raise NerfkitError(
            f"{name} of {len(values)} coils for {shape[1]}x{shape[0]} pixels; wanted are 1 to {MAX_COILS} coils and "
            f"{MIN_SIDE} to {MAX_SIDE} pixels a side", where=path, fix="order the axes [n_coils, ky, kx]",
        )  # fmt: skip
    if bad := not_finite(values, "coil {}, ky {}, kx {}" if values.ndim == 3 else "coil {}, sample {}"):
        fix = "set them to 0, and the mask there" if name == "kspace" else "leave them out"
        raise NerfkitError(f"{name}: {bad}", where=path, fix=fix)
    if not values.any():
        raise NerfkitError(f"{name} are all 0", where=path, fix="give what was measured")


def _checked_mask(mask: NDArray, shape: tuple[int, int], path: Path) -> NDArray[np.bool_]:
    if mask.shape != shape:
        raise NerfkitError(
            f"the mask has shape {mask.shape}, a coil's kspace {shape}", where=path,
            fix="give one mask [ky, kx] for all coils",
        )  # fmt: skip
    return mask != 0


def _check_middle(values: NDArray, path: Path) -> None:
    power = (np.abs(values) ** 2).sum(0)
    peak = np.unravel_index(power.argmax(), power.shape)
    if any(abs(at - n // 2) > FAR * n for at, n in zip(peak, power.shape, strict=True)):
        raise NerfkitError(
            f"the largest coefficient is at ky, kx = {int(peak[0])}, {int(peak[1])}, far from the middle "
            f"{power.shape[0] // 2}, {power.shape[1] // 2}, where the zero frequency belongs", where=path,
            fix="numpy.fft.fftshift(kspace, (-2, -1)), and the mask",
        )  # fmt: skip


def _checked_coils(coils: NDArray | None, shape: tuple[int, ...], path: Path) -> NDArray | None:
    if coils is None:
        return None
    if coils.shape != shape:
        raise NerfkitError(
            f"sensitivities have shape {coils.shape}; {shape} fits the k-space", where=path,
            fix="give one map a coil, of the picture's shape, or leave them out",
        )  # fmt: skip
    if bad := not_finite(coils, "coil {}, row {}, column {}"):
        raise NerfkitError(f"sensitivities: {bad}", where=path, fix="set them to 0 there, or leave the maps out")
    if not coils.any():
        raise NerfkitError("sensitivities are all 0", where=path, fix="leave them out")
    return coils.astype(np.complex64)
