"""One image file into pixels of its full depth: 16-bit and float colour, which Pillow reduces or refuses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.opencv import load_cv2

from ._aspect import aspect_of_density
from ._png import png_curve
from .formats import prepare_reading, say_how_to_convert
from .picture_size import BROKEN_PICTURE, check_pixels, open_picture

__all__ = ["Decoded", "decode_image", "split_alpha", "turn"]

EXIF_ORIENTATION = 0x0112
TIFF_BITS_PER_SAMPLE, TIFF_DESCRIPTION, TIFF_ICC_PROFILE = 258, 270, 34675
DEPTHS = ("uint8", "uint16", "float32", "float64")
# PNG's colour type of grey with alpha (PNG specification, 11.2.1)
PNG_GREY_WITH_ALPHA = 4
# EXIF orientation -> (transpose first, then flip these axes); Exif 2.32, tag 274
TURNS = {
    2: (False, (1,)),
    3: (False, (0, 1)),
    4: (False, (0,)),
    5: (True, ()),
    6: (True, (1,)),
    7: (True, (0, 1)),
    8: (True, (0,)),
}
_BAD_FRAME = "replace it, or take it out of the folder"


@dataclass
class Decoded:
    """Pixels of one image: uint8, uint16 or float32, [h, w] or [h, w, 3]; and what else the file says.

    Parameters
    ----------
    pixels : ndarray
    alpha : ndarray, shape (h, w), or None
        Of the type of the pixels; None where the file has none.
    icc_profile : bytes or None
        Colour profile.
    n_pages : int
        Images in the file; this is the first.
    curve : str or None
        Transfer curve that the file names; None where it names none.
    primaries : int
        Colour primaries by their code in ITU-T H.273; 2 where the file names none.
    aspect : Fraction
        Width over height of a pixel.
    whole_size : (int, int), optional
        Width and height of the picture that the pixels are a part of; None where they are all of it.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None
    icc_profile: bytes | None
    n_pages: int = 1
    curve: str | None = None
    primaries: int = 2
    aspect: Fraction = Fraction(1)
    whole_size: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole picture."""
        return self.whole_size or (self.pixels.shape[1], self.pixels.shape[0])


def decode_image(path: Path) -> Decoded:
    """Pixels of one image, upright as EXIF says, and its alpha.

    Parameters
    ----------
    path : Path
        PNG, JPEG, TIFF, BMP or what else Pillow reads.

    Returns
    -------
    decoded : Decoded

    Raises
    ------
    NerfkitError
        Empty, cut short, damaged, no image, or of a depth that is not 8 or 16 bits or float.
    """

    def bad(what: object) -> NerfkitError:
        fix = say_how_to_convert(path) or _BAD_FRAME
        return NerfkitError(f"this frame cannot be read ({what})", where=path, fix=fix)

    prepare_reading(path)
    try:
        if path.stat().st_size == 0:
            raise bad("it is empty, 0 bytes")
        with open_picture(path) as image:
            needs_cv2 = _is_wide(image, path) or _is_lying(image)
            n_pages = _count_pages(image)
            image.load()  # finds damage, which OpenCV may pass over
            return _unpack(image, path, needs_cv2, n_pages)
    except Image.UnidentifiedImageError:
        # Pillow knows no TIFF of colour in floats, or of float64
        found = _decode_tiff(path) if path.suffix.lower() in (".tif", ".tiff") else None
        if found is None:
            raise bad("it is no image, a damaged one, or of an unusual kind") from None
        return found
    except BROKEN_PICTURE as error:
        raise bad(error) from error


def split_alpha(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Grey or RGB of an [h, w], [h, w, 2], [h, w, 3] or [h, w, 4], and its alpha [h, w] if there is one."""
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return pixels, None
    return pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3], pixels[..., -1]


def _unpack(image: Image.Image, path: Path, needs_cv2: bool, n_pages: int) -> Decoded:
    alpha = None
    if needs_cv2:
        stored = _decode_cv2(path)
        if stored is None:
            raise NerfkitError("this frame cannot be decoded by OpenCV", where=path, fix=_BAD_FRAME)
        pixels, alpha = split_alpha(stored)
        pixels = pixels[..., 0] if _is_grey_png(path) and pixels.ndim == 3 else pixels
    elif image.mode[0] in "IF":
        pixels = _grey_of_many_bits(image, path)
    else:
        is_grey = image.mode in ("1", "L", "LA", "La")
        mode = ("L" if is_grey else "RGB") + "A" * image.has_transparency_data
        pixels, alpha = split_alpha(np.asarray(image.convert(mode)))
    # asked after load: a TIFF is turned by then, and Pillow has forgotten its tag
    orientation = _orientation(image)
    alpha = None if alpha is None else turn(alpha, orientation)
    curve, primaries = png_curve(path) if image.format == "PNG" else (None, 2)
    aspect = aspect_of_density(image.info)
    aspect = 1 / aspect if TURNS.get(orientation, (False,))[0] else aspect
    return Decoded(
        turn(pixels, orientation), alpha, image.info.get("icc_profile"), n_pages, curve, primaries, aspect
    )  # fmt: skip


