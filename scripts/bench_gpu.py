"""The kernels, training and rendering on a GPU: checked first, then timed, then judged.

    PYTHONPATH=. python scripts/bench_gpu.py [--data FOLDER] [--parts checks,ops,step,lego] [--json FILE]

Needs torch >= 2.11, triton >= 3.6, numpy, and for the part "lego" Pillow and the folder lego_400 below --data or
NERFKIT_TEST_DATA; nothing need be installed beside them. Every operation is first compared with its definition in
float64, at the size at which it is timed (at half of it, and so on, where the definition does not fit the card): what
is wrong is named, is not timed, and makes the exit code 1. Then the card's own rates are measured, and each operation,
forward and backward with gradients that are given, as the host launches it and played from a CUDA graph, beside the
definition run eagerly and through torch.compile: milliseconds, peak memory, and the floor that a perfect kernel would
have (gpu_floors.py). The part "step" times a training step both ways, alone and in training, where the grid and the log
come to it; "lego" trains to the time marks and renders. The last table says which goals are reached. All of it takes
under 12 minutes; the tables go to docs/benchmarks/<card>.json.

--rehearse goes through it on a machine without a GPU, on a few samples in Triton's interpreter, and writes nothing.
--floors prints what each operation needs at least, and what that takes at the rates of an H200; it needs no GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

# read when triton is imported
if "--rehearse" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"

import torch
from benchmarking import machine
from gpu_cases import CASES, Case, Problem
from gpu_floors import EAGER_GOALS, GOALS, H200, LEGO_GOALS, RENDER_GOALS, SECTOR, Goal, Rates, grid_traffic
from gpu_timing import attempt, captured, card_rates, milliseconds, peak_megabytes
from torch import Tensor

if TYPE_CHECKING:
    from nerfkit.radiance_fit import RadianceFit

PARTS = ("checks", "ops", "step", "lego")
# samples of a rehearsal: a program of the interpreter takes milliseconds
N_REHEARSED = 131
# fewer samples than this of a case say nothing of its size
N_LEAST = 2**14
RENDER_SIZE, N_FRAMES = 800, 20
# samples that a tile takes, of which the traffic with the cache is counted, and samples of which it is counted
TILE, N_COUNTED = 64, 2**16


@dataclass(frozen=True)
class Checked:
    """How far outputs and gradients are from float64, of the tensor that is farthest."""

    op: str
    config: str
    n_samples: int
    # largest error over largest value
    error: float
    tolerance: float
    # the same, or, where the case has a bound for gradients alone, root mean square over root mean square
    gradient_error: float
    gradient_tolerance: float
    fault: str = ""

    @property
    def is_right(self) -> bool:
        """Whether the figures of this case mean anything."""
        return not self.fault and self.error <= self.tolerance and self.gradient_error <= self.gradient_tolerance


@dataclass(frozen=True)
class Timed:
    """Forward and backward of an operation: milliseconds and MB of an implementation, and of those it stands beside."""

    op: str
    config: str
    milliseconds: float
    captured_milliseconds: float | None
    megabytes: float
    floor_milliseconds: float
    eager_milliseconds: float | None
    eager_megabytes: float | None
    compiled_milliseconds: float | None

    @property
    def best_milliseconds(self) -> float:
        """As a training step has it: from a graph where that can be."""
        return self.captured_milliseconds or self.milliseconds


@dataclass(frozen=True)
class Judged:
    """A figure and its goal."""

    what: str
    value: float
    unit: str
    good: float
    best: float
    verdict: str

    @classmethod
    def of(cls, what: str, value: float, unit: str, goal: Goal) -> Judged:
        """With what the goal says of it."""
        return cls(what, value, unit, goal.good, goal.best, goal.verdict(value))


def largest_error(got: Tensor, wanted: Tensor) -> float:
    """Largest difference over the largest value; infinite where a number is none."""
    return _relative(got, wanted, lambda x: float(x.abs().max()))


def norm_error(got: Tensor, wanted: Tensor) -> float:
    """Norm of the difference over that of the values; infinite where a number is none."""
    return _relative(got, wanted, lambda x: float(x.norm()))


def _relative(got: Tensor, wanted: Tensor, size: Callable[[Tensor], float]) -> float:
    if not bool(torch.isfinite(got).all()):
        return float("inf")
    if not got.numel():
        return 0.0
    got, wanted = got.detach().double(), wanted.detach().double()
    return size(got - wanted) / max(size(wanted), 1e-30)


def given_gradients(outputs: tuple[Tensor, ...]) -> list[Tensor]:
    """What outputs are sent, the same numbers for every implementation and dtype: of a mean of so many numbers."""
    generator = torch.Generator().manual_seed(1)
    # by the root of the count: neither sums nor terms leave the range of float16
    return [(torch.randn(x.shape, generator=generator) / max(x.numel(), 1) ** 0.5).to(x) for x in outputs]


def forward_and_backward(problem: Problem, impl: str) -> Callable[[], list[Tensor]]:
    """A call that gives outputs and gradients of an implementation; the gradients that go in are made before."""
    d_outputs = given_gradients(problem.run(impl)) if problem.leaves else []

    def run() -> list[Tensor]:
        outputs = list(problem.run(impl))
        return [*outputs, *torch.autograd.grad(outputs, problem.leaves, d_outputs)] if problem.leaves else outputs

    return run


def outputs_and_gradients(problem: Problem, impl: str) -> list[Tensor]:
    """What an implementation gives, and the gradients from what is sent to its outputs."""
    return forward_and_backward(problem, impl)()


def check(case: Case, device: str, n: int) -> Checked:
    """Compare the kernel with the definition in float64, on ``n`` samples or as many as the definition has room for."""
    while True:
        try:
            return _check(case, device, n)
        except torch.OutOfMemoryError:
            if n < 2 * N_LEAST:
                return _checked(case, n, fault="the definition in float64 does not fit this card")
            n //= 2
        finally:
            if device != "cpu":
                torch.cuda.empty_cache()


def _check(case: Case, device: str, n: int) -> Checked:
    try:
        problem = case.make(n, device, torch.float32)
        got = outputs_and_gradients(problem, case.impl)
        wanted = outputs_and_gradients(case.make(n, device, torch.float64), "reference")
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, NotImplementedError) as error:
        return _checked(case, n, fault=f"{type(error).__name__}: {error}"[:300])
    pairs = list(zip(got, wanted, strict=True))
    if any(a.shape != b.shape for a, b in pairs):
        return _checked(case, n, fault="shapes differ")
    n_outputs = len(pairs) - len(problem.leaves)
    measure = largest_error if case.gradient_tolerance is None else norm_error
    values = max((largest_error(a, b) for a, b in pairs[:n_outputs]), default=0.0)
    return _checked(case, n, values, max((measure(a, b) for a, b in pairs[n_outputs:]), default=0.0))


def _checked(
    case: Case, n: int, error: float = float("inf"), gradient_error: float = float("inf"), *, fault: str = ""
) -> Checked:
    gradient_tolerance = case.tolerance if case.gradient_tolerance is None else case.gradient_tolerance
    return Checked(case.op, case.config, n, error, case.tolerance, gradient_error, gradient_tolerance, fault)


def time_case(case: Case, device: str, n: int, rates: Rates) -> Timed:
    """A case's kernel, launched and captured, its definition run eagerly, and the same compiled."""
    problem = case.make(n, device, torch.float32)
    own, eager = (forward_and_backward(problem, impl) for impl in ("auto", "reference"))
    own_ms, own_mb = milliseconds(own, device), peak_megabytes(own, device)
    is_on_gpu = device != "cpu"
    captured_ms = attempt(lambda: milliseconds(captured(own), device)) if is_on_gpu and case.is_capturable else None
    eager_ms = attempt(lambda: milliseconds(eager, device))
    eager_mb = attempt(lambda: peak_megabytes(eager, device)) if eager_ms else None
    compiled_ms = attempt(lambda: milliseconds(compiled_run(problem), device)) if is_on_gpu else None
    floor = case.least(n).floor(rates)
    return Timed(case.op, case.config, own_ms, captured_ms, own_mb, floor, eager_ms, eager_mb, compiled_ms)


