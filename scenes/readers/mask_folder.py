"""A folder of masks beside the photos, which no list of the dataset names: said, and used where it is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings

from .formats import is_image
from .photos import some
from .posed import PosedPhotos

__all__ = ["name_unused_masks", "with_masks"]

# how people and COLMAP call it
NAMES = ("masks", "mask")


def with_masks(photos: PosedPhotos, folder: Path, findings: Findings) -> PosedPhotos:
    """The photos with the masks of a folder: what is black in them is left out.

    The mask of ``sub/a.jpg`` is ``sub/a.png``, ``sub/a.jpg.png`` (COLMAP's way) or any picture of that stem, in the
    folder with or without ``sub``. Photos without one are used whole, and named.

    Raises
    ------
    NerfkitError
        There is no such folder, or no mask of any photo in it.
    """
    if not folder.is_dir():
        raise NerfkitError("no such folder of masks", where=folder, fix="--masks FOLDER, one mask a photo by its name")
    found = _masks_in(photos, folder)
    without = [file for file, mask in zip(photos.files, found, strict=True) if mask is None]
    if len(without) == len(found):
        seen = some(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise NerfkitError(
            f"has no mask of any of the {len(found)} photos ({some(photos.files)}); it holds {seen}", where=folder,
            fix="name each mask like its photo: a.png or a.jpg.png for a.jpg",
        )  # fmt: skip
    if without:
        findings.add("warning", f"{len(without)} of {len(found)} photos have no mask: {some(without)}", where=folder)
    return replace(photos, masks=found)


def name_unused_masks(photos: PosedPhotos, findings: Findings) -> None:
    """Say that masks lie beside the photos, where nothing lists masks."""
    if photos.masks is not None:
        return
    for folder in _beside(photos):
        n_masks = sum(mask is not None for mask in _masks_in(photos, folder))
        if n_masks:
            findings.add(
                "info", f"{folder.name}/ has masks of {n_masks} of {len(photos)} photos, which are not used",
                where=photos.root, fix=f"--masks {folder} leaves out what is black in them",
            )  # fmt: skip


def _beside(photos: PosedPhotos) -> list[Path]:
    places = dict.fromkeys([photos.root, *(folder.parent for folder in _photo_folders(photos))])
    return [entry for place in places for entry in sorted(place.iterdir()) if _is_of_masks(entry)]


def _photo_folders(photos: PosedPhotos) -> list[Path]:
    return list(dict.fromkeys((photos.root / file).parent for file in photos.files))


def _is_of_masks(entry: Path) -> bool:
    return entry.name.lower() in NAMES and entry.is_dir()


def _masks_in(photos: PosedPhotos, folder: Path) -> list[Path | None]:
    known = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if is_image(path)}
    stems = {str(Path(name).with_suffix("")): path for name, path in reversed(known.items())}

    def mask_of(file: str) -> Path | None:
        parts = Path(file).parts
        for start in range(len(parts)):
            name = Path(*parts[start:])
            found = stems.get(name.as_posix()) or stems.get(str(name.with_suffix("")))
            if found is not None:
                return found
        return None

    return [mask_of(file) for file in photos.files]