def _count_pages(image: Image.Image) -> int:
    """Images in a file whose images are frames; a phone's JPEG may hold a second, smaller one, which is none."""
    if image.format == "JPEG" or image.format == "MPO":
        return 1
    n_pages = getattr(image, "n_frames", 1)
    tags: Any = getattr(image, "tag_v2", {})
    description = str(tags.get(TIFF_DESCRIPTION, ""))
    if n_pages == 1 and description.startswith("ImageJ="):
        # above 4 GB ImageJ writes one directory and says there how many planes follow
        said = re.search(r"^images=(\d+)", description, re.MULTILINE)
        return int(said[1]) if said else 1
    return n_pages


def _decode_tiff(path: Path) -> Decoded | None:
    """A TIFF that Pillow does not know: floats of colour or of 64 bits, deep grey with alpha; None if it is none."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            n_pages, page = len(file.pages), file.pages[0].aspage()
            check_pixels(page.imagewidth, page.imagelength * max(1, page.samplesperpixel), path)
            tag = page.tags.get(TIFF_ICC_PROFILE)
            icc_profile = None if tag is None else bytes(tag.value)
            # OpenCV makes colour of grey with alpha, and tifffile alone knows few compressions
            pixels = page.asarray() if page.samplesperpixel == 2 else _decode_cv2(path)
    except BROKEN_PICTURE:
        return None
    if pixels is None or pixels.dtype.name not in DEPTHS:
        return None
    pixels = pixels.astype(np.float32) if pixels.dtype.kind == "f" else pixels
    return Decoded(*split_alpha(pixels), icc_profile, n_pages)


def _grey_of_many_bits(image: Image.Image, path: Path) -> np.ndarray:
    pixels = np.asarray(image)
    if image.mode == "I" and (pixels.min() < 0 or pixels.max() > 65535):
        raise NerfkitError(
            f"this frame has 32-bit pixels, {pixels.min()} to {pixels.max()}; 8 or 16 bits or floats can be read",
            where=path,
            fix="save it with 16 bits",
        )
    return pixels.astype(np.float32 if image.mode == "F" else np.uint16)


def _is_wide(image: Image.Image, path: Path) -> bool:
    """Whether colour has 16 bits a channel, which Pillow reads as 8 without a word."""
    if image.mode[0] in "IF":
        return False
    if image.format == "PNG":
        # the IHDR chunk comes first; its bit depth is the 25th byte (PNG specification, 11.2.1)
        with path.open("rb") as file:
            return file.read(25)[24] == 16
    if image.format == "PPM":
        return _is_wide_ppm(path)
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(TIFF_BITS_PER_SAMPLE, 8)
    return max(bits if isinstance(bits, tuple) else (bits,)) > 8


def _is_wide_ppm(path: Path) -> bool:
    """Whether the white of a PPM, the third number of its header, takes 16 bits."""
    with path.open("rb") as file:
        header = re.sub(rb"#[^\n]*", b"", file.read(1024)).split(maxsplit=4)
    return len(header) > 3 and header[3].isdigit() and int(header[3]) > 255


def _is_grey_png(path: Path) -> bool:
    """Whether a PNG is grey with alpha, which OpenCV, and Pillow at 16 bits, make colour of."""
    with path.open("rb") as file:
        header = file.read(26)
    return header.startswith(b"\x89PNG") and header[25] == PNG_GREY_WITH_ALPHA


def _is_lying(image: Image.Image) -> bool:
    """Whether a TIFF is to be turned by 90 degrees: Pillow 13 scrambles those that are not compressed."""
    return image.format == "TIFF" and _orientation(image) in (5, 6, 7, 8)


def _decode_cv2(path: Path) -> np.ndarray | None:
    """RGB(A) or grey as stored, uint8, uint16 or float32; None where OpenCV cannot."""
    cv2 = load_cv2()
    try:
        # bytes, not a name: cv2.imread knows no Unicode names on Windows
        pixels: np.ndarray | None = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if pixels is None or pixels.dtype.name not in DEPTHS:
        return None
    if pixels.ndim == 3 and pixels.shape[2] > 2:
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]  # from BGR(A)
    return pixels.astype(np.float32) if pixels.dtype.kind == "f" else pixels


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(EXIF_ORIENTATION, 1))
    except BROKEN_PICTURE:
        return 1  # a damaged EXIF block is no reason to lose the frame


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels upright that EXIF says lie like this."""
    is_transposed, flips = TURNS.get(orientation, (False, ()))
    return np.flip(pixels.swapaxes(0, 1) if is_transposed else pixels, flips)
