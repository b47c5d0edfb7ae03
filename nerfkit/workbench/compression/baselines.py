"""What a picture's code is compared with: whole files of other formats, and cosines of the whole picture.

A curve is a list of points, bytes of the whole file with its headers and PSNR of what it decodes to. At equal bytes the
PSNR is interpolated over the logarithm of the bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .codec import psnr_of
from .networks import likeliest_places
from .range_coder import finish, new_reader, new_writer, read_bits, read_number, write_bits, write_number
from .synthesis import MATRIX_BITS
from .training import principal_axes
from .transforms import drop_smallest, inverse_orthonormal_dct, orthonormal_dct

__all__ = ["FORMATS", "Point", "available", "curve", "decode_dct", "dropped", "encode_dct", "psnr_at"]


class Point(NamedTuple):
    """One file."""

    n_bytes: int
    psnr: float
    # the encoder's setting, or the quantisation step of the DCT in grey levels
    setting: float


@dataclass(frozen=True)
class _Format:
    """How Pillow writes a format, and what it calls the library behind it."""

    pillow: str
    feature: str
    options: dict[str, Any]
    settings: Sequence[int]


_QUALITIES = (2, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95)
_JPEG = {"optimize": True, "progressive": True}

# the best that each encoder does within seconds
FORMATS: dict[str, _Format] = {
    "jpeg": _Format("JPEG", "jpg", {**_JPEG, "subsampling": "4:2:0"}, _QUALITIES),
    "jpeg444": _Format("JPEG", "jpg", {**_JPEG, "subsampling": "4:4:4"}, _QUALITIES),
    "webp": _Format("WEBP", "webp", {"method": 6}, (0, *_QUALITIES)),
    "avif": _Format("AVIF", "avif", {"speed": 4, "subsampling": "4:2:0"}, _QUALITIES),
    "avif444": _Format("AVIF", "avif", {"speed": 4, "subsampling": "4:4:4"}, _QUALITIES),
}
_DCT_STEPS = tuple(round(2 ** (k / 2)) for k in range(4, 17))


def available() -> list[str]:
    """Names of the curves that can be drawn here: Pillow's formats that it was built with, and ``dct``."""
    from PIL import features

    return [name for name, format in FORMATS.items() if features.check(format.feature)] + ["dct"]


def curve(pixels: NDArray[np.uint8], name: str, settings: Sequence[float] | None = None) -> list[Point]:
    """Files of a picture [h, w] or [h, w, 3] in a format, few bytes first.

    Parameters
    ----------
    pixels : ndarray
        uint8.
    name : str
        One of :func:`available`.
    settings : sequence of float, optional
        Qualities of the encoder, or quantisation steps of the DCT; None: from very small files to very good ones.
    """
    if name == "dct":
        points = []
        for step in settings or _DCT_STEPS:
            data = encode_dct(pixels, step)
            points.append(Point(len(data), psnr_of(decode_dct(data), pixels), step))
        return sorted(points)
    if name not in FORMATS:
        raise ValueError(f"a curve is one of {', '.join([*FORMATS, 'dct'])}; got {name!r}")
    from PIL import Image

    format = FORMATS[name]
    picture = Image.fromarray(pixels)
    points = []
    for quality in settings or format.settings:
        file = io.BytesIO()
        picture.save(file, format.pillow, quality=int(quality), **format.options)
        with Image.open(file) as back:
            points.append(Point(len(file.getvalue()), psnr_of(np.asarray(back.convert(picture.mode)), pixels), quality))
    return sorted(points)


def psnr_at(points: Sequence[Point], n_bytes: float) -> float:
    """PSNR of a curve at so many bytes, over the logarithm of the bytes; NaN beyond its ends.

    Examples
    --------
    >>> psnr_at([Point(1000, 30.0, 10), Point(4000, 36.0, 50)], 2000)
    33.0
    """
    points = sorted(points)
    if not points or not points[0].n_bytes <= n_bytes <= points[-1].n_bytes:
        return math.nan
    logs = [math.log2(point.n_bytes) for point in points]
    return float(np.interp(math.log2(n_bytes), logs, [point.psnr for point in points]))


def dropped(pixels: NDArray[np.uint8], fraction: float = 0.95) -> dict[str, float]:
    """PSNR of what is left of a picture without the smallest coefficients, which are neither rounded nor coded."""
    left = {name: drop_smallest(pixels, fraction, name) for name in ("dct", "fourier")}
    return {name: psnr_of(np.clip(np.round(back), 0, 255).astype(np.uint8), pixels) for name, back in left.items()}


