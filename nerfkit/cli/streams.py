"""stdout and stderr as a command may find them: closed, read by nobody any more, of an encoding that lacks letters.

What a command works on is worth more than what it says: where its words cannot be written it goes on without them.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["lasting_streams", "open_closed"]

# nobody reads any more: the other end of a pipe was closed, a terminal was
_GONE = (errno.EPIPE, errno.EIO)


@contextmanager
def lasting_streams() -> Iterator[Callable[[], bool]]:
    """While a command runs, let nothing that it prints end it; afterwards both streams are what they were.

    Yields
    ------
    is_lost : callable
        Whether something on stdout could not be written although somebody may want it, as on a full disk.
    """
    open_closed()
    before: Any = (sys.stdout, sys.stderr)
    errors = [_escape(stream) for stream in before]
    streams = [_Lasting(stream) for stream in before]
    sys.stdout, sys.stderr = streams  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield lambda: streams[0].is_lost
    finally:
        sys.stdout, sys.stderr = before
        for stream, handler in zip(before, errors, strict=True):
            if handler is not None:
                stream.reconfigure(errors=handler)


def open_closed() -> None:
    """Give what was closed before the process began a place to write to.

    The next file that is opened has the number of a closed stream otherwise, and libraries of C write into it what they
    have to say on stderr.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # the lowest number that is free
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(nowhere, "r" if name == "stdin" else "w", encoding="utf-8"))


def _escape(stream: Any) -> str | None:
    r"""Have letters that a stream's encoding lacks written as \xe9; returns what it did with them, None if the same."""
    if not isinstance(stream, io.TextIOWrapper):
        return None
    # a name that is no text in UTF-8 is written as the bytes that it is
    if stream.errors == "backslashreplace" or (stream.encoding.lower() == "utf-8" and stream.errors != "strict"):
        return None
    before = stream.errors
    stream.reconfigure(errors="backslashreplace")
    return before


class _Lasting:
    """A text stream that is never in the way; what it does not have is asked of the stream behind it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.is_lost = False

    def write(self, text: str) -> int:
        """Write, as long as somebody reads."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush, as long as somebody reads."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self, error: OSError) -> None:
        """Let what is written from now on, and what Python flushes at its end, go nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        self.is_lost = error.errno not in _GONE
        if self.is_lost and self is not sys.stderr:
            print(f"warning: what is printed cannot be written any more ({error.strerror or error})", file=sys.stderr)
