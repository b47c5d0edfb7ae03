"""The codec: pixels to the bytes of an .nkc file and back; what it reports is measured on what those bytes give.

A file is a head, then one stream of the range coder: the quantisation step, the colours' means and axes, which bands
are coded, the two networks, the coefficients. docs/compress.md has the equations.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerfkit.checkpoints import CheckpointFolder
from nerfkit.fitting import Budget, FitResult, FitSchedule, Progress, fit
from nerfkit.metrics import MetricsLog
from nerfkit.scenes.errors import NerfkitError

from . import context, synthesis
from .networks import SHIFTS, IntegerNetwork, read_network, write_network
from .range_coder import Writer, finish, is_over, new_reader, new_writer, read_bits, write_bits
from .synthesis import MATRIX_BITS, PLANE_BITS
from .training import NARROWEST, WIDEST, CodecSettings, PictureCode, network_sizes, number_of_levels

__all__ = ["Encoded", "Head", "decode", "encode", "psnr_of", "read_head"]

_MAGIC, _VERSION = b"NKC", 1
# magic, version, checksum of all that follows it, bytes of the stream, width, height, channels, hidden widths
_HEAD = struct.Struct(">3sBIIHHBBB")
_CHECKED_FROM = 8
# a picture takes some 200 bytes a pixel while it is encoded, and 40 while it is decoded
MOST_PIXELS = 1 << 24
# pixels that a byte of the stream may stand for: a few bytes must not ask for gigabytes. A writer adds zeros up to it
_PIXELS_A_BYTE = 1 << 12
_STEP_BITS, _COLOR_BITS, _AXIS_BITS = 18, 8, MATRIX_BITS + 2
# learning rates fall to nothing: the last networks are the ones that are sent
_SCHEDULE = FitSchedule(final_fraction=0.02)
# hidden widths of the context network and of the correction by the bytes that the file is to have
_WIDTHS = ((1500, (4, 4)), (5000, (8, 8)), (25000, (8, 16)), (math.inf, (16, 24)))


class Head(NamedTuple):
    """What a file says of itself before it is decoded."""

    width: int
    height: int
    n_channels: int
    # of the context network and of the correction
    widths: tuple[int, int]


@dataclass(frozen=True)
class Encoded:
    """A picture's code."""

    # the whole file
    data: bytes
    # what ``data`` decodes to: uint8, of the shape that was given
    pixels: NDArray[np.uint8]
    # of the two above: bytes, bits_per_pixel, psnr; by part: bytes_networks, bytes_coefficients; step (in grey levels),
    # n_params, seconds, steps
    figures: dict[str, float]
    # how the fit ended
    fit: FitResult


