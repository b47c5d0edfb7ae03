"""Photos into arrays: headers, decoding in threads, EXIF orientation, alpha, downscaling by area averaging.

Pixels stay uint8: a scene of 300 photos of 2 Mpx takes 1.9 GB as it is and would take 7.5 GB in float32.
"""

from __future__ import annotations

import logging
import math
import os
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings, listed_or_logged
from nerfkit.scenes.finite import not_finite

from .formats import prepare_reading, say_how_to_convert
from .photo_store import StoredPhotos, store_photos

if TYPE_CHECKING:
    from .posed import PosedPhotos

__all__ = [
    "LoadedPhotos",
    "PhotoHeader",
    "PhotoStore",
    "area_resize",
    "downscaled",
    "fit_camera",
    "load_photos",
    "map_in_threads",
    "narrow_range",
    "photo_factor",
    "read_header",
    "read_listed",
    "read_photo",
    "some",
]

logger = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")

# a listed size of another aspect than the photo's belongs to another photo or another crop
ASPECT_TOLERANCE = 0.01
EXIF_ORIENTATION = 0x0112
# bytes of photos whose loading takes seconds, so that a line says what is being waited for
LONG_LOADING = 100_000_000
# pixels of files whose decoding takes some ten seconds, so that it is told how far it is
LONG_DECODING = 300_000_000
# EXIF orientations that swap width and height
TRANSPOSING = (5, 6, 7, 8)
# photos that are looked at for their values, and the share of 16 bits that narrow ones use at most
N_LOOKED_AT, NARROW = 24, 0.25
# first letter of Pillow's modes with more than 8 bits a channel: I, I;16, F
WIDE_MODES = "IF"


@dataclass
class LoadedPhotos:
    """Pixels and the cameras that fit them.

    Parameters
    ----------
    images : list of ndarray of uint8, shape (h, w, 3 or 4)
        RGB, or RGBA with straight alpha where the file has a pixel that is not opaque.
    cameras : list of Camera
        Of the images as they are here.
    downscale : float
        Factor by which the sides were divided.
    """

    images: list[np.ndarray]
    cameras: list[Camera]
    downscale: float
    # the file that the images are views of, where they were stored
    stored: StoredPhotos | None = None


@dataclass(frozen=True)
class PhotoStore:
    """Where decoded photos are kept, and how many bytes of them may be in memory at once."""

    folder: Path
    limit: int


@dataclass(frozen=True)
class PhotoHeader:
    """Size of a photo as stored, and its EXIF orientation (1 to 8; 1 is upright)."""

    size: tuple[int, int]
    orientation: int

    @property
    def turns(self) -> bool:
        """Whether EXIF asks for any turning."""
        return self.orientation in range(2, 9)

    @property
    def turned_size(self) -> tuple[int, int]:
        """Size after turning."""
        width, height = self.size
        return (height, width) if self.orientation in TRANSPOSING else (width, height)


