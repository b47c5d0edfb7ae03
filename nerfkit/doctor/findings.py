"""What a check-up finds: facts, and problems with the next step for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nerfkit.scenes.errors import NerfkitError

__all__ = ["LEVELS", "Problem", "Report"]

# worst first. error: the next command refuses it or its result is certainly wrong; warning: the result is likely
# worse than it could be; info: good to know
LEVELS = ("error", "warning", "info")


@dataclass(frozen=True)
class Problem:
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
    """

    level: str
    what: str
    where: str = ""
    fix: str = ""


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
    problems : list of Problem
        In the order found.
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
    problems: list[Problem] = field(default_factory=list)
    next_command: str = ""

    def fact(self, key: str, value: Any, text: str | None = None) -> None:
        """Note a fact; ``text`` is how a person reads it, ``""`` leaves it out of the list."""
        self.facts[key] = value
        if text != "":
            self.lines.append((key.replace("_", " "), str(value) if text is None else text))

    def add(self, level: str, what: str, *, where: str | Path = "", fix: str = "") -> None:
        """Note a problem."""
        assert level in LEVELS
        self.problems.append(Problem(level, what, str(where), fix))

    def add_error(self, error: NerfkitError) -> None:
        """Note what a reader raised."""
        self.add("error", error.what, where=error.where, fix=error.fix)

    @property
    def ok(self) -> bool:
        """Whether no problem of level error stands."""
        return all(problem.level != "error" for problem in self.problems)

    def worst_first(self) -> list[Problem]:
        """The problems by level."""
        return sorted(self.problems, key=lambda problem: LEVELS.index(problem.level))

    def as_dict(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        problems = [vars(problem) for problem in self.worst_first()]
        return {"ok": self.ok, "problems": problems, self.subject: self.facts}
