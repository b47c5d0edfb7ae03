"""What a run on a CPU asks of the libraries under it: threads and memory."""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = [
    "keep_freed_memory", "return_freed_memory", "usable_cores", "use_all_cores", "wait_briefly",
]  # fmt: skip

# mallopt(3): blocks from this size on are mapped one by one and go back to the system when they are freed
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1
# a photo is larger than this, a small tensor is not
_SMALL = 2**18
# the most that glibc takes for 64 bits, half of its HEAP_MAX_SIZE
_LARGEST = 2**25
# turns of libgomp's waiting loop before a thread sleeps, about a tenth of a millisecond
_SPINS = 10_000


def usable_cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def wait_briefly() -> None:
    """Let OpenMP's threads spin for a moment while they wait, then sleep; to be called before torch is imported.

    Threads that spin for long take the cores from those that work: torch's and numba's, and other processes'. Threads
    that sleep at once are woken for each of the short loops of a step, of which a small one takes a third longer.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", str(_SPINS))


def use_all_cores() -> None:
    """As many threads as the process may use; processes of one run share the cores of their machine."""
    import torch

    from nerfkit.ranks import launched

    n_sharing = launched().local_size
    n_threads = max(1, usable_cores() // n_sharing)
    torch.set_num_threads(n_threads)
    if n_sharing > 1:
        import numba

        # which takes all cores, too, unless told
        numba.set_num_threads(min(n_threads, numba.config.NUMBA_NUM_THREADS))  # pyright: ignore


def return_freed_memory() -> None:
    """From now on memory that is freed goes back to the system: for photos, which are read, copied and let go.

    glibc otherwise raises its threshold with each block that is freed and keeps what lies below it.
    """
    _mallopt(_M_MMAP_THRESHOLD, _SMALL)
    _mallopt(_M_TRIM_THRESHOLD, _SMALL)


def keep_freed_memory() -> None:
    """From now on memory that is freed is kept for the next block: for tensors, which every step makes anew.

    Fresh pages are zeroed by the system as they are first touched, which took a twentieth of a training step.
    """
    _mallopt(_M_MMAP_THRESHOLD, _LARGEST)
    _mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _mallopt(parameter: int, value: int) -> None:
    """glibc's mallopt; other C libraries have none, and manage by themselves."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(parameter, value)
