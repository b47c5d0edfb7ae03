"""Test PSNR against seconds of training on a CPU: nerfkit's methods beside two small NeRFs in plain torch.

    python scripts/bench_cpu.py [--data FOLDER] [--seeds 3] [--methods hash,tiny_nerf] [--seconds 20,60]

The data is tiny_lego100.npz in --data or in the folder named by NERFKIT_TEST_DATA: 99 photos of 100x100 pixels to train
on, the last one to test. The clock runs from the first step to the last; at a mark the weights are copied, which takes
milliseconds, and rendered when the run is over. nerfkit's learning rate follows the budget, so each of --seconds is a
run of its own; the baselines' rate is constant, so a run of the longest budget has the others in it. Numba compiles in
short runs before the first that counts. With 3 seeds it takes about 15 minutes.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfkit.cpu import wait_briefly

wait_briefly()

import numpy as np
from bench_first_light import tiny_lego_folder
from benchmarking import Row, machine, publish
from cpu_baselines import BASELINES, BaselineFit, photo_rays
from torch import Tensor

from nerfkit.cpu import return_freed_memory, use_all_cores
from nerfkit.fitting import Budget, FitSchedule, Progress, fit
from nerfkit.metrics import psnr
from nerfkit.photo_data import PhotoData, load_photo_data
from nerfkit.presets import PRESETS, TrainConfig
from nerfkit.radiance_fit import RadianceFit
from nerfkit.scene import RadianceScene
from nerfkit.scenes.backgrounds import Background
from nerfkit.scenes.readers import PosedPhotos, read_posed_photos
from nerfkit.training import prepare

METHODS = ("hash", "fourier", *BASELINES)
# (method, budget in seconds) -> what issue 4 asks for, dB
GOALS = {("hash", 20.0): ">= 30.5 dB", ("hash", 60.0): ">= 34 dB"}
# steps of the runs that nobody looks at, in which numba compiles and torch allocates
N_WARM_STEPS = {"nerfkit": 40, "baseline": 2}
BLACK = Background("black", (0.0, 0.0, 0.0))


@dataclass(frozen=True)
class Mark:
    """The test views' mean PSNR after some training: seconds, steps, dB."""

    seconds: float
    steps: int
    psnr: float


@dataclass(frozen=True)
class RunCurve:
    """A run: what was trained, for how long, and how good it was at its marks; the last mark is its end."""

    method: str
    seed: int
    budget: float
    prepare_seconds: float
    marks: list[Mark]


class MarkKeeper:
    """Copies of a state at the first step past each mark.

    Parameters
    ----------
    marks : list of float
        Seconds, increasing.
    read_state : callable
        Gives the state; it is copied.
    """

    def __init__(self, marks: list[float], read_state: Any) -> None:
        self.waiting, self.read_state = list(marks), read_state
        # (seconds, steps, state)
        self.kept: list[tuple[float, int, Any]] = []

    def see(self, seconds: float, steps: int) -> None:
        """Called after every step."""
        if self.waiting and seconds >= self.waiting[0]:
            while self.waiting and seconds >= self.waiting[0]:
                self.waiting.pop(0)
            self.keep(seconds, steps)

    def keep(self, seconds: float, steps: int) -> None:
        """Copy the state now."""
        self.kept.append((seconds, steps, copy.deepcopy(self.read_state())))


