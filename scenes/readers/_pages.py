"""Files that hold several frames: TIFF stacks, animated WebP, PNG and GIF."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.machine_memory import check_floats
from nerfkit.scenes.opencv import load_cv2

from ._images import EXIF_ORIENTATION, TIFF_ICC_PROFILE, Decoded, split_alpha, turn
from .picture_size import BROKEN_PICTURE, check_pixels, open_picture
from .tiff_files import check_parts, open_tiff

__all__ = ["decode_pages"]

# tifffile's names of axes: channels, samples of a pixel, and all that are within a frame; channels that a camera has
CHANNEL, SAMPLE, FRAME_AXES, MAX_CHANNELS = "C", "S", "YXS", 4
# photometric interpretations whose stored values are those shown: black is 0, RGB (TIFF 6.0, section 8)
PLAIN = (1, 2)
DEPTHS = (8, 16, 32, 64)


def decode_pages(path: Path, n_frames: int | None = None) -> tuple[list[Decoded], str]:
    """Frames of a file that holds several.

    Parameters
    ----------
    path : Path
        A TIFF, or a WebP, PNG or GIF that is animated.
    n_frames : int, optional
        Stop after so many.

    Returns
    -------
    frames : list of Decoded
        All of one size: pages of another are thumbnails or reductions.
    said : str
        What was left out or is odd, in words; "" for nothing.

    Raises
    ------
    NerfkitError
        A page that cannot be read, by its number from 0, or pages that are channels.
    """
    is_tiff = path.suffix.lower() in (".tif", ".tiff")
    try:
        return _tiff_pages(path, n_frames) if is_tiff else (_animation(path, n_frames), "")
    except BROKEN_PICTURE as error:
        raise _bad(path, error) from error


def _bad(path: Path, what: object) -> NerfkitError:
    return NerfkitError(f"its pages cannot be read ({what})", where=path, fix="save it again, or its pages as PNGs")


def _animation(path: Path, n_frames: int | None) -> list[Decoded]:
    """Pictures as shown one after the other; grey where all of all are, since WebP and GIF know only colour."""
    with open_picture(path) as image:
        # the picture for those who cannot show the others
        first = 1 if image.info.get("default_image") else 0
        count: int = getattr(image, "n_frames", 1)
        profile = image.info.get("icc_profile")
        shown = []
        for index in range(first, count if n_frames is None else min(count, first + n_frames)):
            image.seek(index)
            is_deep = image.mode[0] == "I"
            shown.append(np.asarray(image, np.uint16) if is_deep else np.asarray(image.convert("RGBA")))
    if shown[0].ndim == 2:
        return [Decoded(pixels, None, profile) for pixels in shown]
    is_grey = all((pixels[..., :3] == pixels[..., :1]).all() for pixels in shown)
    is_opaque = all((pixels[..., 3] == 255).all() for pixels in shown)
    return [
        Decoded(pixels[..., 0] if is_grey else pixels[..., :3], None if is_opaque else pixels[..., 3], profile)
        for pixels in shown
    ]


def _tiff_pages(path: Path, n_frames: int | None) -> tuple[list[Decoded], str]:
    with open_tiff(path) as file:
        odd = _check_axes(file, path)
        if len(file.pages) == 1:  # ImageJ above 4 GB: one directory, and the planes behind it
            check_floats(math.prod(file.series[0].shape), path)
            stack = file.series[0].asarray()
            page = file.pages[0].aspage()
            planes = stack.reshape(-1, *page.shape)[:n_frames]
            return [
                _decoded(_of_known_depth(np.asarray(plane), index, path), page) for index, plane in enumerate(planes)
            ], odd
        pages = [page.aspage() for page in file.pages]
        kept, left_out = _of_one_size(pages)
        spare = _Spare(path)
        frames = [_decode_page(pages[index], index, spare) for index in kept[:n_frames]]
        return frames, "; ".join(filter(None, (odd, left_out)))


def _check_axes(file: Any, path: Path) -> str:
    """Refuse pages that are colours of one frame; "" or what is odd about the others, in words."""
    series = file.series[0] if file.series else None
    axes = {} if series is None else dict(zip(series.axes, series.shape, strict=True))
    planes = {axis: n for axis, n in axes.items() if axis not in FRAME_AXES and n > 1}
    named = " x ".join(f"{n} {axis}" for axis, n in planes.items())
    # a long axis of channels alone is a stack: tifffile calls it so where nothing else is said
    if CHANNEL in planes and (len(planes) > 1 or planes[CHANNEL] <= MAX_CHANNELS):
        raise NerfkitError(
            f"its pages are {planes[CHANNEL]} channels ({named}); frames of one channel, or of RGB, are wanted",
            where=path,
            fix="save one channel as a stack of its own (ImageJ: Image > Color > Split Channels)",
        )
    return f"its pages are {named}, and all are taken for frames of one scene" if len(planes) > 1 else ""


def _of_one_size(pages: list[Any]) -> tuple[list[int], str]:
    """Which pages are frames: those of the size that has most of the pixels, and that are not marked as reduced."""
    whole = [i for i, page in enumerate(pages) if not page.is_reduced and not page.is_mask] or list(range(len(pages)))
    sizes = [(page.imagewidth, page.imagelength) for page in pages]
    counts = Counter(sizes[i] for i in whole)
    usual = max(counts, key=lambda size: counts[size] * size[0] * size[1])
    kept = [i for i in whole if sizes[i] == usual]
    others = [i for i in range(len(pages)) if i not in set(kept)]
    if not others:
        return kept, ""
    named = ", ".join(f"{i} ({sizes[i][0]}x{sizes[i][1]})" for i in others[:5])
    more = f" and {len(others) - 5} more" if len(others) > 5 else ""
    return kept, f"frames are its {len(kept)} pages of {usual[0]}x{usual[1]}; left out: page {named}{more}"


class _Spare:
    """Pages by OpenCV and Pillow, for compressions and colours that tifffile alone does not know."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._all: list[np.ndarray] | None = None

    def by_cv2(self, index: int) -> np.ndarray:
        """Pixels of a page as stored, in full depth."""
        if self._all is None:
            cv2 = load_cv2()
            payload = np.frombuffer(self.path.read_bytes(), np.uint8)
            _, found = cv2.imdecodemulti(payload, cv2.IMREAD_UNCHANGED)
            self._all = list(found)
        if index >= len(self._all):
            raise _bad(self.path, f"page {index} is of a compression that is not known")
        pixels = self._all[index]
        return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]] if pixels.ndim == 3 and pixels.shape[2] > 2 else pixels

    def by_pillow(self, index: int) -> Decoded:
        """A page of palette, YCbCr or black and white, in 8 bits."""
        with open_picture(self.path) as image:
            image.seek(index)
            check_pixels(*image.size, self.path)
            is_grey = image.mode in ("1", "L", "LA")
            mode = ("L" if is_grey else "RGB") + "A" * image.has_transparency_data
            return Decoded(*split_alpha(np.asarray(image.convert(mode))), image.info.get("icc_profile"))


