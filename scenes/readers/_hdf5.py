"""Datasets of HDF5 files that anybody may have written: within the file itself, and no larger than memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.machine_memory import physical_memory

__all__ = ["BROKEN_HDF5", "read_dataset"]

# what h5py raises on damaged files
BROKEN_HDF5 = (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, MemoryError, OverflowError)


def read_dataset(group: Any, name: str) -> NDArray:
    """The values of the dataset ``name`` in an open file or group of h5py's.

    Raises
    ------
    ValueError
        It is none, its values lie in another file (by a link, as external storage, or virtual), or there are more than
        half of this machine's memory holds.
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
    n_bytes, memory = math.prod(found.shape or ()) * max(8, found.dtype.itemsize), physical_memory()
    if memory and n_bytes > memory / 2:
        raise ValueError(f"{name} declares {n_bytes:,} bytes; half of this machine's memory is {memory // 2:,}")
    return np.asarray(found[()])
