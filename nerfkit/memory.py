"""Memory that does not suffice is a matter of sizes: what was asked for, what there was, and what to lower.

numpy, torch and numba each have an error of their own for it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from nerfkit.scenes.errors import NerfkitError

__all__ = ["LESS", "OutOfMemoryError", "lack_of_memory", "telling_memory"]

# what torch says, on CPUs and GPUs, in errors that are no MemoryError; cuBLAS has words of its own
_LACKING = re.compile(r"allocate memory|not enough memory|out of memory|ALLOC_FAILED", re.IGNORECASE)
# "12.5 GiB" of numpy and CUDA, "400000 bytes" of torch on a CPU
_ASKED = re.compile(r"allocate ([\d.]+) ?([KMGTPE]?i?B|bytes)", re.IGNORECASE)
# what to lower where it is not known what was done
LESS = "end other programs, or do with less: smaller or fewer pictures"


class OutOfMemoryError(NerfkitError):
    """Memory did not suffice for what was asked."""


@contextlib.contextmanager
def telling_memory(where: str, less: str) -> Iterator[None]:
    """Around what may need too much memory, also as a decorator: its error says ``less``, what is to be lowered."""
    try:
        yield
    except Exception as error:
        lack = lack_of_memory(error, where=where, less=less)
        if lack is None:
            raise
        raise lack from error


def lack_of_memory(error: Exception, *, where: str = "", less: str = LESS) -> OutOfMemoryError | None:
    """What to tell a user of an error that says that memory did not suffice; None of any other error."""
    is_lack = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if not is_lack and not (isinstance(error, RuntimeError) and _LACKING.search(str(error))):
        return None
    is_gpu = re.search("CUDA|CUBLAS", str(error)) is not None
    found, free = _ASKED.search(str(error)), _free_on_gpu() if is_gpu else _free()
    asked = "" if found is None else f"{_size(float(found[1]), found[2])} more were needed"
    there = "" if free is None else f"{_size(free, 'bytes')} {'of the GPU ' if is_gpu else ''}were free"
    sizes = ", ".join(part for part in (asked, there) if part)
    return OutOfMemoryError(f"memory does not suffice{': ' if sizes else ''}{sizes}", where=where, fix=less)


def _size(number: float, unit: str) -> str:
    """A size in GB, or in MB below one.

    Examples
    --------
    >>> _size(1.5, "GiB"), _size(2e6, "bytes")
    ('1.61 GB', '2 MB')
    """
    power = max("BKMGTPE".find(unit[0].upper()), 0)
    n_bytes = number * (1024 if "i" in unit else 1000) ** power
    return f"{n_bytes / 1e9:.3g} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.3g} MB"


def _free() -> int | None:
    """Bytes that this process may still take, as far as the system tells: of the machine, container and process."""
    found = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024)
    with contextlib.suppress(OSError, ValueError):
        # a container's; "max" where it has none
        group = Path("/sys/fs/cgroup")
        found.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    if sys.platform != "win32":
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        with contextlib.suppress(OSError, ValueError):
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            if limit != resource.RLIM_INFINITY:
                found.append(limit - pages * os.sysconf("SC_PAGE_SIZE"))
    return max(0, min(found)) if found else None


def _free_on_gpu() -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return int(torch.cuda.mem_get_info()[0])
