"""Writing files so that nothing is ever half there, and preparing folders for output."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from pathlib import Path

from nerfkit.scenes.errors import NerfkitError

__all__ = ["LOCK_NAME", "check_output_folder", "explain_os_error", "prepare_output_folder", "write_atomically"]

# the file that is locked while a run writes into its folder (nerfkit/run_lock.py); no output of anybody's
LOCK_NAME = ".lock"


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
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise explain_os_error(error, path, len(payload)) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner can read
        Path(name).chmod(0o644)
        Path(name).replace(path)
        for folder in (path.parent, *(folder.parent for folder in made)):
            _sync_folder(folder)
    except OSError as error:
        raise explain_os_error(error, path, len(payload)) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()


def _sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` on the disk: a file whose name is lost with the power is lost itself."""
    if os.name == "nt":
        # folders cannot be opened there; the file system keeps its names by itself
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # file systems that have no such thing say so in one of these ways
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def _contents(folder: Path) -> list[Path]:
    return [item for item in folder.iterdir() if item.name != LOCK_NAME]


def check_output_folder(folder: Path, *, overwrite: bool, keep: Path | None = None) -> None:
    """Say whether ``folder`` can take a new run: absent, empty, or given up by ``overwrite``. Changes nothing.

    Parameters
    ----------
    folder : Path
        Where the output is wanted.
    overwrite : bool
        Whether an earlier output of nerfkit's may be replaced.
    keep : Path, optional
        What must survive, such as the photos that are read.

    Raises
    ------
    NerfkitError
        It has files in it, is a file, holds ``keep``, or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise NerfkitError("is a file; a folder is wanted", where=folder, fix="give another --out")
    if folder.is_dir() and _contents(folder):
        if not overwrite:
            raise NerfkitError(
                "is not empty",
                where=folder,
                fix="give another --out, or --overwrite to replace it, or --resume to go on",
            )
        _check_replaceable(folder, keep)
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise explain_os_error(error, folder) from error


def prepare_output_folder(folder: Path, *, overwrite: bool, keep: Path | None = None) -> Path:
    """Make ``folder``, empty; see :func:`check_output_folder` for what is refused."""
    folder = Path(folder)
    check_output_folder(folder, overwrite=overwrite, keep=keep)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for item in _contents(folder):
            if item.is_dir() and not item.is_symlink():
                shutil.rmtree(item)
            else:
                item.unlink()
    except OSError as error:
        raise explain_os_error(error, folder) from error
    return folder


def _check_replaceable(folder: Path, keep: Path | None) -> None:
    # config.yml alone is a name that many programs use
    is_run = (folder / "config.yml").is_file() and _names_nerfkit(folder / "versions.json")
    if not (is_run or (folder / "demo.json").is_file()):
        raise NerfkitError(
            "--overwrite replaces only folders that nerfkit made; this one has no config.yml and versions.json of ours",
            where=folder,
            fix="give another --out, or empty it yourself",
        )
    for place, what in ((keep, "the photos that are read"), (Path.cwd(), "the folder you are in")):
        if place is not None and folder.resolve() in (place.resolve(), *place.resolve().parents):
            raise NerfkitError(f"--overwrite would delete {what}", where=folder, fix="give another --out")


def _names_nerfkit(path: Path) -> bool:
    try:
        return "nerfkit" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def explain_os_error(error: OSError, path: Path, n_bytes: int = 0) -> NerfkitError:
    """What to tell a user about ``path``, to which ``n_bytes`` could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NerfkitError(
            f"no space left on the disk for {_megabytes(n_bytes)}",
            where=path,
            fix="free some, or give another --out",
        )
    return NerfkitError(
        f"cannot be written ({error.strerror or error})",
        where=path,
        fix="give a folder that you may write to",
    )


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes else "it"
