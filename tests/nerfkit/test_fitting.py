"""The fitting loop alone, on a problem of three parameters whose optimum is known."""

import itertools
import json
import math
import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest
import torch

from nerfkit.checkpoints import CheckpointFolder, DivergedError
from nerfkit.fitting import Budget, FitSchedule, fit
from nerfkit.metrics import MetricsLog

TARGET = torch.tensor([0.5, -2.0, 3.0])
CALM = FitSchedule(warmup_steps=1, final_fraction=1e-2)


class Parabola:
    """y = a + b x + c x^2 at random x; the loss is zero at TARGET."""

    def __init__(self, *, on_loss=lambda step: None):
        self.weights = torch.zeros(3, requires_grad=True)
        self.generator = torch.Generator().manual_seed(0)
        self.on_loss = on_loss
        self.after = []

    def parameter_groups(self):
        return [{"params": [self.weights], "lr": 0.1}]

    def loss(self, step):
        self.on_loss(step)
        x = torch.rand(64, generator=self.generator) * 2 - 1
        powers = torch.stack([torch.ones_like(x), x, x * x], dim=-1)
        return (powers @ (self.weights - TARGET)).square().mean(), {"psnr": 1.0}

    def after_step(self, step):
        self.after.append(step)

    def validate(self):
        return {}

    def state_dict(self):
        return {"weights": self.weights.detach(), "generator": self.generator.get_state()}

    def load_state_dict(self, state):
        with torch.no_grad():
            self.weights.copy_(state["weights"])
        self.generator.set_state(state["generator"])


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test moves, in place of the loop's."""
    state = SimpleNamespace(now=100.0)
    monkeypatch.setattr("nerfkit.fitting.working_seconds", lambda: state.now)
    return state


def send(number, at):
    def on_loss(step):
        if step == at:
            os.kill(os.getpid(), number)

    return on_loss


def test_reaches_the_known_optimum():
    task = Parabola()
    done = fit(task, Budget(steps=600), schedule=CALM)
    torch.testing.assert_close(task.weights.detach(), TARGET, rtol=0, atol=1e-3)
    assert not done.is_interrupted


def test_takes_exactly_the_steps_of_the_budget():
    task, seen = Parabola(), []
    done = fit(task, Budget(steps=7), schedule=CALM, on_progress=seen.append)
    assert done.steps == 7
    assert task.after == [1, 2, 3, 4, 5, 6, 7]
    assert [progress.step for progress in seen] == task.after
    assert [progress.fraction for progress in seen] == pytest.approx([i / 7 for i in range(1, 8)])


def test_ends_when_the_seconds_are_spent(clock):
    def wait(step):
        clock.now += 1.0

    done = fit(Parabola(on_loss=wait), Budget(seconds=5.0), schedule=CALM)
    assert (done.steps, done.seconds) == (5, 5.0)


def test_seconds_count_from_the_first_step(clock):
    class Slow(Parabola):
        def parameter_groups(self):
            clock.now += 1000.0
            return super().parameter_groups()

    def wait(step):
        clock.now += 1.0

    assert fit(Slow(on_loss=wait), Budget(seconds=3.0), schedule=CALM).steps == 3


def test_a_budget_shorter_than_a_step_still_takes_one(clock):
    def wait(step):
        clock.now += 60.0

    assert fit(Parabola(on_loss=wait), Budget(seconds=1e-3), schedule=CALM).steps == 1


def test_a_budget_has_seconds_or_steps():
    with pytest.raises(ValueError, match="seconds, steps or both; got neither"):
        Budget()


@pytest.mark.parametrize("budget", [{"seconds": math.nan}, {"seconds": math.nan, "steps": 3}, {"seconds": math.inf}])
def test_a_budget_that_is_never_over_is_none(budget):
    with pytest.raises(ValueError, match="seconds must be finite, or infinite beside steps; got "):
        Budget(**budget)
    assert Budget(seconds=math.inf, steps=3).is_spent(0.0, 3)


