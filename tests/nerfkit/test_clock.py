"""The clock of budgets: it stands while loops are compiled."""

import time
from types import SimpleNamespace

from numba.core import event

from nerfkit import clock
from nerfkit.limits import Limit


def test_what_loops_take_to_compile_is_added_up_once():
    compiling = clock._compiling()
    before = compiling.seconds()
    # a loop that calls another: one lies within the other
    began = time.perf_counter()
    with event.trigger_event("numba:compile"), event.trigger_event("numba:compile"):
        time.sleep(0.05)
    assert 0.05 <= compiling.seconds() - before <= time.perf_counter() - began


def test_budgets_leave_it_out(monkeypatch):
    now, compiled = [100.0], [7.0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(clock, "_compiling", lambda: SimpleNamespace(seconds=lambda: compiled[0]))
    limit = Limit(seconds=10.0)
    now[0], compiled[0] = 165.0, 67.0
    assert limit.spent == 5.0 and not limit.is_over
    now[0] = 170.0
    assert limit.is_over
