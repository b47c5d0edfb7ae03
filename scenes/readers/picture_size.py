"""Pictures that anybody may have written: opened here, and refused by their headers where they are too large.

A file of a hundred bytes can declare a picture that takes all memory when it is decoded.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from PIL import Image

from nerfkit.scenes.errors import NerfkitError

__all__ = ["BROKEN_PICTURE", "MAX_PIXELS", "check_pixels", "open_picture"]

# pixels of a picture: 16384 x 16384, 0.8 GB in 8-bit colour; photos of 200 million pixels exist
MAX_PIXELS = 2**28
# Pillow's own policy, which asks too little of a frame within a file: above it a warning, above twice as many an error
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
# Pillow's formats that are read: not those that start another program (EPS: Ghostscript) or are stubs for one
FORMATS = (
    "PNG", "JPEG", "MPO", "TIFF", "WEBP", "BMP", "DIB", "PPM", "GIF", "AVIF", "HEIF", "JPEG2000", "TGA", "PCX", "SGI",
    "QOI", "DDS", "ICO", "PSD", "SUN", "XBM",
)  # fmt: skip
# what Pillow and tifffile raise on bytes that are no picture, besides saying so
BROKEN_PICTURE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, AttributeError, RuntimeError,
    AssertionError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


def check_pixels(width: int, height: int, where: str | Path, fix: str = "scale it down, or cut it into parts") -> None:
    """Raise NerfkitError unless a picture of that size may be decoded."""
    if width * height > MAX_PIXELS:
        raise NerfkitError(
            f"declares {width}x{height} pixels, {width * height:,}; at most {MAX_PIXELS:,} are read", where=where,
            fix=fix,
        )  # fmt: skip


def open_picture(path: Path) -> Image.Image:
    """A picture whose header is read and whose pixels are not.

    Raises
    ------
    NerfkitError
        It declares more than ``MAX_PIXELS``.
    PIL.UnidentifiedImageError, and what else ``BROKEN_PICTURE`` names
        It is no picture.
    """
    # all of Pillow's: those that it loads by itself at first are a few
    Image.init()
    try:
        image = Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])
    except Image.DecompressionBombError as error:
        raise NerfkitError(
            f"declares too many pixels ({error}); at most {MAX_PIXELS:,} are read", where=path,
            fix="scale it down, or cut it into parts",
        ) from error  # fmt: skip
    try:
        check_pixels(*image.size, path)
    except NerfkitError:
        image.close()
        raise
    return image
