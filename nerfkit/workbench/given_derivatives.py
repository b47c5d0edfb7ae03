"""What a fit to derivatives is given: those of a picture, those of two pictures blended, or an array of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.finite import not_finite

if TYPE_CHECKING:
    from nerfkit.scenes.readers.picture import PictureFile

__all__ = ["GradientData", "Of", "mixed_differences", "read_derivatives"]

# derivatives of a picture: both first ones, or the sum of the unmixed second ones
Of = Literal["gradient", "laplacian"]
# largest picture, pixels: each step sees all of them
MAX_PIXELS = 2**20


@dataclass(frozen=True)
class GradientData:
    """Derivatives at the pixels, and what they do not tell.

    Parameters
    ----------
    derivatives : ndarray, shape (h, w, c, 2) or (h, w, c)
        The gradient (x, y), a pixel; or the Laplacian, a pixel squared.
    mean : ndarray, shape (c,)
        Of the values.
    picture : PictureFile, optional
        What the derivatives are of, which nothing but the comparison looks at.
    shown : tuple of ndarray
        Pictures [h, w, c] for the report: what was given.
    bit_depth : {8, 16, 32}
        Of what is written.
    span : (float, float), optional
        Least and greatest value; None: they are what comes out.
    """

    derivatives: NDArray[np.float64]
    mean: NDArray[np.float64]
    picture: PictureFile | None = None
    shown: tuple[NDArray, ...] = ()
    bit_depth: int = 32
    span: tuple[float, float] | None = None
    icc_profile: bytes | None = None

    @property
    def is_gradient(self) -> bool:
        """Whether first derivatives are given."""
        return self.derivatives.ndim == 4


def read_derivatives(paths: Sequence[Path], of: Of, mean: float) -> GradientData:
    """Read a picture, two pictures, or an array of derivatives.

    Parameters
    ----------
    paths : sequence of Path
        A picture, two pictures of one size, or an npy or npz of derivatives.
    of : {"gradient", "laplacian"}
        Which derivatives of a picture are taken.
    mean : float
        Of each channel's values where an array is given, which does not tell it.

    Raises
    ------
    NerfkitError
        What is wrong with the files.
    """
    from nerfkit.scenes.readers.picture import array_names, read_picture

    names = array_names(paths[0])
    if len(paths) == 1:
        for name in ("gradient", "laplacian"):
            if name in names or (paths[0].suffix.lower() == ".npy" and _is_gradient(paths[0], name)):
                return _of_array(paths[0], name, name in names, mean)
    pictures = [read_picture(path) for path in paths]
    for picture, path in zip(pictures, paths, strict=True):
        _check_size(picture.values.shape[:2], path)
    if len(pictures) == 1:
        return _of_picture(pictures[0], of)
    return _blended(pictures[0], pictures[1], paths[1], of)


def _is_gradient(path: Path, name: str) -> bool:
    """Whether an npy is a gradient [h, w, 2] or [h, w, c, 2]; one of other shapes is a picture."""
    from nerfkit.scenes.readers.picture import load_array

    shape = load_array(path).shape
    return name == "gradient" and len(shape) in (3, 4) and shape[-1] == 2


def _check_size(shape: tuple[int, ...], path: Path) -> None:
    height, width = shape[:2]
    if min(height, width) < 2:
        raise NerfkitError(
            f"has {width}x{height} pixels; two a side at least are wanted", where=path,
            fix="give a picture with something on it",
        )  # fmt: skip
    if height * width > MAX_PIXELS:
        raise NerfkitError(
            f"has {width}x{height} pixels; at most {MAX_PIXELS:,} are fitted, as each step sees all", where=path,
            fix="scale it down",
        )  # fmt: skip


def _of_array(path: Path, name: str, is_named: bool, mean: float) -> GradientData:
    """Derivatives as a file has them."""
    from nerfkit.scenes.readers.picture import load_array

    found = load_array(path, name if is_named else None)
    wanted = "[h, w, 2] or [h, w, c, 2]" if name == "gradient" else "[h, w] or [h, w, c]"
    least = 3 if name == "gradient" else 2
    if found.ndim not in (least, least + 1) or (name == "gradient" and found.shape[-1] != 2) or 0 in found.shape:
        raise NerfkitError(
            f"{name} has shape {list(found.shape)}; {wanted} is wanted", where=path, fix="x before y, a pixel"
        )
    if found.dtype.kind not in "fiu":
        raise NerfkitError(f"{name} holds {found.dtype}; real numbers are wanted", where=path, fix="save floats")
    if bad := not_finite(found, "row {}, column {}"):
        raise NerfkitError(f"{name}: {bad}", where=path, fix="replace them")
    _check_size(found.shape, path)
    values = found.astype(np.float64)
    if found.ndim == least:
        values = values[:, :, None]
    return GradientData(values, np.full(values.shape[2], mean), shown=_drawn(values))


def _drawn(derivatives: NDArray) -> tuple[NDArray]:
    """Derivatives as a picture: the length of a gradient, or a Laplacian about grey."""
    if derivatives.ndim == 4:
        slope = np.sqrt(np.square(derivatives).sum((-1, -2)))
        return (slope / max(float(np.quantile(slope, 0.99)), 1e-12),)
    reach = max(float(np.quantile(np.abs(derivatives), 0.99)), 1e-12)
    return (0.5 + 0.5 * derivatives.mean(-1) / reach,)


def _of_picture(picture: PictureFile, of: Of) -> GradientData:
    import torch

    from nerfkit.scenes.observations.spectral_derivatives import picture_gradient, picture_laplacian

    derive = picture_gradient if of == "gradient" else picture_laplacian
    derivatives = derive(torch.from_numpy(picture.values)).numpy()
    mean = picture.values.mean((0, 1), dtype=np.float64)
    return GradientData(
        derivatives, mean, picture, _drawn(derivatives), picture.bit_depth, picture.range, picture.icc_profile
    )


def _blended(first: PictureFile, second: PictureFile, path: Path, of: Of) -> GradientData:
    """At each pixel the differences of the picture in which they are the stronger (Perez et al. 2003, mixed)."""
    import torch

    from nerfkit.scenes.observations.spectral_derivatives import gradient_of_differences

    if second.values.shape != first.values.shape:
        raise NerfkitError(
            f"has shape {list(second.values.shape)}, the first picture {list(first.values.shape)}; they must be the "
            "same", where=path, fix="give two pictures of one size, both grey or both in colour",
        )  # fmt: skip
    if of != "gradient":
        raise NerfkitError("two pictures are blended by their gradients", where="--set of", fix="leave it out")
    found, mean = mixed_differences(first.values, second.values), first.values.mean((0, 1), dtype=np.float64)
    derivatives = gradient_of_differences(torch.from_numpy(found)).numpy()
    low, high = (pick(a, b) for pick, a, b in zip((min, max), first.range, second.range, strict=True))
    return GradientData(
        derivatives, mean, None, (first.values, second.values), max(first.bit_depth, second.bit_depth), (low, high),
        first.icc_profile,
    )  # fmt: skip


def mixed_differences(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """Differences [h, w, c, 2] to the next pixel (x, y) of the picture [h, w, c] that has the longer ones there.

    Those across the last column and the last row are 0.
    """
    parts = []
    for picture in (first, second):
        values = picture.astype(np.float64)
        across = np.diff(values, axis=1, append=values[:, -1:])
        parts.append(np.stack([across, np.diff(values, axis=0, append=values[-1:])], -1))
    lengths = [np.square(part).sum((-1, -2)) for part in parts]
    return np.where((lengths[0] >= lengths[1])[..., None, None], parts[0], parts[1])
