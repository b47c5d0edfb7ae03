"""What a check-up finds: facts, and problems with the next step for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import LEVELS, Finding, Findings

__all__ = ["Report", "raised_is_noted"]


@dataclass
class Report:
    """Facts and problems of one subject.

    Parameters
    ----------
    subject : {"machine", "dataset"}
        Under which name the facts stand in the JSON.
    facts : dict
        Plain values for JSON.
    lines : list of (str, str)
        Label and text of the facts for a person.
    problems : Findings
        In the order found; readers fill it.
    next_command : str
        What to type when no error stands.

    Examples
    --------
    >>> report = Report("dataset")
    >>> report.fact("views", 12)
    >>> report.add("warning", "12 views", fix="add photos")
    >>> report.ok, report.as_dict()["dataset"]
    (True, {'views': 12})
    """

    subject: str
    facts: dict[str, Any] = field(default_factory=dict)
    lines: list[tuple[str, str]] = field(default_factory=list)
    problems: Findings = field(default_factory=Findings)
    next_command: str = ""

    def fact(self, key: str, value: Any, text: str | None = None) -> None:
        """Note a fact; ``text`` is how a person reads it, ``""`` leaves it out of the list."""
        self.facts[key] = value
        if text != "":
            self.lines.append((key.replace("_", " "), str(value) if text is None else text))

    def add(self, level: str, what: str, *, where: str | Path = "", fix: str = "") -> None:
        """Note a problem."""
        self.problems.add(level, what, where=where, fix=fix)

    @property
    def ok(self) -> bool:
        """Whether no problem of level error stands."""
        return all(problem.level != "error" for problem in self.problems)

    def worst_first(self) -> list[Finding]:
        """The problems by level."""
        return sorted(self.problems, key=lambda problem: LEVELS.index(problem.level))

    def as_dict(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        problems = [vars(problem) for problem in self.worst_first()]
        return {"ok": self.ok, "problems": problems, self.subject: self.facts}


@contextmanager
def raised_is_noted(report: Report) -> Iterator[None]:
    """Make what a reader raises a problem of the report, so that the check-up goes on."""
    try:
        yield
    except NerfkitError as error:
        report.problems.add_error(error)
