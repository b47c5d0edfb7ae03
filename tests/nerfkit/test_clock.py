"""The clock of budgets: it stands while loops are compiled."""

import re
import time
from pathlib import Path

from numba.core import event

from nerfkit import clock
from nerfkit.limits import Limit


def test_the_clock_stands_while_loops_are_compiled():
    limit = Limit(seconds=100.0)
    began, worked = time.monotonic(), clock.working_seconds()
    with event.trigger_event("numba:compile"), event.trigger_event("numba:compile"):
        time.sleep(0.2)
    wall, worked = time.monotonic() - began, clock.working_seconds() - worked
    # both clocks are read one after the other
    assert wall >= 0.2 and abs(wall - worked - 0.2) < 0.19
    assert limit.spent < wall - 0.1


def test_no_clock_that_jumps_is_asked_how_long_something_takes():
    # time.time() follows whoever sets the machine's clock; a date in a file's name is the only use for it
    root = Path(__file__).parents[2]
    files = [file for top in ("kernels", "scenes", "nerfkit") for file in (root / top).rglob("*.py")]
    asked = re.compile(r"\btime\.(time|time_ns|localtime|gmtime)\(|from time import .*\btime\b")
    assert len(files) > 200
    assert [str(file) for file in files if asked.search(file.read_text(encoding="utf-8"))] == []
