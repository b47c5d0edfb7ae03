"""Posed photos into the formats that other tools read; a new format is one file here and one line in :data:`WRITERS`.

A writer is a function ``plan(photos, findings) -> Plan``: it refuses what its format cannot hold, notes what is lost,
and names the files; nothing is written before all of it is known to fit.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings, listed_or_logged
from nerfkit.scenes.readers.posed import PosedPhotos
from nerfkit.scenes.writing import write_atomically

from .placing import put_photo
from .plan import Plan

__all__ = ["WRITERS", "plan_dataset", "write_plan", "write_posed_photos"]

logger = logging.getLogger(__name__)

# name of the format -> 'module:function'
WRITERS = {
    "transforms": "nerfkit.scenes.writers.transforms:plan_transforms",
    "colmap": "nerfkit.scenes.writers.colmap:plan_colmap",
    "colmap-text": "nerfkit.scenes.writers.colmap:plan_colmap_text",
    "blender": "nerfkit.scenes.writers.blender:plan_blender",
    "llff": "nerfkit.scenes.writers.llff:plan_llff",
}


def plan_dataset(photos: PosedPhotos, to: str, findings: Findings) -> Plan:
    """What a dataset of the format ``to`` consists of; nothing is written.

    Parameters
    ----------
    photos : PosedPhotos
    to : str
        A name in :data:`WRITERS`.
    findings : Findings
        Filled with what the format does not hold and is lost.

    Raises
    ------
    NerfkitError
        An unknown format, or one that cannot hold the cameras: which one can.
    """
    if to not in WRITERS:
        raise NerfkitError(
            f"no format {to!r} is written; there are {', '.join(WRITERS)}", where="--to", fix="give one of these"
        )
    if "model" in photos.hints:
        findings.add(
            "warning", "COLMAP's points, from which training takes distances, are left out", where=photos.root,
            fix="train on the original, or give depth maps",
        )  # fmt: skip
    module, _, function = WRITERS[to].partition(":")
    return getattr(importlib.import_module(module), function)(photos, findings)


def write_plan(
    photos: PosedPhotos, plan: Plan, out: Path, *, link: bool = False, findings: Findings,
    on_part: Callable[[int, int], None] = lambda done, total: None,
) -> None:  # fmt: skip
    """Write a dataset: its photos first, and what makes it one, the poses, last.

    Parameters
    ----------
    photos : PosedPhotos
        What was planned for.
    plan : Plan
    out : Path
        The dataset's folder.
    link : bool
        Links with relative paths instead of copies; photos that EXIF turns are copied, turned, in any case.
    findings : Findings
        Filled with what was done to photos.
    on_part : callable
        Called with the numbers of files that are there and that there will be.
    """
    jobs = plan.copies(photos)
    _check_inside(out, [name for _, name, _ in jobs])
    turned = []
    for number, (source, name, uses_exif) in enumerate(jobs, 1):
        if put_photo(source, out / name, uses_exif, link=link):
            turned.append(name)
        on_part(number, len(jobs))
    if turned:
        findings.add(
            "info", f"{len(turned)} photos have an EXIF orientation, which tools take differently: they are written "
            "as the poses want them, without it",
            where=out,
        )  # fmt: skip
    for name, payload in plan.files.items():
        write_atomically(out / name, payload)


def _check_inside(out: Path, names: Sequence[str]) -> None:
    """Names are made of what a dataset lists: raise NerfkitError where one would lead out of the new folder."""
    folder = out.absolute()
    for name in names:
        if not Path(os.path.normpath(folder / name)).is_relative_to(folder):
            raise NerfkitError(
                f"a photo would be written to {name!r}, outside of it", where=out, fix="rename the photo"
            )


def write_posed_photos(
    photos: PosedPhotos, out: str | Path, to: str = "transforms", *, link: bool = False,
    findings: Findings | None = None, on_part: Callable[[int, int], None] = lambda done, total: None,
) -> Plan:  # fmt: skip
    """Write posed photos as a dataset of the format ``to`` into the folder ``out``, in the world that they are in.

    Parameters
    ----------
    photos : PosedPhotos
        As :func:`nerfkit.scenes.readers.read_posed_photos` gives them.
    out : str or Path
        Folder; files of the same names in it are replaced.
    to : str
        A name in :data:`WRITERS`.
    link : bool
        Links with relative paths instead of copies.
    findings : Findings, optional
        Filled with what the format does not hold; logged unless given.
    on_part : callable
        Called with the numbers of files that are there and that there will be.

    Returns
    -------
    plan : Plan
        Where each photo is, and the files of the format.

    Raises
    ------
    NerfkitError
        The format cannot hold the cameras, or a file cannot be written.
    """
    with listed_or_logged(findings, logger) as found:
        plan = plan_dataset(photos, to, found)
        write_plan(photos, plan, Path(out), link=link, findings=found, on_part=on_part)
    return plan
