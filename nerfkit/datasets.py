"""Datasets that nerfkit writes: into a folder of their own, known by a file there, never over photos that are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nerfkit
from nerfkit.files import DATASET_MARKER, check_output_folder, prepare_output_folder, write_atomically
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers.posed import PosedPhotos
from nerfkit.scenes.writers import plan_dataset, write_plan

__all__ = ["write_dataset"]


def write_dataset(
    photos: PosedPhotos, out: Path, to: str, *, link: bool, overwrite: bool, note: dict[str, Any], findings: Findings,
    on_part: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """Write posed photos into a folder of their own.

    Parameters
    ----------
    photos : PosedPhotos
    out : Path
        Absent or empty, unless ``overwrite``.
    to : str
        The format, a name in :data:`nerfkit.scenes.writers.WRITERS`.
    link : bool
        Links with relative paths instead of copies of the photos.
    overwrite : bool
        Whether a dataset that nerfkit wrote there may be replaced.
    note : dict
        What the folder says of where it comes from.
    findings : Findings
        Filled with what the format does not hold.
    on_part : callable
        Called with the numbers of photos that are there and that there will be.

    Returns
    -------
    written : dict
        ``output``, ``format``, ``photos`` and the sizes of ``splits``.

    Raises
    ------
    NerfkitError
        The format cannot hold the cameras, the folder is not free, or the disk is full. Of the first two nothing is
        changed.
    """
    plan = plan_dataset(photos, to, findings)
    _keep_photos(photos, out)
    check_output_folder(out, overwrite=overwrite, keep=photos.root, resumes=False)
    prepare_output_folder(out, overwrite=overwrite, keep=photos.root)
    write_atomically(out / DATASET_MARKER, json.dumps({"nerfkit": nerfkit.__version__, **note}, indent=1).encode())
    write_plan(photos, plan, out, link=link, findings=findings, on_part=on_part)
    written = [index for index, name in enumerate(plan.names) if name is not None]
    splits = {name: len(set(members) & set(written)) for name, members in photos.splits.items()}
    return {"output": str(out), "format": to, "photos": len(written), "splits": splits}


def _keep_photos(photos: PosedPhotos, out: Path) -> None:
    """Refuse to write into a folder that the photos lie in."""
    folder = out.resolve()
    lies = next((file for file in photos.files if folder in (photos.root / file).resolve().parents), None)
    if lies is not None:
        raise NerfkitError(f"the photos that are read lie in it ({lies})", where=out, fix="give another --out")
