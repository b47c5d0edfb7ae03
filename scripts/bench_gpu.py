"""The kernels, training and rendering on a GPU: checked first, then timed.

    PYTHONPATH=. python scripts/bench_gpu.py [--data FOLDER] [--parts checks,ops,lego] [--json FILE]

Needs torch >= 2.11, triton >= 3.6, numpy, and for the part "lego" Pillow and the folder lego_400 below --data or
NERFKIT_TEST_DATA; nothing need be installed beside them. Every operation is first compared with its definition in
float64: what is wrong is named, is not timed, and makes the exit code 1. Then the card's own copy bandwidth and bf16
rate are measured, and each operation, forward and backward, beside the definition run eagerly and through
torch.compile: milliseconds, peak memory, and the share of the roofline that the card's own rates give. The part "step"
times a training step as the host launches it and played from a CUDA graph, alone and in training, where the grid and
the log come to it; "lego" trains to the time marks and renders. All of it takes under 9 minutes; the table goes to
docs/benchmarks/<card>.json.

--rehearse goes through it on a machine without a GPU, on a few samples in Triton's interpreter, and writes nothing.
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
from torch import Tensor

if TYPE_CHECKING:
    from nerfkit.radiance_fit import RadianceFit

PARTS = ("checks", "ops", "step", "lego")
# samples of a rehearsal: a program of the interpreter takes milliseconds
N_REHEARSED = 131
# seconds of training at which lego's test views are measured, and what kernels are to reach (dB)
LEGO_GOALS = {5.0: 32.0, 15.0: 35.0, 60.0: 36.0}
RENDER_SIZE, N_FRAMES, RENDER_GOAL = 800, 20, 100.0
# the radiance of a million samples, forward and backward (ms)
RADIANCE_GOALS = {"hash, bfloat16": 0.5, "Fourier 8 x 256, bfloat16": 9.0}
# as much as any card's second-level cache holds, written between two runs so that none finds its inputs there
FLUSH_BYTES = 2**28


@dataclass(frozen=True)
class Checked:
    """Largest error of values and gradients against float64, each as a share of the tensor's largest number."""

    op: str
    config: str
    error: float
    tolerance: float
    fault: str = ""

    @property
    def is_right(self) -> bool:
        """Whether the figures of this case mean anything."""
        return not self.fault and self.error <= self.tolerance


@dataclass(frozen=True)
class Timed:
    """Forward and backward of an operation: milliseconds and MB of an implementation, and of those it stands beside."""

    op: str
    config: str
    milliseconds: float
    megabytes: float
    roofline_share: float
    eager_milliseconds: float | None
    eager_megabytes: float | None
    compiled_milliseconds: float | None
    goal: float | None


def relative_error(got: Tensor, wanted: Tensor) -> float:
    """Largest difference over the largest number; infinite where a number is none."""
    if not bool(torch.isfinite(got).all()):
        return float("inf")
    if not got.numel():
        return 0.0
    got, wanted = got.detach().double(), wanted.detach().double()
    return float((got - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30))


def outputs_and_gradients(problem: Problem, impl: str) -> list[Tensor]:
    """What an implementation gives, and the gradients of a loss that depends on every output in its own way."""
    outputs = problem.run(impl)
    if not problem.leaves:
        return list(outputs)
    # by the root of the count: neither sums nor terms leave the range of float16
    loss = sum(((i + 1) * out).sin().sum() / max(out.numel(), 1) ** 0.5 for i, out in enumerate(outputs))
    return [*outputs, *torch.autograd.grad(loss, problem.leaves)]  # pyright: ignore[reportCallIssue, reportArgumentType]


def check(case: Case, device: str, n: int) -> Checked:
    """Compare the kernel in float32 with the definition in float64."""
    try:
        got = outputs_and_gradients(case.make(n, device, torch.float32), case.impl)
        wanted = outputs_and_gradients(case.make(n, device, torch.float64), "reference")
    except (RuntimeError, ValueError, NotImplementedError) as error:
        return Checked(case.op, case.config, float("inf"), case.tolerance, f"{type(error).__name__}: {error}"[:300])
    pairs = list(zip(got, wanted, strict=True))
    if any(a.shape != b.shape for a, b in pairs):
        return Checked(case.op, case.config, float("inf"), case.tolerance, "shapes differ")
    return Checked(case.op, case.config, max(relative_error(a, b) for a, b in pairs), case.tolerance)


