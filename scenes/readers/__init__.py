"""Posed photos from the formats people have; a new format is one file here and one line in :data:`READERS`.

A reader is a function ``read(path, skip_bad) -> PosedPhotos | None``, None where its format is not present.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from nerfkit.scenes.errors import NerfkitError

from .photos import LoadedPhotos, load_photos
from .posed import PosedPhotos

__all__ = ["READERS", "LoadedPhotos", "PosedPhotos", "load_photos", "read_posed_photos"]

# what the format is recognised by -> 'module:function', tried in this order
READERS = {
    "transforms_train.json (Blender, NeRF-synthetic)": "nerfkit.scenes.readers.blender:read_blender",
    "transforms.json (instant-ngp, nerfstudio)": "nerfkit.scenes.readers.transforms:read_transforms",
    "sparse/0/cameras.bin or .txt (COLMAP)": "nerfkit.scenes.readers.colmap:read_colmap",
}


def read_posed_photos(path: str | Path, skip_bad: bool = False) -> PosedPhotos:
    """Read where the photos of a scene are, how they were taken and which are held out; no pixel is loaded.

    Parameters
    ----------
    path : str or Path
        The scene's folder, or the json file in it.
    skip_bad : bool
        Go on without frames that have a bad matrix or an unreadable photo and name them in ``skipped``; each
        photo is then decoded once to be sure.

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
    for target in READERS.values():
        module, _, function = target.partition(":")
        photos = getattr(importlib.import_module(module), function)(path, skip_bad)
        if photos is not None:
            return photos
    raise NerfkitError(
        f"no poses found; looked for {', '.join(READERS)}; found {_contents(path)}",
        where=path,
        fix="give a folder with one of these; photos without poses get them from COLMAP or nerfstudio",
    )


def _contents(path: Path) -> str:
    if path.is_file():
        return f"a file named {path.name}"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir())
    if not names:
        return "an empty folder"
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
