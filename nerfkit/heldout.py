"""The held-out search: solve, predict what was held out of the measurements, keep what predicts it better.

It chooses weights, ranges, widths, motion models and priors, for every task. A :class:`Trial` is a solution with some
setting and its errors; what attempts one is the task's. An attempt returns None where there is no time for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

__all__ = ["Trial", "improve", "lowest_of_parabola", "lowest_place", "search_line"]

S = TypeVar("S")
# standard errors by which a setting must predict better to be surely better
SURE = 4.0
# the same where whole frames, or other few things, were held out: the one-sided probability of Student's t
SURE_OF_FEW, FEW = 0.01, 200


@dataclass(frozen=True)
class Trial(Generic[S]):
    """A setting, what was solved with it, and how well that predicts what was held out.

    Parameters
    ----------
    setting : S
        What was tried.
    image : Tensor
        The solution.
    squares : Tensor, shape (n_held_out,)
        Squared errors, or means of them over each thing that was held out whole; NaN where nothing is predicted.
    """

    setting: S
    image: Tensor
    squares: Tensor

    @property
    def mse(self) -> float:
        """Mean squared error of what was held out."""
        return float(self.squares.nanmean())

    def is_better(self, other: Trial) -> bool:
        """Whether it predicts better at all."""
        return self.mse < other.mse

    def is_surely_better(self, other: Trial) -> bool:
        """Whether it predicts the same things better by more than chance would have it (paired test).

        Few things, such as whole frames, differ in how well they can be predicted at all: their ratios are judged.
        """
        gains = (other.squares - self.squares).double()
        is_told = gains.isfinite()
        gains, n = gains[is_told], int(is_told.sum())
        if n < 2:
            return False
        needed = SURE
        if n < FEW:
            from scipy.stats import t

            needed = float(t.isf(SURE_OF_FEW, n - 1))
            gains = (other.squares[is_told] / self.squares[is_told]).double().log()
        return bool(gains.mean() > needed * gains.std() / math.sqrt(n))


def improve(
    best: Trial[S], settings: Iterable[S], attempt: Callable[[S, Trial[S]], Trial[S] | None]
) -> Trial[S]:  # fmt: skip
    """Try settings in their order while each predicts better than all before; ``attempt`` starts from the best."""
    for setting in settings:
        tried = attempt(setting, best)
        if tried is None or not tried.is_better(best):
            break
        best = tried
    return best


def search_line(
    first: Trial[S], setting_at: Callable[[int], S | None], attempt: Callable[[S, Trial[S]], Trial[S] | None],
    strides: tuple[int, ...] = (1,),
) -> dict[int, Trial[S]]:  # fmt: skip
    """Walk along a line of settings to the one that predicts best.

    Parameters
    ----------
    first : Trial
        At place 0.
    setting_at : callable
        The setting at a place; None beyond the ends of the line.
    attempt : callable
        Solves with a setting, from the best trial so far.
    strides : tuple of int
        Distances between places that are tried, from coarse to fine.

    Returns
    -------
    found : dict
        Trials by their place; the best is the one of least ``mse``.
    """
    found = {0: first}

    def best() -> int:
        return min(found, key=lambda place: found[place].mse)

    def is_passed(place: int) -> bool:
        """Whether a place was tried, or could be, and is now the best."""
        if place in found:
            return False
        setting = setting_at(place)
        tried = None if setting is None else attempt(setting, found[best()])
        if tried is not None:
            found[place] = tried
        return best() == place

    for stride in strides:
        for step in (stride, -stride):
            start = best()
            while is_passed(best() + step):
                pass
            if best() != start:
                break
    return found


def lowest_of_parabola(found: dict[int, Trial[S]]) -> float:
    """:func:`lowest_place` of the trials' errors."""
    return lowest_place({place: trial.mse for place, trial in found.items()})


def lowest_place(errors: Mapping[int, float]) -> float:
    """Where a parabola through the least error and its two neighbours is lowest, at most half a place from it."""
    best = min(errors, key=lambda place: errors[place])
    if best - 1 not in errors or best + 1 not in errors:
        return float(best)
    below, here, above = (errors[best + offset] for offset in (-1, 0, 1))
    offset = 0.5 * (below - above) / (below - 2 * here + above + 1e-30)
    return best + max(-0.5, min(0.5, offset))
