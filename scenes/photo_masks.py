"""Which pixels of photos count: not those that a mask, the lens, a rim or a transparent hole leaves out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from nerfkit.scenes.backgrounds import border_pixels
from nerfkit.scenes.cameras import Camera, seen_pixels
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings, listed_or_logged
from nerfkit.scenes.finite import not_finite
from nerfkit.scenes.readers import PosedPhotos
from nerfkit.scenes.readers.photos import area_resize, map_in_threads, read_listed, some
from nerfkit.scenes.rims import find_rims

__all__ = ["ALPHAS", "choose_alpha", "find_masks", "split_alpha"]

logger = logging.getLogger(__name__)

# what transparent pixels may mean
ALPHAS = ("auto", "background", "ignore")
# of a mask's 255: a pixel counts whose area is white
WHITE = 254


def choose_alpha(option: str, images: Sequence[np.ndarray]) -> str:
    """What transparent pixels of photos mean: "background" (nothing is there) or "ignore" (nobody knows what is).

    Photos cut out round an object are transparent along most of their border; where the border of most photos is
    opaque, the photos show a scene and the transparent parts were taken out of it.

    Parameters
    ----------
    option : {"auto", "background", "ignore"}
        "auto" decides by the photos.
    images : sequence of uint8 ndarray, shape (h, w, 3 or 4)
        All photos of a split.
    """
    if option not in ALPHAS:
        raise NerfkitError(f"alpha must be one of {', '.join(ALPHAS)}; got {option!r}", fix="give one of these")
    if option != "auto" or not any(image.shape[2] == 4 for image in images):
        return "background" if option == "auto" else option
    opaque = [1.0 if image.shape[2] == 3 else float((border_pixels(image[..., 3:]) > 127).mean()) for image in images]
    return "ignore" if np.median(opaque) > 0.5 else "background"


def split_alpha(image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """A photo without alpha [h, w, 3], and which of its pixels are opaque [h, w]; None: all."""
    if image.shape[2] == 3:
        return image, None
    return image[..., :3], image[..., 3] == 255


def find_masks(
    photos: PosedPhotos, cameras: Mapping[int, Camera], findings: Findings | None = None
) -> dict[int, np.ndarray]:
    """Which pixels [h, w] of each photo count, for photos of which some do not.

    Left out are what a mask file has black, what the lens lets no light through to or is not invertible at, and a rim
    (:func:`nerfkit.scenes.rims.find_rims`). A pixel of a photo that was scaled down counts where all of it does.

    Parameters
    ----------
    photos : PosedPhotos
    cameras : mapping of int to Camera
        Of the photos that are asked for, by index, at the size they were loaded at.
    findings : Findings, optional
        Filled with what is left out; it is logged unless given.
    """
    train = photos.splits["train"] or list(cameras)
    rims = find_rims(train, photos.cameras, lambda index: read_listed(photos, index))
    masks = dict(zip(cameras, map_in_threads(lambda i: _file_mask(photos, i, cameras[i]), list(cameras)), strict=True))
    lenses = {camera: seen_pixels(camera) for camera in dict.fromkeys(cameras.values())}
    rims_at = {}
    for index, camera in cameras.items():
        size = photos.cameras[index].width, photos.cameras[index].height
        if size in rims and (size, camera) not in rims_at:
            rims_at[size, camera] = _shrink(rims[size], camera)
        for other in (lenses[camera], rims_at.get((size, camera))):
            masks[index] = _both(masks[index], other)
    found = {index: mask for index, mask in masks.items() if mask is not None and not mask.all()}
    with listed_or_logged(findings, logger) as said:
        dark = [index for index, camera in cameras.items() if lenses[camera] is not None]
        _say(photos, found, dark, rims, said)
    return found


def _say(
    photos: PosedPhotos, masks: Mapping[int, np.ndarray], dark: Sequence[int],
    rims: Mapping[tuple[int, int], np.ndarray], findings: Findings,
) -> None:  # fmt: skip
    """Note rims, photos with pixels that are ``dark`` because of the lens, and photos of which nothing is left."""
    for (width, height), inside in rims.items():
        findings.add(
            "info", f"photos of {width}x{height} have a rim, {1 - inside.mean():.1%} of their pixels, of one colour in "
            "all of them: it is left out, in training and in evaluation",
            where=photos.root,
        )  # fmt: skip
    if dark:
        findings.add(
            "info", f"{len(dark)} photos have pixels that the lens lets no light through to; they are left out: "
            f"{some([photos.files[i] for i in dark])}",
            where=photos.root,
        )  # fmt: skip
    blank = [photos.files[index] for index, mask in masks.items() if not mask.any()]
    if blank:
        findings.add(
            "warning", f"no pixel of {len(blank)} photos counts: {some(blank)}", where=photos.root,
            fix="look at their masks: black is left out, white counts",
        )  # fmt: skip


def _file_mask(photos: PosedPhotos, index: int, camera: Camera) -> np.ndarray | None:
    path = None if photos.masks is None else photos.masks[index]
    if path is None:
        return None
    uses_exif = photos.uses_exif is None or photos.uses_exif[index]
    return _shrink(_read_mask(path, uses_exif), camera, path)


def _read_mask(path: Path, uses_exif: bool) -> np.ndarray:
    """Which pixels a mask has white, or, of colours or of 16 bits, more than half of what its kind goes up to."""
    try:
        with Image.open(path) as image:
            turned = ImageOps.exif_transpose(image) if uses_exif else image
            wide = turned.mode[0] in "IF"
            values = np.asarray(turned if wide else turned.convert("L"))
    except (OSError, SyntaxError, ValueError) as error:
        raise NerfkitError(f"the mask cannot be read ({error})", where=path, fix="save it as PNG, 8 bits") from error
    if bad := not_finite(values, "row {}, column {}"):
        raise NerfkitError(f"the mask cannot be used: {bad}", where=path, fix="save it as PNG, 8 bits")
    top = values.max()
    # masks of 0 and 1 are as common as those of 0 and 255
    return values > 0 if top <= 1 else values > (32767 if wide and top > 255 else 127)


def _shrink(mask: np.ndarray, camera: Camera, path: Path | None = None) -> np.ndarray:
    """A mask at a camera's size; a pixel counts where all of it does."""
    height, width = mask.shape
    if (width, height) == (camera.width, camera.height):
        return mask
    if width < camera.width or height < camera.height:
        # a mask that was made for smaller photos: the nearest of its pixels
        rows = ((np.arange(camera.height) + 0.5) * height / camera.height).astype(int)
        columns = ((np.arange(camera.width) + 0.5) * width / camera.width).astype(int)
        if abs(width * camera.height - height * camera.width) > max(width, height, camera.width, camera.height):
            raise NerfkitError(
                f"the mask has {width}x{height} pixels, its photo {camera.width}x{camera.height}", where=path or "",
                fix="give a mask of the photo's own shape",
            )  # fmt: skip
        return mask[rows[:, None], columns]
    values = np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=-1)
    return area_resize(values, camera.width, camera.height)[..., 0] > WHITE


def _both(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    if a is None or b is None:
        return a if b is None else b
    return a & b
