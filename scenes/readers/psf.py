"""A point spread function from a file: a picture of a point of light, or its numbers."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.finite import not_finite

from ._images import decode_image

__all__ = ["read_psf"]

logger = logging.getLogger(__name__)

# share of the side by which the centre of mass may miss the middle before a word is said
OFF_MIDDLE = 0.05
_TURN = "give a square of numbers that are 0 or more, a point of light in its middle: an image, an npy or a txt"


def read_psf(path: str | Path) -> NDArray[np.float64]:
    """Read the samples of a point spread function.

    Parameters
    ----------
    path : str or Path
        A grey image of any depth (its values are proportional to light, whatever its colour profile says), an npy, or
        a txt or csv of rows of numbers divided by spaces or commas.

    Returns
    -------
    picture : ndarray, shape (m, m)
        m odd, nowhere negative, its sum 1.

    Raises
    ------
    NerfkitError
        Absent or unreadable; in colour, not square, of an even side, negative, not finite or zero everywhere.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        seen = "this is a folder" if path.is_dir() else "no such file"
        raise NerfkitError(f"{seen}; --psf is box, gaussian or a file", where=path, fix=_TURN)
    picture = _read(path)
    if picture.ndim == 3 and (picture == picture[..., :1]).all():
        picture = picture[..., 0]
    _check(picture, path)
    picture = picture / picture.sum()
    _warn_if_off_middle(picture, path)
    return picture


def _read(path: Path) -> NDArray[np.float64]:
    suffix = path.suffix.lower()
    if suffix not in (".npy", ".txt", ".csv"):
        return decode_image(path).pixels.astype(np.float64)
    try:
        if suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
        text = path.read_text(encoding="utf-8-sig")
        return np.loadtxt(text.replace(",", " ").splitlines(), ndmin=2)
    except (OSError, ValueError, TypeError) as error:
        raise NerfkitError(f"is not a square of numbers ({error})", where=path, fix=_TURN) from error


def _check(picture: NDArray[np.float64], path: Path) -> None:
    def wrong(what: str, fix: str) -> NerfkitError:
        return NerfkitError(what, where=path, fix=fix)

    if picture.ndim == 3:
        raise wrong("is in colour; one PSF serves all channels", "give a grey picture")
    if picture.ndim != 2 or picture.shape[0] != picture.shape[1]:
        raise wrong(
            f"has the shape {' x '.join(map(str, picture.shape))}; a square is wanted", "crop it, or add rows of zeros"
        )
    if len(picture) % 2 == 0:
        raise wrong(
            f"has {len(picture)} x {len(picture)} samples; an odd side is wanted, so that one sample is the middle",
            f"crop it to {len(picture) - 1}, or add a row and a column of zeros, with the point in the middle",
        )
    if bad := not_finite(picture, "row {}, column {}"):
        raise wrong(bad, "replace them")
    if picture.min() < 0:
        raise wrong(f"has negative values ({picture.min():.3g}); light is 0 or more", "set them to 0")
    if picture.max() == 0:
        raise wrong("is zero everywhere; a point of light is wanted in its middle", _TURN)


def _warn_if_off_middle(picture: NDArray[np.float64], path: Path) -> None:
    """A PSF that is off its middle moves the result, which may be meant."""
    at = np.arange(len(picture)) - len(picture) // 2
    dx, dy = float(picture.sum(0) @ at), float(picture.sum(1) @ at)
    if max(abs(dx), abs(dy)) > OFF_MIDDLE * len(picture):
        logger.warning(
            "%s: its centre of mass is (%.2f, %.2f) samples to the right of and below its middle, and the result is "
            "moved by as much; crop it round the point, and take off what is bright all over", path, dx, dy,
        )  # fmt: skip
