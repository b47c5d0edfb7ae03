"""One picture from a file: PNG, JPEG, TIFF and what else Pillow reads, npy and npz; grey, colour, alpha, any depth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.finite import not_finite

from ._images import decode_image

__all__ = ["PictureFile", "array_names", "load_array", "picture_of_array", "read_map", "read_mask", "read_picture"]

ARRAY_SUFFIXES = (".npy", ".npz")
# names that an npz's picture may have beside others
PICTURE_KEYS = ("image", "picture", "values", "arr_0")
# values of a picture: more than that is read by no task of one field
MAX_VALUES = 2**28


@dataclass(frozen=True)
class PictureFile:
    """A picture, and what its file says of it.

    Parameters
    ----------
    values : ndarray of float32, shape (h, w, c)
        Integers are brought to [0, 1]; floats are as the file has them. c is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4
        (RGB, alpha); of an array any number.
    bit_depth : {8, 16, 32}
        32 is float.
    icc_profile : bytes or None
        Colour profile.
    """

    values: NDArray[np.float32]
    bit_depth: int = 8
    icc_profile: bytes | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.values.shape[1], self.values.shape[0]

    @property
    def range(self) -> tuple[float, float]:
        """Least and greatest value that there can be: of integers 0 and 1, of floats those that there are."""
        if self.bit_depth < 32:
            return 0.0, 1.0
        low, high = float(self.values.min()), float(self.values.max())
        return (low, high) if low < high else (low - 0.5, low + 0.5)


def read_picture(path: str | Path, *, key: str | None = None, has_unknown: bool = False) -> PictureFile:
    """Read a picture.

    Parameters
    ----------
    path : str or Path
        Its file.
    key : str, optional
        Name of the array of an npz; None: the one whose name is a picture's, or the first.
    has_unknown : bool
        Whether values of floats may be NaN, where they are not known.

    Raises
    ------
    NerfkitError
        There is no such file, it is no picture, or it holds values that are no numbers.
    """
    path = Path(path)
    if not path.exists():
        raise NerfkitError("there is no such file", where=path, fix="give a picture (PNG, JPEG, TIFF) or an npy")
    if path.is_dir():
        raise NerfkitError("is a folder; one picture is wanted", where=path, fix="give one of the files in it")
    if path.suffix.lower() in ARRAY_SUFFIXES:
        return picture_of_array(load_array(path, key), path, has_unknown=has_unknown)
    found = decode_image(path)
    pixels = found.pixels if found.alpha is None else np.dstack([found.pixels, found.alpha])
    return picture_of_array(pixels, path, found.icc_profile, has_unknown=has_unknown)


def read_mask(path: str | Path, size: tuple[int, int], *, key: str | None = None) -> NDArray[np.bool_]:
    """A mask [h, w] of a picture of ``size`` (width, height): true where it is white, or not 0 in an array.

    ``key`` is the name of the array in an npz.

    Raises
    ------
    NerfkitError
        It has another size.
    """
    mask = read_picture(path, key=key)
    _check_size(mask, size, path, "the mask")
    # alpha of a mask that is drawn on a transparent ground says nothing that its grey does not
    colours = mask.values if mask.values.shape[2] in (1, 3) else mask.values[..., :-1]
    return colours.mean(-1) > sum(mask.range) / 2


def read_map(path: str | Path, size: tuple[int, int]) -> NDArray[np.float32]:
    """Values [h, w] of one kind, such as depth, for a picture of ``size`` (width, height).

    Raises
    ------
    NerfkitError
        It has another size, or several values a pixel.
    """
    found = read_picture(path)
    _check_size(found, size, path, "it")
    if found.values.shape[2] != 1:
        raise NerfkitError(
            f"has {found.values.shape[2]} values a pixel; one is wanted",
            where=path,
            fix="give a grey picture or [h, w]",
        )
    return found.values[..., 0]


def _check_size(found: PictureFile, size: tuple[int, int], path: str | Path, what: str) -> None:
    if found.size != size:
        raise NerfkitError(
            "{} has {}x{} pixels, the picture {}x{}; they must be the same".format(what, *found.size, *size),
            where=path, fix="give one of the picture's size",
        )  # fmt: skip


def load_array(path: Path, key: str | None = None) -> NDArray:
    """An array of an npy or an npz; of the latter the one named ``key``, or else one that may be a picture.

    Raises
    ------
    NerfkitError
        It is no such file, or has no such array.
    """
    try:
        # no pickle: an array from a stranger runs no code
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        names = [name for name in PICTURE_KEYS if name in found.files] or found.files[:1]
        if key is not None:
            names = [key] if key in found.files else []
        if not names:
            has = ", ".join(found.files) or "none"
            raise ValueError("it holds no array" if key is None else f"it holds no array {key}; there are {has}")
        return found[names[0]]
    except (OSError, ValueError, KeyError, EOFError, SyntaxError) as error:
        raise NerfkitError(
            f"cannot be read ({error})", where=path, fix="save it anew with numpy.save, without objects"
        ) from error


def array_names(path: Path) -> list[str]:
    """Names of the arrays of an npz; none of any other file, or where it cannot be read."""
    if path.suffix.lower() != ".npz" or not path.is_file():
        return []
    try:
        with np.load(path, allow_pickle=False) as found:
            return list(found.files)
    except (OSError, ValueError, EOFError):
        return []


def picture_of_array(
    pixels: NDArray, path: Path, icc_profile: bytes | None = None, *, has_unknown: bool = False
) -> PictureFile:  # fmt: skip
    """A picture of its pixels [h, w] or [h, w, c] as an array has them; ``path`` is named where they are none."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise NerfkitError(
            f"has shape {tuple(pixels.shape)}; [h, w] or [h, w, c] with a pixel at least is wanted", where=path,
            fix="give one picture",
        )  # fmt: skip
    if pixels.size > MAX_VALUES:
        raise NerfkitError(
            f"has {pixels.size:,} values; at most {MAX_VALUES:,} fit one field",
            where=path,
            fix="scale it down, or crop it",
        )
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2:
        depth = 8 * pixels.dtype.itemsize
        return PictureFile(pixels.astype(np.float32) / (2**depth - 1), depth, icc_profile)
    if pixels.dtype.kind not in "fiu":
        raise NerfkitError(
            f"holds {pixels.dtype} values; real numbers are wanted", where=path, fix="save magnitude or parts as floats"
        )
    values = pixels.astype(np.float32)
    if not has_unknown and (bad := not_finite(values, "row {}, column {}")):
        raise NerfkitError(
            bad, where=path, fix="replace them, or leave them out: nerfkit fit inpaint with a mask that is black there"
        )
    return PictureFile(values, 32, icc_profile)
