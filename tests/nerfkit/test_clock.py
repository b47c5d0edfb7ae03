"""The clock of budgets: it stands while loops are compiled."""

import time

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
