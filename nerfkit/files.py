"""Writing files so that nothing is ever half there, and preparing folders for output."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from pathlib import Path

from nerfkit.scenes.errors import NerfkitError

__all__ = ["prepare_output_folder", "write_atomically"]


def write_atomically(path: Path, payload: bytes) -> None:
    """Write ``payload`` to ``path``: under another name first, then moved into place.

    Raises
    ------
    NerfkitError
        The disk is full or the folder cannot be written; what stood at ``path`` before is still there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _explain(error, path, len(payload)) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner can read
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        raise _explain(error, path, len(payload)) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()


def prepare_output_folder(folder: Path, *, overwrite: bool) -> Path:
    """Make sure that ``folder`` can take a new run: absent, empty, or given up by ``overwrite``.

    Raises
    ------
    NerfkitError
        It has files in it, is a file, or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise NerfkitError("is a file; a folder is wanted", where=folder, fix="give another --out")
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise NerfkitError(
                "is not empty", where=folder, fix="give another --out, or --overwrite to replace it, or --resume to go on"
            )
        _clear(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _explain(error, folder, 0) from error
    return folder


def _clear(folder: Path) -> None:
    if not ((folder / "config.yml").is_file() or (folder / "demo.json").is_file()):
        raise NerfkitError(
            "--overwrite replaces only folders that nerfkit made; this one has no config.yml",
            where=folder,
            fix="give another --out, or empty it yourself",
        )
    for item in folder.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()


def _explain(error: OSError, path: Path, n_bytes: int) -> NerfkitError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NerfkitError(
            f"no space left on the disk for {n_bytes / 1e6:.1f} MB", where=path, fix="free some, or give another --out"
        )
    return NerfkitError(f"cannot be written ({error.strerror})", where=path, fix="give a folder that you may write to")