def judge(timed: list[Timed]) -> list[Judged]:
    """The rows that have goals."""
    judged = []
    for row in timed:
        key, name = (row.op, row.config), f"{row.op} ({row.config})"
        if key in GOALS:
            judged.append(Judged.of(name, row.best_milliseconds, "ms", GOALS[key]))
        if key in EAGER_GOALS and row.eager_milliseconds and row.eager_megabytes:
            faster, smaller = EAGER_GOALS[key]
            ratios = {
                "faster than eager": (row.eager_milliseconds / row.best_milliseconds, faster),
                "less memory than eager": (row.eager_megabytes / max(row.megabytes, 1e-3), smaller),
            }
            judged += [Judged.of(f"{name}, {what}", ratio, "times", goal) for what, (ratio, goal) in ratios.items()]
    return judged


def compiled_run(problem: Problem) -> Callable[[], object]:
    """The definition through torch.compile, as somebody without our kernels would have it."""
    compiled = torch.compile(lambda: problem.run("reference"))
    run = forward_and_backward(dataclasses.replace(problem, run=lambda _: compiled()), "reference")
    run()
    return run


def time_step(device: str, n_steps: int) -> list[dict[str, Any]]:
    """Milliseconds of a training step on the made scene, alone and in training: launched, and, on a GPU, as a graph."""
    from nerfkit.adam_optimizer import Adam
    from nerfkit.captured_step import CapturedStep, training_step
    from nerfkit.fitting import Budget, FitSchedule, fit
    from nerfkit.presets import preset_for
    from nerfkit.radiance_fit import RadianceFit
    from nerfkit.scene import RadianceScene
    from nerfkit.scenes.readers import read_posed_photos
    from nerfkit.scenes.synthetic import write_posed_scene
    from nerfkit.training import prepare

    config, (n_train, side) = preset_for("hash", device), (24, 100) if device != "cpu" else (4, 16)
    with tempfile.TemporaryDirectory() as folder:
        write_posed_scene(folder, n_train=n_train, n_val=1, n_test=1, size=(side, side), supersample=1)
        prepared = prepare(read_posed_photos(folder), config, device)
    task = RadianceFit(RadianceScene(config, prepared.bounds, prepared.background).to(device), prepared.data)
    # until rays have found what is empty
    fit(task, Budget(steps=n_steps), schedule=FitSchedule(config.warmup_steps, config.final_share))
    optimizer = Adam(task.parameter_groups(), (0.9, 0.99), 1e-15)
    optimizer.hold_learning_rates()
    step, n_rays = training_step(task, optimizer), task.size()
    ways = {"launched": step}
    if device != "cpu":
        ways["captured"] = CapturedStep(step, task.generators())
    times = {}
    for name, way in ways.items():
        for _ in range(2):  # warms up, and records
            way(n_rays)
        times[f"step of hash, {n_rays} rays, {name}"] = milliseconds(lambda way=way: way(n_rays), device)
    for name in ways:
        times[f"training of hash, a step, {name}"] = time_training(task, n_steps, captured=name == "captured")
    for what, value in times.items():
        print(f"| {what} | {value:.3f} ms |")
    return [{"what": what, "milliseconds": value} for what, value in times.items()]