# The DCT of the whole picture: colours turned to their principal axes, coefficients rounded to multiples of a step.
# They are coded by their frequency: each of 32 rings has its own probabilities, in each channel.

_N_RINGS = 32
# sizes, channels and step (16 bits, 8 behind the point); a colour's mean; an entry of the axes; a place in the table
_HEAD_BITS, _MEAN_BITS, _AXIS_BITS, _PLACE_BITS = 16, 8, MATRIX_BITS + 2, 8
_FRACTION = 2**8
# what is added before the size is cut off to a whole number; what is not 0 is reconstructed a little nearer to 0
_ROUNDING, _NEARER = 0.4, 0.02


def _rings(h: int, w: int) -> NDArray[np.int64]:
    """Ring of each frequency [h, w]: narrow ones where it is low."""
    radii = np.hypot(np.arange(h)[:, None] / h, np.arange(w)[None, :] / w) / math.sqrt(2)
    return np.minimum((np.sqrt(radii) * _N_RINGS).astype(np.int64), _N_RINGS - 1)


def encode_dct(pixels: NDArray[np.uint8], step: float) -> bytes:
    """A picture [h, w] or [h, w, 3] as quantised cosines; ``step`` in grey levels."""
    stacked = np.atleast_3d(pixels)
    h, w, n_channels = stacked.shape
    step = round(step * _FRACTION) / _FRACTION
    flat = stacked.reshape(-1, n_channels).astype(np.float64)
    means = np.round(flat.mean(axis=0))
    axes = principal_axes(flat - means)
    planes = (np.linalg.inv(axes / 2**MATRIX_BITS) @ (flat - means).T).reshape(n_channels, h, w)
    coefficients = np.stack([orthonormal_dct(plane) for plane in planes]) / step
    whole = (np.sign(coefficients) * np.floor(np.abs(coefficients) + _ROUNDING)).astype(np.int64)
    writer = new_writer(8 * whole.size + 4096)
    for value, n_bits in ((w, _HEAD_BITS), (h, _HEAD_BITS), (n_channels, _HEAD_BITS),
                          (round(step * _FRACTION), _HEAD_BITS)):  # fmt: skip
        write_bits(writer, value, n_bits)
    for mean in means:
        write_bits(writer, int(mean), _MEAN_BITS)
    for entry in axes.ravel():
        write_bits(writer, int(entry) + (1 << (_AXIS_BITS - 1)), _AXIS_BITS)
    rings = _rings(h, w)
    for plane in whole:
        places = np.array([likeliest_places(plane[rings == ring]) for ring in range(_N_RINGS)])
        for place in places.ravel():
            write_bits(writer, int(place), _PLACE_BITS)
        _write_plane(writer, plane, rings, places)
    return finish(writer)


def decode_dct(data: bytes) -> NDArray[np.uint8]:
    """The pixels of :func:`encode_dct`'s bytes."""
    reader = new_reader(data)
    w, h, n_channels, step = (read_bits(reader, _HEAD_BITS) for _ in range(4))
    means = np.array([read_bits(reader, _MEAN_BITS) for _ in range(n_channels)])
    entries = [read_bits(reader, _AXIS_BITS) - (1 << (_AXIS_BITS - 1)) for _ in range(n_channels**2)]
    axes = np.array(entries).reshape(n_channels, n_channels) / 2**MATRIX_BITS
    rings = _rings(h, w)
    planes = np.empty((n_channels, h, w))
    for channel in range(n_channels):
        places = np.array([read_bits(reader, _PLACE_BITS) for _ in range(2 * _N_RINGS)]).reshape(_N_RINGS, 2)
        whole = np.empty((h, w), np.int64)
        _read_plane(whole, reader, rings, places)
        planes[channel] = inverse_orthonormal_dct((whole - _NEARER * np.sign(whole)) * (step / _FRACTION))
    out = (axes @ planes.reshape(n_channels, -1)).T + means
    out = np.clip(np.round(out), 0, 255).astype(np.uint8).reshape(h, w, n_channels)
    return out[..., 0] if n_channels == 1 else out


@njit(cache=True, error_model="numpy", nogil=True)
def _write_plane(writer, plane, rings, places):
    for i in range(plane.shape[0]):
        for j in range(plane.shape[1]):
            write_number(writer, plane[i, j], places[rings[i, j], 0], places[rings[i, j], 1])


@njit(cache=True, error_model="numpy", nogil=True)
def _read_plane(plane, reader, rings, places):
    for i in range(plane.shape[0]):
        for j in range(plane.shape[1]):
            plane[i, j] = read_number(reader, places[rings[i, j], 0], places[rings[i, j], 1])
