"""The one error that a user's input can cause; it says where, what was found, what was expected and what to do."""

from __future__ import annotations

from pathlib import Path

__all__ = ["MissingCapabilityError", "NerfkitError"]


class NerfkitError(Exception):
    """A problem with what the user gave; the command line prints it in a line and exits with 2.

    Parameters
    ----------
    what : str
        What is wrong: the value seen and the value wanted.
    where : str or Path, optional
        The file, frame or option that it is about.
    fix : str, optional
        The next step: a command or an edit.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | Path = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, str(where), fix
        super().__init__(str(self))

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}; {self.fix}" if self.fix else head


class MissingCapabilityError(NerfkitError):
    """What was asked for is not on this machine (no GPU, no Triton); exit code 3."""

    exit_code = 3