def time_training(task: RadianceFit, n_steps: int, *, captured: bool) -> float:
    """Milliseconds of a step as training goes on: the median over stretches between two looks, which wait."""
    from nerfkit.fitting import Budget, FitSchedule, fit

    ends: list[float] = []
    fit(
        task, Budget(steps=n_steps), schedule=FitSchedule(), captured=captured,
        on_progress=lambda progress: ends.append(progress.seconds),
    )  # fmt: skip
    looks = ends[task.look_steps - 1 :: task.look_steps]
    return 1e3 * statistics.median(end - start for start, end in pairwise(looks)) / task.look_steps


def train_lego(data: Path, device: str) -> list[Judged]:
    """PSNR over the test views of lego_400 after a training of each length, and frames a second at the end."""
    from nerfkit.fitting import Budget, FitSchedule, fit
    from nerfkit.photo_data import load_photo_data
    from nerfkit.presets import preset_for
    from nerfkit.radiance_fit import RadianceFit
    from nerfkit.scene import RadianceScene
    from nerfkit.scenes.readers import read_posed_photos
    from nerfkit.training import prepare

    config = dataclasses.replace(preset_for("hash", device), downscale=1.0)
    source = read_posed_photos(data / "lego_400")
    test = load_photo_data(source, ("test",), downscale=1.0, max_side=None)
    rows = []
    for seconds in [0.0, *LEGO_GOALS]:
        prepared = prepare(source, config, device)
        scene = RadianceScene(config, prepared.bounds, prepared.background).to(device)
        task = RadianceFit(scene, prepared.data)
        # the first run, of a few steps, only compiles
        budget = Budget(seconds=seconds) if seconds else Budget(steps=20)
        done = fit(task, budget, schedule=FitSchedule(config.warmup_steps, config.final_share))
        if seconds:
            values = [
                float(-10 * torch.log10((scene.render(test.cameras[i], test.c2w[i]).rgb - truth).square().mean()))
                for i in test.split("test")
                for truth in [test.truth(i, prepared.background)]
            ]
            what = f"lego_400 after {seconds:g} s, {done.steps} steps"
            rows.append(Judged.of(what, sum(values) / len(values), "dB", LEGO_GOALS[seconds]))
    camera = test.cameras[test.split("test")[0]].resized(RENDER_SIZE, RENDER_SIZE)
    poses = [test.c2w[i] for i in test.split("test")]
    scene.render(camera, poses[0])
    started = time.perf_counter()
    for i in range(N_FRAMES):
        scene.render(camera, poses[i % len(poses)])
    rate = N_FRAMES / (time.perf_counter() - started)
    return [*rows, Judged.of(f"frames of {RENDER_SIZE}x{RENDER_SIZE}", rate, "a second", RENDER_GOALS)]


