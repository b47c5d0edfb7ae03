"""How the hash method scales on a CPU: time of a step, peak memory, start-up, rendering.

    python scripts/bench_cpu_scaling.py [--quick] [--parts steps,memory,startup,render] [--data FOLDER]

Times of a step are medians over the second half of a few seconds of training, in a process of its own for each number
of threads. Memory is the peak of a whole `nerfkit train` process. Frames are of lego_400 in --data or in the folder
named by NERFKIT_TEST_DATA, else of the made scene. All of it takes about 8 minutes, --quick about 2.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfkit.cpu import return_freed_memory, usable_cores, wait_briefly

wait_briefly()

import numpy as np
from benchmarking import Row, machine, nerfkit, publish
from PIL import Image

from nerfkit.config import override
from nerfkit.presets import PRESETS
from nerfkit.scenes.readers import PosedPhotos, read_posed_photos
from nerfkit.scenes.synthetic import camera_poses, write_posed_scene

THREADS = (1, 2, 4)
# what is varied, over which values; the other values are the preset's and the made scene's
SAMPLES = [2**i for i in range(12, 17)]
SIDES = [100, 200, 400]
LOG2_TABLE_SIZES = list(range(14, 20))
N_PHOTOS = [10, 50, 100, 200]
AXES = {
    "samples per step": SAMPLES,
    "photo side [px]": SIDES,
    "log2 of the table size": LOG2_TABLE_SIZES,
    "photos": N_PHOTOS,
}
# photos whose size is varied: enough for the scene's shape, few enough to be traced in seconds
N_SIZED_PHOTOS = 20
# photos of the memory measurement, (number, width, height), trained on at full size
MEMORY_CASES = [(50, 800, 600), (200, 800, 600), (50, 1600, 1200), (200, 1600, 1200)]
MEMORY_STEPS = 20
MEMORY_GOAL = "<= 3 GB"
# seconds of training behind each time of a step, and before the frames are rendered
STEP_SECONDS = {"full": 3.5, "quick": 1.5}
RENDER_SECONDS = {"full": 30, "quick": 10}
FRAME_SIDE, N_ORBIT_FRAMES = 400, 120
# starts of `nerfkit train`; the median is reported
N_STARTS = 3


@dataclass(frozen=True)
class StepTime:
    """The time of a training step: what was varied, its value, threads, milliseconds, rays of the last step."""

    axis: str
    value: int
    threads: int
    milliseconds: float
    rays: int


def scene_folder(work: Path, side: int, n_photos: int) -> Path:
    """The made scene, traced once for each size."""
    folder = work / f"made_{side}_{n_photos}"
    if not folder.exists():
        write_posed_scene(folder, n_train=n_photos, n_val=1, n_test=1, size=(side, side), supersample=1)
    return folder


def first_photos(source: PosedPhotos, n: int) -> PosedPhotos:
    """The dataset with ``n`` of its training photos, spread over all of them."""
    train = source.splits["train"]
    chosen = [train[i] for i in np.linspace(0, len(train) - 1, n).astype(int)]
    return dataclasses.replace(source, splits={**source.splits, "train": chosen})


def step_time(source: PosedPhotos, settings: list[str], seconds: float) -> tuple[float, int]:
    """Median milliseconds of a step over the second half of ``seconds`` of training, and the rays of the last step."""
    # here: the process that only starts others does without torch
    from nerfkit.fitting import Budget, FitSchedule, Progress, fit
    from nerfkit.radiance_fit import RadianceFit
    from nerfkit.scene import RadianceScene
    from nerfkit.training import prepare

    return_freed_memory()
    prepared = prepare(source, override(PRESETS["hash"], settings), "cpu")
    task = RadianceFit(RadianceScene(prepared.config, prepared.bounds, prepared.background), prepared.data)
    ends: list[Progress] = []
    fit(task, Budget(seconds=seconds), schedule=FitSchedule(), on_progress=ends.append)
    late = [end.seconds for end in ends if end.seconds > seconds / 2]
    if len(late) < 2:
        # steps so slow that the half holds one
        late = [0.0, *(end.seconds for end in ends)][-2:]
    return 1e3 * float(np.median(np.diff(late))), int(ends[-1].figures["rays"])


def step_cases(work: Path) -> Iterator[tuple[str, int, PosedPhotos, list[str]]]:
    """Axis, value, dataset and settings of each time of a step."""
    small = read_posed_photos(scene_folder(work, 100, max(N_PHOTOS)))
    base = first_photos(small, 100)
    for n in SAMPLES:
        yield "samples per step", n, base, [f"samples_per_step={n}"]
    for side in SIDES:
        yield "photo side [px]", side, read_posed_photos(scene_folder(work, side, N_SIZED_PHOTOS)), []
    for size in LOG2_TABLE_SIZES:
        yield "log2 of the table size", size, base, [f"field.log2_table_size={size}"]
    for n in N_PHOTOS:
        yield "photos", n, first_photos(small, n), []


def work_steps(work: Path, threads: int, seconds: float) -> None:
    """What a process of ``threads`` threads does: print a StepTime a line, as JSON."""
    import numba
    import torch

    torch.set_num_threads(threads)
    numba.set_num_threads(threads)
    cases = list(step_cases(work))
    # the first steps compile, and no figure should contain that
    step_time(cases[0][2], [], 1.0)
    for axis, value, source, settings in cases:
        milliseconds, rays = step_time(source, settings, seconds)
        print(json.dumps(dataclasses.asdict(StepTime(axis, value, threads, milliseconds, rays))), flush=True)


def bench_steps(work: Path, is_quick: bool) -> list[StepTime]:
    """The time of a step over all axes, for each number of threads that the machine has cores for."""
    # traced here, with all cores, before the processes read them
    scene_folder(work, 100, max(N_PHOTOS))
    for side in SIDES:
        scene_folder(work, side, N_SIZED_PHOTOS)
    times = []
    for threads in (n for n in THREADS if n <= usable_cores()):
        print(f"+ times of a step, {threads} threads", file=sys.stderr, flush=True)
        seconds = STEP_SECONDS["quick" if is_quick else "full"]
        command = [sys.executable, __file__, "--work", str(work), "--threads", str(threads), "--seconds", str(seconds)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
        times += [StepTime(**json.loads(line)) for line in done.stdout.splitlines()]
    return times


def random_photos(folder: Path, n: int, width: int, height: int) -> Path:
    """A transforms.json of ``n`` JPEG photos of smooth random colours, cameras on a sphere; none is for validation."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"images/{i:03d}.jpg" for i in range(n)]
    for name in names:
        # noise of every pixel would make JPEGs of a size that no camera writes
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(folder / name, quality=85)
    frames = [
        {"file_path": name, "transform_matrix": pose.tolist()}
        for name, pose in zip(names, camera_poses(n), strict=True)
    ]
    values = {
        "fl_x": 1.4 * width, "fl_y": 1.4 * width, "cx": width / 2, "cy": height / 2, "w": width, "h": height,
        # views of validation would be rendered at full size after 20 steps, which is not what is measured
        "frames": frames, "train_filenames": names[:-1], "val_filenames": [], "test_filenames": names[-1:],
    }  # fmt: skip
    (folder / "transforms.json").write_text(json.dumps(values))
    return folder


