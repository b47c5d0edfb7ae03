"""Ctrl-C, SIGTERM and a terminal that closes as a question that work asks between two steps, so that what there is can
be saved.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["ending_signals", "stop_on_signals"]

# handlers that are in place, the innermost last
_ASKED: list[Callable[[int, FrameType | None], None]] = []


def ending_signals() -> list[signal.Signals]:
    """What asks a process to end: Ctrl-C, SIGTERM, and the end of its terminal unless it was told to outlive that."""
    # Windows has no terminals of that kind
    hangup = getattr(signal, "SIGHUP", None)
    # nohup has it ignored
    is_deaf = hangup is None or signal.getsignal(hangup) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if is_deaf else [signal.Signals(hangup)])]


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first of the :func:`ending_signals` into a question; a second one is immediate.

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

    before = {number: signal.signal(number, stop) for number in ending_signals()}
    _ASKED.append(stop)
    try:
        yield stopped.is_set
    finally:
        _ASKED.remove(stop)
        for number, handler in before.items():
            signal.signal(number, handler)
