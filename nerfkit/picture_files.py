"""Pictures as files of their full depth: PNG with 8 or 16 bits, TIFF with 8, 16 or floats; alpha and colour profile."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["PICTURE_SUFFIXES", "picture_bytes", "png_bytes_of_depth"]

PICTURE_SUFFIXES = (".png", ".tif", ".tiff")
# PNG's colour type by number of channels (PNG specification, third edition, 11.2.1)
COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def picture_bytes(
    image: NDArray[np.floating], suffix: str, bit_depth: int, icc_profile: bytes | None = None
) -> bytes:  # fmt: skip
    """A PNG or TIFF file of an image [h, w] or [h, w, 2 to 4], the last of 2 or 4 channels alpha.

    Parameters
    ----------
    image : ndarray
        In [0, 1]; integers are cut there, floats are not.
    suffix : str
        One of ``PICTURE_SUFFIXES``.
    bit_depth : {8, 16, 32}
        32 is float; a PNG has 16 bits then.
    icc_profile : bytes, optional
        Colour profile.
    """
    if suffix == ".png":
        return png_bytes_of_depth(image, min(bit_depth, 16), icc_profile)
    import tifffile

    has_alpha = image.ndim == 3 and image.shape[2] in (2, 4)
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, image.astype(np.float32) if bit_depth == 32 else _quantised(image, bit_depth),
        photometric="rgb" if image.ndim == 3 and image.shape[2] > 2 else "minisblack", planarconfig="contig",
        extrasamples=["unassalpha"] if has_alpha else None, iccprofile=icc_profile, compression="zlib", metadata=None,
    )  # fmt: skip
    return buffer.getvalue()


def png_bytes_of_depth(image: NDArray[np.floating], bit_depth: int, icc_profile: bytes | None = None) -> bytes:
    """A PNG file of an image [h, w] or [h, w, 2 to 4] in [0, 1], with 8 or 16 bits a value.

    Written here because Pillow has no 16-bit colour (PNG specification, third edition, section 11).
    """
    height, width = image.shape[:2]
    values = _quantised(image, bit_depth)
    rows = values.astype(values.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    # each row begins with the number of its filter; 2 stores differences to the row above
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.hstack([np.full((height, 1), 2, np.uint8), rows - above])

    def chunk(kind: bytes, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))

    color_type = COLOR_TYPES[1 if image.ndim == 2 else image.shape[2]]
    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    profile = b"" if icc_profile is None else chunk(b"iCCP", b"profile\0\0" + zlib.compress(icc_profile))
    data = chunk(b"IDAT", zlib.compress(filtered.tobytes(), 6))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + profile + data + chunk(b"IEND", b"")


def _quantised(image: NDArray[np.floating], bit_depth: int) -> NDArray[np.unsignedinteger]:
    if bit_depth not in (8, 16):
        raise ValueError(f"bit_depth must be 8 or 16; got {bit_depth}")
    return np.rint(np.clip(image, 0, 1) * (2**bit_depth - 1)).astype(np.uint16 if bit_depth == 16 else np.uint8)
