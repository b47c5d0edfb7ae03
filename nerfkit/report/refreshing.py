"""Reports at the end of a command: one that cannot be written is a warning, for what it reports on is done."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nerfkit.report.demo_page import demo_report
from nerfkit.report.fit_page import fit_report
from nerfkit.report.superres_page import superres_report
from nerfkit.report.train_page import train_report

if TYPE_CHECKING:
    from nerfkit.runs import Run

__all__ = ["refresh", "refresh_demo", "refresh_fit", "refresh_superres"]

logger = logging.getLogger(__name__)


def refresh(run: Run) -> Path | None:
    """Write a training's report anew; None, with a warning, when that fails."""
    return _attempt(lambda: train_report(run), run.folder)


def refresh_superres(run_folder: Path) -> Path | None:
    """Write a super-resolution's report anew; None, with a warning, when that fails."""
    return _attempt(lambda: superres_report(run_folder), run_folder)


def refresh_fit(run_folder: Path) -> Path | None:
    """Write the report of a task of the workbench anew; None, with a warning, when that fails."""
    return _attempt(lambda: fit_report(run_folder), run_folder)


def refresh_demo(out: Path) -> Path | None:
    """Write the demonstration's report anew; None, with a warning, when that fails."""
    return _attempt(lambda: demo_report(out), out)


def _attempt(make: Callable[[], Path], folder: Path) -> Path | None:
    try:
        return make()
    except Exception as error:
        # whatever it is: hours of training must not end as a failure because of a page about them
        logger.warning("%s: the report could not be written: %s", folder, error)
        logger.debug("", exc_info=True)
        return None
