"""Where the time of a training step goes on a CPU, and what the fused loops, huge pages and previews are worth in it.

    python scripts/bench_cpu_step.py [--data FOLDER] [--rounds 3] [--seconds 6] [--parts fusion,previews]

A round trains with fused and with separate operations, in turn, in a process with huge pages and in one without; the
figures are medians over the rounds, so that what else the machine does falls on all alike. The data is tiny_lego100.npz
in --data or in the folder named by NERFKIT_TEST_DATA, else the made scene. Numba compiles before the first that counts.
About 4 minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nerfkit.cpu import wait_briefly

wait_briefly()

import numpy as np
from bench_first_light import tiny_lego_folder
from benchmarking import Row, nerfkit, publish

# numpy reads it when it is imported (numpy's "Global Configuration Options")
PAGES = {"huge pages": "1", "pages of 4 KiB": "0"}
IS_FUSED = {"fused": True, "separate": False}
# seconds of a training whose previews are timed; the first is due after ten
PREVIEW_SECONDS = 60
PARTS = ("fusion", "previews")


class Stopwatch:
    """Seconds of each call of the functions that it was put round, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            result = function(*arguments, **named)
            self.seconds[name].append(time.perf_counter() - started)
            return result

        return timed

    def late_means(self, n_steps: int) -> dict[str, float]:
        """Milliseconds a step over the second half of the calls of each name."""
        return {
            name: 1e3 * sum(spent[len(spent) // 2 :]) / (n_steps - n_steps // 2) for name, spent in self.seconds.items()
        }


def train(source: Any, budget: dict[str, Any], *, is_fused: bool) -> dict[str, float]:
    """Milliseconds of a step and of its parts over the second half of a training of some seconds or steps."""
    # here: the process that only starts others does without torch
    import torch

    from nerfkit.adam_optimizer import Adam
    from nerfkit.cpu import keep_freed_memory, use_all_cores
    from nerfkit.fitting import Budget, FitSchedule, Progress, fit
    from nerfkit.presets import PRESETS
    from nerfkit.radiance_fit import RadianceFit
    from nerfkit.scene import RadianceScene
    from nerfkit.scenes.observations import fused_rendering, volume_rendering
    from nerfkit.training import prepare

    use_all_cores()
    prepared = prepare(source, PRESETS["hash"], "cpu")
    task = RadianceFit(RadianceScene(prepared.config, prepared.bounds, prepared.background), prepared.data)
    keep_freed_memory()
    watch = Stopwatch()
    task.loss = watch.around("forward", task.loss)
    task.after_step = watch.around("occupancy", task.after_step)
    backward, adam = torch.Tensor.backward, Adam.step
    torch.Tensor.backward = watch.around("backward", backward)
    Adam.step = watch.around("Adam", adam)
    volume_rendering.can_render_fused = fused_rendering.can_render_fused if is_fused else lambda *_: False
    ends: list[Progress] = []
    try:
        fit(task, Budget(**budget), schedule=FitSchedule(), on_progress=ends.append)
    finally:
        torch.Tensor.backward, Adam.step = backward, adam
        volume_rendering.can_render_fused = fused_rendering.can_render_fused
    half = len(ends) // 2
    whole = 1e3 * (ends[-1].seconds - ends[half - 1].seconds) / (len(ends) - half)
    parts = watch.late_means(len(ends))
    return {"step": whole, **parts, "the rest": whole - sum(parts.values())}


def work_fusion(data: Path, seconds: float) -> None:
    """What one process does: train fused and separately, print the times as a line of JSON each."""
    from nerfkit.scenes.readers import read_posed_photos

    source = read_posed_photos(data)
    for name, is_fused in IS_FUSED.items():
        # the first steps compile, and no figure should contain that
        train(source, {"seconds": 1.0}, is_fused=is_fused)
        print(json.dumps([name, train(source, {"seconds": seconds}, is_fused=is_fused)]), flush=True)


def bench_fusion(data: Path, rounds: int, seconds: float) -> list[Row]:
    """Milliseconds a step of all four combinations, and the parts of a step of the best."""
    found: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for number in range(rounds):
        for pages, value in PAGES.items():
            print(f"+ round {number + 1} of {rounds}, {pages}", file=sys.stderr, flush=True)
            command = [sys.executable, __file__, "--work", str(data), "--seconds", str(seconds)]
            environment = {**os.environ, "NUMPY_MADVISE_HUGEPAGE": value}
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            for name, times in map(json.loads, done.stdout.splitlines()):
                found[name, pages].append(times)
    text = f"python scripts/bench_cpu_step.py --parts fusion --rounds {rounds} --seconds {seconds:g}"
    rows = []
    for (name, pages), all_times in found.items():
        steps = [times["step"] for times in all_times]
        spread = f"{min(steps):.1f} to {max(steps):.1f}"
        rows.append(Row(f"a step, {name} operations, {pages} ({spread})", float(np.median(steps)), "ms", "", text))
    best = found["fused", "huge pages"]
    for part in [part for part in best[0] if part != "step"]:
        value = float(np.median([times[part] for times in best]))
        rows.append(Row(f"of a fused step in huge pages: {part}", value, "ms", "", text))
    return rows


def bench_previews(data: Path, work: Path) -> list[Row]:
    """Share of a training's time that its previews took."""
    run = work / "run"
    done = nerfkit("train", str(data), "--seconds", str(PREVIEW_SECONDS), "--out", str(run))
    spent = json.loads((run / "metrics.json").read_text())["train"]["preview_seconds"]
    text = f"nerfkit train DATA --seconds {PREVIEW_SECONDS}"
    return [Row("previews, share of the time", 100 * spent / done["seconds"], "%", "< 3 %", text)]


def main() -> None:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("NERFKIT_TEST_DATA") or None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each training (default: 6)")
    parser.add_argument("--parts", default=",".join(PARTS), help="of " + ", ".join(PARTS))
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/cpu_step.json"))
    # how this script starts itself, one process for each kind of pages
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        work_fusion(options.work, options.seconds)
        return
    parts = options.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"--parts: no {', '.join(unknown)}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        data = photos(work, options.data)
        rows = bench_fusion(data, options.rounds, options.seconds) if "fusion" in parts else []
        rows += bench_previews(data, work) if "previews" in parts else []
    publish(rows, options.json)


def photos(work: Path, data: Path | None) -> Path:
    """The folder to train on."""
    if data is not None:
        return tiny_lego_folder(Path(data) / "tiny_lego100.npz", work / "tiny_lego")
    from nerfkit.scenes.synthetic import write_posed_scene

    write_posed_scene(work / "made")
    return work / "made"


if __name__ == "__main__":
    main()
