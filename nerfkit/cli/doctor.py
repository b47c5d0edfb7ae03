"""``nerfkit doctor``: what is wrong with this machine or a dataset, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nerfkit.cli.options import CommonOptions, argument, option
from nerfkit.cli.running import Console, use_cores
from nerfkit.devices import choose_device
from nerfkit.scenes.errors import NerfkitError

if TYPE_CHECKING:
    from nerfkit.doctor import Report

__all__ = ["Options", "main"]

# problems of a level that a person sees; --json has all
MAX_SHOWN = 20


@dataclass(kw_only=True)
class Options(CommonOptions):
    """Options of ``nerfkit doctor``."""

    data: str | None = argument("a dataset to check; without one, this machine is checked", default=None)
    time: bool = option(False, "run a few training steps to tell how long training takes")


def main(options: Options, console: Console) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    from nerfkit.doctor import examine_data, examine_machine

    if options.data is None:
        if options.time:
            raise NerfkitError("needs a dataset to train on", where="--time", fix="nerfkit doctor DATA --time")
        report = examine_machine()
    else:
        use_cores(options.device)
        report = examine_data(options.data, choose_device(options.device), is_timed=options.time)
    for line in describe(report):
        console.say(line)
    return {**report.as_dict(), "_exit": 0 if report.ok else 2}


def describe(report: Report) -> list[str]:
    """The report for a person: facts, problems worst first, a verdict with the next command."""
    width = max((len(label) for label, _ in report.lines), default=0)
    lines = [f"{label:<{width}}  {text}" for label, text in report.lines]
    problems = report.worst_first()
    if problems:
        lines.append("")
    for problem in problems[:MAX_SHOWN]:
        where = f"{problem.where}: " if problem.where else ""
        lines.append(f"{problem.level}: {where}{problem.what}")
        if problem.fix:
            lines += [f"  {'fix: ' if i == 0 else '     '}{line}" for i, line in enumerate(problem.fix.splitlines())]
    if len(problems) > MAX_SHOWN:
        lines.append(f"and {len(problems) - MAX_SHOWN} more: --json lists them")
    return [*lines, "", _verdict(report)]


def _verdict(report: Report) -> str:
    count = {level: sum(problem.level == level for problem in report.problems) for level in ("error", "warning")}
    words = [f"{n} {level}{'s' * (n > 1)}" for level, n in count.items() if n]
    found = " and ".join(words) or "all well"
    if report.ok:
        return f"{found}; next: {report.next_command}"
    return f"{found}; mend the errors, then run nerfkit doctor again"
