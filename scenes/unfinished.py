"""Files that are being written: what they are called until they are whole, and what killed processes left of them.

A file is written as ``.NAME.MACHINE-PROCESS-START.part`` beside the name that it is moved to. The first that a process
writes into a folder has it look for such names there whose process is gone, and remove them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from pathlib import Path

__all__ = ["is_unfinished", "remove_abandoned", "unfinished_name"]

_NAME = re.compile(r"\..*\.([0-9a-f]{8})-([0-9]{1,10})-([0-9a-f]{8})\.part(\.\w+)?", re.DOTALL)
# seconds after which a file that nothing was written to is nobody's, where its process cannot be asked for: a machine
# cannot see another's
ABANDONED_AFTER = 86400.0
# tells this process from one before it that had its number
_START = secrets.token_hex(4)
# folders that this process has looked through
_seen: set[Path] = set()


def unfinished_name(name: str, suffix: str = "") -> str:
    """What a file of this process is called until it is whole; libraries look at the ``suffix``."""
    # of 255 bytes, four a letter, what is added has room in any case
    return f".{name[:40]}.{_machine()}-{os.getpid()}-{_START}.part{suffix}"


def is_unfinished(name: str) -> bool:
    """Whether a file of this name is one that is being written, or was when its process ended."""
    return _NAME.fullmatch(name) is not None


def remove_abandoned(folder: Path) -> None:
    """Remove what processes that are gone were writing into ``folder``; looks once in the life of this one.

    What a process of this machine writes that still runs stays, and so does for a day what one of another machine
    wrote to: whether that runs cannot be asked.
    """
    folder = folder.absolute()
    if folder in _seen:
        return
    _seen.add(folder)
    # a folder that cannot be listed is no concern of whoever writes one file
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            if (match := _NAME.fullmatch(path.name)) and _is_abandoned(path, *match.groups()[:3]):
                _remove(path)


def _is_abandoned(path: Path, machine: str, process: str, start: str) -> bool:
    if machine == _machine() and os.name != "nt":
        number = int(process)
        return start != _START if number == os.getpid() else not _is_running(number)
    # another machine's; and Windows has no way to ask for a process without ending it
    return time.time() - _written(path) > ABANDONED_AFTER


def _is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        # another user's
        return True
    return True


def _written(path: Path) -> float:
    """When a file, or a folder of files, was last written to."""
    files = [path, *path.iterdir()] if path.is_dir() and not path.is_symlink() else [path]
    return max(file.lstat().st_mtime for file in files)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@functools.cache
def _machine() -> str:
    """A word for where numbers of processes mean what they mean here: this machine, or a container on it."""
    words = platform.node()
    with contextlib.suppress(OSError):
        words += str(Path("/proc/self/ns/pid").readlink())
    return hashlib.blake2b(words.encode(errors="surrogateescape"), digest_size=4).hexdigest()