class Bench:
    """The data, and one run of a method on it.

    Parameters
    ----------
    source : PosedPhotos
        The dataset; its test split is what is measured.
    """

    def __init__(self, source: PosedPhotos) -> None:
        self.source = source
        self.test = load_photo_data(source, ("test",), downscale=1.0, max_side=None)

    def run(self, method: str, seed: int, budget: Budget, marks: list[float]) -> RunCurve:
        """Train for ``budget`` and measure the test views at ``marks`` and at the end."""
        return (self._run_nerfkit if method in PRESETS else self._run_baseline)(method, seed, budget, marks)

    def warm(self, methods: list[str]) -> None:
        """A short run of each method, so that nothing is compiled while the clock runs."""
        for method in methods:
            n_steps = N_WARM_STEPS["nerfkit" if method in PRESETS else "baseline"]
            self.run(method, 0, Budget(steps=n_steps), [])

    def _run_nerfkit(self, method: str, seed: int, budget: Budget, marks: list[float]) -> RunCurve:
        config: TrainConfig = dataclasses.replace(PRESETS[method], seed=seed, background="black")
        started = time.perf_counter()
        prepared = prepare(self.source, config, "cpu")
        scene = RadianceScene(config, prepared.bounds, prepared.background)
        task = RadianceFit(scene, prepared.data)
        prepare_seconds = time.perf_counter() - started
        keeper = MarkKeeper(marks, scene.state_dict)

        def on_progress(progress: Progress) -> None:
            keeper.see(progress.seconds, progress.step)

        schedule = FitSchedule(config.warmup_steps, config.final_share, config.checkpoint_seconds)
        done = fit(task, budget, schedule=schedule, on_progress=on_progress)
        if done.is_interrupted:
            raise KeyboardInterrupt
        keeper.keep(done.seconds, done.steps)

        def render(index: int) -> Tensor:
            return scene.render(self.test.cameras[index], self.test.c2w[index]).rgb

        found = [self._score(seconds, steps, state, scene, render) for seconds, steps, state in keeper.kept]
        return RunCurve(method, seed, budget.seconds or 0.0, prepare_seconds, found)

    def _run_baseline(self, method: str, seed: int, budget: Budget, marks: list[float]) -> RunCurve:
        started = time.perf_counter()
        train = load_photo_data(self.source, ("train",), downscale=1.0, max_side=None)
        photos = [_photo(train, index) for index in train.split("train")]
        tests = {index: _photo(self.test, index) for index in self.test.split("test")}
        task = BaselineFit(BASELINES[method], photos, seed)
        prepare_seconds = time.perf_counter() - started
        keeper = MarkKeeper(marks, task.model.state_dict)
        started, seconds = time.perf_counter(), 0.0
        while not budget.is_spent(seconds, task.n_steps):
            task.step()
            seconds = time.perf_counter() - started
            keeper.see(seconds, task.n_steps)
        keeper.keep(seconds, task.n_steps)

        def render(index: int) -> Tensor:
            return task.render(tests[index])

        found = [self._score(seconds, steps, state, task.model, render) for seconds, steps, state in keeper.kept]
        return RunCurve(method, seed, budget.seconds or 0.0, prepare_seconds, found)

    def _score(self, seconds: float, steps: int, state: Any, module: Any, render: Any) -> Mark:
        """Put a kept state back and measure it."""
        module.load_state_dict(state)
        values = [psnr(render(index), self.test.truth(index, BLACK)) for index in self.test.split("test")]
        return Mark(round(seconds, 2), steps, round(float(np.mean(values)), 3))


def _photo(data: PhotoData, index: int) -> Any:
    return photo_rays(data.cameras[index], data.c2w[index], data.truth(index, BLACK))


def scores_at(curves: list[RunCurve], method: str, budget: float) -> list[float]:
    """PSNR of each seed after ``budget`` seconds: nerfkit's of runs that were to end then, a baseline's at the mark."""
    if method in PRESETS:
        return [curve.marks[-1].psnr for curve in curves if curve.method == method and curve.budget == budget]
    own = [curve for curve in curves if curve.method == method]
    return [min(curve.marks, key=lambda mark: abs(mark.seconds - budget)).psnr for curve in own]


def rows_of(curves: list[RunCurve], budgets: list[float]) -> list[Row]:
    """The table: median over the seeds, their spread in the name."""
    rows = []
    for method in dict.fromkeys(curve.method for curve in curves):
        for budget in budgets:
            values = scores_at(curves, method, budget)
            name = f"{method}: tiny_lego100, view 99, {budget:g} s, median of {len(values)}"
            name += f" ({min(values):.2f} to {max(values):.2f})"
            command = f"python scripts/bench_cpu.py --methods {method} --seconds {budget:g} --seeds {len(values)}"
            rows.append(Row(name, float(np.median(values)), "dB", GOALS.get((method, budget), ""), command))
    return rows