def load_photos(
    photos: PosedPhotos,
    indices: Sequence[int],
    downscale: float | None = None,
    max_side: int | None = None,
    threads: int | None = None,
    findings: Findings | None = None,
    store: PhotoStore | None = None,
    on_photo: Callable[[int, int], None] = lambda done, total: None,
) -> LoadedPhotos:
    """Load photos as uint8, turned upright and downscaled by area averaging.

    Parameters
    ----------
    photos : PosedPhotos
    indices : sequence of int
        Which of them, in the order wanted.
    downscale : float, optional
        Divides each side, which is then rounded; 1 or more, may be fractional.
    max_side : int, optional
        Without ``downscale``: the smallest factor by which no photo of the scene has a longer side.
    threads : int, optional
        Photos decoded at the same time; all usable cores unless given.
    findings : Findings, optional
        Filled with what is not kept of them; it is logged unless given.
    store : PhotoStore, optional
        Decode them once, into a file of that folder, and map it; without one they are kept in memory.
    on_photo : callable
        Called with the number of photos decoded and in all, where that takes more than some seconds.

    Returns
    -------
    loaded : LoadedPhotos

    Raises
    ------
    NerfkitError
        A photo that cannot be decoded or has another size than its camera, by name.
    """
    factor = photo_factor(photos.cameras, downscale, max_side)
    targets = [_target(photos, index, factor) for index in indices]
    n_bytes = 3 * sum(camera.width * camera.height for camera in targets)
    level = logging.INFO if n_bytes > LONG_LOADING else logging.DEBUG
    logger.log(level, "loading %d photos, downscale %g, about %.0f MB", len(indices), factor, n_bytes / 1e6)

    is_long = sum(photos.cameras[i].width * photos.cameras[i].height for i in indices) >= LONG_DECODING
    counted, target_of = count(1), dict(zip(indices, targets, strict=True))

    def load(index: int) -> np.ndarray:
        camera = target_of[index]
        image = area_resize(read_listed(photos, index), camera.width, camera.height)
        if is_long:
            on_photo(next(counted), len(indices))
        return image

    paths = [photos.root / photos.files[index] for index in indices]
    stored = None
    if store is None:
        images = map_in_threads(load, indices, threads)
    else:
        uses_exif = [photos.uses_exif is None or photos.uses_exif[index] for index in indices]
        stored = store_photos(
            store.folder, paths, indices, targets, [uses_exif, photos.value_range],
            lambda some: map_in_threads(load, some, threads), has_alpha=any(map(_may_have_alpha, paths)),
            limit=store.limit,
        )  # fmt: skip
        images = [stored.images[index] for index in indices]
    deep = [photos.files[index] for index in indices if _bits(photos.root / photos.files[index]) == 16]
    with listed_or_logged(findings, logger) as found:
        if deep:
            what = f"{len(deep)} photos have 16 bits a channel and are read as 8: {some(deep)}"
            if photos.value_range is not None:
                low, high = photos.value_range
                what += f"; the values {low:g} to {high:g}, all that they use, become 0 to 255 in all of them"
            found.add("info", what, where=photos.root)
    return LoadedPhotos(images, targets, factor, stored)


def narrow_range(paths: Sequence[Path]) -> tuple[float, float] | None:
    """Least and greatest value of grey photos of 16 bits that use a small part of their range; else None.

    Heat pictures and sensors of 10 or 12 bits fill few of the 256 steps that 8 bits have.

    Parameters
    ----------
    paths : sequence of Path
        The photos of a scene; some, spread evenly, are looked at.
    """
    chosen = np.unique(np.linspace(0, len(paths) - 1, N_LOOKED_AT).round().astype(int))
    low, high = np.inf, -np.inf
    for path in (paths[i] for i in chosen):
        with _opened(path) as image:
            if not image.mode.startswith("I"):
                return None
            try:
                values = np.asarray(image)
            except (OSError, SyntaxError, ValueError):
                continue  # named where the photo is read
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    return (low, high) if 0 <= low < high and high - low <= NARROW * 65535 else None


def fit_camera(camera: Camera, width: int, height: int, path: Path) -> Camera:
    """The camera rescaled to a photo of ``width`` x ``height``; NerfkitError where the aspect differs."""
    if (camera.width, camera.height) == (width, height):
        return camera
    if abs(camera.width * height / (camera.height * width) - 1) > ASPECT_TOLERANCE:
        is_turned = (camera.height, camera.width) == (width, height)
        sizes = f"the photo has {width}x{height} pixels, its intrinsics are for {camera.width}x{camera.height}"
        # where the photo's own middle is meant, it was not turned after the poses were made
        if is_turned and abs(camera.cx - width / 2) < abs(camera.cx - height / 2):
            raise NerfkitError(
                f"{sizes}: width and height are exchanged, as the principal point ({camera.cx:g}, {camera.cy:g}) is "
                "that of the photo",
                where=path, fix=f"write w {width} and h {height}",
            )  # fmt: skip
        raise NerfkitError(
            sizes,
            where=path,
            fix="the photo is turned by 90 degrees: turn it back, or swap w and h (and cx and cy, fl_x and fl_y) "
            "if the poses were made for it as it is"
            if is_turned
            else "give the photo the poses were made with, or correct w and h",
        )
    return camera.resized(width, height)