def test_an_ample_limit_changes_nothing_however_long_steps_take():
    def weights(budget, slow_steps=()):
        def wait(step):
            # the real clock: a step that compiles, a machine that is busy
            time.sleep(0.1 if step in slow_steps else 0.0)

        task, seen = Parabola(on_loss=wait), []
        done = fit(task, budget, schedule=CALM, on_progress=seen.append)
        assert done.steps == 60 and not done.is_cut
        return task.weights.detach(), [progress.fraction for progress in seen]

    expected, planned = weights(Budget(steps=60))
    for slow_steps in ((), (0,), (3, 31)):
        found, fractions = weights(Budget(steps=60, seconds=600.0), slow_steps)
        assert torch.equal(found, expected) and fractions == planned


def test_a_limit_hastens_the_schedule_only_when_it_would_be_met(clock):
    def fractions(n_steps, seconds):
        def wait(step):
            clock.now += 30.0 if step == 0 else 1.0  # the first compiles

        seen = []
        done = fit(
            Parabola(on_loss=wait), Budget(steps=n_steps, seconds=seconds), schedule=CALM, on_progress=seen.append
        )
        return done, [progress.fraction for progress in seen]

    done, seen = fractions(100, 140.0)
    assert (done.steps, done.is_cut) == (100, False)
    assert seen == [step / 100 for step in range(1, 101)]
    done, seen = fractions(1000, 130.0)
    assert (done.steps, done.is_cut, done.is_interrupted) == (101, True, False)
    # down to the end, evenly from where it was seen that time would not suffice
    assert seen[-1] == 1.0 and seen[50] == pytest.approx(0.5, abs=0.02)
    assert max(b - a for a, b in itertools.pairwise(seen)) < 0.011


def test_an_interrupted_fit_is_not_cut():
    done = fit(Parabola(on_loss=send(signal.SIGINT, 4)), Budget(steps=10, seconds=60.0), schedule=CALM)
    assert (done.steps, done.is_interrupted, done.is_cut) == (5, True, False)


def test_the_rate_warms_up_and_falls_along_a_cosine():
    schedule = FitSchedule(warmup_steps=10, final_fraction=0.01)
    assert schedule.factor(0, 0.0) == pytest.approx(0.1)
    assert schedule.factor(4, 0.0) == pytest.approx(0.5)
    assert schedule.factor(10**6, 0.0) == pytest.approx(1.0)
    assert schedule.factor(10**6, 0.5) == pytest.approx((1 + 0.01) / 2)
    assert schedule.factor(10**6, 1.0) == pytest.approx(0.01)


def test_the_rate_reaches_the_optimiser():
    # Adam's first step is its learning rate, whatever the gradient
    task = Parabola()
    fit(task, Budget(steps=1), schedule=FitSchedule(warmup_steps=4))
    assert task.weights.detach().abs().tolist() == pytest.approx([0.1 / 4] * 3, rel=1e-4)


