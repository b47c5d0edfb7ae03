"""Check-ups: what is wrong with this machine, or with a dataset, and the command that mends it."""

from __future__ import annotations

import shlex
from pathlib import Path

from nerfkit.doctor.findings import Report, raised_is_noted
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers import PosedPhotos, find_posed_photos, posed_below

__all__ = ["Report", "examine_data", "examine_machine"]


def examine_machine(folder: str | Path = ".") -> Report:
    """Check this machine; ``folder`` is where results would go."""
    from nerfkit.doctor.machine import check_machine

    return check_machine(Path(folder))


def examine_data(path: str | Path, device: str = "cpu", *, is_timed: bool = False) -> Report:
    """Check a dataset: a tomograph's scan, posed photos, or else frames of one view.

    Parameters
    ----------
    path : str or Path
        What ``nerfkit train``, ``nerfkit superres`` or ``nerfkit fit ct`` would be given.
    device : {"cpu", "cuda"}
        Where it would be computed.
    is_timed : bool
        Run a few training steps to tell how fast they are; without, memory is estimated from the sizes.

    Returns
    -------
    report : Report
        All problems found, of which those of level error stop the next command.
    """
    from nerfkit.doctor.posed import check_photos, grouped

    path = Path(path).expanduser()
    report = Report("dataset")
    from nerfkit.doctor.scan import check_scan, is_scan

    if is_scan(path):
        check_scan(path, report)
        return report
    photos: PosedPhotos | None = None
    findings = Findings()
    with raised_is_noted(report):
        try:
            photos = find_posed_photos(path, True, findings) if path.exists() else None
        finally:
            report.problems += grouped(findings)
    if photos is not None:
        check_photos(photos, path, report)
        from nerfkit.doctor.cost import check_cost

        check_cost(photos, device, report, is_timed=is_timed)
    elif not report.problems and (below := posed_below(path)) is not None:
        report.add("error", "has no poses itself", where=path, fix=f"give {below}, which has")
        report.next_command = f"nerfkit doctor {shlex.quote(str(below))}"
    elif not report.problems:
        from nerfkit.doctor.frames import check_frames

        check_frames(path, report)
    report.next_command = report.next_command or f"nerfkit doctor {shlex.quote(str(path))}"
    return report