def milliseconds(run: Callable[[], object], device: str, seconds: float = 0.4) -> float:
    """Median time of a call on the device, the caches emptied before each."""
    if device == "cpu":
        started = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - started)
    flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=device)
    for _ in range(3):
        run()
    times: list[float] = []
    stop = time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < stop and len(times) < 200):
        flush.zero_()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def peak_megabytes(run: Callable[[], object], device: str) -> float:
    """Most memory that a call holds beyond what was held before it."""
    if device == "cpu":
        return 0.0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def card_rates(device: str) -> dict[str, float]:
    """What this card does: bytes a second of a large copy, read and written, and bf16 operations a second."""
    n, side = (2**30, 8192) if device != "cpu" else (2**20, 128)
    source = torch.randint(256, (n,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    copy_ms = milliseconds(lambda: target.copy_(source), device)
    product_ms = milliseconds(lambda: a @ b, device)
    return {"copy_bytes_per_second": 2e3 * n / copy_ms, "bf16_flops_per_second": 2e3 * side**3 / product_ms}


def time_case(case: Case, device: str, n: int, rates: dict[str, float]) -> Timed:
    """A case's kernel, its definition run eagerly, and the same compiled."""
    problem = case.make(n, device, torch.float32)

    def run(impl: str) -> Callable[[], object]:
        return lambda: outputs_and_gradients(problem, impl)

    own, own_mb = milliseconds(run("auto"), device), peak_megabytes(run("auto"), device)
    floor = 1e3 * max(
        problem.n_bytes / rates["copy_bytes_per_second"], problem.n_flops / rates["bf16_flops_per_second"]
    )
    eager = attempt(lambda: milliseconds(run("reference"), device))
    eager_mb = attempt(lambda: peak_megabytes(run("reference"), device)) if eager else None
    compiled = attempt(lambda: milliseconds(compiled_run(problem), device)) if device != "cpu" else None
    goal = RADIANCE_GOALS.get(case.config) if case.op == "radiance" else None
    return Timed(case.op, case.config, own, own_mb, floor / own, eager, eager_mb, compiled, goal)


def compiled_run(problem: Problem) -> Callable[[], object]:
    """The definition through torch.compile, as somebody without our kernels would have it."""
    compiled = torch.compile(lambda: problem.run("reference"))

    def run() -> object:
        outputs = compiled()
        if not problem.leaves:
            return outputs
        return torch.autograd.grad(sum(out.square().mean() for out in outputs), problem.leaves)  # pyright: ignore[reportCallIssue, reportArgumentType]

    run()
    return run


def attempt(measure: Callable[[], float]) -> float | None:
    """A figure, or None where what stands beside us runs out of memory or cannot be compiled."""
    try:
        return measure()
    except Exception as error:  # torch.compile raises whatever its parts raise
        print(f"  left out: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
        return None
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def time_step(device: str, n_steps: int) -> list[dict[str, Any]]:
    """Milliseconds of a training step on the made scene, alone and in training: launched, and, on a GPU, as a graph."""
    from nerfkit.adam_optimizer import Adam
    from nerfkit.captured_step import CapturedStep, training_step
    from nerfkit.fitting import Budget, FitSchedule, fit
    from nerfkit.presets import PRESETS
    from nerfkit.radiance_fit import RadianceFit
    from nerfkit.scene import RadianceScene
    from nerfkit.scenes.readers import read_posed_photos
    from nerfkit.scenes.synthetic import write_posed_scene
    from nerfkit.training import prepare

    config, (n_train, side) = PRESETS["hash"], (24, 100) if device != "cpu" else (4, 16)
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


def train_lego(data: Path, device: str, marks: dict[float, float]) -> list[dict[str, Any]]:
    """PSNR over the test views of lego_400 after a training of each length, and frames a second at the end."""
    from nerfkit.fitting import Budget, FitSchedule, fit
    from nerfkit.photo_data import load_photo_data
    from nerfkit.presets import PRESETS
    from nerfkit.radiance_fit import RadianceFit
    from nerfkit.scene import RadianceScene
    from nerfkit.scenes.readers import read_posed_photos
    from nerfkit.training import prepare

    config = dataclasses.replace(PRESETS["hash"], downscale=1.0)
    source = read_posed_photos(data / "lego_400")
    test = load_photo_data(source, ("test",), downscale=1.0, max_side=None)
    rows = []
    for seconds in [0.0, *marks]:
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
            psnr = sum(values) / len(values)
            rows.append({"what": f"lego_400, {seconds:g} s", "psnr": psnr, "steps": done.steps, "goal": marks[seconds]})
            print(f"| lego_400 after {seconds:g} s, {done.steps} steps | {psnr:.2f} dB | >= {marks[seconds]:g} dB |")
    camera = test.cameras[test.split("test")[0]].resized(RENDER_SIZE, RENDER_SIZE)
    poses = [test.c2w[i] for i in test.split("test")]
    scene.render(camera, poses[0])
    started = time.perf_counter()
    for i in range(N_FRAMES):
        scene.render(camera, poses[i % len(poses)])
    rate = N_FRAMES / (time.perf_counter() - started)
    print(f"| frames of {RENDER_SIZE}x{RENDER_SIZE} | {rate:.1f} a second | >= {RENDER_GOAL:g} |")
    rows.append({"what": f"frames of {RENDER_SIZE}x{RENDER_SIZE} a second", "rate": rate, "goal": RENDER_GOAL})
    return rows


def print_checks(found: list[Checked]) -> None:
    """A line a case."""
    print("| op | case | largest error against float64 | allowed | |\n|---|---|---|---|---|")
    for row in found:
        print(f"| {row.op} | {row.config} | {row.error:.1e} | {row.tolerance:.0e} | {row.fault} |", flush=True)


def show(row: Timed) -> str:
    """A line of the table of times."""

    def text(value: float | None, form: str = "{:.3f}") -> str:
        return "" if value is None else form.format(value)

    ratio = text(None if row.eager_milliseconds is None else row.eager_milliseconds / row.milliseconds, "{:.1f}x")
    cells = [
        row.op, row.config, text(row.milliseconds), text(row.megabytes, "{:.0f}"), f"{100 * row.roofline_share:.0f} %",
        text(row.eager_milliseconds), ratio, text(row.eager_megabytes, "{:.0f}"), text(row.compiled_milliseconds),
        text(row.goal, "{:g}"),
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


HEAD = "| op | case | ms | MB | of the roofline | eager ms | eager / ours | eager MB | compiled ms | goal ms |"


def main() -> int:
    """Check, time, train; print the tables and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("NERFKIT_TEST_DATA") or None)
    parser.add_argument("--parts", default=",".join(PARTS), help="of " + ", ".join(PARTS))
    parser.add_argument("--only", default="", help="cases whose operation or configuration contains this text")
    parser.add_argument("--json", type=Path, help="default: docs/benchmarks/<card>.json")
    parser.add_argument("--rehearse", action="store_true", help="without a GPU, on a few samples; writes nothing")
    options = parser.parse_args()
    parts = options.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"--parts: no {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if not options.rehearse and not torch.cuda.is_available():
        print("no GPU that torch can use on this machine; --rehearse goes through it without one", file=sys.stderr)
        return 3
    device = "cpu" if options.rehearse else "cuda"
    cases = [case for case in CASES if options.only in f"{case.op} {case.config}"]
    content: dict[str, Any] = {"machine": {**machine(), **card(device)}}
    print(" ".join(f"{key} {value}" for key, value in content["machine"].items()))
    checked = [check(case, device, N_REHEARSED if options.rehearse else case.n_checked) for case in cases]
    print_checks(checked)
    content["checks"] = [dataclasses.asdict(row) for row in checked]
    if "ops" in parts:
        content["rates"] = rates = card_rates(device)
        print(f"copy {rates['copy_bytes_per_second'] / 1e12:.2f} TB/s, bf16 products "
              f"{rates['bf16_flops_per_second'] / 1e12:.0f} TFLOP/s")  # fmt: skip
        print(HEAD + "\n" + "|---" * 10 + "|")
        right = [case for case, row in zip(cases, checked, strict=True) if row.is_right]
        timed = []
        for case in right:
            timed.append(time_case(case, device, N_REHEARSED if options.rehearse else case.n_timed, rates))
            print(show(timed[-1]), flush=True)
        content["ops"] = [dataclasses.asdict(row) for row in timed]
    if "step" in parts:
        content["step"] = time_step(device, 3 if options.rehearse else 300)
    if "lego" in parts and options.data and (Path(options.data) / "lego_400").exists() and not options.rehearse:
        content["lego"] = train_lego(Path(options.data), device, LEGO_GOALS)
    elif "lego" in parts:
        print("left out: lego (needs a GPU and lego_400 below --data or NERFKIT_TEST_DATA)", file=sys.stderr)
    if not options.rehearse:
        name = re.sub(r"[^a-z0-9]+", "_", content["machine"]["gpu"].lower()).strip("_")
        path = options.json or Path("docs/benchmarks") / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")
        print(f"wrote {path}")
    wrong = [f"{row.op} ({row.config})" for row in checked if not row.is_right]
    if wrong:
        print(f"wrong, and not timed: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


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
