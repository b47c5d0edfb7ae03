"""Photographs that the workbench is measured on, and a mask of letters."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["LINES", "photograph", "text_mask"]

LINES = (
    "implicit neural field", "of coordinates and of", "what was observed here", "the quick brown fox is",
    "jumping over lazy dogs", "holes are to be filled", "with what lies around", "them and nothing else",
)  # fmt: skip


def photograph(name: str, side: int = 256) -> NDArray[np.uint8]:
    """``camera`` (grey) or ``astronaut`` (RGB), square, by the mean over boxes.

    From NERFKIT_TEST_DATA/images where that folder is, else scikit-image's own.
    """
    path = Path(os.environ.get("NERFKIT_TEST_DATA", "")) / "images" / f"{name}.png"
    if path.is_file():
        picture = Image.open(path)
    else:
        import skimage.data

        picture = Image.fromarray(getattr(skimage.data, name)())
    picture = picture.convert("L" if name == "camera" else "RGB")
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX))


def text_mask(side: int = 256) -> NDArray[np.bool_]:
    """True where a picture is known that letters are written over."""
    mask = Image.new("L", (side, side), 255)
    draw, font = ImageDraw.Draw(mask), ImageFont.load_default(size=22 * side / 256)
    for row, line in enumerate(LINES):
        draw.text((4 * side / 256, (4 + 31 * row) * side / 256), line, fill=0, font=font)
    return np.asarray(mask) > 127
