"""Pixels that are not square: what a file says of them, and how that is said to a person."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from nerfkit.scenes.findings import Findings

__all__ = ["aspect_of_density", "say_aspect"]

# nearer to square a density is rounded; beyond it is no pixel's but nonsense that a program left there
MIN_OFF_SQUARE, MAX_ASPECT = 0.01, 4


def aspect_of_density(info: dict[Any, Any]) -> Fraction:
    """Width over height of a pixel by what Pillow found beside a picture (pHYs of PNG, JFIF, resolution of TIFF).

    Examples
    --------
    >>> aspect_of_density({"aspect": (27, 32)}), aspect_of_density({"dpi": (300, 300)}), aspect_of_density({})
    (Fraction(32, 27), Fraction(1, 1), Fraction(1, 1))
    """
    # pixels along x and along y in the same length: the more along x, the narrower they are
    density = info.get("aspect") or (info.get("jfif_density") if info.get("jfif_unit") == 0 else info.get("dpi"))
    try:
        along_x, along_y = (float(number) for number in density or (1, 1))
    except (TypeError, ValueError, ZeroDivisionError):
        return Fraction(1)
    if not (along_x > 0 and along_y > 0 and 1 / MAX_ASPECT <= along_y / along_x <= MAX_ASPECT):
        return Fraction(1)
    aspect = Fraction(along_y / along_x).limit_denominator(200)
    return aspect if abs(aspect - 1) > MIN_OFF_SQUARE else Fraction(1)


def say_aspect(size: tuple[int, int], aspect: Fraction, where: Path, findings: Findings) -> None:
    """Note pixels that are not square; they stay as stored, since resampled they would not be what was measured.

    Parameters
    ----------
    size : (int, int)
        Width and height of the frames, upright.
    aspect : Fraction
        Width over height of a pixel, upright.
    where : Path
        The video or the folder.
    findings : Findings
        Filled.
    """
    if aspect == 1:
        return
    width, height = size
    # as players do, the longer side of a pixel is what is stretched
    shown = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    wrong = f"{float(max(aspect, 1 / aspect)):.3g} times too {'narrow' if aspect > 1 else 'wide'}"
    findings.add(
        "warning",
        f"the pixels are {aspect.numerator}:{aspect.denominator}, not square: the frames' {width}x{height} are shown "
        f"as {shown[0]}x{shown[1]}; they are taken as stored, so the picture comes out {wrong}",
        where=where,
        fix=f"resize the picture to the shape of {shown[0]}x{shown[1]} afterwards: its width by {float(aspect):.4g}",
    )