def plot(curves: list[RunCurve], path: Path) -> None:
    """PSNR against seconds: the median over the seeds as a line, their range as a band, one colour a method."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    methods = list(dict.fromkeys(curve.method for curve in curves))
    for i, method in enumerate(methods):
        longest = max(curve.budget for curve in curves if curve.method == method)
        for budget in sorted({curve.budget for curve in curves if curve.method == method}):
            runs = [curve.marks for curve in curves if curve.method == method and curve.budget == budget]
            # a slow step may jump over a mark, so seeds can differ in their number
            n = min(map(len, runs))
            seconds = np.median([[mark.seconds for mark in run[-n:]] for run in runs], axis=0)
            values = np.array([[mark.psnr for mark in run[-n:]] for run in runs])
            style = "o-" if budget == longest else "s:"
            label = method if budget == longest else f"{method}, budget {budget:g} s"
            axes.plot(seconds, np.median(values, axis=0), style, color=f"C{i}", label=label, markersize=4)
            axes.fill_between(seconds, values.min(0), values.max(0), color=f"C{i}", alpha=0.2, linewidth=0)
    found = machine()
    axes.set_title(f"tiny_lego100, view 99 held out; {found['cores']} cores, no GPU", fontsize=10)
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("test PSNR [dB]")
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside right upper")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def measure(bench: Bench, methods: list[str], n_seeds: int, budgets: list[float], marks: list[float]) -> list[RunCurve]:
    """All runs; the methods take turns, so that a slow spell of the machine falls on all of them."""
    bench.warm(methods)
    curves = []
    for seed in range(n_seeds):
        for method in methods:
            for budget in budgets if method in PRESETS else [max(budgets)]:
                # the end of a run is a mark by itself
                own = [mark for mark in sorted({*marks, *budgets}) if mark < budget]
                curves.append(bench.run(method, seed, Budget(seconds=budget), own))
                shown = ", ".join(f"{mark.seconds:.0f} s {mark.psnr:.2f} dB" for mark in curves[-1].marks)
                steps = curves[-1].marks[-1].steps
                print(f"{method}, seed {seed}, {budget:g} s, {steps} steps: {shown}", file=sys.stderr, flush=True)
    return curves


def main() -> None:
    """Measure, print the table, write JSON and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("NERFKIT_TEST_DATA") or None)
    parser.add_argument("--methods", default=",".join(METHODS), help="of " + ", ".join(METHODS))
    parser.add_argument("--seeds", type=int, default=3, help="runs of each, seeds 0, 1, ... (default: 3)")
    parser.add_argument("--seconds", default="20,60", help="budgets (default: 20,60)")
    parser.add_argument("--marks", default="5,10,20,40", help="seconds at which the test view is measured, too")
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/cpu.json"))
    parser.add_argument("--png", type=Path, default=Path("docs/images/cpu.png"))
    options = parser.parse_args()
    methods = options.methods.split(",")
    if unknown := [method for method in methods if method not in METHODS]:
        parser.error(f"--methods: no {', '.join(unknown)}; there are {', '.join(METHODS)}")
    if options.data is None:
        print("left out: bench_cpu (needs --data or NERFKIT_TEST_DATA)")
        return
    budgets, marks = ([float(text) for text in value.split(",")] for value in (options.seconds, options.marks))
    use_all_cores()
    return_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        source = read_posed_photos(tiny_lego_folder(Path(options.data) / "tiny_lego100.npz", Path(name) / "tiny_lego"))
        curves = measure(Bench(source), methods, options.seeds, sorted(budgets), marks)
    rows = rows_of(curves, sorted(budgets))
    publish(rows, options.json)
    content = json.loads(options.json.read_text())
    content["runs"] = [dataclasses.asdict(curve) for curve in curves]
    options.json.write_text(json.dumps(content, indent=1) + "\n")
    plot(curves, options.png)
    print(f"wrote {options.json} and {options.png}")


if __name__ == "__main__":
    main()