def read_header(path: Path) -> PhotoHeader:
    """Size and EXIF orientation without decoding the pixels."""
    with _opened(path) as image:
        return PhotoHeader(image.size, _orientation(image))


def read_listed(photos: PosedPhotos, index: int) -> np.ndarray:
    """Photo ``index`` of a dataset at its full size, turned and stretched as all of them: uint8 [h, w, 3 or 4]."""
    uses_exif = photos.uses_exif is None or photos.uses_exif[index]
    return read_photo(photos.root / photos.files[index], uses_exif, photos.value_range)


def read_photo(path: Path, uses_exif: bool = True, value_range: tuple[float, float] | None = None) -> np.ndarray:
    """One photo as uint8 RGB, or RGBA where it has a pixel that is not opaque.

    Parameters
    ----------
    path : Path
    uses_exif : bool
        Turn it as its EXIF orientation says.
    value_range : (float, float), optional
        Values that become 0 and 255 in grey photos of 16 bits; None: 0 and 65535.

    Returns
    -------
    image : ndarray of uint8, shape (h, w, 3 or 4)
    """
    with _opened(path) as image:
        try:
            image.load()
            turns = uses_exif and _orientation(image) != 1
            return _to_rgb(ImageOps.exif_transpose(image) if turns else image, path, value_range)
        except (
            OSError,
            SyntaxError,
            ValueError,
        ) as error:  # Pillow's decoders raise all three on broken data
            raise NerfkitError(f"cannot be decoded ({error})", where=path, fix=_BAD_PHOTO) from error


def area_resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Shrink by averaging over each new pixel's exact area, alpha premultiplied.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w, 3 or 4)
    width, height : int
        New size, at most the old one.

    Returns
    -------
    small : ndarray of uint8, shape (height, width, 3 or 4)

    Notes
    -----
    Pillow's BOX filter takes or leaves whole pixels, which moves the content by up to half a pixel at
    fractional factors; here a pixel that two new ones share counts for both by its overlap. At whole factors
    the two agree.
    """
    if image.shape[:2] == (height, width):
        return image
    has_alpha = image.shape[2] == 4
    work = image
    if has_alpha:
        work = image.astype(np.float32)
        work[..., :3] *= work[..., 3:] / 255
    small = _average_rows(_average_rows(work, height).swapaxes(0, 1), width).swapaxes(0, 1)
    if has_alpha:
        small[..., :3] *= 255 / np.maximum(small[..., 3:], 1e-6)
    return np.ascontiguousarray((small + 0.5).clip(0, 255).astype(np.uint8))


def map_in_threads(function: Callable[[In], Out], items: Sequence[In], threads: int | None = None) -> list[Out]:
    """``[function(item) for item in items]`` on all usable cores; the first error stops the rest."""
    with ThreadPoolExecutor(threads or _usable_cores()) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def some(names: Sequence[str]) -> str:
    """A few names, for a message."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _usable_cores() -> int:
    # cores that this process may use; a container often has fewer than the machine (Linux only)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_BAD_PHOTO = "replace it, or go on without it (--skip-bad)"


def _opened(path: Path) -> Image.Image:
    if path.stat().st_size == 0:
        raise NerfkitError("the photo is empty (0 bytes)", where=path, fix=_BAD_PHOTO)
    prepare_reading(path)
    try:
        return Image.open(path)
    except UnidentifiedImageError:
        fix = say_how_to_convert(path)
        what = f"{path.suffix} is not read" if fix else "is not an image that can be read"
        raise NerfkitError(what, where=path, fix=fix or _BAD_PHOTO) from None
    except Image.DecompressionBombError as error:
        raise NerfkitError(f"has too many pixels ({error})", where=path, fix=_BAD_PHOTO) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise NerfkitError(f"cannot be read ({error})", where=path, fix=_BAD_PHOTO) from error


