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

__all__ = ["LESS", "OutOfMemoryError", "lack_of_memory", "memory_free", "telling_memory"]

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
    found, free = _ASKED.search(str(error)), _free_on_gpu() if is_gpu else memory_free()
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


def memory_free() -> int | None:
    """Bytes that this process may still take, by what the machine, the container and the process itself are allowed.

    None where the system tells nothing: it has no /proc, and sets no limit.
    """
    found = [_field("/proc/meminfo", "MemAvailable:", 1024), _left_in_container(), _left_to_process()]
    known = [n_bytes for n_bytes in found if n_bytes is not None]
    return max(0, min(known)) if known else None


def _left_in_container() -> int | None:
    # of control groups of version 2; "max" where there is no limit
    limit, used = (_read(f"/sys/fs/cgroup/memory.{name}").strip() for name in ("max", "current"))
    if not (limit.isdigit() and used.isdigit()):
        return None
    # files that were read once count as used, and go as soon as somebody needs the memory
    return int(limit) - int(used) + (_field("/sys/fs/cgroup/memory.stat", "inactive_file", 1) or 0)


def _left_to_process() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _read("/proc/self/statm").split()[:1]
    if limit == resource.RLIM_INFINITY or not pages:
        return None
    return limit - int(pages[0]) * os.sysconf("SC_PAGE_SIZE")


def _field(path: str, name: str, unit: int) -> int | None:
    """The number after a name in a file of names and numbers, times its unit."""
    lines = (line.split() for line in _read(path).splitlines())
    return next((int(words[1]) * unit for words in lines if words[:1] == [name]), None)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def _free_on_gpu() -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return int(torch.cuda.mem_get_info()[0])
