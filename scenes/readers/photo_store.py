"""Decoded photos in a file that is mapped into memory: what is not looked at takes none of it.

A set is decoded once. Its file lies in a folder of one's own choice under a name that follows from the photos' paths,
their times and the sizes wanted, so that a set that changed is decoded anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.writing import explain_os_error, move_into_place, temporary_beside, write_atomically

__all__ = ["StoredPhotos", "store_photos"]

# of how the files are laid out; part of their names
LAYOUT = 1
# what a look at one pixel may bring into memory: the pages round it that the system maps with it (Linux: 64 KiB)
BYTES_A_LOOK = 2**16
# photos decoded before they are written
CHUNK = 16


@dataclass(eq=False)
class StoredPhotos:
    """Photos in a mapped file.

    Parameters
    ----------
    file : Path
        Where they are.
    pixels : ndarray, shape (n_pixels, 3 or 4), uint8
        All of them by rows, one photo after the other; a fourth column is opaque for photos without alpha.
    images : dict of int to ndarray, shape (h, w, 3 or 4), uint8
        Views of it by index.
    spans : dict of int to (int, int)
        First row of each photo and the one after its last.
    limit : int
        Bytes of it that are kept in memory at most, about.
    """

    file: Path
    pixels: NDArray[np.uint8]
    images: dict[int, NDArray[np.uint8]]
    spans: dict[int, tuple[int, int]]
    limit: int
    _map: Any = field(repr=False, default=None)
    _seen: int = 0

    def rows(self, indices: Sequence[int]) -> NDArray[np.uint8] | None:
        """The pixels of these photos without a copy; None where they do not lie one after the other."""
        spans = [self.spans[index] for index in indices]
        if any(a[1] != b[0] for a, b in pairwise(spans)):
            return None
        return self.pixels[spans[0][0] : spans[-1][1]]

    def note_looks(self, n: int) -> None:
        """Count looks at ``n`` pixels anywhere; what is in memory is let go when it passes the limit."""
        self.note_bytes(n * BYTES_A_LOOK)

    def note_bytes(self, n_bytes: int) -> None:
        """Count bytes that are about to be looked at; what was looked at before is let go when they pass the limit."""
        self._seen += n_bytes
        if self._seen > self.limit and hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._seen = n_bytes


def store_photos(
    folder: Path, paths: Sequence[Path], indices: Sequence[int], cameras: Sequence[Camera], settings: Any,
    decode: Callable[[Sequence[int]], list[NDArray[np.uint8]]], *, has_alpha: bool, limit: int,
) -> StoredPhotos:  # fmt: skip
    """Open the file of a set, made first where there is none.

    Parameters
    ----------
    folder : Path
        Where files are kept.
    paths, indices, cameras : sequences
        The photos, their indices, and their cameras at the sizes wanted.
    settings : object
        What else decides their pixels, as JSON takes it.
    decode : callable
        From some of ``indices`` to their pixels.
    has_alpha : bool
        Whether any of them may have alpha.
    limit : int
        As in :class:`StoredPhotos`.

    Raises
    ------
    NerfkitError
        A photo cannot be decoded, by name, or the disk is full.
    """
    name = _name(paths, cameras, settings)
    file, table = folder / f"{name}.bytes", folder / f"{name}.json"
    if not (file.is_file() and table.is_file()):
        try:
            _write(file, table, indices, decode, 4 if has_alpha else 3)
        except OSError as error:
            n_bytes = sum(camera.width * camera.height for camera in cameras) * (4 if has_alpha else 3)
            told = explain_os_error(error, file, n_bytes)
            fix = "name a folder with room for them: export NERFKIT_CACHE=FOLDER"
            raise NerfkitError(f"decoded photos: {told.what}", where=file, fix=fix) from error
    return _open(file, json.loads(table.read_text(encoding="utf-8")), indices, limit)


def _name(paths: Sequence[Path], cameras: Sequence[Camera], settings: Any) -> str:
    told = [LAYOUT, settings]
    for path, camera in zip(paths, cameras, strict=True):
        found = path.stat()
        told.append([str(path.resolve()), found.st_mtime_ns, found.st_size, camera.width, camera.height])
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def _write(file: Path, table: Path, indices: Sequence[int], decode: Callable, n_channels: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(file)
    shapes = []
    try:
        with temporary.open("wb") as out:
            for start in range(0, len(indices), CHUNK):
                for image in decode(indices[start : start + CHUNK]):
                    height, width, n_own = image.shape
                    shapes.append([height, width, n_own])
                    if n_own < n_channels:
                        image = np.concatenate([image, np.full((height, width, 1), 255, np.uint8)], axis=2)
                    out.write(image.tobytes())
        move_into_place(temporary, file)
        write_atomically(table, json.dumps({"n_channels": n_channels, "shapes": shapes}).encode())
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def _open(file: Path, table: dict[str, Any], indices: Sequence[int], limit: int) -> StoredPhotos:
    with file.open("rb") as opened:
        # private: arrays of it may be taken for ones that can be written, as torch wants
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
    if hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_RANDOM)
    pixels = np.frombuffer(mapped, np.uint8).reshape(-1, table["n_channels"])
    images, spans, start = {}, {}, 0
    for index, (height, width, n_own) in zip(indices, table["shapes"], strict=True):
        spans[index] = start, start + height * width
        images[index] = pixels[start : start + height * width].reshape(height, width, -1)[..., :n_own]
        start += height * width
    return StoredPhotos(file, pixels, images, spans, limit, mapped)
