"""A limit in seconds: what it allows by what work has taken, and what it lists as cut. Nothing here waits."""

import math

import pytest

from nerfkit.limits import Limit


def test_without_seconds_nothing_is_cut():
    limit = Limit()
    limit.record(1, 1e9)
    assert limit.left == math.inf and limit.allows(1e9, "everything") and limit.cut == []


def test_work_is_allowed_as_long_as_it_fits_by_what_it_has_taken():
    limit = Limit(1000)
    assert limit.estimate(5) == 0 and limit.allows(1e12, "the unknown")
    limit.record(work=10, seconds=20)
    limit.record(work=30, seconds=100)
    assert limit.estimate(8) == pytest.approx(24)
    assert limit.allows(300, "little") and not limit.allows(400, "much")
    # each is said once
    assert not limit.allows(500, "much") and not limit.allows(400, "more") and limit.cut == ["much", "more"]


def test_what_must_come_later_takes_its_time_from_the_rest():
    limit = Limit(1000)
    limit.record(1, 1)
    assert limit.allows(900, "a part")
    limit.reserve = 200
    assert not limit.allows(900, "a part") and limit.allows(700, "a smaller part")


def test_a_limit_that_has_passed_allows_nothing_that_takes_time():
    limit = Limit(-1)
    assert limit.left < 0 and limit.spent >= 0
    assert not limit.allows(0, "even nothing") and limit.cut == ["even nothing"]


def test_an_end_that_is_asked_for_allows_nothing_more():
    stopped = []
    limit = Limit(1000, lambda: bool(stopped))
    assert limit.allows(1, "work") and not limit.is_over
    stopped.append(True)
    assert limit.is_over and limit.left == 0 and not limit.allows(0, "work") and limit.cut == ["work"]
