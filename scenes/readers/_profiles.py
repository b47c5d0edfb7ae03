"""The colour profile of pictures in BT.2020's primaries with sRGB's curve, which viewers of profiles show right."""

from __future__ import annotations

import struct

__all__ = ["BT2020_PRIMARIES", "bt2020_profile"]

# colour primaries of ITU-T H.273, table 2
BT2020_PRIMARIES = 9
# XYZ of BT.2020's red, green and blue with its white (D65) adapted to the profile's (D50) by Bradford's matrix
COLORANTS = {
    b"rXYZ": (0.67348, 0.27904, -0.00194),
    b"gXYZ": (0.16566, 0.67534, 0.02998),
    b"bXYZ": (0.12505, 0.04561, 0.79686),
}
D50 = (0.9642, 1.0, 0.8249)
# IEC 61966-2-1 as the parametric curve of type 3 (ICC.1:2022, 10.18): g a b c d
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
NAME = "BT.2020 with the curve of sRGB"


def bt2020_profile() -> bytes:
    """An ICC profile, version 4.3, of three colorants and a curve (ICC.1:2022, 8.3).

    Examples
    --------
    >>> profile = bt2020_profile()
    >>> len(profile) == int.from_bytes(profile[:4], "big"), profile[36:40]
    (True, b'acsp')
    """
    curve = b"para" + struct.pack(">IHH", 0, 3, 0) + _fixed(*SRGB_CURVE)
    tags = {b"desc": _text(NAME), b"cprt": _text("none"), b"wtpt": _xyz(D50)}
    tags |= {name: _xyz(value) for name, value in COLORANTS.items()}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = start + len(body)
    head = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x04300000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(*D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _fixed(*numbers: float) -> bytes:
    """Numbers of 16 bits before and after the point."""
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def _xyz(value: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(*value)


def _text(text: str) -> bytes:
    """One text for readers of English (multiLocalizedUnicodeType)."""
    data = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II", 1, 12) + b"enUS" + struct.pack(">II", len(data), 28) + data
