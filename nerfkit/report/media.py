"""Pictures and videos as parts of a page: read, made small enough, written as data: URIs."""

from __future__ import annotations

import base64
import io
import logging
import os
import re
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nerfkit.pictures import png_bytes
from nerfkit.report.blocks import Picture
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.picture_size import BROKEN_PICTURE, open_picture
from nerfkit.video import to_uint8

__all__ = ["VideoSources", "error_picture", "load_picture", "natural", "picture_uri"]

logger = logging.getLogger(__name__)

# longest side of a picture in a page
MAX_SIDE = 1600
# a PNG above this becomes a JPEG: a page of a hundred of them must still open
MAX_PNG_BYTES = 1_000_000
# videos in one page, in all; base64 makes a third more of it
MAX_VIDEO_BYTES = 20_000_000
# an error of a fifth of the range shows as white
ERROR_GAIN = 5
VIDEO_TYPES = {".mp4": "video/mp4", ".webm": "video/webm"}


def natural(path: Path) -> list[tuple[int, str]]:
    """Sorting key that puts frame 8 before frame 64.

    Examples
    --------
    >>> [path.name for path in sorted([Path("f64"), Path("f8")], key=natural)]
    ['f8', 'f64']
    """
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", path.name)]


def load_picture(path: Path, alt: str, caption: str = "") -> Picture | None:
    """The picture in a file, 16 bits brought to 8; None, with a warning where it is damaged, when there is none."""
    if not path.is_file():
        return None
    try:
        with open_picture(path) as image:
            image.load()
            if image.mode.startswith("I"):
                pixels = (np.asarray(image).astype(np.float64) / 65535).clip(0, 1)
            else:
                has_alpha = "A" in image.getbands() or "transparency" in image.info
                pixels = np.asarray(image if image.mode == "L" else image.convert("RGBA" if has_alpha else "RGB"))
    except (NerfkitError, *BROKEN_PICTURE) as error:
        logger.warning("%s is left out of the report: %s", path, error)
        return None
    return Picture(pixels, alt, caption)


def error_picture(image: NDArray, truth: NDArray) -> NDArray[np.uint8]:
    """ERROR_GAIN times the absolute difference of images [h, w, 3] in [0, 1], mean over channels; black where equal."""
    return to_uint8(ERROR_GAIN * np.abs(np.asarray(image, float) - np.asarray(truth, float)).mean(axis=-1))


def picture_uri(pixels: NDArray) -> str:
    """A data: URI of the pixels: PNG, or JPEG where that is large; scaled down to MAX_SIDE a side."""
    pixels = pixels if pixels.dtype == np.uint8 else to_uint8(pixels)
    if max(pixels.shape[:2]) > MAX_SIDE:
        image = Image.fromarray(pixels)
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
        pixels = np.asarray(image)
    payload, kind = png_bytes(pixels), "png"
    has_alpha = pixels.ndim == 3 and pixels.shape[2] == 4
    if len(payload) > MAX_PNG_BYTES and not has_alpha:
        buffer = io.BytesIO()
        # subsampling 0: colours stay as sharp as the rest
        Image.fromarray(pixels).save(buffer, "JPEG", quality=93, subsampling=0)
        payload, kind = buffer.getvalue(), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(payload).decode()}"


class VideoSources:
    """What the videos of one page are played from: the page itself until that is full, then their files.

    Parameters
    ----------
    page : Path
        The page's file; links are relative to its folder.
    """

    def __init__(self, page: Path) -> None:
        self.folder = page.absolute().parent
        self.room = MAX_VIDEO_BYTES

    def source(self, path: Path) -> tuple[str, bool] | None:
        """The URI of a video and whether it lies in the page; None when there is no such video."""
        kind = VIDEO_TYPES.get(path.suffix.lower())
        try:
            size = path.stat().st_size
            if kind is None or not size:
                return None
            if size <= self.room:
                uri = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
                self.room -= size
                return uri, True
        except OSError as error:
            logger.warning("%s is left out of the report: %s", path, error.strerror or error)
            return None
        return quote(Path(os.path.relpath(path.absolute(), self.folder)).as_posix(), errors="surrogateescape"), False