def _decode_page(page: Any, index: int, spare: _Spare) -> Decoded:
    check_pixels(page.imagewidth, page.imagelength * max(1, page.samplesperpixel), spare.path)
    check_parts(page, spare.path)
    if page.photometric not in PLAIN or page.dtype is None or page.bitspersample not in DEPTHS:
        return spare.by_pillow(index)
    try:
        pixels = page.asarray()
    except (ValueError, RuntimeError):  # tifffile names the package that it lacks, or the place that is damaged
        if page.dtype == np.uint8:  # OpenCV would multiply alpha in
            return spare.by_pillow(index)
        pixels = spare.by_cv2(index)
    if page.axes.startswith(SAMPLE) and pixels.ndim == 3:  # planes of colour, one after the other
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] > 4):
        raise _bad(spare.path, f"page {index} has shape {pixels.shape}; grey or RGB is wanted")
    return _decoded(_of_known_depth(pixels, index, spare.path), page)


def _of_known_depth(pixels: np.ndarray, index: int, path: Path) -> np.ndarray:
    if pixels.dtype.name in ("uint8", "uint16") or pixels.dtype.kind == "f":
        return pixels
    if pixels.min() < 0 or pixels.max() > 65535:
        raise NerfkitError(
            f"page {index} has {pixels.dtype} from {pixels.min()} to {pixels.max()}; 8, 16 bits or floats can be read",
            where=path,
            fix="save it with 16 bits",
        )
    return pixels.astype(np.uint16)


def _decoded(pixels: np.ndarray, page: Any) -> Decoded:
    pixels = pixels.astype(np.float32) if pixels.dtype.kind == "f" else pixels
    profile, orientation = page.tags.get(TIFF_ICC_PROFILE), page.tags.get(EXIF_ORIENTATION)
    pixels = turn(pixels, 1 if orientation is None else int(orientation.value))
    return Decoded(*split_alpha(pixels), None if profile is None else bytes(profile.value))
