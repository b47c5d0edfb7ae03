"""``nerfkit train``: a scene from a folder of posed photos."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from nerfkit.cli.options import DatasetOptions, argument, option, parse_box, parse_bytes
from nerfkit.cli.running import Console, Interrupted, progress_bar, use_cores
from nerfkit.presets import AlphaName, BackgroundName, ExposureName, PresetName
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.fields import FIELDS

if TYPE_CHECKING:
    from nerfkit.fitting import Progress
    from nerfkit.trained_scene import TrainedScene

__all__ = ["IS_SHARED", "Options", "ProgressPrinter", "keeping_memory", "main"]

# processes that torchrun starts train together
IS_SHARED = True
# options that a run which goes on has decided already
FIXED_BY_A_RUN = (
    "method", "preset", "out", "downscale", "background", "alpha", "exposure", "refine_poses", "box", "config",
    "set", "seed", "skip_bad", "masks", "overwrite", "dry_run",
)  # fmt: skip
# seconds between two lines of progress where there is no terminal to draw a bar on
LINE_SECONDS = 10.0
# the first steps compile, and their rate says nothing
FIRST_LINE_STEP = 10


@dataclass(kw_only=True)
class Options(DatasetOptions):
    """Options of ``nerfkit train``."""

    data: str | None = argument("folder of posed photos, or a transforms.json", default=None)
    # the defaults of method and seed are None so that those of --config and --set can hold
    method: str | None = option(None, "what holds the scene (default: hash)", choices=tuple(FIELDS))
    preset: str | None = option(
        None, "sizes of the field and of a step, by device (default: default)", choices=get_args(PresetName)
    )
    seed: int | None = option(None, "seed of every random draw (default: 0)", kind=int, metavar="N")  # pyright: ignore[reportIncompatibleVariableOverride]
    out: str | None = option(None, "run folder (default: outputs/<scene>/<method>/<time>)", metavar="RUN")
    seconds: float | None = option(None, "wall seconds from the first step (default: 120)", kind=float, metavar="S")
    steps: int | None = option(None, "optimiser steps instead of seconds", kind=int, metavar="N")
    downscale: float | None = option(None, "scale photos down by this factor", kind=float, metavar="K")
    background: str | None = option(
        None, "what lies behind the scene (default: auto)", choices=get_args(BackgroundName)
    )
    alpha: str | None = option(
        None, "what transparent pixels are: nothing behind an object, or to be ignored (default: auto, by the photos)",
        choices=get_args(AlphaName),
    )  # fmt: skip
    exposure: str | None = option(
        None, "a gain and an offset for each photo (default: auto, where photos differ in brightness)",
        choices=get_args(ExposureName),
    )  # fmt: skip
    refine_poses: bool = option(False, "correct the cameras as the scene is learnt")
    box: str | None = option(
        None, "the scene's box in the frame of the poses (default: found from the photos)", metavar="X0,Y0,Z0,X1,Y1,Z1"
    )
    skip_bad: bool = option(False, "go on without frames that are damaged")
    masks: str | None = option(
        None,
        "masks of the photos by their names, where the dataset lists none: what is black is left out",
        metavar="FOLDER",
    )
    overwrite: bool = option(False, "replace what is in the run folder")
    resume: str | None = option(None, "go on with this run", metavar="RUN")
    memory_budget: str | None = option(
        None, "memory that the training may take, such as 4GB; photos beyond it are mapped from a cache (default: most "
        "of what is free)", metavar="SIZE",
    )  # fmt: skip
    dry_run: bool = option(False, "check the data, print memory and expected time, train nothing")
    config: str | None = option(None, "settings to start from: a config.yml of another run", metavar="FILE")
    # option() returns a dataclass field that makes a new list each time
    set: list[str] = option([], "change a setting, may be given again", many=True, metavar="NAME=VALUE")  # noqa: RUF009


def main(options: Options, console: Console) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    from nerfkit.cpu import return_freed_memory
    from nerfkit.tasks import train as task

    if options.resume is not None:
        _refuse(options)
    elif options.data is None:
        raise NerfkitError("no DATA given", where="nerfkit train", fix="nerfkit train FOLDER_OF_POSED_PHOTOS")
    budget = task.budget(options.seconds, options.steps)
    reading: dict[str, Any] = {
        "memory_budget": parse_bytes(options.memory_budget, "--memory-budget"), "say": console.say,
        "on_photo": progress_bar(console, "photos"),
    }  # fmt: skip
    use_cores(options.device)
    # photos are read, copied and let go
    return_freed_memory()
    with ProgressPrinter(console) as progress:
        if options.resume is not None:
            scene = task.resume(
                options.resume, data=options.data, device=options.device, seconds=options.seconds, steps=options.steps,
                on_progress=keeping_memory(progress), **reading,
            )  # fmt: skip
            return _finish(scene, console)
        named = ("preset", "seed", "downscale", "background", "alpha", "exposure")
        given = {f"--{name}": {name: getattr(options, name)} for name in named}
        given = {option: values for option, values in given.items() if None not in values.values()}
        if options.refine_poses:
            given["--refine-poses"] = {"refine_poses": True}
        if options.box is not None:
            given["--box"] = {"box": parse_box(options.box)}
        given["--steps" if options.seconds is None else "--seconds"] = budget
        config = task.configured(
            options.method, options.device, file=options.config, assignments=options.set, given=given
        )
        common: dict[str, Any] = {
            "config": config, "device": options.device, "skip_bad": options.skip_bad, "masks": options.masks,
            **reading,
        }  # fmt: skip
        if options.dry_run:
            return _dry_run(task.dry_run(options.data or "", **common), console)
        scene = task.train(
            options.data or "", options.out, overwrite=options.overwrite, on_progress=keeping_memory(progress), **common
        )
    return _finish(scene, console)


def _refuse(options: Options) -> None:
    """Refuse what a run that goes on has decided already."""
    given = [f"--{name.replace('_', '-')}" for name in FIXED_BY_A_RUN if _is_given(getattr(options, name))]
    if given:
        raise NerfkitError(
            f"{', '.join(given)} cannot change a run that goes on; its own settings hold", where="--resume",
            fix="leave them out, or train a new run",
        )  # fmt: skip


def _is_given(value: Any) -> bool:
    # a seed of 0 was given, although it equals False
    return value is not None and value is not False and value != []


def keeping_memory(on_progress: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """``on_progress``, and from the first step on memory that is freed is kept for the next step's tensors."""
    from nerfkit.cpu import keep_freed_memory

    is_first = True

    def on_step(progress: Progress) -> None:
        nonlocal is_first
        if is_first:
            keep_freed_memory()
            is_first = False
        on_progress(progress)

    return on_step


