"""A limit in wall seconds, or by Ctrl-C. Work ends when it has converged; the limit only cuts it short, and what it cut
is listed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from nerfkit.clock import working_seconds

if TYPE_CHECKING:
    from nerfkit.journal import Journal

__all__ = ["Limit"]


class Limit:
    """Seconds that work may take, and what was left out to keep to them.

    Work is counted in a unit of the caller's; what one takes on this machine is learned from the work that was done.

    Parameters
    ----------
    seconds : float
        From now on; infinite: nothing is ever cut.
    is_stopped : callable
        Whether someone has asked for an end: nothing is allowed from then on.
    journal : Journal, optional
        Steps that need not be done again by a run that goes on; what took its time is learned from it, too.

    Examples
    --------
    >>> limit = Limit()
    >>> limit.allows(1e12, "everything"), limit.cut
    (True, [])
    """

    def __init__(
        self, seconds: float = math.inf, is_stopped: Callable[[], bool] = lambda: False, journal: Journal | None = None
    ) -> None:  # fmt: skip
        self.began, self.seconds, self.journal = working_seconds(), seconds, journal
        self.is_stopped, self.cut = is_stopped, list[str]()
        # work that comes later and must be done: nothing else may take its time
        self.reserve = 0.0
        self._work = self._worked = 0.0

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return working_seconds() - self.began

    @property
    def left(self) -> float:
        """Seconds; negative when it has passed, none when an end is asked for."""
        return min(self.seconds - self.spent, 0.0) if self.is_stopped() else self.seconds - self.spent

    @property
    def is_over(self) -> bool:
        """Whether all that goes on now is over the limit."""
        return self.left <= 0

    def record(self, work: float, seconds: float) -> None:
        """Learn what work takes here."""
        self._work, self._worked = self._work + work, self._worked + seconds

    def estimate(self, work: float) -> float:
        """Seconds that work is expected to take; 0 before anything is known."""
        return work * self._worked / self._work if self._work else 0.0

    def allows(self, work: float, what: str) -> bool:
        """Whether there is time for work; where not, it is noted as cut."""
        if not self.is_over and self.estimate(work + self.reserve) <= self.left:
            return True
        if what not in self.cut:
            self.cut.append(what)
        return False
