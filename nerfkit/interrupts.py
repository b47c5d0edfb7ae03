"""Ctrl-C and SIGTERM as a question that work asks between two steps, so that what there is can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["stop_on_signals"]

# handlers that are in place, the innermost last
_ASKED: list[Callable[[int, FrameType | None], None]] = []


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a question; a second one is immediate.

    Work that asks may contain other work that asks: one signal stops both.

    Yields
    ------
    is_stopped : callable
        Whether a signal has come. Off the main thread, where Python hears no signals, it never has.
    """
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped.is_set
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()
        for outer in _ASKED[: _ASKED.index(stop)][-1:]:
            outer(number, frame)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    _ASKED.append(stop)
    try:
        yield stopped.is_set
    finally:
        _ASKED.remove(stop)
        for number, handler in before.items():
            signal.signal(number, handler)