def psnr_of(pixels: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of 8-bit pixels; infinite where they are equal."""
    mse = float(np.mean(np.square(pixels.astype(np.float64) - truth)))
    return math.inf if mse == 0 else 10 * math.log10(255**2 / mse)


def encode(
    pixels: NDArray[np.uint8],
    *,
    rate: float = 1.0,
    steps: int = 600,
    seconds: float | None = None,
    seed: int = 0,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    metrics: MetricsLog | None = None,
    checkpoints: CheckpointFolder | None = None,
    settings: CodecSettings | None = None,
) -> Encoded:
    """Find a picture's code.

    Parameters
    ----------
    pixels : ndarray, shape (h, w) or (h, w, 3)
        uint8, grey or sRGB.
    rate : float
        Bits per pixel that the file is to have; it has them within some per cent, unless it is small: a file has 200
        bytes at least.
    steps : int
        Of the fit; they decide the result.
    seconds : float, optional
        A limit, which hastens the fit only where it would be met.
    seed : int
        Of the networks and of what they see.
    on_progress : callable
        Called after every step; its figures are the bits of the coefficients and the PSNR when they were last chosen.
    metrics : MetricsLog, optional
        Where figures are written.
    checkpoints : CheckpointFolder, optional
        Where the state is saved; the fit goes on from what is there.
    settings : CodecSettings, optional
        The rest; None: networks as wide as the rate bears.

    Raises
    ------
    NerfkitError
        The pixels are no picture, or it is too large, or the rate is none.

    Examples
    --------
    >>> ramp = np.add.outer(np.arange(32), 2 * np.arange(48)).astype(np.uint8)
    >>> code = encode(ramp, rate=2.0, steps=20)
    >>> bool((decode(code.data) == code.pixels).all()), len(code.data) < 32 * 48
    (True, True)
    """
    _check(pixels, rate, steps)
    stacked = pixels[..., None] if pixels.ndim == 2 else pixels
    n_bytes = rate * stacked.shape[0] * stacked.shape[1] / 8
    if settings is None:
        settings = CodecSettings(next(widths for most, widths in _WIDTHS if n_bytes <= most))
    code = PictureCode(stacked, rate, steps, seed, settings)

    def tell(progress: Progress) -> None:
        code.fraction = progress.fraction
        on_progress(progress)

    ended = fit(
        code, Budget(seconds, steps), schedule=_SCHEDULE, metrics=metrics, on_progress=tell, checkpoints=checkpoints,
        resume=checkpoints is not None and bool(checkpoints.steps()),
    )  # fmt: skip
    data, parts = _write(code)
    decoded = decode(data)
    n_params = sum(p.numel() for network in (code.context, code.correction) for p in network.parameters())
    figures = {
        "bytes": len(data), "bits_per_pixel": 8 * len(data) / (stacked.shape[0] * stacked.shape[1]),
        "psnr": psnr_of(decoded, pixels), **parts, "step": code.step / 2**PLANE_BITS, "n_params": n_params,
        "seconds": ended.seconds, "steps": ended.steps,
    }  # fmt: skip
    return Encoded(data, decoded, figures, ended)


def decode(data: bytes) -> NDArray[np.uint8]:
    """The pixels [h, w] or [h, w, 3] of an .nkc file; the same on every machine.

    Raises
    ------
    NerfkitError
        The bytes are no such file, or a damaged one.
    """
    head = read_head(data)
    reader = new_reader(data[_HEAD.size :])
    n_channels = head.n_channels
    n_levels = number_of_levels(head.height, head.width)
    step = read_bits(reader, _STEP_BITS)
    means = np.array([read_bits(reader, _COLOR_BITS) for _ in range(n_channels)], np.int64)
    entries = [read_bits(reader, _AXIS_BITS) for _ in range(n_channels**2)]
    matrix = np.array(entries, np.int64).reshape(n_channels, n_channels) - (1 << (_AXIS_BITS - 1))
    bands = context.bands(n_channels, head.height, head.width, n_levels)
    bands[n_channels:, 3] = [read_bits(reader, 1) for _ in bands[n_channels:]]
    predictor, correction = (read_network(reader, sizes) for sizes in network_sizes(n_channels, head.widths))
    if is_over(reader) or step == 0:
        raise _damaged("its networks end early" if step else "its quantisation step is 0")
    coefficients = context.read_coefficients(reader, (n_channels, head.height, head.width), bands, predictor)
    if is_over(reader):
        raise _damaged("its coefficients end early")
    context.to_means(coefficients, int(bands[0, 6]), int(bands[0, 7]))
    planes = synthesis.planes_of(coefficients, step, n_levels)
    out = synthesis.colors(synthesis.correct(planes, correction, step), means, matrix)
    return out[..., 0] if n_channels == 1 else out


def read_head(data: bytes) -> Head:
    """What a file says of itself, once it is found whole.

    Raises
    ------
    NerfkitError
        The bytes are no .nkc file, are cut short or changed, or ask for what no writer writes.
    """
    if data[:3] != _MAGIC:
        raise NerfkitError(
            f"begins with {data[:4]!r} where a compressed picture begins with {_MAGIC!r}",
            fix="give a file that nerfkit fit compress wrote",
        )
    if len(data) > 3 and data[3] != _VERSION:
        raise NerfkitError(
            f"is of version {data[3]} of the format; this nerfkit reads version {_VERSION}",
            fix="update nerfkit, or compress the picture again",
        )
    if len(data) < _HEAD.size:
        raise _damaged(f"it has {len(data)} bytes; the head alone has {_HEAD.size}")
    _, _, checksum, n_stream, width, height, n_channels, first, second = _HEAD.unpack_from(data)
    if len(data) != _HEAD.size + n_stream:
        raise _damaged(f"it has {len(data)} bytes where its head tells of {_HEAD.size + n_stream}")
    if zlib.crc32(data[_CHECKED_FROM:]) != checksum:
        raise _damaged(f"its checksum is {zlib.crc32(data[_CHECKED_FROM:]):08x} where its head has {checksum:08x}")
    if n_channels not in (1, 3):
        raise _damaged(f"it has {n_channels} channels where 1 or 3 are possible")
    if not all(NARROWEST <= width <= WIDEST for width in (first, second)):
        raise _damaged(f"its networks have widths of {first} and {second} where {NARROWEST} to {WIDEST} are possible")
    most = min(MOST_PIXELS, _PIXELS_A_BYTE * n_stream)
    if not 0 < width * height <= most:
        raise _damaged(f"it tells of {width} x {height} pixels where its {n_stream} bytes can hold 1 to {most}")
    return Head(width, height, n_channels, (first, second))


def _damaged(what: str) -> NerfkitError:
    return NerfkitError(f"is damaged: {what}", fix="copy the file again from where it came from, or compress again")


def _check(pixels: NDArray[np.uint8], rate: float, steps: int) -> None:
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise NerfkitError(
            f"pixels are {pixels.dtype} of shape {pixels.shape}; the codec takes uint8 [h, w] or [h, w, 3]",
            fix="convert the picture to 8 bits, grey or RGB without alpha",
        )
    h, w = pixels.shape[:2]
    if not 0 < h * w <= MOST_PIXELS or max(h, w) >= 1 << 16:
        raise NerfkitError(
            f"the picture has {w} x {h} pixels; the codec takes 1 to {MOST_PIXELS} and sides below {1 << 16}",
            fix="make the picture smaller, or cut it into parts",
        )
    if not (math.isfinite(rate) and rate > 0):
        raise NerfkitError(f"a rate is a positive number of bits per pixel; got {rate}", fix="try a rate of 1")
    if steps < 1:
        raise NerfkitError(f"steps are 1 or more; got {steps}", fix="try 600 steps")


def _write(code: PictureCode) -> tuple[bytes, dict[str, float]]:
    """The file, and what its parts take."""
    predictor, places = _cheapest_context(code)
    correction = _cheapest_correction(code)
    n_bits = float(context.code_lengths(code.values, places).sum())
    # the escape of large coefficients, of which there are few, takes up to 40 bits more than is told
    writer = new_writer(int(n_bits / 8 * 1.1) + 6 * int((np.abs(code.values) > 24).sum()) + 20000)
    write_bits(writer, code.step, _STEP_BITS)
    for value in code.means:
        write_bits(writer, int(value), _COLOR_BITS)
    for value in code.matrix.ravel():
        write_bits(writer, int(value) + (1 << (_AXIS_BITS - 1)), _AXIS_BITS)
    for band in code.bands[len(code.means) :]:
        write_bits(writer, int(band[3]), 1)
    write_network(writer, predictor)
    write_network(writer, correction)
    context.write_coefficients(writer, code.values, places)
    stream = finish(writer)
    stream = stream.ljust(-(-code.height * code.width // _PIXELS_A_BYTE), b"\0")
    widths = code.settings.widths
    rest = _HEAD.pack(_MAGIC, _VERSION, 0, len(stream), code.width, code.height, len(code.means), *widths) + stream
    checked = rest[_CHECKED_FROM:]
    parts = {"bytes_networks": (_n_bits(predictor) + _n_bits(correction)) / 8, "bytes_coefficients": n_bits / 8}
    return rest[:4] + struct.pack(">I", zlib.crc32(checked)) + checked, parts


def _n_bits(network: IntegerNetwork) -> int:
    """Bits that a network takes, to the byte."""
    writer: Writer = new_writer(8 * sum(array.size for array in network[:6]))
    write_network(writer, network)
    return 8 * len(finish(writer))


def _cheapest_context(code: PictureCode) -> tuple[IntegerNetwork, NDArray[np.uint8]]:
    """The context network in the step that its weights and the coefficients together take fewest bits with."""
    best: tuple[float, IntegerNetwork, NDArray[np.uint8]] | None = None
    for shift in SHIFTS:
        network = code.context.rounded(shift)
        places = context.places_of(code.features, network)
        cost = _n_bits(network) + float(context.code_lengths(code.values, places).sum())
        if best is None or cost < best[0]:
            best = cost, network, places
    assert best is not None
    return best[1], best[2]


def _cheapest_correction(code: PictureCode) -> IntegerNetwork:
    """The correction in the step of least squared error + price * bits."""

    def cost(network: IntegerNetwork) -> float:
        corrected = synthesis.correct(code.planes, network, code.step)
        errors = (code.wanted - corrected / 2**PLANE_BITS) / (code.step / 2**PLANE_BITS)
        return float(np.square(errors).sum()) + code.settings.price * _n_bits(network)

    return min((code.correction.rounded(shift) for shift in SHIFTS), key=cost)
