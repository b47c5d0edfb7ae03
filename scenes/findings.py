"""What readers find and go on with, as data: whoever lists it takes it from there, and else it is logged."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nerfkit.scenes.errors import NerfkitError

__all__ = ["LEVELS", "Finding", "Findings", "listed_or_logged"]

# worst first. error: it is left out, or the next command refuses it; warning: the result is likely worse than it
# could be; info: good to know
LEVELS = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or odd.

    Parameters
    ----------
    level : {"error", "warning", "info"}
    what : str
        What was found and what is wanted.
    where : str
        File, frame or part of the machine.
    fix : str
        The next step: a command or an edit.

    Examples
    --------
    >>> print(Finding("info", "12 pages", "stack.tif", "give a folder"))
    stack.tif: 12 pages; give a folder
    """

    level: str
    what: str
    where: str = ""
    fix: str = ""

    def __str__(self) -> str:
        return str(NerfkitError(self.what, where=self.where, fix=self.fix))


class Findings(list[Finding]):
    """Findings in the order in which they were made.

    Examples
    --------
    >>> findings = Findings()
    >>> findings.add("warning", "12 views", fix="add photos")
    >>> [finding.level for finding in findings]
    ['warning']
    """

    def add(self, level: str, what: str, *, where: str | Path = "", fix: str = "") -> None:
        """Note one."""
        assert level in LEVELS
        self.append(Finding(level, what, str(where), fix))

    def add_error(self, error: NerfkitError) -> None:
        """Note what a reader raised, or would have."""
        self.add("error", error.what, where=error.where, fix=error.fix)

    def log(self, logger: logging.Logger) -> None:
        """Say all of them; what is wrong with an item alone means that it is skipped."""
        for finding in self:
            level = logging.INFO if finding.level == "info" else logging.WARNING
            logger.log(level, "%s%s", "skipped " if finding.level == "error" else "", finding)


@contextmanager
def listed_or_logged(findings: Findings | None, logger: logging.Logger) -> Iterator[Findings]:
    """The list that a reader fills: the caller's, or else one that is logged in the end, also when it raises."""
    found = Findings() if findings is None else findings
    try:
        yield found
    finally:
        if findings is None:
            found.log(logger)
