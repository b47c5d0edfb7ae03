"""Where a listed photo is: under its own name, or under one that can only mean it."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from nerfkit.scenes.findings import Findings
from nerfkit.scenes.places import is_allowed, plain_name

from .formats import HEIF_SUFFIXES, IMAGE_SUFFIXES

__all__ = ["Found", "PhotoSearch", "say_moved"]

# suffixes tried, in this order, where a file_path has none
SUFFIXES = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG", ".webp", ".tif", ".tiff", ".heic", ".HEIC")
PICTURES = {*IMAGE_SUFFIXES, *HEIF_SUFFIXES}
# beginnings of names of folders whose pictures are no photos, though they have the photos' names
NO_PHOTOS = ("mask", "depth", "normal", "seg", "alpha")
# files below the root that are looked at, so that a root given by mistake ends
MAX_FILES = 200_000


@dataclass(frozen=True)
class Found:
    """A photo that is there.

    Parameters
    ----------
    file : str
        Relative to the root, slashes forward, with its suffix.
    is_moved : bool
        Whether it has another name or place than was listed.
    is_allowed : bool
        Whether it may be read: no file of another folder may, as :mod:`nerfkit.scenes.places` has it.
    """

    file: str
    is_moved: bool = False
    is_allowed: bool = True


class PhotoSearch:
    """Finds listed files below a folder; what lies there is listed once, when the first is not where it should be.

    Parameters
    ----------
    root : Path
        Folder that listed names are relative to.

    Notes
    -----
    A file that is not there under its listed name is looked for by the name without suffix, whatever its case, for
    exports list ``0001.jpg`` where ``0001.png`` is, ``0001.png`` where ``0001.png.png`` is, and absolute paths of
    another machine. It is taken where one file alone has most folders, from the last one up, in common with the listed
    path. A listed folder that is there is kept to, as far up as it is: ``val/r_0.png`` is never ``train/r_0.png``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, listed: str, min_folders: int = 0) -> Found | None:
        """The file that a listed name means; None where there is none, or several may be meant.

        A file of another name or place has at least ``min_folders`` folders in common with the listed path.
        """
        # os.path's isfile, which takes a name that no file system would for one that is absent
        candidates = (c.as_posix() for c in _candidates(Path(plain_name(listed))))
        exact = next((file for file in candidates if os.path.isfile(self.root / file)), None)  # noqa: PTH113
        if exact is not None:
            return Found(exact, is_allowed=is_allowed(self.root, exact))
        alike = self.alike(listed, min_folders)
        return Found(alike[0], True) if len(alike) == 1 else None

    def find_all(self, listed: Sequence[str]) -> list[Found | None]:
        """What :meth:`find` gives for each; a file that several names would mean is no moved one of any of them."""
        found = [self.find(name) for name in listed]
        # a photo that is listed twice under one name is no contradiction
        names = {(one.file, name) for one, name in zip(found, listed, strict=True) if one is not None}
        claims = Counter(file for file, _ in names)
        return [None if one is not None and one.is_moved and claims[one.file] > 1 else one for one in found]

    def alike(self, listed: str, min_folders: int = 0) -> list[str]:
        """Files that a listed name could mean by its last parts, those of most parts."""
        parts = PurePosixPath(listed.replace("\\", "/")).parts
        folders = [part.casefold() for part in parts[:-1]]
        files = self._by_stem.get(_stem(parts[-1]), []) if parts else []
        wanted = max([min_folders, *(_common(file, folders) for file in self._folders)])
        files = [file for file in files if _is_photo(file, folders) and _common(file, folders) >= wanted]
        most = max((_common(file, folders) for file in files), default=0)
        best = [file for file in files if _common(file, folders) == most]
        same = [file for file in best if Path(file).suffix.casefold() == Path(parts[-1]).suffix.casefold()]
        return same or best

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        by_stem = defaultdict(list)
        for file in _pictures(self.root):
            by_stem[_stem(file.rsplit("/", 1)[-1])].append(file)
        return by_stem

    @cached_property
    def _folders(self) -> list[str]:
        """One file of each folder that has pictures."""
        files = (file for files in self._by_stem.values() for file in files)
        return list({PurePosixPath(file).parent: file for file in files}.values())


def say_moved(listed: Sequence[str], found: Sequence[Found | None], root: Path, findings: Findings) -> None:
    """Note which files were taken from another place or name than is listed."""
    moved = [(name, one.file) for name, one in zip(listed, found, strict=True) if one is not None and one.is_moved]
    if moved:
        name, file = moved[0]
        findings.add(
            "info", f"{len(moved)} of {len(listed)} photos have another name or place than is listed and were found "
            f"by the end of their path: {name!r} is read from {file}",
            where=root,
        )  # fmt: skip


def _candidates(plain: Path) -> list[Path]:
    """The name itself, or with each suffix where it has none of a picture."""
    if plain.suffix.lower() in {suffix.lower() for suffix in SUFFIXES}:
        return [plain]
    return [*(plain.with_name(plain.name + suffix) for suffix in SUFFIXES if plain.name), plain]


def _stem(name: str) -> str:
    """A file's name in one case, without the suffixes of pictures at its end."""
    plain = Path(name.casefold())
    while plain.suffix in PICTURES:
        plain = plain.with_suffix("")
    return plain.name


def _common(file: str, folders: Sequence[str]) -> int:
    """How many folders, from the last one up, a file has in common with a listed path."""
    own = [part.casefold() for part in PurePosixPath(file).parts[:-1]]
    shared = zip(reversed(own), reversed(folders), strict=False)
    return next((n for n, (a, b) in enumerate(shared) if a != b), min(len(own), len(folders)))


def _is_photo(file: str, folders: Sequence[str]) -> bool:
    """Whether no folder of a file is one of masks or depths that the listed path does not name."""
    own = (part.casefold() for part in PurePosixPath(file).parts[:-1])
    return not any(part.startswith(NO_PHOTOS) and part not in folders for part in own)


def _pictures(root: Path) -> Iterator[str]:
    """Pictures below a folder, relative to it; hidden folders are passed over."""
    left = MAX_FILES
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        left -= len(files)
        if left < 0:
            return
        for name in sorted(files):
            if Path(name).suffix.lower() in PICTURES:
                yield (Path(folder) / name).relative_to(root).as_posix()
