"""What a PNG says of its values: the chunks cICP, iCCP, sRGB and gAMA (PNG specification, third edition)."""

from __future__ import annotations

import struct
from pathlib import Path

from ._curves import CURVES_BY_CODE

__all__ = ["png_curve"]

# gAMA of values that are linear, and how far others may be from a known one
LINEAR_GAMMA, GAMMA_TOLERANCE = 1.0, 0.03


def png_curve(path: Path) -> tuple[str | None, int]:
    """The transfer curve that a PNG names, and its colour primaries by H.273's code (2: not named).

    None where it names no curve, a profile's (which stays as it is), or sRGB's.

    Of several chunks the specification ranks cICP before iCCP before sRGB before gAMA.
    """
    chunks = _chunks_before_pixels(path)
    if "cICP" in chunks and len(chunks["cICP"]) == 4:
        primaries, curve = chunks["cICP"][:2]
        return CURVES_BY_CODE.get(curve), primaries
    if "iCCP" in chunks or "sRGB" in chunks or len(chunks.get("gAMA", b"")) != 4:
        return None, 2
    (gamma,) = struct.unpack(">I", chunks["gAMA"])
    return ("linear" if abs(gamma / 100_000 - LINEAR_GAMMA) < GAMMA_TOLERANCE else None), 2


def _chunks_before_pixels(path: Path) -> dict[str, bytes]:
    """Content of the small chunks before IDAT, by name."""
    found: dict[str, bytes] = {}
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name in (b"IDAT", b"IEND"):
                break
            found[name.decode("latin-1")] = file.read(length) if length <= 16 else b""
            file.seek((0 if length <= 16 else length) + 4, 1)
    return found
