"""What a dataset will consist of, and the names that its photos get."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers.posed import PosedPhotos, split_by_rule

__all__ = ["Plan", "distinct_names", "drop_circles", "drop_masks", "flat_names", "say_split_lost"]


@dataclass
class Plan:
    """Files of a dataset, relative to its folder, slashes forward.

    Parameters
    ----------
    names : list of str or None
        Where each photo goes; None leaves it out.
    files : dict of str to bytes
        The poses, in the order in which they are written: what makes the folder a dataset comes last.
    masks : dict of int to str
        Where the masks of photos go.
    extras : dict of Path to str
        Other files that come along.
    """

    names: list[str | None]
    files: dict[str, bytes]
    masks: dict[int, str] = field(default_factory=dict)
    extras: dict[Path, str] = field(default_factory=dict)

    def copies(self, photos: PosedPhotos) -> list[tuple[Path, str, bool]]:
        """Source, name, and whether EXIF turns it, of every file that is copied or linked."""
        turns = photos.uses_exif or [True] * len(photos)
        jobs = [
            (photos.root / file, name, turn)
            for file, name, turn in zip(photos.files, self.names, turns, strict=True)
            if name is not None
        ]
        for index, name in self.masks.items():
            mask = photos.masks[index] if photos.masks else None
            assert mask is not None
            jobs.append((mask, name, turns[index]))
        return jobs + [(source, name, False) for source, name in self.extras.items()]


def distinct_names(files: Sequence[str]) -> list[str]:
    """A relative name for each file, without the folders that all have in common; none is given twice.

    Examples
    --------
    >>> distinct_names(["images/a.png", "images/b/a.png", "images/a.png"])
    ['a.png', 'b/a.png', 'a_2.png']
    >>> distinct_names(["../x/a.png"])
    ['a.png']
    """
    paths = [_own_parts(file) for file in files]
    while all(len(parts) > 1 for parts in paths) and len({parts[0] for parts in paths}) == 1:
        paths = [parts[1:] for parts in paths]
    return _numbered(["/".join(parts) for parts in paths])


def _own_parts(file: str) -> list[str]:
    """Folders and name of a file, without what leads out of a folder: roots, drives and ``..``."""
    parts = file.replace("\\", "/").split("/")
    return [part for part in parts if part not in ("", ".", "..") and not part.endswith(":")]


def flat_names(files: Sequence[str]) -> list[str]:
    """A name without folders for each file: its own where these are distinct, else joined with its folders'.

    Examples
    --------
    >>> flat_names(["cam0/1.png", "cam0/2.png"]), flat_names(["cam0/1.png", "cam1/1.png"])
    (['1.png', '2.png'], ['cam0_1.png', 'cam1_1.png'])
    """
    names = distinct_names(files)
    last = [PurePosixPath(name).name for name in names]
    if len({name.casefold() for name in last}) == len(last):
        return last
    return _numbered([name.replace("/", "_") for name in names])


def _numbered(names: list[str]) -> list[str]:
    """The names, with a number before the suffix of those that were given before; case does not tell them apart."""
    taken, counts, out = {name.casefold() for name in names}, Counter(), []
    for name in names:
        counts[name.casefold()] += 1
        number, own = counts[name.casefold()], name
        while number > 1 and own.casefold() in taken:
            path = PurePosixPath(name)
            own, number = str(path.with_name(f"{path.stem}_{number}{path.suffix}")), number + 1
        taken.add(own.casefold())
        out.append(own)
    return out


def drop_masks(photos: PosedPhotos, findings: Findings, format: str) -> None:
    """Note that masks and depth maps are lost."""
    for name, files in (("masks", photos.masks), ("depth maps", photos.depths)):
        n_files = sum(file is not None for file in files or [])
        if n_files:
            findings.add(
                "warning", f"{n_files} {name} are left out: {format} lists none", where=photos.root,
                fix="--to transforms keeps them",
            )  # fmt: skip


def drop_circles(photos: PosedPhotos, findings: Findings, format: str) -> None:
    """Note that circles of fisheye lenses, beyond which photos are black, are lost."""
    if any(camera.image_circle for camera in photos.cameras):
        findings.add(
            "warning", f"how far the lens lets light through (fisheye_crop_radius) is left out: {format} does not hold "
            "it", where=photos.root, fix="--to transforms keeps it",
        )  # fmt: skip


def say_split_lost(photos: PosedPhotos, order: Sequence[int], findings: Findings, format: str) -> None:
    """Note a split that is lost in a format without one, where photos will be listed in ``order``."""
    by_rule = split_by_rule(len(order))
    kept = {name: sorted(order[i] for i in members) for name, members in by_rule.items()}
    if kept != {name: sorted(members) for name, members in photos.splits.items()}:
        findings.add(
            "warning", f"which photos are held out is left out: {format} has no lists, and every 8th by name will be "
            "taken for test", where=photos.root, fix="--to transforms or --to blender keeps the split",
        )  # fmt: skip
