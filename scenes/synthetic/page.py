"""A page of text seen by a camera of few pixels: shifted low-resolution frames whose truth is known.

The page is drawn much finer than the truth. A low-resolution pixel is the exact mean of the fine pixels under it, at a
whole number of fine pixels' shift, so nothing is interpolated. The font is the one that Pillow carries with it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.shifts import write_shifts

__all__ = ["draw_page", "write_lowres_sequence"]

# fine pixels along the side of a low-resolution pixel: a multiple of every truth's scale
FINE = 32
# grey of paper and ink
PAPER, INK = 0.95, 0.10
# largest shift and the page's border beyond a frame, low-resolution pixels
MAX_SHIFT, BORDER = 1.0, 2
# height of a line of text, low-resolution pixels: a capital is about two pixels high
LINE_HEIGHTS = (8.0, 5.8, 4.8, 4.8, 4.8, 4.8, 3.9, 3.9, 3.9, 3.9, 3.9, 5.8, 3.5, 3.5, 3.5)
TEXT = (
    "Sixty-four",
    "blurred frames",
    "Each is only 84 pixels wide.",
    "No letter can be read in one.",
    "But each looks a fraction of a",
    "pixel aside, and together they",
    "hold what none of them shows alone.",
    "A low-res pixel is an average over",
    "its square; where squares overlap,",
    "their differences tell what lies in",
    "between: 0123456789 + - = ( ) ? !",
    "nerfkit superres",
    "The quick brown fox jumps over the lazy dog.",
    "Pack my box with five dozen liquor jugs.",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ abcdefghij",
)


def draw_page(side: int) -> NDArray[np.float32]:
    """The page [n, n] in [0, 1], with ``n = (side + 2 BORDER) FINE``.

    Parameters
    ----------
    side : int
        Side of a frame in low-resolution pixels; the text is laid out for 84 and scales with it.
    """
    n = (side + 2 * BORDER) * FINE
    unit = FINE * side / 84
    page = Image.new("L", (n, n), 0)
    draw = ImageDraw.Draw(page)
    y = BORDER * FINE + 3 * unit
    for text, height in zip(TEXT, LINE_HEIGHTS, strict=True):
        font = ImageFont.load_default(size=0.82 * height * unit)
        draw.text((BORDER * FINE + 4 * unit, y), text, fill=255, font=font)
        y += height * unit * 1.12
    return (PAPER - (PAPER - INK) * np.asarray(page, np.float32) / 255).astype(np.float32)


def write_lowres_sequence(
    folder: Path,
    *,
    n_frames: int = 64,
    side: int = 84,
    noise: float = 0.01,
    seed: int = 0,
    scales: tuple[int, ...] = (4, 8),
) -> Path:
    """Write ``frames/frame_00.png``, ..., ``frames/shifts.csv`` and ``truth_<scale>x.png`` for each scale.

    Parameters
    ----------
    folder : Path
        Where to write; created.
    n_frames : int
        Frames; the first is the reference, the others are shifted by up to a pixel either way.
    side : int
        Side of a frame, low-resolution pixels.
    noise : float
        Standard deviation of the noise, values in [0, 1]. Frames are 16-bit PNGs, so that it is all the noise there is.
    seed : int
        Seed of shifts and noise.
    scales : tuple of int
        Scales of the truths, divisors of 32.
    """
    if n_frames < 1 or side < 16 or any(scale < 1 or FINE % scale for scale in scales):
        raise NerfkitError(
            f"need at least 1 frame of at least 16 pixels, and scales that divide {FINE}; "
            f"got {n_frames}, {side} and {scales}",
            where=folder,
        )
    page = draw_page(side)
    rng = np.random.default_rng(seed)
    shifts = np.round(rng.uniform(-MAX_SHIFT, MAX_SHIFT, (n_frames, 2)) * FINE) / FINE  # (dx, dy)
    shifts[0] = 0
    frames = folder / "frames"
    frames.mkdir(parents=True, exist_ok=True)
    names = [f"frame_{index:02d}.png" for index in range(n_frames)]
    for name, shift in zip(names, shifts, strict=True):
        seen = _view(page, side, shift, 1) + noise * rng.standard_normal((side, side))
        _write_16_bit(frames / name, seen)
    write_shifts(frames / "shifts.csv", names, shifts)
    for scale in scales:
        _write_16_bit(folder / f"truth_{scale}x.png", _view(page, side, np.zeros(2), scale))
    return folder


def _view(page: NDArray[np.float32], side: int, shift: NDArray[np.float64], scale: int) -> NDArray[np.float32]:
    """Means over squares of ``FINE / scale`` pixels of the part that a frame shifted by (dx, dy) sees."""
    left, top = np.rint((BORDER + shift) * FINE).astype(int)
    part = page[top : top + side * FINE, left : left + side * FINE]
    block, n = FINE // scale, side * scale
    return part.reshape(n, block, n, block).mean((1, 3))


def _write_16_bit(path: Path, values: NDArray[np.floating]) -> None:
    Image.fromarray((np.clip(values, 0, 1) * 65535 + 0.5).astype(np.uint16)).save(path)
