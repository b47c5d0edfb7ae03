"""The held-out search: on errors that are known, it ends where they are least, in the trials that it needs."""

import math

import pytest
import torch

from nerfkit.heldout import FEW, Trial, improve, lowest_of_parabola, search_line


def trial(setting, mse):
    return Trial(setting, torch.empty(0), torch.tensor([float(mse)]))


def known(errors, most=99):
    """An attempt whose error is a function of the setting, None after so many, and the settings that were tried."""
    tried = []

    def attempt(setting, best):
        if len(tried) == most:
            return None
        tried.append(setting)
        return trial(setting, errors(setting))

    return attempt, tried


def test_settings_are_tried_in_their_order_while_each_is_better():
    attempt, tried = known(lambda x: (x - 3) ** 2)
    assert improve(trial(0, 9.0), range(1, 9), attempt).setting == 3 and tried == [1, 2, 3, 4]
    attempt, tried = known(lambda x: (x - 3) ** 2)
    first = trial(0, -1.0)
    assert improve(first, range(1, 9), attempt) is first and tried == [1]
    attempt, _ = known(lambda x: (x - 3) ** 2, most=2)
    assert improve(trial(0, 9.0), range(1, 9), attempt).setting == 2


@pytest.mark.parametrize("lowest", [-9.3, -2.0, 0.4, 3.6, 11.0])
@pytest.mark.parametrize("strides", [(1,), (4, 2, 1), (8, 1)])
def test_a_line_is_walked_to_the_lowest_place_of_a_parabola(lowest, strides):
    attempt, tried = known(lambda x: (x - lowest) ** 2 + 0.1)
    found = search_line(trial(0, lowest**2 + 0.1), lambda place: place, attempt, strides)
    assert min(found, key=lambda place: found[place].mse) == round(lowest)
    assert len(tried) == len(set(tried)) == len(found) - 1
    assert lowest_of_parabola(found) == pytest.approx(lowest, abs=1e-3)


def test_coarse_strides_need_fewer_trials():
    counts = []
    for strides in ((1,), (8, 4, 2, 1)):
        attempt, tried = known(lambda x: (x - 30) ** 2)
        search_line(trial(0, 900.0), lambda place: place, attempt, strides)
        counts.append(len(tried))
    assert counts[1] < counts[0] / 2


def test_a_line_ends_where_there_is_no_setting_or_no_time():
    attempt, tried = known(lambda x: (x - 50) ** 2)
    found = search_line(trial(0, 2500.0), lambda place: place if abs(place) <= 5 else None, attempt, (4, 2, 1))
    assert max(found) == 5 and max(tried) == 5
    attempt, _ = known(lambda x: (x - 50) ** 2, most=3)
    found = search_line(trial(0, 2500.0), lambda place: place, attempt)
    assert max(found) == 3
    # the end of a line has no neighbour beyond it
    assert lowest_of_parabola(found) == 3


def test_lowest_of_a_parabola_is_near_its_best_place():
    assert lowest_of_parabola({0: trial(0, 1.0), 1: trial(1, 1.0), -1: trial(-1, 1.0)}) == 0
    assert lowest_of_parabola({0: trial(0, 1.0), 1: trial(1, 1.0), -1: trial(-1, 9.0)}) == 0.5


@pytest.mark.parametrize(("n", "gain", "is_sure"), [
    (1000, 0.2, True), (1000, 0.1, False), (1000, -0.2, False),  # 4 standard errors are 0.126
    (8, 2.0, True), (8, 0.8, False),  # 3 standard errors of Student's t with 7 degrees of freedom are 1.06
])  # fmt: skip
def test_surely_better_is_beyond_chance_for_few_and_for_many(n, gain, is_sure):
    spread = torch.linspace(-1, 1, n, dtype=torch.float64)
    spread = spread / spread.std()
    worse = Trial("a", torch.empty(0), torch.full((n,), 5.0, dtype=torch.float64))
    better = Trial("b", torch.empty(0), worse.squares - gain - spread)
    assert (n < FEW) == (n == 8)
    assert better.is_better(worse) == (gain > 0) and better.is_surely_better(worse) == is_sure


def test_what_is_not_predicted_does_not_count():
    squares = torch.tensor([1.0, math.nan, 3.0])
    one = Trial(0, torch.empty(0), squares)
    assert one.mse == 2
    assert not Trial(1, torch.empty(0), torch.tensor([0.0, 0.0, math.nan])).is_surely_better(one), "one gain tells none"
