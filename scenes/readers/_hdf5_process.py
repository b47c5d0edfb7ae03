"""The process that reads an HDF5 file: HDF5's library can crash, or hang, on a damaged one, and only this process ends.

    python _hdf5_process.py KIND FILE BYTES SECONDS

It is started by :mod:`nerfkit.scenes.readers._hdf5`, which says what a file may take, and imports nothing of nerfkit,
so that it starts quickly. Its stdout is a line of JSON, ``error`` or ``facts`` and ``arrays`` (name, dtype, shape),
then the arrays' bytes in that order. What it reads lies in the file itself.
"""

from __future__ import annotations

import faulthandler
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["answer"]

# what h5py raises on damaged files
BROKEN_HDF5 = (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, MemoryError, OverflowError)
# names of a group that are told of, and letters of each
MAX_NAMES, MAX_LETTERS = 20, 100
# numbers of an acquisition's head that are looked at, and its counters
HEAD = ("flags", "active_channels", "center_sample", "trajectory_dimensions")
COUNTERS = ("kspace_encode_step_1", "kspace_encode_step_2", "slice", "contrast", "phase", "repetition", "set")

Found = tuple[dict[str, Any], dict[str, NDArray]]


def exchange(file: Any, max_bytes: int) -> Found:
    """Of a scan of the Data Exchange form what is there of data, data_white, data_dark and theta."""
    group = _group(file, "exchange")
    if group is None or "data" not in group:
        return {"others": _names(file), "is_kspace": _is_ismrmrd(file)}, {}
    names = [name for name in ("data", "data_white", "data_dark", "theta") if name in group]
    arrays = {name: _numbers(read_dataset(group, name, max_bytes), name) for name in names}
    unit = str(group["theta"].attrs.get("units", "degrees"))[:MAX_LETTERS] if "theta" in group else ""
    return {"unit": unit, "unread": [name for name in _names(group) if name not in names]}, arrays


def ismrmrd(file: Any, max_bytes: int) -> Found:
    """Of an ISMRMRD file the heads of its acquisitions, a number an acquisition, their values one after another, how
    many each has, and the header's bytes.
    """
    group = _group(file, "dataset")
    if group is None:
        raise ValueError("it has no dataset")
    table, text = read_dataset(group, "data", max_bytes), read_dataset(group, "xml", max_bytes).ravel()[0]
    heads = table["head"]
    arrays: dict[str, NDArray] = {name: _whole_numbers(heads[name], name) for name in HEAD}
    arrays |= {name: _whole_numbers(heads["idx"][name], name) for name in COUNTERS}
    lines = [_numbers(np.asarray(values), "data").astype(np.float32) for values in table["data"]]
    arrays["lengths"] = np.array([line.size for line in lines], np.int64)
    arrays["values"] = np.concatenate([np.zeros(0, np.float32), *lines], axis=None)
    payload = text if isinstance(text, bytes) else str(text).encode()
    return {}, arrays | {"xml": np.frombuffer(payload, np.uint8)}


KINDS = {"exchange": exchange, "ismrmrd": ismrmrd}


def read_dataset(group: Any, name: str, max_bytes: int) -> NDArray:
    """The values of the dataset ``name`` in an open file or group of h5py's.

    Raises
    ------
    ValueError
        It is none, its values lie in another file (by a link, as external storage, or virtual), or there are more than
        ``max_bytes``, if that is not 0.
    """
    import h5py

    links = [group.get("/".join(name.split("/")[: n + 1]), getlink=True) for n in range(name.count("/") + 1)]
    if any(isinstance(link, h5py.ExternalLink) for link in links):
        raise ValueError(f"{name} is a link into another file, which is not read")
    found = group[name]
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{name} is no dataset")
    if found.external or found.is_virtual:
        raise ValueError(f"the values of {name} lie in another file, which is not read")
    n_bytes = math.prod(found.shape or ()) * max(8, found.dtype.itemsize)
    if max_bytes and n_bytes > max_bytes:
        raise ValueError(f"{name} declares {n_bytes:,} bytes; half of this machine's memory is {max_bytes:,}")
    return np.asarray(found[()])


def _group(file: Any, name: str) -> Any:
    import h5py

    if isinstance(file.get(name, getlink=True), h5py.ExternalLink):
        raise ValueError(f"{name} is a link into another file, which is not read")
    return file.get(name)


def _is_ismrmrd(file: Any) -> bool:
    import h5py

    # what a link into another file leads to is not looked at
    is_here = isinstance(file.get("dataset", getlink=True), h5py.HardLink)
    group = file.get("dataset") if is_here else None
    return isinstance(group, h5py.Group) and "xml" in group


def _names(group: Any) -> list[str]:
    return [str(name)[:MAX_LETTERS] for name, _ in zip(group, range(MAX_NAMES), strict=False)]


def _numbers(values: NDArray, name: str) -> NDArray:
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{name} has values of kind {values.dtype}; real numbers are wanted")
    return values


def _whole_numbers(values: NDArray, name: str) -> NDArray[np.int64]:
    if values.dtype.kind not in "iu":
        raise ValueError(f"{name} of the heads is of kind {values.dtype}; whole numbers are wanted")
    return values.astype(np.int64)


def answer(kind: str, path: str, max_bytes: int, out: BinaryIO) -> None:
    """Read a file, and write what it holds, or what is wrong with it, to ``out``."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            facts, arrays = KINDS[kind](file, max_bytes)
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        _say(out, {"facts": facts, "arrays": [[name, x.dtype.str, x.shape] for name, x in arrays.items()]})
        for array in arrays.values():
            out.write(array.reshape(-1).view(np.uint8).data)
    except BROKEN_HDF5 as error:
        _say(out, {"error": str(error) or type(error).__name__})
    out.flush()


def _say(out: BinaryIO, words: Mapping[str, Any]) -> None:
    out.write(json.dumps(words).encode() + b"\n")


def _main() -> None:
    kind, path, max_bytes, seconds = sys.argv[1:]
    # nobody else ends it where it hangs in the library and whoever started it is gone
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(float(seconds), exit=True, file=nowhere)
        answer(kind, path, int(max_bytes), sys.stdout.buffer)


if __name__ == "__main__":
    _main()
