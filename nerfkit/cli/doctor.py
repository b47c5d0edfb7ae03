"""``nerfkit doctor``: what is wrong with this machine or a dataset, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nerfkit.cli.options import DatasetOptions, argument, option
from nerfkit.cli.running import Console, progress_bar, use_cores
from nerfkit.devices import choose_device
from nerfkit.scenes.errors import NerfkitError

if TYPE_CHECKING:
    from nerfkit.doctor import Report

__all__ = ["Options", "main"]

# problems of a level that a person sees; --json has all
MAX_SHOWN = 20


@dataclass(kw_only=True)
class Options(DatasetOptions):
    """Options of ``nerfkit doctor``."""

    data: str | None = argument("a dataset to check; without one, this machine is checked", default=None)
    time: bool = option(False, "run a few training steps to tell how long training takes")
    fix: bool = option(False, "write the dataset anew into --out, with what is wrong put right as far as photos tell")
    out: str | None = option(None, "with --fix: folder for the new dataset, absent or empty", flag="-o", metavar="OUT")
    to: str | None = option(
        None, "with --fix: format of the new dataset (default: that of DATA)",
        choices=("transforms", "colmap", "colmap-text", "blender", "llff"),
    )  # fmt: skip
    link: bool = option(False, "with --fix: link to the photos, by relative paths, instead of copying them")
    overwrite: bool = option(False, "with --fix: replace a dataset that nerfkit wrote there")


def main(options: Options, console: Console) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    from nerfkit.doctor import examine_data, examine_machine

    if options.fix:
        return _fix(options, console)
    if options.out is not None:
        raise NerfkitError("is for --fix", where="--out", fix="nerfkit doctor DATA --fix -o OUT")
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


def _fix(options: Options, console: Console) -> dict[str, Any]:
    from nerfkit.doctor.repair import repair_data

    if options.data is None or options.out is None:
        missing = "dataset" if options.data is None else "folder for the new dataset"
        raise NerfkitError(f"needs a {missing}", where="--fix", fix="nerfkit doctor DATA --fix -o OUT")
    use_cores(options.device)
    repaired = repair_data(
        options.data, options.out, to=options.to, link=options.link, overwrite=options.overwrite,
        device=choose_device(options.device), on_part=progress_bar(console, "photos"),
    )  # fmt: skip
    report = repaired.report
    assert report is not None
    for line in [*(f"changed: {text}" for text in repaired.changes), *(f"left: {text}" for text in repaired.left)]:
        console.say(line)
    if not repaired.changes:
        console.say("changed: nothing that the photos show is wrong")
    for line in describe(report):
        console.say(line)
    found = {"output": repaired.output, "format": repaired.format, "changes": repaired.changes, "left": repaired.left}
    return {**found, **report.as_dict(), "_exit": 0 if report.ok else 2}


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