def train_process(*arguments: str) -> tuple[float, int]:
    """Run `nerfkit train` in a process; returns when it was started (time.time()) and its peak memory in bytes."""
    command = [sys.executable, "-m", "nerfkit", "train", *arguments, "--quiet"]
    print("+ nerfkit train", *arguments, file=sys.stderr, flush=True)
    started = time.time()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    # kilobytes on Linux, bytes on macOS (getrusage(2))
    return started, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def bench_memory(work: Path, is_quick: bool) -> list[Row]:
    """Peak memory of training on photos at full size."""
    rows = []
    for n, width, height in MEMORY_CASES[:2] if is_quick else MEMORY_CASES:
        data = random_photos(work / f"random_{n}_{width}", n, width, height)
        arguments = ("--downscale", "1", "--steps", str(MEMORY_STEPS))
        _, peak = train_process(str(data), *arguments, "--out", str(work / f"run_{data.name}"))
        goal = MEMORY_GOAL if (n, width, height) == MEMORY_CASES[-1] else ""
        text = " ".join(["nerfkit train PHOTOS", *arguments])
        rows.append(Row(f"peak memory, {n} photos of {width}x{height}", peak / 1e9, "GB", goal, text))
    return rows


def bench_startup(work: Path) -> list[Row]:
    """Seconds from the command to the end of the first step: to the checkpoint that is written right after it."""
    data = scene_folder(work, 100, N_SIZED_PHOTOS)
    seconds = []
    for i in range(N_STARTS + 1):
        run = work / f"start_{i}"
        started, _ = train_process(str(data), "--steps", "1", "--out", str(run))
        written = min(file.stat().st_mtime for file in (run / "checkpoints").iterdir())
        seconds.append(written - started)
    text = "nerfkit train DATA --steps 1"
    # the first start may have compiled
    return [Row("start-up: command to first step", float(np.median(seconds[1:])), "s", "< 5 s", text)]


