"""A posed dataset of any format that is read, as one of a format that other tools read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nerfkit.datasets import write_dataset
from nerfkit.memory import telling_memory
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers import read_posed_photos

__all__ = ["convert"]

logger = logging.getLogger(__name__)


@telling_memory("nerfkit convert", "end other programs, or give smaller photos")
def convert(
    data: str | Path, out: str | Path, to: str = "transforms", *, link: bool = False, overwrite: bool = False,
    skip_bad: bool = False, on_part: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """Write a posed dataset in another format, in the world frame and scale that it is in.

    Parameters
    ----------
    data : str or Path
        Folder of posed photos, or the json file in it.
    out : str or Path
        Folder for the new dataset, absent or empty.
    to : {"transforms", "colmap", "colmap-text", "blender", "llff"}
        The format that is written.
    link : bool
        Links with relative paths instead of copies of the photos.
    overwrite : bool
        Replace a dataset that nerfkit wrote there.
    skip_bad : bool
        Go on without frames that are damaged.
    on_part : callable
        Called with the numbers of photos that are there and that there will be.

    Returns
    -------
    result : dict
        ``output``, ``format``, ``photos``, ``splits``, and ``left_out``: files that are absent or damaged.

    Raises
    ------
    NerfkitError
        Anything wrong with the data, an unknown format, cameras that the format cannot hold (with the one that can),
        or a folder with files in it.
    """
    photos = read_posed_photos(data, skip_bad=skip_bad)
    findings, out = Findings(), Path(out).expanduser()
    try:
        note = {"command": "convert", "from": photos.format, "name": photos.name}
        result = write_dataset(
            photos, out, to, link=link, overwrite=overwrite, note=note, findings=findings, on_part=on_part
        )
    finally:
        findings.log(logger)
    return result | {"left_out": photos.skipped}
