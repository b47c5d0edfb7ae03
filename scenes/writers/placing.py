"""A photo into a dataset: copied, linked, or turned as its EXIF orientation says and saved again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from PIL import ImageOps

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.formats import is_image
from nerfkit.scenes.readers.photos import EXIF_ORIENTATION, read_header
from nerfkit.scenes.readers.picture_size import open_picture
from nerfkit.scenes.writing import explain_os_error

__all__ = ["put_photo"]

# of a JPEG whose own tables cannot be taken over
JPEG_QUALITY = 95


def put_photo(source: Path, target: Path, uses_exif: bool, *, link: bool = False) -> bool:
    """Have a photo at ``target``, whose folder is made; whether it had to be saved again.

    A photo with an EXIF orientation is saved again without it, since tools differ in whether they heed it.

    Parameters
    ----------
    source, target : Path
    uses_exif : bool
        Turn its pixels as EXIF says; else they stay as stored.
    link : bool
        A symbolic link with a relative path instead of a copy.

    Raises
    ------
    NerfkitError
        It cannot be read or written, or links cannot be made here.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        if is_image(source) and read_header(source).turns:
            _save_turned(source, target, uses_exif)
            return True
        if link:
            _link(source, target)
        else:
            shutil.copyfile(source, target)
    except OSError as error:
        raise explain_os_error(error, target) from error
    return False


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(os.path.relpath(source.resolve(), target.parent.resolve()))
    except (OSError, ValueError) as error:
        # Windows asks for a right to make links, and has no relative paths between drives
        raise NerfkitError(f"cannot be made a link ({error})", where=target, fix="leave --link out") from error


def _save_turned(source: Path, target: Path, uses_exif: bool) -> None:
    with open_picture(source) as image:
        profile, kind, exif = image.info.get("icc_profile"), image.format, image.getexif()
        options: dict[str, Any] = {"icc_profile": profile} if profile else {}
        if kind == "JPEG":
            # its own tables lose next to nothing more
            tables = getattr(image, "quantization", None)
            options |= {"qtables": tables, "subsampling": 0} if tables else {"quality": JPEG_QUALITY}
        elif kind == "WEBP":
            options["lossless"] = True
        image.load()
        turned = ImageOps.exif_transpose(image) if uses_exif else image.copy()
    # the rest stays: the focal length among it
    exif.pop(EXIF_ORIENTATION, None)
    turned.save(target, format=kind, exif=exif, **options)
