"""The one fitting loop: change a field until its observations agree with what was measured.

A problem says what is drawn, predicted and compared (:class:`Fittable`); the loop owns the optimiser, the schedule,
the budget, the checkpoints, the log and what happens on Ctrl-C.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from nerfkit.adam_optimizer import Adam
from nerfkit.captured_step import capture
from nerfkit.checkpoints import LOWER, CheckpointFolder, DivergedError, check_finite, not_finite
from nerfkit.clock import working_seconds
from nerfkit.divergence import Cause, Explaining
from nerfkit.interrupts import stop_on_signals
from nerfkit.metrics import MetricsLog
from nerfkit.ranks import ALONE, Ranks
from nerfkit.shared_step import Shareable, SharedStep

__all__ = ["Budget", "FitResult", "FitSchedule", "Fittable", "Progress", "fit"]

logger = logging.getLogger(__name__)


# fraction of the seconds before which it is not judged whether they suffice: the first steps compile
JUDGED_FROM = 0.1


class Fittable(Protocol):
    """What :func:`fit` needs to know of a problem; :class:`nerfkit.problem.Problem` is one."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for Adam, each with its ``params`` and its peak ``lr``; ``touched_only`` leaves out resting rows."""
        ...

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of a new batch, and figures for the log that are on the host already."""
        ...

    def after_step(self, step: int) -> None:
        """What follows an optimiser step, such as refreshing an occupancy grid."""
        ...

    def validate(self) -> dict[str, float]:
        """Figures on held-out data."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs besides the optimiser: weights, grids, generators."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        ...


@dataclass(frozen=True)
class Budget:
    """How long to fit: steps, wall seconds from the first step, or both.

    Steps plan the schedule: the result is a function of settings and seed. Seconds beside them are a limit, which
    hastens the schedule only where it would be met. Seconds alone plan the schedule themselves.
    """

    seconds: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.seconds is None and self.steps is None:
            raise ValueError("a budget has seconds, steps or both; got neither")
        # seconds that are no number are never over; nor are infinite ones, where no steps say when it ends
        seconds = 0.0 if self.seconds is None else self.seconds
        if math.isnan(seconds) or (math.isinf(seconds) and self.steps is None):
            raise ValueError(f"seconds must be finite, or infinite beside steps; got {seconds}")

    def is_spent(self, seconds: float, steps: int) -> bool:
        """Whether the steps are done or the seconds are over."""
        is_over = self.seconds is not None and seconds >= self.seconds
        return is_over or (self.steps is not None and steps >= self.steps)


@dataclass(frozen=True)
class FitSchedule:
    """Learning rate over the fraction of the budget that is spent, and how often things happen."""

    # steps over which the learning rate grows to its peak
    warmup_steps: int = 20
    # learning rate at the end, as a fraction of its peak; it falls along a cosine (arXiv:1608.03983, without restarts)
    final_fraction: float = 0.05
    # seconds between two checkpoints
    checkpoint_seconds: float = 60.0
    # steps between two lines of metrics.jsonl; each waits for a GPU
    log_every: int = 16
    # Adam's decay rates and epsilon; the tiny epsilon lets rarely visited table entries move (instant-ngp, section 4)
    betas: tuple[float, float] = (0.9, 0.99)
    epsilon: float = 1e-15

    def factor(self, step: int, fraction: float) -> float:
        """Multiple of the peak learning rate at ``step`` with ``fraction`` of the budget spent."""
        cosine = (1 + math.cos(math.pi * fraction)) / 2
        return min(1.0, (step + 1) / self.warmup_steps) * (self.final_fraction + (1 - self.final_fraction) * cosine)


@dataclass(frozen=True)
class Progress:
    """Where a fit stands; handed to the caller after every step."""

    step: int
    seconds: float
    # of the budget that is spent, 0 to 1
    fraction: float
    # wall seconds until the budget is spent, at the pace of this part of the run
    seconds_left: float
    figures: dict[str, float]


@dataclass(frozen=True)
class FitResult:
    """How a fit ended."""

    steps: int
    seconds: float
    # by Ctrl-C or SIGTERM
    is_interrupted: bool
    # by the limit, before the steps were done
    is_cut: bool = False