def bench_render(work: Path, data: Path | None, is_quick: bool) -> list[Row]:
    """Seconds of a frame, and of an orbit as mp4."""
    is_lego = data is not None and (data / "lego_400").exists()
    made = None if is_lego else scene_folder(work, FRAME_SIDE, N_SIZED_PHOTOS)
    source = made or Path(data or "") / "lego_400"
    name = "lego_400" if is_lego else "made scene"
    seconds = str(RENDER_SECONDS["quick" if is_quick else "full"])
    run, size = work / "render_run", f"{FRAME_SIDE}x{FRAME_SIDE}"
    nerfkit("train", str(source), "--seconds", seconds, "--out", str(run))
    n_frames = 4 if is_quick else N_ORBIT_FRAMES
    orbit = nerfkit("render", str(run), "--frames", str(n_frames), "--size", size, "--out", str(work / "orbit.mp4"))
    frame = nerfkit("render", str(run), "--frames", "1", "--size", size, "--out", str(work / "frame"))
    text = f"nerfkit render RUN --size {size}"
    rows = [
        Row(f"{name}: one frame of {size}, {seconds} s of training", frame["seconds"], "s", "", f"{text} --frames 1"),
        Row(
            f"{name}: a frame of {size} in an orbit", orbit["seconds"] / n_frames, "s",
            "<= 0.7 s", f"{text} --frames {n_frames}",
        ),
    ]  # fmt: skip
    if not is_quick:
        rows.append(
            Row(f"{name}: orbit of {n_frames} frames, mp4", orbit["seconds"], "s", "<= 90 s", f"{text} --out orbit.mp4")
        )
    return rows


def print_steps(times: list[StepTime]) -> None:
    """A table for each axis, a column for each number of threads."""
    threads = sorted({step.threads for step in times})
    for axis, values in AXES.items():
        own = {(step.value, step.threads): step for step in times if step.axis == axis}
        if not own:
            continue
        print(f"\n| {axis} | " + " | ".join(f"ms a step, threads: {n}" for n in threads) + " |")
        print("|---" * (len(threads) + 1) + "|")
        for value in values:
            print(f"| {value} | " + " | ".join(f"{own[value, n].milliseconds:.1f}" for n in threads) + " |")
    print()


def plot(times: list[StepTime], rows: list[Row], path: Path) -> None:
    """A panel for each axis, and one of peak memory."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    for axes, (axis, values) in zip(panels, AXES.items(), strict=False):
        for threads in sorted({step.threads for step in times}):
            own = {step.value: step.milliseconds for step in times if (step.axis, step.threads) == (axis, threads)}
            axes.plot(
                values,
                [own[value] for value in values],
                "o-",
                label=f"{threads} thread{'s'[: threads - 1]}",
                markersize=4,
            )
        if axis == "samples per step":
            axes.set_xscale("log", base=2)
            axes.set_yscale("log", base=2)
        else:
            axes.set_ylim(bottom=0)
        axes.set_xlabel(axis)
        axes.set_ylabel("ms a step")
        axes.grid(alpha=0.3)
    if times:
        panels[0].legend(fontsize=8)
    memory = {row.name.partition(", ")[2].replace(" of ", "\n"): row.value for row in rows if row.unit == "GB"}
    panels[4].barh(list(memory), list(memory.values()))
    panels[4].invert_yaxis()
    panels[4].set_xlabel("peak memory of training [GB]")
    others = [f"{row.name}:\n{row.value:.3g} {row.unit}" for row in rows if row.unit != "GB"]
    panels[5].axis("off")
    panels[5].text(0, 0.9, "\n\n".join(others), fontsize=9, va="top")
    found = machine()
    figure.suptitle(f"The hash method on {found['cores']} cores ({found['cpu']})", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


PARTS = ("steps", "memory", "startup", "render")


def main() -> None:
    """Measure, print the tables, write JSON and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("NERFKIT_TEST_DATA") or None)
    parser.add_argument("--parts", default=",".join(PARTS), help="of " + ", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="shorter runs, smaller photos, no whole orbit")
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/cpu_scaling.json"))
    parser.add_argument("--png", type=Path, default=Path("docs/images/cpu_scaling.png"))
    # how this script starts itself, one process for each number of threads
    for name, kind in (("--work", Path), ("--threads", int), ("--seconds", float)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        work_steps(options.work, options.threads, options.seconds)
        return
    parts = options.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"--parts: no {', '.join(unknown)}; there are {', '.join(PARTS)}")
    data = Path(options.data).resolve() if options.data else None
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        times = bench_steps(work, options.quick) if "steps" in parts else []
        rows = bench_startup(work) if "startup" in parts else []
        rows += bench_memory(work, options.quick) if "memory" in parts else []
        rows += bench_render(work, data, options.quick) if "render" in parts else []
    print_steps(times)
    publish(rows, options.json)
    content: dict[str, Any] = json.loads(options.json.read_text())
    content["steps"] = [dataclasses.asdict(step) for step in times]
    options.json.write_text(json.dumps(content, indent=1) + "\n")
    plot(times, rows, options.png)
    print(f"wrote {options.json} and {options.png}")


if __name__ == "__main__":
    main()
