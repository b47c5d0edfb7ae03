"""Writing files so that nothing is ever half there, and what is said where it cannot be done."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from .errors import NerfkitError
from .unfinished import remove_abandoned, unfinished_name

__all__ = [
    "explain_os_error", "is_writable", "lack_of_room", "move_into_place", "sync", "temporary_beside",
    "write_atomically",
]  # fmt: skip

# how systems say that a disk, or what a user may have of it, is full
_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_atomically(path: Path, payload: bytes) -> None:
    """Write ``payload`` to ``path``: under another name first, then moved into place.

    Raises
    ------
    NerfkitError
        The disk is full or the folder cannot be written; what stood at ``path`` before is still there.
    """
    made = [folder for folder in path.absolute().parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent)
        # two threads may write to the same path
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=unfinished_name(path.name), prefix=".")
    except OSError as error:
        raise explain_os_error(error, path, len(payload)) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(payload)
        # mkstemp makes files that only their owner can read
        Path(name).chmod(0o644)
        move_into_place(Path(name), path)
        for folder in made:
            sync(folder.parent)
    except OSError as error:
        raise explain_os_error(error, path, len(payload)) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()


def temporary_beside(path: Path, suffix: str = "") -> Path:
    """Where this process writes what is moved to ``path`` when it is whole; libraries look at the ``suffix``."""
    remove_abandoned(path.parent)
    return path.with_name(unfinished_name(path.name, suffix))


def move_into_place(temporary: Path, path: Path) -> None:
    """Give a finished file, or a folder of files, beside ``path`` that name, its bytes on the disk before it.

    A file that is there is replaced. A power cut leaves the old one or the new one, whole.
    """
    for item in (*temporary.iterdir(), temporary) if temporary.is_dir() else (temporary,):
        sync(item)
    temporary.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have the bytes of a file, or the names in a folder, on the disk: a file whose name is lost is lost itself."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":
        # folders cannot be opened there; the file system keeps its names by itself
        return
    handle = os.open(path, os.O_RDONLY if is_folder or os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        # file systems that have no such thing for folders say so in one of these ways
        if not is_folder or error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def explain_os_error(error: OSError, path: Path, n_bytes: int = 0) -> NerfkitError:
    """What to tell a user about ``path``, to which ``n_bytes`` could not be written."""
    if error.errno in _FULL:
        return NerfkitError(
            f"no space left on the disk for {_megabytes(n_bytes)}",
            where=path,
            fix="free some, or give another --out",
        )
    if error.errno == errno.EFBIG:
        return NerfkitError(
            f"{_megabytes(n_bytes)} is more than a file may have here",
            where=path,
            fix="look at `ulimit -f`, or give another --out",
        )
    return NerfkitError(
        f"cannot be written ({error.strerror or error})",
        where=path,
        fix="give a folder that you may write to",
    )


def lack_of_room(error: Exception) -> NerfkitError | None:
    """What to tell of an error that says that a disk is full, whatever raised it; None of any other."""
    if not isinstance(error, OSError) or error.errno not in (*_FULL, errno.EFBIG):
        return None
    told = explain_os_error(error, Path())
    # libraries that write for themselves often do not say where
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    return NerfkitError(told.what, where=where, fix=told.fix)


def is_writable(folder: Path) -> bool:
    """Whether a file can be made in ``folder``, or in the nearest folder above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes else "it"
