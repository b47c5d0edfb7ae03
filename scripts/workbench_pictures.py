"""Photographs that the workbench is measured on, and a mask of letters."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["LINES", "photograph", "text_mask"]

# photographs that have no colour
GREY = ("camera", "page", "phantom", "text")
LINES = (
    "implicit neural field", "of coordinates and of", "what was observed here", "the quick brown fox is",
    "jumping over lazy dogs", "holes are to be filled", "with what lies around", "them and nothing else",
)  # fmt: skip


def photograph(name: str, side: int | None = 256) -> NDArray[np.uint8]:
    """A picture [h, w] or [h, w, 3]; with a ``side`` its middle square, averaged over boxes.

    From NERFKIT_TEST_DATA/images where it is there, else scikit-image's own.
    """
    path = Path(os.environ.get("NERFKIT_TEST_DATA", "")) / "images" / f"{name}.png"
    if path.is_file():
        picture = Image.open(path)
    else:
        picture = Image.fromarray(_of_skimage(name))
    picture = picture.convert("L" if name in GREY else "RGB")
    if side is not None:
        shorter = min(picture.size)
        left, top = (picture.width - shorter) // 2, (picture.height - shorter) // 2
        picture = picture.crop((left, top, left + shorter, top + shorter)).resize((side, side), Image.Resampling.BOX)
    return np.asarray(picture)


def _of_skimage(name: str) -> NDArray[np.uint8]:
    import skimage.data

    if name == "phantom":
        return np.rint(skimage.data.shepp_logan_phantom() * 255).astype(np.uint8)
    if not hasattr(skimage.data, name):
        raise FileNotFoundError(f"no photograph {name}; set NERFKIT_TEST_DATA to a folder with images/{name}.png")
    return getattr(skimage.data, name)()


def text_mask(side: int = 256) -> NDArray[np.bool_]:
    """True where a picture is known that letters are written over."""
    mask = Image.new("L", (side, side), 255)
    draw, font = ImageDraw.Draw(mask), ImageFont.load_default(size=22 * side / 256)
    for row, line in enumerate(LINES):
        draw.text((4 * side / 256, (4 + 31 * row) * side / 256), line, fill=0, font=font)
    return np.asarray(mask) > 127