def _dry_run(found: dict[str, Any], console: Console) -> dict[str, Any]:
    console.say(
        f"would train {found['parameters']:,} parameters in about {found['memory_mb']:.0f} MB, "
        f"{found['expected_seconds']:.0f} s in all ({found['ms_per_step']:.0f} ms a step on this machine)"
    )
    return {"dry_run": True, **found}


def _finish(scene: TrainedScene, console: Console) -> dict[str, Any]:
    result, run = scene.figures, scene.run.folder
    if scene.is_interrupted:
        console.say(f"stopped at step {result['steps']}, saved; go on with: nerfkit train --resume {run}")
        raise Interrupted(result)
    quality = "" if result["psnr"] is None else f", validation PSNR {result['psnr']:.2f} dB"
    if result.get("psnr_aligned") is not None:
        quality += f", {result['psnr_aligned']:.2f} dB on right halves aligned on the left"
    console.say(f"trained {result['steps']} steps in {result['seconds']:.0f} s{quality}")
    console.say(f"report: {run / 'report.html'}")
    # without photos held out there is nothing to evaluate
    eval_line = f"nerfkit eval {run}\n      " if scene.run.read_figures().get("test_views") else ""
    console.say(f"next: {eval_line}nerfkit render {run} --out film.mp4")
    return result


class ProgressPrinter:
    """PSNR, rays a second and the time that is left: a bar on a terminal, lines elsewhere, nothing when quiet."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Any = None
        self.n_rays = self.n_steps = 0
        self.printed_at = self.rays_since = time.monotonic()

    def __enter__(self) -> ProgressPrinter:
        if sys.stderr.isatty() and not self.console.is_quiet:
            from tqdm import tqdm

            form = "{percentage:3.0f}%|{bar}| {elapsed}{postfix}"
            self.bar = tqdm(total=1.0, bar_format=form, file=sys.stderr, dynamic_ncols=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def __call__(self, progress: Progress) -> None:
        """Count a step; print when it is time."""
        self.n_rays += int(progress.figures.get("rays", 0))
        self.n_steps += 1
        now = time.monotonic()
        if self.n_steps == 1:
            # what came before the first step, of a run that goes on as well, is no part of its rate
            self.printed_at = self.rays_since = now
        if self.bar is not None:
            if now - self.printed_at > 0.2:
                self.bar.n = progress.fraction
                self.bar.set_postfix_str(self._text(progress, now), refresh=False)
                self.bar.refresh()
                self.printed_at = now
        elif not self.console.is_quiet and (now - self.printed_at > LINE_SECONDS or self.n_steps == FIRST_LINE_STEP):
            self.console.say(f"{progress.seconds:6.1f} s  {self._text(progress, now)}")
            self.printed_at = now

    def _text(self, progress: Progress, now: float) -> str:
        rate = self.n_rays / max(now - self.rays_since, 1e-9)
        self.n_rays, self.rays_since = 0, now
        quality = f"PSNR {progress.figures.get('psnr', 0):.2f} dB"
        return f"step {progress.step}  {quality}  {rate / 1e3:.1f} k rays/s  {progress.seconds_left:.0f} s left"
