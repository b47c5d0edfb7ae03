"""What a task of `nerfkit fit` works with: its data, its time, fits that go on where they were killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nerfkit.checkpoints import CheckpointFolder
from nerfkit.fitting import Budget, FitResult, FitSchedule, Fittable, Progress, fit
from nerfkit.limits import Limit
from nerfkit.metrics import MetricsLog
from nerfkit.runs import Run

__all__ = ["Job", "Stopped"]

# what was decided on the way, so that a resumed run need not decide again
DECIDED_FILE = "decided.json"
# least seconds of a stage that the limit has nothing left for: a step or two
MIN_SECONDS = 0.05


class Stopped(Exception):
    """Ctrl-C, SIGTERM or a notebook's stop button ended a stage; its state is saved."""


@dataclass
class Job:
    """A task at work.

    Parameters
    ----------
    run : Run
        Its folder.
    config : FitConfig
        The settings.
    data : object
        What the task has read.
    device : {"cpu", "cuda"}
        Where to compute.
    truth : PictureFile or Volume, optional
        What the result is compared with.
    limit : Limit
        Seconds that are left.
    say : callable
        Called with a line for a person.
    on_part : callable
        Called with the steps of a fit that are done and that there are.
    """

    run: Run
    config: Any
    data: Any
    device: str
    truth: Any = None
    limit: Limit = field(default_factory=Limit)
    say: Callable[[str], None] = lambda text: None
    on_part: Callable[[int, int], None] = lambda done, total: None

    def fit(
        self, stage: str, problem: Fittable, steps: int, *, fraction: float = 1.0, schedule: FitSchedule | None = None,
        on_step: Callable[[int], None] = lambda step: None,
    ) -> FitResult:  # fmt: skip
        """Fit, from where an earlier attempt at this stage was stopped if there was one.

        Parameters
        ----------
        stage : str
            Name of its checkpoints.
        problem : Fittable
            What is fitted.
        steps : int
            Of the whole stage.
        fraction : float
            Part of the seconds that are left that it may take at most.
        schedule : FitSchedule, optional
            Learning rate and intervals.
        on_step : callable
            Called with the number of steps that are done.

        Raises
        ------
        Stopped
            Somebody asked for an end.
        """
        folder = CheckpointFolder(self.run.folder / "checkpoints" / stage)
        metrics = MetricsLog(self.run.folder / "stages" / f"{stage}.jsonl")

        def follow(progress: Progress) -> None:
            on_step(progress.step)
            self.on_part(progress.step, steps)

        try:
            done = fit(
                problem, Budget(max(MIN_SECONDS, self.limit.left * fraction), steps),
                schedule=schedule or FitSchedule(final_fraction=0.02), checkpoints=folder, metrics=metrics,
                on_progress=follow, resume=bool(folder.steps()),
            )  # fmt: skip
        finally:
            metrics.close()
        if done.is_interrupted:
            raise Stopped
        if done.is_cut:
            self.limit.cut.append(f"{stage} after {done.steps} of {steps} steps")
        return done

    def decide(self, name: str, compute: Callable[[], Any]) -> Any:
        """What ``compute`` gave, plain values, now or before this run was stopped."""
        path = self.run.folder / DECIDED_FILE
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if name not in known:
            known[name] = compute()
            self.check_stopped()
            self.run.write_json(DECIDED_FILE, known)
        return known[name]

    def check_stopped(self) -> None:
        """Raise Stopped where somebody asked for an end."""
        if self.limit.is_stopped():
            raise Stopped
