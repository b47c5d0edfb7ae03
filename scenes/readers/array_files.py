"""Arrays of npy and npz files that anybody may have written: no objects, no size that the file cannot hold.

What a header declares is checked before memory is asked for: against the bytes that there are, and against the memory
of this machine, since zeros are compressed a thousandfold.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.machine_memory import physical_memory

__all__ = ["ArrayFile", "open_arrays", "read_npy"]

_ZIP_MAGIC = b"PK"
# an npz that compresses better than this holds next to nothing but zeros, and at most so many bytes of it are read
MAX_RATIO, MAX_ZEROS = 200, 2**30


@dataclass(frozen=True)
class ArrayFile:
    """An npz, or an npy, which holds one array without a name.

    Parameters
    ----------
    path : Path
    names : tuple of str
        Of the arrays in an npz, in their order; of an npy ("",).
    fix : str
        What to tell a user whose file cannot be read.
    """

    path: Path
    names: tuple[str, ...]
    fix: str

    def __contains__(self, name: str) -> bool:
        return name in self.names

    @property
    def is_npy(self) -> bool:
        """Whether it holds one array that has no name."""
        return self.names == ("",)

    def load(self, name: str = "") -> NDArray:
        """The array of that name.

        Raises
        ------
        NerfkitError
            It is damaged, holds objects, or declares a size that its file cannot hold.
        """
        with _explained(self.path, self.fix):
            if self.is_npy:
                with self.path.open("rb") as file:
                    return _array(file, self.path.stat().st_size)
            with zipfile.ZipFile(self.path) as archive:
                member = archive.getinfo(f"{name}.npy")
                _check_ratio(member, self.path.stat().st_size)
                with archive.open(member) as file:
                    return _array(file, member.file_size)


def open_arrays(path: Path, fix: str = "save it anew with numpy.save or numpy.savez, without objects") -> ArrayFile:
    """What an npy or npz holds, by its first bytes; no array is read.

    Raises
    ------
    NerfkitError
        It is neither, or damaged; ``fix`` is the next step.
    """
    with _explained(path, fix):
        with path.open("rb") as file:
            is_zip = file.read(2) == _ZIP_MAGIC
        if not is_zip:
            return ArrayFile(path, ("",), fix)
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        return ArrayFile(path, tuple(names), fix)


def read_npy(path: Path, fix: str) -> NDArray:
    """The one array of an npy.

    Raises
    ------
    NerfkitError
        It is no npy, or damaged; ``fix`` is the next step.
    """
    found = open_arrays(path, fix)
    if not found.is_npy:
        raise NerfkitError("is an npz; an npy of one array is wanted", where=path, fix=fix)
    return found.load()


@contextmanager
def _explained(path: Path, fix: str) -> Iterator[None]:
    try:
        yield
    # numpy's, zipfile's and zlib's parsers raise whatever they meet
    except Exception as error:
        if "Object arrays" in str(error):
            fix = (
                "its items are objects, as in a list of pictures of several sizes or a dictionary: save plain numbers, "
                "np.savez(FILE, frames=np.stack([np.asarray(f) for f in frames]))"
            )
        raise NerfkitError(f"this array cannot be read ({_words(error)})", where=path, fix=fix) from error


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _check_ratio(member: zipfile.ZipInfo, n_bytes: int) -> None:
    packed = min(member.compress_size, n_bytes)
    if member.file_size > max(MAX_ZEROS, MAX_RATIO * packed):
        raise ValueError(
            f"its {packed:,} bytes would become {member.file_size:,}; {MAX_RATIO} times as many, or {MAX_ZEROS:,}, "
            "are read at most"
        )


def _array(file: IO[bytes], n_bytes: int) -> NDArray:
    """The array of an npy stream of so many bytes."""
    shape, is_fortran, dtype, begin = _header(file)
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded")
    if min(shape, default=1) < 0:
        raise ValueError(f"it declares the shape {shape}")
    wanted, there = math.prod(shape) * dtype.itemsize, n_bytes - begin
    if wanted > there:
        raise ValueError(f"it declares {wanted:,} bytes of {dtype}, shape {shape}, and has {there:,}")
    memory = physical_memory()
    if memory and wanted > memory / 2:
        raise ValueError(f"it needs {wanted:,} bytes of memory; half of this machine's is {memory // 2:,}")
    if not dtype.itemsize:
        raise ValueError(f"its values of {dtype} have no bytes")
    values = _filled(file, wanted).view(dtype)
    return values.reshape(shape[::-1]).T if is_fortran else values.reshape(shape)


def _filled(file: IO[bytes], n_bytes: int) -> NDArray[np.uint8]:
    """So many bytes of a stream, which may be written to."""
    found, at = np.empty(n_bytes, np.uint8), 0
    # a stream that is unpacked gives a part at a time
    while at < n_bytes:
        n_read = file.readinto(found[at:])  # pyright: ignore[reportAttributeAccessIssue] -- both kinds of files have it
        if not n_read:
            raise ValueError(f"it declares {n_bytes:,} bytes and has {at:,}")
        at += n_read
    return found


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, Any, int]:
    """Shape, whether the first index runs fastest, type, and where the values begin."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"it is of version {version} of the format; 1.0 and 2.0 are read")
    return shape, is_fortran, dtype, file.tell()