def print_checks(found: list[Checked]) -> None:
    """A line a case."""
    print("| op | case | samples | outputs against float64 | allowed | gradients | allowed | |\n" + "|---" * 8 + "|")
    for row in found:
        cells = [row.op, row.config, f"{row.n_samples}", f"{row.error:.1e}", f"{row.tolerance:.0e}",
                 f"{row.gradient_error:.1e}", f"{row.gradient_tolerance:.0e}", row.fault]  # fmt: skip
        print("| " + " | ".join(cells) + " |", flush=True)


def show(row: Timed) -> str:
    """A line of the table of times."""

    def text(value: float | None, form: str = "{:.3f}") -> str:
        return "" if value is None else form.format(value)

    ratio = text(None if row.eager_milliseconds is None else row.eager_milliseconds / row.best_milliseconds, "{:.1f}x")
    cells = [
        row.op, row.config, text(row.milliseconds), text(row.captured_milliseconds), text(row.floor_milliseconds),
        f"{100 * row.floor_milliseconds / row.best_milliseconds:.0f} %", text(row.megabytes, "{:.0f}"),
        text(row.eager_milliseconds), ratio, text(row.eager_megabytes, "{:.0f}"), text(row.compiled_milliseconds),
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


COLUMNS = ("op", "case", "launched ms", "captured ms", "floor ms", "of the floor", "MB", "eager ms", "eager / ours",
           "eager MB", "compiled ms")  # fmt: skip
HEAD = "| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|"


def print_judged(rows: list[Judged]) -> None:
    """A line a goal."""
    print("| what | measured | good | goal | |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {row.what} | {row.value:.3g} {row.unit} | {row.good:g} | {row.best:g} | {row.verdict} |")


def cache_sectors(case: Case) -> tuple[float, float] | None:
    """Sectors a sample that gathers and additions touch, of tiles of ``TILE`` samples; None without a hash grid."""
    problem = case.make(N_COUNTED, "cpu", torch.float32)
    if problem.asked is None:
        return None
    spec, positions = problem.asked
    entry_bytes = spec.n_features * (2 if case.least(N_COUNTED).is_half else 4)
    xyzs = positions()
    xyzs = xyzs[: len(xyzs) // TILE * TILE]
    gathered = grid_traffic(spec, xyzs, entry_bytes, TILE)
    return gathered, gathered if entry_bytes == 16 else grid_traffic(spec, xyzs, 16, TILE)


def told(rates: Rates) -> str:
    """Rates in a line."""
    values = (rates.copy_bytes, rates.cache_bytes, rates.half_flops, rates.float32_flops)
    text = "copy {:.2f} TB/s, within the cache {:.2f} TB/s, products {:.0f} TFLOP/s in bfloat16, {:.0f} in float32"
    return text.format(*(value / 1e12 for value in values))


def print_floors(cases: list[Case], rates: Rates) -> None:
    """What each case needs at least, and how long that takes at these rates; the grids' traffic with the cache."""
    print(told(rates))
    print(
        "| op | case | MB | GFLOP | memory ms | products ms | floor ms | sectors gathered, added | cache ms | goal ms |"
    )
    print("|---" * 10 + "|")
    for case in cases:
        least, sectors = case.least(case.n), cache_sectors(case)
        if sectors is not None:
            # a fused kernel gathers once more in its backward
            n_gathers = 2 if case.op == "radiance" else 1
            a_sample = SECTOR * (n_gathers * sectors[0] + sectors[1])
            least = dataclasses.replace(least, cache_bytes=case.n * a_sample)
        parts, goal = least.milliseconds(rates), GOALS.get((case.op, case.config))
        cells = [
            case.op, case.config, f"{least.memory_bytes / 1e6:.0f}", f"{least.flops / 1e9:.0f}",
            f"{parts['memory']:.3f}", f"{parts['products']:.3f}", f"{least.floor(rates):.3f}",
            "" if sectors is None else f"{sectors[0]:.1f}, {sectors[1]:.1f}",
            "" if sectors is None else f"{parts['cache']:.3f}", "" if goal is None else f"{goal.best:g}",
        ]  # fmt: skip
        print("| " + " | ".join(cells) + " |", flush=True)


def main() -> int:
    """Check, time, train; print the tables and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("NERFKIT_TEST_DATA") or None)
    parser.add_argument("--parts", default=",".join(PARTS), help="of " + ", ".join(PARTS))
    parser.add_argument("--only", default="", help="cases whose operation or configuration contains this text")
    parser.add_argument("--json", type=Path, help="default: docs/benchmarks/<card>.json")
    parser.add_argument("--rehearse", action="store_true", help="without a GPU, on a few samples; writes nothing")
    parser.add_argument(
        "--floors", action="store_true", help="print what the operations need at least, and nothing else"
    )
    options = parser.parse_args()
    parts = options.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"--parts: no {', '.join(unknown)}; there are {', '.join(PARTS)}")
    cases = [case for case in CASES if options.only in f"{case.op} {case.config}"]
    if options.floors:
        print_floors(cases, H200)
        return 0
    if not options.rehearse and not torch.cuda.is_available():
        print("no GPU that torch can use on this machine; --rehearse goes through it without one", file=sys.stderr)
        return 3
    device = "cpu" if options.rehearse else "cuda"
    content: dict[str, Any] = {"machine": {**machine(), **card(device)}}
    print(" ".join(f"{key} {value}" for key, value in content["machine"].items()))
    checked = [check(case, device, N_REHEARSED if options.rehearse else case.n) for case in cases]
    print_checks(checked)
    content["checks"] = [dataclasses.asdict(row) for row in checked]
    judged: list[Judged] = []
    if "ops" in parts:
        right = [case for case, row in zip(cases, checked, strict=True) if row.is_right]
        timed = time_cases(right, device, content)
        judged += judge(timed)
    if "step" in parts:
        content["step"] = time_step(device, 3 if options.rehearse else 300)
    if "lego" in parts and options.data and (Path(options.data) / "lego_400").exists() and not options.rehearse:
        judged += train_lego(Path(options.data), device)
    elif "lego" in parts:
        print("left out: lego (needs a GPU and lego_400 below --data or NERFKIT_TEST_DATA)", file=sys.stderr)
    print_judged(judged)
    content["goals"] = [dataclasses.asdict(row) for row in judged]
    if not options.rehearse:
        _write(content, options.json)
    wrong = [f"{row.op} ({row.config})" for row in checked if not row.is_right]
    if wrong:
        print(f"wrong, and not timed: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


def time_cases(cases: list[Case], device: str, content: dict[str, Any]) -> list[Timed]:
    """Times of the cases and the card's rates, printed and noted in ``content``."""
    rates = card_rates(device)
    content["rates"] = dataclasses.asdict(rates)
    print(told(rates))
    print(HEAD)
    timed = []
    for case in cases:
        timed.append(time_case(case, device, N_REHEARSED if device == "cpu" else case.n, rates))
        print(show(timed[-1]), flush=True)
    content["ops"] = [dataclasses.asdict(row) for row in timed]
    return timed


def _write(content: dict[str, Any], path: Path | None) -> None:
    name = re.sub(r"[^a-z0-9]+", "_", content["machine"]["gpu"].lower()).strip("_")
    path = path or Path("docs/benchmarks") / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"wrote {path}")


def card(device: str) -> dict[str, Any]:
    """The GPU and what drives it."""
    import triton

    if device == "cpu":
        return {"gpu": "none, a rehearsal", "triton": triton.__version__}
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name, "multiprocessors": properties.multi_processor_count,
        "memory_gb": round(properties.total_memory / 1e9), "triton": triton.__version__, "cuda": torch.version.cuda,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