def test_saves_at_intervals_and_at_the_end(clock, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(CheckpointFolder, "save", lambda self, step, state: saved.append(step))

    def wait(step):
        clock.now += 1.0

    schedule = FitSchedule(checkpoint_seconds=2.5)
    task = Parabola(on_loss=wait)
    fit(task, Budget(seconds=8.0), schedule=schedule, checkpoints=CheckpointFolder(tmp_path))
    assert saved == [3, 6, 8]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_between_two_steps_and_saves(tmp_path, number):
    before = signal.getsignal(number)
    folder = CheckpointFolder(tmp_path)
    done = fit(Parabola(on_loss=send(number, 4)), Budget(steps=10), schedule=CALM, checkpoints=folder)
    assert done.is_interrupted
    assert done.steps == 5
    assert folder.steps() == [5]
    assert signal.getsignal(number) is before


def test_a_signal_in_the_last_step_interrupts_nothing(tmp_path):
    task = Parabola(on_loss=send(signal.SIGINT, 9))
    done = fit(task, Budget(steps=10), schedule=CALM, checkpoints=CheckpointFolder(tmp_path))
    assert (done.steps, done.is_interrupted) == (10, False)


def test_a_second_signal_is_immediate():
    def twice(step):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(Parabola(on_loss=twice), Budget(steps=10), schedule=CALM)
    assert signal.getsignal(signal.SIGINT) is before


def test_runs_outside_the_main_thread():
    # signals belong to the main thread; elsewhere the loop does without
    done = []
    thread = threading.Thread(target=lambda: done.append(fit(Parabola(), Budget(steps=3), schedule=CALM).steps))
    thread.start()
    thread.join()
    assert done == [3]


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    whole = Parabola()
    log = MetricsLog(tmp_path / "whole.jsonl")
    fit(whole, Budget(steps=40), schedule=CALM, metrics=log)
    log.close()
    folder, path = CheckpointFolder(tmp_path / "checkpoints"), tmp_path / "parts.jsonl"
    for task, is_resumed in ((Parabola(on_loss=send(signal.SIGINT, 19)), False), (Parabola(), True)):
        log = MetricsLog(path)
        fit(
            task, Budget(steps=40), schedule=CALM, checkpoints=folder, metrics=log, resume=is_resumed
        )  # fmt: skip
        log.close()
    assert torch.equal(task.weights, whole.weights)
    assert losses(path) == losses(tmp_path / "whole.jsonl")
    assert len(losses(path)) == 2


def losses(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines]


def test_lines_of_steps_that_were_lost_are_written_anew(tmp_path):
    folder, path = CheckpointFolder(tmp_path), tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    fit(Parabola(), Budget(steps=16), schedule=CALM, checkpoints=folder, metrics=log)
    log.write({"step": 32, "loss": 123.0})
    log.close()
    with path.open("a") as file:
        file.write('{"step": 48, "lo')  # a process that was killed while it wrote
    log = MetricsLog(path)
    fit(Parabola(), Budget(steps=32), schedule=CALM, checkpoints=folder, metrics=log, resume=True)
    log.close()
    assert [step for step, _ in losses(path)] == [16, 32]
    assert losses(path)[1][1] != 123.0


def test_seconds_count_anew_after_a_resume_and_the_rate_stays_low(clock, tmp_path):
    def wait(step):
        clock.now += 1.0

    folder = CheckpointFolder(tmp_path)
    fit(Parabola(on_loss=wait), Budget(seconds=4.0), schedule=CALM, checkpoints=folder)
    seen = []
    done = fit(
        Parabola(on_loss=wait), Budget(seconds=4.0), schedule=CALM, checkpoints=folder, resume=True,
        on_progress=seen.append,
    )  # fmt: skip
    assert (done.steps, done.seconds) == (8, 4.0)
    # the second half of the decay again
    assert [progress.fraction for progress in seen] == pytest.approx([0.625, 0.75, 0.875, 1.0])


def test_resume_needs_a_folder():
    with pytest.raises(ValueError, match="checkpoint folder"):
        fit(Parabola(), Budget(steps=1), schedule=CALM, resume=True)


@pytest.mark.parametrize("n_steps", [40, 15])
def test_a_diverged_fit_says_so_and_keeps_the_last_good_state(tmp_path, n_steps):
    # 15: the end comes between two lines of the log, and must not save what is broken
    folder = CheckpointFolder(tmp_path)
    fit(Parabola(), Budget(steps=8), schedule=CALM, checkpoints=folder)

    class Diverging(Parabola):
        def loss(self, step):
            value, figures = super().loss(step)
            return value * (float("nan") if step >= 12 else 1.0), figures

    # the step itself, whenever the log would have looked
    with pytest.raises(DivergedError, match="the loss is nan at step 13"):
        fit(Diverging(), Budget(steps=n_steps), schedule=CALM, checkpoints=folder, resume=True)
    assert folder.steps() == [8]


class Breaking(Parabola):
    """From a step on the gradient is multiplied; the loss of that step is as good as any."""

    def __init__(self, breaks_at, factor, on_loss=lambda step: None):
        super().__init__(on_loss=on_loss)
        self.breaks_at, self.factor = breaks_at, factor

    def loss(self, step):
        if step == self.breaks_at:
            self.weights.register_hook(lambda gradient: gradient * self.factor)
        return super().loss(step)


BROKEN = [(torch.nan, "task.weights"), (1e30, "optimizer.state.0.exp_avg_sq")]


# a gradient that is none breaks the weights; one whose square is infinite breaks the optimiser's moments alone
@pytest.mark.parametrize(("factor", "broken"), BROKEN)
def test_what_would_be_saved_at_the_end_is_tested_and_not_the_loss_alone(tmp_path, factor, broken):
    folder = CheckpointFolder(tmp_path)
    fit(Parabola(), Budget(steps=8), schedule=CALM, checkpoints=folder)
    with pytest.raises(DivergedError, match=f"at step 13 3 of the 3 numbers of {broken} are NaN or infinite") as caught:
        fit(Breaking(12, factor), Budget(steps=13), schedule=CALM, checkpoints=folder, resume=True)
    assert (caught.value.exit_code, caught.value.where) == (2, str(tmp_path))
    assert folder.steps() == [8]


def test_what_would_be_saved_at_intervals_and_on_a_signal_is_tested(clock, tmp_path):
    def wait(step):
        clock.now += 1.0

    often, folder = FitSchedule(warmup_steps=1, checkpoint_seconds=2.5), CheckpointFolder(tmp_path)
    with pytest.raises(DivergedError, match="at step 6"):
        fit(Breaking(5, torch.nan, wait), Budget(steps=100), schedule=often, checkpoints=folder)
    assert folder.steps() == [3]
    with pytest.raises(DivergedError, match="at step 5"):
        fit(Breaking(4, torch.nan, send(signal.SIGINT, 4)), Budget(steps=100), schedule=CALM, checkpoints=folder)
    assert folder.steps() == [3]


def test_a_loss_that_is_none_by_its_parameters_names_them(tmp_path):
    with pytest.raises(DivergedError) as caught:
        fit(Breaking(4, torch.nan), Budget(steps=50), schedule=CALM)
    assert caught.value.what == (
        "the fit diverged: the loss is nan at step 6: 3 of the 3 numbers of task.weights are NaN or infinite, "
        "after a gradient of an earlier step that was"
    )


def test_a_loss_that_is_none_changes_nothing(tmp_path):
    problem = Parabola()
    loss = problem.loss
    problem.loss = lambda step: (loss(step)[0] * (torch.inf if step == 7 else 1), {})
    with pytest.raises(DivergedError, match="the loss is inf at step 8;"):
        fit(problem, Budget(steps=50), schedule=CALM)
    assert problem.weights.isfinite().all() and problem.after[-1] == 7


def test_a_fit_that_saves_nothing_does_not_end_with_numbers_that_are_none():
    with pytest.raises(DivergedError, match=r"at step 5 3 of the 3 numbers of task\.weights"):
        fit(Breaking(4, torch.nan), Budget(steps=5), schedule=CALM)


def seconds_left(clock, budget, n_before=0, folder=None):
    """What is said after each step where steps take a second and the first of each part of a run five."""
    is_first = True

    def wait(step):
        nonlocal is_first
        clock.now += 5.0 if is_first else 1.0
        is_first = False

    if n_before:
        fit(Parabola(), Budget(steps=n_before), schedule=CALM, checkpoints=folder)
    seen = []
    fit(
        Parabola(on_loss=wait), budget, schedule=CALM, checkpoints=folder, resume=n_before > 0, on_progress=seen.append
    )  # fmt: skip
    return [progress.seconds_left for progress in seen]


def test_the_time_that_is_left_follows_the_pace_of_this_part_of_the_run(clock, tmp_path):
    # 40 steps of an earlier part took no time at all, and say nothing of this one's
    for n_before in (0, 40):
        left = seconds_left(clock, Budget(steps=n_before + 10), n_before, CheckpointFolder(tmp_path / str(n_before)))
        assert left == [45.0, *range(8, -1, -1)]


def test_the_time_that_is_left_is_that_of_whatever_ends_the_run(clock, tmp_path):
    assert seconds_left(clock, Budget(seconds=9.0)) == [4, 3, 2, 1, 0]
    assert seconds_left(clock, Budget(seconds=9.0), 7, CheckpointFolder(tmp_path)) == [4, 3, 2, 1, 0]
    # of steps and seconds the sooner
    assert seconds_left(clock, Budget(seconds=9.0, steps=1000))[1:] == [3, 2, 1, 0]
    assert seconds_left(clock, Budget(seconds=1000.0, steps=4))[1:] == [2, 1, 0]
