"""TIFF files by tifffile; of the parts of one that lie in several files, those beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nerfkit.scenes.errors import NerfkitError

from ._xml import parse_xml

__all__ = ["open_tiff"]


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
        _check_places(file.ome_metadata or "", path)
    except BaseException:
        file.close()
        raise
    return file


def _check_places(text: str, path: Path) -> None:
    names = {item.get("FileName", "") for item in parse_xml(text).iter()} if text else set()
    outside = sorted(name for name in names if set(name) & set("/\\"))
    if outside:
        raise NerfkitError(
            f"names {outside[0]!r}; the parts of an image are read from its own folder alone", where=path,
            fix="put them beside it, and export it anew",
        )  # fmt: skip
