"""TIFF files by tifffile; of the parts of one that lie in several files, those beside it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from nerfkit.scenes.errors import NerfkitError

from ._xml import parse_xml

__all__ = ["check_parts", "open_tiff"]

# strips of which a damaged file may not say where they are: more take long to be passed over
MOST_UNPLACED = 1000


def open_tiff(path: Path) -> Any:
    """A ``tifffile.TiffFile``, to be used as a context.

    Raises
    ------
    NerfkitError
        Its OME header names a file of another folder, which tifffile would read.
    ValueError, and what else tifffile raises
        It is no TIFF.
    """
    import tifffile

    file = tifffile.TiffFile(path)
    try:
        check_parts(file.pages[0], path)
        _check_places(file.ome_metadata or "", path)
    except BaseException:
        file.close()
        raise
    return file


def check_parts(page: Any, path: Path) -> None:
    """Raise NerfkitError where a page has many more strips or tiles by its sizes than it says the places of."""
    n_declared, n_placed = math.prod(page.chunked), len(page.dataoffsets)
    if n_declared > 2 * n_placed + MOST_UNPLACED:
        raise NerfkitError(
            f"declares {page.imagewidth}x{page.imagelength} pixels in {n_declared:,} strips or tiles, and has "
            f"{n_placed:,}", where=path, fix="save it anew",
        )  # fmt: skip


def _check_places(text: str, path: Path) -> None:
    names = {item.get("FileName", "") for item in parse_xml(text).iter()} if text else set()
    outside = sorted(name for name in names if set(name) & set("/\\"))
    if outside:
        raise NerfkitError(
            f"names {outside[0]!r}; the parts of an image are read from its own folder alone", where=path,
            fix="put them beside it, and export it anew",
        )  # fmt: skip
