"""One process at a time writes into a run folder: a file there that the system locks for as long as the process lives.

The lock is the system's and not the file's being there: a process that was killed leaves a file and no lock.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import platform
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from nerfkit.files import LOCK_NAME, explain_os_error
from nerfkit.scenes.errors import NerfkitError

__all__ = ["locked", "refuse_locked"]

logger = logging.getLogger(__name__)

# how systems say that another has the lock; what else they say is that they have no locks here
_TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
# byte that is locked on Windows, where nobody else could read a locked part: far behind what is written
_LOCKED_BYTE = 2**30


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let nobody else who asks for it write into ``folder``, which is made where it is not there yet.

    Raises
    ------
    NerfkitError
        Another process, or another thread of this one, is writing into it; or the folder cannot be made.
    """
    path = Path(folder) / LOCK_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _take(path)
    except OSError as error:
        raise explain_os_error(error, Path(folder)) from error
    try:
        # only a word for whoever comes second: a full disk is met by what has to be written
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)
            os.write(handle, json.dumps(_this_process()).encode())
        yield
    finally:
        _release(handle, path)


def refuse_locked(folder: Path) -> None:
    """Raise an error where somebody is writing into ``folder``; changes nothing."""
    path = Path(folder) / LOCK_NAME
    # absent, or nobody may write there: whoever wants to hears of that from what writes
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDWR)
        try:
            _lock(handle, path)
        finally:
            os.close(handle)


def _take(path: Path) -> int:
    """A handle on the lock file, locked."""
    while True:
        # a link would have another file emptied
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            _lock(handle, path)
        except BaseException:
            os.close(handle)
            raise
        # whoever had it before may have removed the file between our opening and locking it
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        os.close(handle)


def _release(handle: int, path: Path) -> None:
    if os.name == "nt":
        # a file that is open cannot be removed there
        os.close(handle)
        with contextlib.suppress(OSError):
            path.unlink()
        return
    # removed while it is locked: nobody can have taken it in between
    with contextlib.suppress(OSError):
        path.unlink()
    os.close(handle)


def _lock(handle: int, path: Path) -> None:
    """Lock an open file until it is closed; an error says who has it already."""
    try:
        _lock_by_system(handle)
    except OSError as error:
        if error.errno in _TAKEN:
            raise _taken(path) from error
        # a network's file system may have no locks: better to train without than not at all
        logger.info("%s: cannot be locked here (%s); see to it that one run at a time writes there", path.parent, error)


def _lock_by_system(handle: int) -> None:
    # by sys.platform, which type checkers understand
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _this_process() -> dict[str, str | int]:
    started = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return {"pid": os.getpid(), "started": started, "host": platform.node()}


def _taken(path: Path) -> NerfkitError:
    """What to tell whoever comes second."""
    try:
        other = json.loads(path.read_text(encoding="utf-8"))
        elsewhere = "" if other["host"] == platform.node() else f" on {other['host']}"
        who = f"process {other['pid']}{elsewhere}, since {other['started']}"
    except (OSError, ValueError, KeyError, TypeError):
        # it has only just begun
        who = "another process"
    return NerfkitError(
        f"is being written by {who}", where=path.parent, fix="wait until it is done, stop it, or give another --out"
    )
