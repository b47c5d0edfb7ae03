"""Seconds of work: a clock that stands still while numba compiles, so that a first run has as many as any other."""

from __future__ import annotations

import functools
import logging
import time
from typing import Any

from nerfkit.loop_cache import COST, is_kept

__all__ = ["say_when_compiling", "working_seconds"]

logger = logging.getLogger(__name__)


def working_seconds() -> float:
    """Seconds since some moment, without those in which this process compiled loops: its cache makes it a first run's.

    Examples
    --------
    >>> began = working_seconds()
    >>> 0 <= working_seconds() - began < 1
    True
    """
    return time.monotonic() - _compiling().seconds()


def say_when_compiling() -> None:
    """Log a line when numba starts to compile in this process."""
    _compiling().is_told = True


def _words() -> tuple[int, str]:
    if is_kept():
        return logging.INFO, "compiling the CPU's loops for this machine, once; the first run waits up to a minute"
    return logging.WARNING, (
        f"compiling the CPU's loops, which numba can keep nowhere: {COST}; name a folder: export NUMBA_CACHE_DIR=FOLDER"
    )


@functools.cache
def _compiling() -> Any:
    """What numba tells of each compilation, from the first call on."""
    from numba.core import event

    class Listener(event.TimingListener):
        """Adds the seconds up."""

        is_told = is_said = False

        def on_start(self, event: event.Event) -> None:
            super().on_start(event)
            if self.is_told and not self.is_said:
                self.is_said = True
                logger.log(*_words())

        def seconds(self) -> float:
            return self.duration if self.done else 0.0

    listener = Listener()
    event.register("numba:compile", listener)
    return listener
