"""Volumes from DICOM: the files of a folder, their series, and which of them is read."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.extras import import_extra
from nerfkit.scenes.volumes import Volume

from ._dicom_frames import Frame, frames_of
from ._dicom_stack import read_stack

__all__ = ["read_dicom"]

# suffixes of files that are read as DICOM even without the preamble that marks them
NAMED = (".dcm", ".ima", ".dic", ".dicom")
FOLDER_FIX = "give the folder of one series, or one of its files alone"


def read_dicom(path: Path, series: str | None) -> list[Callable[[], Volume]]:
    """What reads each volume of a series: one, or several times or echoes of the same number of slices."""
    import_extra("pydicom", "medical", path)
    found, said = _series_in(path)
    if not found:
        raise NerfkitError("holds no images of DICOM", where=path, fix=f"{FOLDER_FIX}; or NIfTI, TIFF, npy, npz")
    chosen = _choose(found, series, path)
    said += [f"{_name(frames)}, left unread: {len(frames)} slices" for frames in found.values() if frames != chosen]
    # what differs besides the place: a localiser in the same series, times, echoes
    groups = _groups(chosen)
    most = max(map(len, groups))
    said += [
        f"slices of another kind in the series, left unread: {len(group)}" for group in groups if len(group) < most
    ]
    return [functools.partial(read_stack, path, group, tuple(said)) for group in groups if len(group) == most]


def _series_in(path: Path) -> tuple[dict[str, list[Frame]], list[str]]:
    """Frames by the UID of their series, and what is to be said of files that were left out."""
    found: dict[str, list[Frame]] = defaultdict(list)
    seen, n_other, n_copies = set(), 0, 0
    for file in _files(path):
        header = _header(file)
        if header is None or not _is_image(header):
            n_other += 1
        elif (uid := header.get("SOPInstanceUID", str(file))) in seen:
            n_copies += 1
        else:
            seen.add(uid)
            found[str(header.get("SeriesInstanceUID", ""))] += frames_of(header, file)
    counts = {"files that are no images": n_other, "copies of files": n_copies}
    return found, [f"{what}, left unread: {n}" for what, n in counts.items() if n]


def _files(path: Path) -> Iterator[Path]:
    """The files of a folder and those below it; DICOMDIR is a list of them."""
    if not path.is_dir():
        yield path
        return
    for file in sorted(path.rglob("*")):
        if file.is_file() and not file.name.startswith(".") and file.name.upper() != "DICOMDIR":
            yield file


def _header(file: Path) -> Any:
    """What a file says besides its pixels; None where it is no DICOM."""
    from pydicom import dcmread

    try:
        found = dcmread(file, stop_before_pixels=True, force=file.suffix.lower() in NAMED)
        # values are made of their bytes when they are asked for, which is no better place to find damage
        for _ in found.iterall():
            pass
        return found
    # a stranger's bytes, which are counted and named; pydicom's parsers raise whatever they meet
    except Exception:
        return None


def _is_image(header: Any) -> bool:
    return all(isinstance(side := header.get(name), int) and side > 0 for name in ("Rows", "Columns"))


def _name(frames: list[Frame]) -> str:
    header = frames[0].header
    number, what = header.get("SeriesNumber"), header.get("SeriesDescription")
    return f"series {'without number' if number is None else number}" + (f" {str(what)!r}" if what else "")


def _choose(found: dict[str, list[Frame]], series: str | None, path: Path) -> list[Frame]:
    """The series that is named, or else the one that has the most slices."""
    listed = ", ".join(f"{_name(frames)}: {len(frames)} slices" for frames in found.values())
    if series is None:
        ranked = sorted(found.values(), key=len, reverse=True)
        if len(ranked) > 1 and len(ranked[0]) == len(ranked[1]):
            raise NerfkitError(
                f"holds {len(found)} series, no one the largest: {listed}", where=path,
                fix="name one: --set series=NUMBER, or series= from Python",
            )  # fmt: skip
        return ranked[0]
    named = [frames for uid, frames in found.items() if series in (uid, *_words(frames))]
    if len(named) != 1:
        raise NerfkitError(
            f"{len(named) or 'no'} series are named {series!r}; there are {listed}", where=path,
            fix="give a number or a description that one of them has",
        )  # fmt: skip
    return named[0]


def _words(frames: list[Frame]) -> tuple[str, str]:
    header = frames[0].header
    return str(header.get("SeriesNumber", "")), str(header.get("SeriesDescription", ""))


def _groups(frames: list[Frame]) -> list[list[Frame]]:
    """Frames that differ in their place alone, in the order in which the files have them."""
    found: dict[Any, list[Frame]] = defaultdict(list)
    for frame in frames:
        found[frame.kind].append(frame)
    return list(found.values())
