"""How much memory this machine has."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import NerfkitError

__all__ = ["check_floats", "physical_memory"]


def physical_memory() -> int:
    """Bytes; 0 where the system does not tell (Windows)."""
    if not hasattr(os, "sysconf"):
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_floats(n_values: int, where: str | Path, fix: str = "cut it into parts") -> None:
    """Raise NerfkitError unless so many values, as a file's header declares them, take half of memory in float32."""
    memory = physical_memory()
    if memory and 4 * n_values > memory / 2:
        raise NerfkitError(
            f"declares {n_values:,} values, {4 * n_values:,} bytes as floats; half of this machine's memory is "
            f"{memory // 2:,}", where=where, fix=fix,
        )  # fmt: skip
