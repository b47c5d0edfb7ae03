"""Posed photos from the formats people have; a new format is one file here and one line in :data:`READERS`.

A reader is a function ``read(path, skip_bad, findings) -> PosedPhotos | None``, None where its format is not present;
what it goes on with, and with ``skip_bad`` what it leaves out, is added to ``findings``.
"""

from __future__ import annotations

import importlib
import logging
import shlex
from pathlib import Path

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings, listed_or_logged

from .formats import VIDEO_SUFFIXES, is_image
from .mask_folder import name_unused_masks, with_masks
from .photos import LoadedPhotos, load_photos
from .posed import PosedPhotos

__all__ = [
    "READERS",
    "LoadedPhotos",
    "PosedPhotos",
    "find_posed_photos",
    "has_poses",
    "how_to_pose",
    "load_photos",
    "posed_below",
    "read_posed_photos",
]

logger = logging.getLogger(__name__)

# what the format is recognised by -> 'module:function', tried in this order
READERS = {
    "transforms_train.json (Blender, NeRF-synthetic)": "nerfkit.scenes.readers.blender:read_blender",
    "transforms.json (instant-ngp, nerfstudio)": "nerfkit.scenes.readers.transforms:read_transforms",
    "sparse/0/cameras.bin or .txt (COLMAP)": "nerfkit.scenes.readers.colmap:read_colmap",
    # after COLMAP's model, which has the lens as well
    "poses_bounds.npy (LLFF)": "nerfkit.scenes.readers.llff:read_llff",
}


# what the folder of a scene holds, in any of these formats
POSES = ("transforms_train.json", "transforms.json", "sparse", "poses_bounds.npy")


def read_posed_photos(
    path: str | Path, skip_bad: bool = False, findings: Findings | None = None, masks: Path | None = None
) -> PosedPhotos:  # fmt: skip
    """Read where the photos of a scene are, how they were taken and which are held out; no pixel is loaded.

    Parameters
    ----------
    path : str or Path
        The scene's folder, or the json file in it.
    skip_bad : bool
        Go on without frames that have a bad matrix or an unreadable photo and name them in ``skipped``; each
        photo is then decoded once to be sure.
    findings : Findings, optional
        Filled with what was found and gone on with, also where the reading fails in the end; logged unless given.
    masks : Path, optional
        A folder of masks that nothing in the dataset names; see :mod:`nerfkit.scenes.readers.mask_folder`.

    Returns
    -------
    photos : PosedPhotos

    Raises
    ------
    NerfkitError
        Anything wrong with the data: the file, the frame, what was found and what was expected.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise NerfkitError("no such file or folder", where=path, fix="give the folder of the photos and poses")
    with listed_or_logged(findings, logger) as found:
        photos = find_posed_photos(path, skip_bad, found, masks)
    if photos is not None:
        return photos
    below = posed_below(path)
    raise NerfkitError(
        f"no poses found; looked for {', '.join(READERS)}; found {_contents(path)}",
        where=path,
        fix=f"give {below}, which has poses" if below is not None
        else how_to_pose(path) or "give a folder with one of these",
    )  # fmt: skip


def find_posed_photos(
    path: Path, skip_bad: bool, findings: Findings, masks: Path | None = None
) -> PosedPhotos | None:  # fmt: skip
    """What the first reader makes of a path whose format is there; None where no format is."""
    for target in READERS.values():
        module, _, function = target.partition(":")
        photos = getattr(importlib.import_module(module), function)(path, skip_bad, findings)
        if photos is not None and masks is not None:
            return with_masks(photos, masks, findings)
        if photos is not None:
            name_unused_masks(photos, findings)
            return photos
    return None


def has_poses(folder: Path) -> bool:
    """Whether a folder looks like one that :func:`read_posed_photos` takes; it is not read."""
    return folder.is_dir() and any((folder / name).exists() for name in POSES)


def posed_below(path: Path) -> Path | None:
    """The first folder in a folder that has poses: archives often hold one folder."""
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []
    return next(filter(has_poses, folders), None)


def how_to_pose(path: Path) -> str:
    """The command that finds the poses of photos, or of a video's frames; empty where there is neither."""
    folders = [path, *sorted(entry for entry in path.iterdir() if entry.is_dir())] if path.is_dir() else []
    photos = next((folder for folder in folders if any(map(is_image, folder.iterdir()))), None)
    if photos is None and not (path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES):
        return ""
    source, out = photos or path, path.with_name(f"{path.stem if path.is_file() else path.resolve().name}_posed")
    return f"nerfkit process {shlex.quote(str(source))} -o {shlex.quote(str(out))} finds the poses of photos"


def _contents(path: Path) -> str:
    if path.is_file():
        return f"a file named {path.name}"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir())
    if not names:
        return "an empty folder"
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