def fit(
    problem: Fittable,
    budget: Budget,
    *,
    schedule: FitSchedule,
    checkpoints: CheckpointFolder | None = None,
    metrics: MetricsLog | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    resume: bool = False,
    captured: bool = False,
    ranks: Ranks = ALONE,
) -> FitResult:
    """Minimise a problem's loss with Adam until the budget is spent.

    Parameters
    ----------
    problem : Fittable
        What is drawn, predicted and compared.
    budget : Budget
        Steps, seconds or both. Seconds count anew after a resume; steps are the total of all parts.
    schedule : FitSchedule
        Learning rate and intervals.
    checkpoints : CheckpointFolder, optional
        Where the state is saved: at intervals, at the end, and on Ctrl-C or SIGTERM.
    metrics : MetricsLog, optional
        Where figures are written.
    on_progress : callable
        Called after every step.
    resume : bool
        Start from the newest checkpoint that can be read.
    captured : bool
        Play the steps from CUDA graphs. The problem, on a GPU, has to be a :class:`nerfkit.captured_step.Capturable`.
        Checkpoints are the same: a run can be resumed either way.
    ranks : Ranks
        The processes that share the steps; the problem is then a :class:`nerfkit.shared_step.Shareable`, the first of
        them saves, its clock holds, and all end after the same step. They begin with the same state.

    Raises
    ------
    NerfkitError
        Steps are to be captured and cannot be.
    DivergedError
        The loss of a step (on a GPU: of one that is logged), or a number of the state that would be saved, is not
        finite: it says which, and whether parameters or measurements made it. The last checkpoint holds a state before.
    LostRankError
        Another process ended before the fit did.
    """
    loop = _Loop(problem, budget, schedule, checkpoints, metrics, captured=captured, ranks=ranks)
    if resume:
        loop.resume()
    with stop_on_signals() as wants_stop:
        loop.wants_stop = wants_stop
        while not loop.is_done() and not loop.is_stopped():
            on_progress(loop.advance())
        loop.save()
        return loop.result()