def _to_rgb(image: Image.Image, path: Path, value_range: tuple[float, float] | None) -> np.ndarray:
    if image.mode[0] in WIDE_MODES:
        return _wide_to_rgb(image, path, value_range or (0, 65535))
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        return rgba if (rgba[..., 3] < 255).any() else np.ascontiguousarray(rgba[..., :3])
    return np.asarray(image.convert("RGB"))


def _wide_to_rgb(image: Image.Image, path: Path, value_range: tuple[float, float]) -> np.ndarray:
    """Grey photos of 16 bits; Pillow's own conversion clips them to 255."""
    values = np.asarray(image)
    if bad := not_finite(values, "row {}, column {}"):
        raise NerfkitError(bad, where=path, fix=_BAD_PHOTO)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise NerfkitError(
            f"has {image.mode!r} pixels, {values.min():g} to {values.max():g}; 8 or 16 bits can be read",
            where=path,
            fix="save it as PNG or JPEG",
        )
    low, high = value_range
    grey = np.round((values.astype(np.float32) - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def _may_have_alpha(path: Path) -> bool:
    with _opened(path) as image:
        return image.has_transparency_data


def _bits(path: Path) -> int:
    """Bits a channel of a photo, 8 or 16; Pillow reads 16-bit colour as 8 without a word."""
    with _opened(path) as image:
        if image.mode[0] in WIDE_MODES:
            return 16
        is_png = image.format == "PNG"
    # a PNG's IHDR chunk comes first; its bit depth is the 25th byte (PNG specification, 11.2.1)
    with path.open("rb") as file:
        return 16 if is_png and file.read(25)[24] == 16 else 8


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(EXIF_ORIENTATION, 1))
    except (OSError, SyntaxError, TypeError, ValueError, struct.error):
        return 1  # a damaged EXIF block is no reason to lose the photo


def _target(photos: PosedPhotos, index: int, factor: float) -> Camera:
    """The camera of a photo as it is loaded: that of the file as it is there, scaled down."""
    path = photos.root / photos.files[index]
    header = read_header(path)
    uses_exif = photos.uses_exif is None or photos.uses_exif[index]
    width, height = header.turned_size if uses_exif else header.size
    return downscaled(fit_camera(photos.cameras[index], width, height, path), factor)


def downscaled(camera: Camera, factor: float) -> Camera:
    """The camera of a photo whose sides are divided by ``factor`` and rounded."""
    return camera.resized(max(1, round(camera.width / factor)), max(1, round(camera.height / factor)))


def photo_factor(cameras: Sequence[Camera], downscale: float | None, max_side: int | None) -> float:
    """The factor by which photos of these cameras are scaled down; see :func:`load_photos`."""
    if downscale is not None:
        if not (math.isfinite(downscale) and downscale >= 1):
            raise NerfkitError(f"downscale must be 1 or more; got {downscale}", fix="1 keeps the photos' size")
        return float(downscale)
    if max_side is None:
        return 1.0
    if max_side < 1:
        raise NerfkitError(f"max_side must be 1 pixel or more; got {max_side}")
    # over the whole scene, so that its splits have one resolution
    return max(1.0, max(max(camera.width, camera.height) for camera in cameras) / max_side)


def _average_rows(image: np.ndarray, n_rows: int) -> np.ndarray:
    """Area average along axis 0: each new row is the weighted sum of the few old ones it overlaps."""
    scale = image.shape[0] / n_rows
    starts = np.arange(n_rows) * scale
    ends = starts + scale
    first = np.floor(starts).astype(int)
    total = np.zeros((n_rows, *image.shape[1:]), np.float32)
    for tap in range(math.ceil(scale) + 1):
        row = first + tap
        overlap = (np.minimum(ends, row + 1) - np.maximum(starts, row)).clip(0) / scale
        total += image[row.clip(max=image.shape[0] - 1)] * overlap.astype(np.float32)[:, None, None]
    return total
