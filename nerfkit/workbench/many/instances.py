"""Instances: pictures of one size, or shapes on one lattice, of a folder or an array; some are held out as new ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.formats import is_image
from nerfkit.scenes.readers.frames import natural_key
from nerfkit.scenes.readers.photos import some
from nerfkit.scenes.readers.picture import (
    ARRAY_SUFFIXES,
    PictureFile,
    array_names,
    load_array,
    picture_of_array,
    read_picture,
)  # fmt: skip
from nerfkit.scenes.readers.surface import MESH_SUFFIXES

__all__ = ["LEAST", "Instances", "Split", "read_instances", "split"]

# fewest instances: four to learn from, two to choose by, two that are new
LEAST = 8
# names that an npz's instances may have beside others
KEYS = ("images", "instances", "values", "arr_0")
# values of all instances together
MAX_VALUES = 2**28
# instances that are new, at most; and of the others those that settings are chosen by, at most: fractions and numbers
NEW, CHOOSING = (1 / 6, 16), (1 / 10, 8)


@dataclass(frozen=True)
class Instances:
    """Pictures of one size, or shapes on one lattice.

    Parameters
    ----------
    values : ndarray of float32, shape (n, h, w, c) or (n, d, h, w, 1)
        Of pictures, integers brought to [0, 1]; of shapes truncated distances, see :mod:`.shapes`.
    names : tuple of str
        Of their files, or their indices.
    bounds : (float, float)
        Least and greatest value that there can be.
    bit_depth : {8, 16, 32}
        32 is float.
    said : tuple of str
        What was done to them.
    """

    values: NDArray[np.float32]
    names: tuple[str, ...]
    bounds: tuple[float, float]
    bit_depth: int
    said: tuple[str, ...] = ()

    @property
    def is_shapes(self) -> bool:
        """Whether they are shapes."""
        return self.values.ndim == 5

    @property
    def size(self) -> tuple[int, ...]:
        """Width and height in pixels, or cells along x, y and z."""
        return self.values.shape[-2:0:-1]


@dataclass(frozen=True)
class Split:
    """Indices of instances: to learn from, to choose settings by, and new ones, which nothing but figures sees."""

    learned: NDArray[np.intp]
    choosing: NDArray[np.intp]
    new: NDArray[np.intp]


def split(n: int, seed: int) -> Split:
    """By chance: a sixth are new, at most 16, and of the others a tenth choose, at most 8; two of each at least.

    Examples
    --------
    >>> [len(part) for part in split(100, 0).__dict__.values()]
    [76, 8, 16]
    """
    order = np.random.default_rng(seed).permutation(n)

    def count(total: int, most: tuple[float, int]) -> int:
        return int(min(max(2, total * most[0]), most[1]))

    n_new = count(n, NEW)
    n_choosing = count(n - n_new, CHOOSING)
    return Split(order[n_new + n_choosing :], order[n_new : n_new + n_choosing], order[:n_new])


def read_instances(path: Path, size: tuple[int, int] | None = None, n_cells: int = 32) -> Instances:
    """Read a folder of pictures or of meshes, or an npy or npz of pictures.

    Parameters
    ----------
    path : Path
        A folder, whose pictures or meshes are taken in natural order; or an array [n, h, w] or [n, h, w, c].
    size : (int, int), optional
        Width and height that all pictures are brought to; None: that of most of them.
    n_cells : int
        Along each side of the lattice that shapes are brought to.

    Raises
    ------
    NerfkitError
        There are fewer than eight, or they are of different kinds, or one cannot be read.
    """
    if not path.exists():
        raise NerfkitError(
            "there is no such folder", where=path, fix="give a folder of pictures or meshes, or an npz [n, h, w]"
        )
    if path.is_dir() and (meshes := _meshes_in(path)):
        return _of_meshes(path, meshes, size, n_cells)
    pictures, names = _of_folder(path) if path.is_dir() else _of_array(path)
    _check_number(len(pictures), path)
    kinds = Counter((picture.values.shape[2], picture.bit_depth) for picture in pictures)
    (kind, _), *others = kinds.most_common()
    if others:
        odd = [name for name, picture in zip(names, pictures, strict=True)
               if (picture.values.shape[2], picture.bit_depth) != kind]  # fmt: skip
        raise NerfkitError(
            f"most pictures have {kind[0]} channels of {kind[1]} bits, {some(odd)} not", where=path,
            fix="convert these, or take them out",
        )  # fmt: skip
    wanted = size or Counter(picture.size for picture in pictures).most_common(1)[0][0]
    if min(wanted) < 2:
        raise NerfkitError(
            "has pictures of {}x{} pixels; two a side at least are wanted".format(*wanted), where=path,
            fix="give larger pictures, or --size",
        )  # fmt: skip
    changed = [name for name, picture in zip(names, pictures, strict=True) if picture.size != wanted]
    said = []
    if changed:
        said = ["{} of {} pictures are not {}x{} pixels: their middle is cut to that shape and resized ({})".format(
            len(changed), len(pictures), *wanted, some(changed)
        )]  # fmt: skip
    if len(pictures) * wanted[0] * wanted[1] * kind[0] > MAX_VALUES:
        raise NerfkitError(
            f"has {len(pictures)} pictures of {wanted[0]}x{wanted[1]} pixels, more than {MAX_VALUES:,} values",
            where=path, fix="bring them to a smaller --size",
        )  # fmt: skip
    values = np.stack([_fitted(picture.values, wanted) for picture in pictures])
    if not np.ptp(values) > 0:
        raise NerfkitError("all values are the same", where=path, fix="give pictures with something on them")
    bounds = (0.0, 1.0) if kind[1] < 32 else (float(values.min()), float(values.max()))
    return Instances(values, tuple(names), bounds, kind[1], tuple(said))


def _check_number(n: int, path: Path) -> None:
    if n < LEAST:
        raise NerfkitError(
            f"has {n} instances; {LEAST} at least are wanted", where=path,
            fix="give more of the same kind: a start is learned from what they have in common",
        )  # fmt: skip


def _files_in(path: Path) -> list[Path]:
    """Files of a folder that are not hidden, in natural order."""
    files = [file for file in path.iterdir() if file.is_file() and file.name[0] != "."]
    return sorted(files, key=lambda file: natural_key(file.name))


def _meshes_in(path: Path) -> list[Path]:
    """Meshes of a folder; it may not hold pictures, too."""
    files = _files_in(path)
    meshes = [file for file in files if file.suffix.lower() in MESH_SUFFIXES]
    pictures = [file.name for file in files if file not in meshes and is_image(file)]
    if meshes and pictures:
        raise NerfkitError(
            f"has meshes ({some([file.name for file in meshes])}) and pictures ({some(pictures)})", where=path,
            fix="give a folder of one kind",
        )  # fmt: skip
    return meshes


def _of_meshes(path: Path, files: list[Path], size: tuple[int, int] | None, n_cells: int) -> Instances:
    from nerfkit.workbench.many.shapes import TRUNCATION, read_shapes

    _check_number(len(files), path)
    if size is not None:
        raise NerfkitError(
            "--size is of pictures, and these are meshes", where=path, fix="leave it out, or --set lattice=N"
        )
    if len(files) * n_cells**3 > MAX_VALUES:
        raise NerfkitError(
            f"has {len(files)} meshes, on a lattice of {n_cells} a side more than {MAX_VALUES:,} values", where=path,
            fix=f"lower it: --set lattice={n_cells // 2}",
        )  # fmt: skip
    values, said = read_shapes(files, n_cells)
    return Instances(values, tuple(file.name for file in files), (-TRUNCATION, TRUNCATION), 32, tuple(said))


def _of_folder(path: Path) -> tuple[list[PictureFile], list[str]]:
    files = [file for file in _files_in(path) if is_image(file)]
    if not files:
        seen = some(sorted(entry.name for entry in path.iterdir())) or "nothing"
        raise NerfkitError(
            f"has no pictures or meshes in it, but {seen}", where=path, fix="give the folder they are in"
        )
    return [read_picture(file) for file in files], [file.name for file in files]


def _of_array(path: Path) -> tuple[list[PictureFile], list[str]]:
    if path.suffix.lower() not in ARRAY_SUFFIXES:
        raise NerfkitError("is one file; many instances are wanted", where=path, fix="give a folder, or an npz")
    names = array_names(path)
    found = load_array(path, next((key for key in KEYS if key in names), None))
    if found.ndim not in (3, 4) or 0 in found.shape:
        raise NerfkitError(
            f"has shape {list(found.shape)}; [n, h, w] or [n, h, w, c] is wanted", where=path,
            fix="stack pictures of one size along the first axis",
        )  # fmt: skip
    indices = [str(index) for index in range(len(found))]
    # a message names the one that is wrong
    pictures = [picture_of_array(array, Path(f"{path}[{at}]")) for at, array in zip(indices, found, strict=True)]
    return pictures, indices


def _fitted(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """The middle part of the wanted shape, averaged or interpolated to the wanted size."""
    from skimage.transform import resize

    height, width = values.shape[:2]
    if (width, height) == size:
        return values
    factor = min(width / size[0], height / size[1])
    w, h = max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
    top, left = (height - h) // 2, (width - w) // 2
    part: Any = values[top : top + h, left : left + w]
    return np.asarray(resize(part, (size[1], size[0]), order=1, anti_aliasing=factor > 1), np.float32)
