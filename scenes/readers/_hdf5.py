"""HDF5 files that anybody may have written: read in a process of their own, which they may crash or hold up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.extras import import_extra
from nerfkit.scenes.machine_memory import physical_memory

__all__ = ["Hdf5Content", "read_hdf5"]

# what an HDF5 file begins with, at its beginning or behind a block of the user's of 512 bytes, 1024, 2048, ...
SIGNATURE, FIRST_OFFSET = b"\x89HDF\r\n\x1a\n", 512
# seconds that a file may take, and bytes of it for which it may take another one: less than any disk gives
PATIENCE, BYTES_A_SECOND = 60.0, 5e6
# bytes of what the process says before the arrays
MAX_SAID = 1 << 20


@dataclass(frozen=True)
class Hdf5Content:
    """What was read of a file.

    Parameters
    ----------
    facts : dict
        Texts and lists of these.
    arrays : dict
        By name; of whole or real numbers.
    """

    facts: dict[str, Any]
    arrays: dict[str, NDArray]


def read_hdf5(path: Path, kind: str, *, fix: str) -> Hdf5Content:
    """Read a file by what :mod:`nerfkit.scenes.readers._hdf5_process` has for its ``kind``.

    Raises
    ------
    NerfkitError
        It is no HDF5 file or damaged, lies in several files, or has more values than half of this machine's memory
        holds; or HDF5's library crashed or hung on it.
    MissingCapabilityError
        h5py is not installed.
    """
    import_extra("h5py", "medical", path)
    try:
        if not _has_signature(path):
            raise NerfkitError("is no HDF5 file: it has no signature of one", where=path, fix=fix)
        patience = PATIENCE + path.stat().st_size / BYTES_A_SECOND
    except OSError as error:
        raise NerfkitError(f"cannot be read ({error.strerror})", where=path, fix=fix) from error
    began = time.monotonic()
    child = start([kind, str(path), str((physical_memory() or 0) // 2), str(patience)])
    assert child.stdout is not None
    try:
        with child.stdout:
            found = _received(child.stdout)
    finally:
        # of what it has not said nobody will ask
        child.kill()
        code = child.wait()
    if found is None:
        is_late = time.monotonic() - began > patience
        what = f"took more than {patience:.0f} s for it" if is_late else f"crashed on it (exit code {code})"
        raise NerfkitError(f"cannot be read: HDF5's library {what}", where=path, fix=fix)
    if "error" in found.facts:
        raise NerfkitError(f"cannot be read ({found.facts['error']})", where=path, fix=fix)
    return found


def start(words: list[str]) -> subprocess.Popen[bytes]:
    """Start the process that reads a file."""
    program = Path(__file__).with_name("_hdf5_process.py")
    # h5py where this process has it, and never from the folder that one happens to be in
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(place for place in sys.path if place)}
    return subprocess.Popen(
        [sys.executable, "-P", str(program), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env=environment,
    )  # fmt: skip


def _has_signature(path: Path) -> bool:
    offset, size = 0, path.stat().st_size
    with path.open("rb") as file:
        while offset + len(SIGNATURE) <= size:
            file.seek(offset)
            if file.read(len(SIGNATURE)) == SIGNATURE:
                return True
            offset = max(FIRST_OFFSET, 2 * offset)
    return False


def _received(stream: IO[Any]) -> Hdf5Content | None:
    """What the process says; None where it ended before it had said it."""
    line = stream.readline(MAX_SAID)
    if not line.endswith(b"\n"):
        return None
    said = json.loads(line)
    if "error" in said:
        return Hdf5Content(said, {})
    arrays = {}
    for name, dtype, shape in said["arrays"]:
        array = np.empty(shape, np.dtype(dtype))
        view = array.reshape(-1).view(np.uint8).data
        while len(view):
            n = stream.readinto(view)  # pyright: ignore[reportAttributeAccessIssue]  of a pipe there is one
            if not n:
                return None
            view = view[n:]
        arrays[name] = array
    return Hdf5Content(said["facts"], arrays)