class _Loop:
    """State of a running fit."""

    def __init__(
        self, problem: Fittable, budget: Budget, schedule: FitSchedule, checkpoints: CheckpointFolder | None,
        metrics: MetricsLog | None, *, captured: bool, ranks: Ranks,
    ) -> None:  # fmt: skip
        self.problem, self.budget, self.schedule = problem, budget, schedule
        self.checkpoints, self.metrics, self.ranks = checkpoints, metrics, ranks
        self.wants_stop: Callable[[], bool] = lambda: False
        groups = problem.parameter_groups()
        self.peaks = [group["lr"] for group in groups]
        self.optimizer = Adam(groups, schedule.betas, schedule.epsilon)
        self.shared = self._share(problem) if ranks.size > 1 else None
        self.take_step = self.shared or (capture(problem, self.optimizer) if captured else self._launch)
        # the last is that of the state that is on the disk
        self.step = self.first_step = self.saved_step = 0
        # fraction of the schedule where this part of a run begins; (fraction, seconds) from which on it is hastened
        self.first_fraction = 0.0
        self.hastened_at: tuple[float, float] | None = None
        self.loss: Tensor | None = None
        self.started = working_seconds()
        # when a state was saved, and when the first step was done
        self.saved_at = self.warmed_up = 0.0

    def _share(self, problem: object) -> SharedStep:
        if not isinstance(problem, Shareable):
            raise ValueError(f"steps of a {type(problem).__name__} cannot be shared by processes")
        return SharedStep(
            problem, self.optimizer, self.ranks, clock=self._own_seconds, wants_stop=lambda: self.wants_stop()
        )

    def _own_seconds(self) -> float:
        return working_seconds() - self.started

    def seconds(self) -> float:
        """Since the first step; between processes the same in all, as of the last step."""
        return self._own_seconds() if self.shared is None else self.shared.seconds

    def is_stopped(self) -> bool:
        return self.wants_stop() if self.shared is None else self.shared.is_stopped

    def is_done(self) -> bool:
        # seconds shorter than a step still take one
        return self.budget.is_spent(self.seconds() if self.step > self.first_step else -1.0, self.step)

    def result(self) -> FitResult:
        is_interrupted = self.is_stopped() and not self.is_done()
        is_short = self.budget.steps is not None and self.step < self.budget.steps
        return FitResult(self.step, self.seconds(), is_interrupted, is_short and not is_interrupted)

    def advance(self) -> Progress:
        if self.step == self.first_step:
            self.started, self.saved_at = working_seconds(), 0.0
        factor = self.schedule.factor(self.step, self._fraction())
        self.optimizer.set_learning_rates([peak * factor for peak in self.peaks])
        self.loss, figures = self.take_step(self.step)
        self.step += 1
        if self.step == self.first_step + 1:
            self.warmed_up = self.seconds()
        self.problem.after_step(self.step)
        if self.step % self.schedule.log_every == 0:
            self._log(figures)
        if self.seconds() - self.saved_at > self.schedule.checkpoint_seconds:
            self.save()
        return Progress(self.step, self.seconds(), self._fraction(), self._seconds_left(), figures)

    def _launch(self, step: int) -> tuple[Tensor, dict[str, float]]:
        self.optimizer.zero_grad()
        loss, figures = self.problem.loss(step)
        # on a GPU a look waits for it, and is taken where the log takes one
        if not loss.is_cuda:
            self._check_loss(loss, step + 1)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), figures

    def _fraction(self) -> float:
        """Fraction of the schedule that is behind."""
        limit = self.budget.seconds
        if self.budget.steps is None:
            # a resumed run goes on down the same decay instead of starting over
            return self._towards(self.first_fraction, 0.0, limit or 0.0)
        planned = min(1.0, self.step / self.budget.steps)
        if limit is None:
            return planned
        if self.hastened_at is None and self._is_late(self.budget.steps, limit):
            self.hastened_at = planned, self.seconds()
        return planned if self.hastened_at is None else max(planned, self._towards(*self.hastened_at, limit))

    def _towards(self, first: float, since: float, limit: float) -> float:
        """From ``first`` at the time ``since`` evenly to 1 at the limit."""
        passed = (self.seconds() - since) / max(limit - since, 1e-9)
        return first + (1 - first) * min(1.0, passed)

    def _is_late(self, steps: int, limit: float) -> bool:
        """Whether the steps that are left take longer than the seconds that are left, at the pace so far."""
        seconds = self.seconds()
        if self.step - self.first_step < 2 or seconds < JUDGED_FROM * limit:
            return False
        return (steps - self.step) * self._pace() > limit - seconds

    def _pace(self) -> float:
        """Seconds a step in this part of the run, its first step left out where there are more: it compiles."""
        n_timed = self.step - self.first_step - 1
        return (self.seconds() - self.warmed_up) / n_timed if n_timed > 0 else self.seconds()

    def _seconds_left(self) -> float:
        steps, limit = self.budget.steps, self.budget.seconds
        by_steps = math.inf if steps is None else (steps - self.step) * self._pace()
        by_limit = math.inf if limit is None else limit - self.seconds()
        return max(0.0, min(by_steps, by_limit))

    def _finite_loss(self) -> float:
        return 0.0 if self.loss is None else self._check_loss(self.loss, self.step)

    def _check_loss(self, loss: Tensor, step: int) -> float:
        """The loss of ``step``, or an error that says what made it where it is no number."""
        value = float(loss.detach())
        if math.isfinite(value):
            return value
        what, fix = self._cause()
        because = f": {what}" if what else ""
        raise DivergedError(
            f"the fit diverged: the loss is {value} at step {step}{because}", where=self._where(), fix=fix or LOWER
        )

    def _cause(self) -> Cause:
        if found := not_finite({"task": self.problem.state_dict()}):
            return Cause(f"{found}, after a gradient of an earlier step that was")
        return self.problem.explain() if isinstance(self.problem, Explaining) else Cause()

    def _where(self) -> Path | str:
        return "" if self.checkpoints is None else self.checkpoints.folder

    def _log(self, figures: dict[str, float]) -> None:
        value = self._finite_loss()
        if self.metrics is not None:
            self.metrics.write({"step": self.step, "seconds": round(self.seconds(), 3), "loss": value, **figures})

    def save(self) -> None:
        """Save the state, or raise an error where it diverged; without a folder, only the latter."""
        if self.step == self.saved_step:
            return
        # that of the state before the step: it may be the first to show, and cannot be the only one looked at
        self._finite_loss()
        loop = {"step": self.step, "fraction": self._fraction()}
        state = {"task": self.problem.state_dict(), "optimizer": self.optimizer.state_dict(), "loop": loop}
        if self.checkpoints is not None and self.ranks.is_first:
            self.checkpoints.save(self.step, state)
        else:
            # the others have the same state, and find the same fault in it
            check_finite(state, self.step, where=self._where())
        self.saved_at, self.saved_step = self.seconds(), self.step

    def resume(self) -> None:
        if self.checkpoints is None:
            raise ValueError("resume needs a checkpoint folder")
        state = self.checkpoints.load_newest()
        self.problem.load_state_dict(state["task"])
        self.optimizer.load_moments(state["optimizer"])
        self.step = self.first_step = self.saved_step = int(state["loop"]["step"])
        # a run that had ended gets the second half of the decay again, so that more time still improves it
        self.first_fraction = min(float(state["loop"]["fraction"]), 0.5)
        if self.metrics is not None:
            self.metrics.rewind(self.step)
        logger.info("resumed at step %d", self.step)
