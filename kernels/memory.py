"""Large tensors for the CPU loops that gather and scatter at random: in huge pages, and used again.

numpy asks for huge pages for arrays from 4 MiB on (Linux, where transparent_hugepage is `madvise` or `always`), torch
does not; with pages of 4 KiB the addresses of a table outgrow the processor's translation cache.
"""

from __future__ import annotations

import weakref

import numpy as np
import torch
from torch import Tensor

__all__ = ["large_empty"]

# memory, and a reference to the view of it that a tensor holds: dead when no tensor is left on it
_given: list[tuple[np.ndarray, weakref.ref[np.ndarray]]] = []


def large_empty(*shape: int, dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor on the CPU, where possible in the memory of an earlier one that is gone.

    What every training step allocates anew is so touched for the first time once, and not in each step.

    Parameters
    ----------
    *shape : int
        Sizes.
    dtype : torch.dtype
        A type that numpy has.
    """
    wanted = torch.empty((), dtype=dtype).numpy().dtype
    size = int(np.prod(shape))
    free = [memory for memory, view in _given if view() is None]
    # what is free and of another size belonged to another field, and is let go
    _given[:] = [(memory, view) for memory, view in _given if view() is not None]
    memory = next((memory for memory in free if (memory.size, memory.dtype) == (size, wanted)), None)
    if memory is None:
        memory = np.empty(size, wanted)
    view = memory.reshape(shape).view()
    _given.append((memory, weakref.ref(view)))
    return torch.from_numpy(view)
