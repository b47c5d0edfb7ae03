"""``nerfkit train``: a scene from a folder of posed photos."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfkit.cli.options import CommonOptions, argument, option
from nerfkit.cli.running import Console, Interrupted, device_for, use_cores
from nerfkit.scenes.backgrounds import BACKGROUNDS
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.fields import FIELDS

if TYPE_CHECKING:
    from nerfkit.fitting import Progress
    from nerfkit.presets import TrainConfig
    from nerfkit.training import Prepared

__all__ = ["Options", "ProgressPrinter", "main"]

# options that a run which goes on has decided already
FIXED_BY_A_RUN = (
    "method", "out", "downscale", "background", "config", "set", "seed", "skip_bad", "overwrite", "dry_run",
)  # fmt: skip
# seconds between two lines of progress where there is no terminal to draw a bar on
LINE_SECONDS = 10.0
# the first steps compile, and their rate says nothing
FIRST_LINE_STEP = 10


@dataclass(kw_only=True)
class Options(CommonOptions):
    """Options of ``nerfkit train``."""

    data: str | None = argument("folder of posed photos, or a transforms.json", default=None)
    # the defaults of method and seed are None so that those of --config and --set can hold
    method: str | None = option(None, "what holds the scene (default: hash)", choices=tuple(FIELDS))
    seed: int | None = option(None, "seed of every random draw (default: 0)", kind=int, metavar="N")  # pyright: ignore[reportIncompatibleVariableOverride]
    out: str | None = option(None, "run folder (default: outputs/<scene>/<method>/<time>)", metavar="RUN")
    seconds: float | None = option(None, "wall seconds from the first step (default: 120)", kind=float, metavar="S")
    steps: int | None = option(None, "optimiser steps instead of seconds", kind=int, metavar="N")
    downscale: float | None = option(None, "scale photos down by this factor", kind=float, metavar="K")
    background: str | None = option(None, "what lies behind the scene (default: auto)", choices=BACKGROUNDS)
    skip_bad: bool = option(False, "go on without frames that are damaged")
    overwrite: bool = option(False, "replace what is in the run folder")
    resume: str | None = option(None, "go on with this run", metavar="RUN")
    dry_run: bool = option(False, "check the data, print memory and expected time, train nothing")
    config: str | None = option(None, "settings to start from: a config.yml of another run", metavar="FILE")
    # option() returns a dataclass field that makes a new list each time
    set: list[str] = option([], "change a setting, may be given again", many=True, metavar="NAME=VALUE")  # noqa: RUF009


def main(options: Options, console: Console) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    if options.resume is not None:
        return _resume(options, console)
    if options.data is None:
        raise NerfkitError("no DATA given", where="nerfkit train", fix="nerfkit train FOLDER_OF_POSED_PHOTOS")
    config = _config(options)
    # checked before the photos are read: the cheap mistakes come first
    from nerfkit.files import check_output_folder, prepare_output_folder
    from nerfkit.runs import Run, default_run_folder, link_latest
    from nerfkit.scenes.readers import read_posed_photos

    source = read_posed_photos(Path(options.data), skip_bad=options.skip_bad)
    device = device_for(options.device)
    folder = Path(options.out) if options.out else default_run_folder(source.name, config.method)
    if not options.dry_run:
        check_output_folder(folder, overwrite=options.overwrite, keep=source.root)
    from nerfkit.training import prepare, train

    use_cores(device)
    prepared = prepare(source, config, device)
    for line in prepared.describe():
        console.say(line)
    if options.dry_run:
        return _dry_run(prepared, console)
    # only now, when the photos turned out to be good, does an earlier run make way
    prepare_output_folder(folder, overwrite=options.overwrite, keep=source.root)
    if options.out is None:
        link_latest(folder)
    console.say(f"run: {folder}")
    with ProgressPrinter(config.seconds, config.steps, console) as progress:
        result = train(prepared, Run(folder), progress, data=Path(options.data), skip_bad=options.skip_bad)
    return _finish(result, console)


def _resume(options: Options, console: Console) -> dict[str, Any]:
    from nerfkit.runs import Run
    from nerfkit.training import resume

    given = [f"--{name.replace('_', '-')}" for name in FIXED_BY_A_RUN if _is_given(getattr(options, name))]
    if given:
        raise NerfkitError(
            f"{', '.join(given)} cannot change a run that goes on; its own settings hold", where="--resume",
            fix="leave them out, or train a new run",
        )  # fmt: skip
    run = Run(Path(options.resume or ""))
    config, _, run_device = run.read_config()
    changes = _budget(options)
    seconds, steps = (changes["seconds"], changes["steps"]) if changes else (config.seconds, config.steps)
    device = device_for(run_device if options.device == "auto" else options.device)
    use_cores(device)
    data = Path(options.data) if options.data else None
    with ProgressPrinter(None if steps else seconds, steps, console) as progress:
        result = resume(run, data=data, device=device, seconds=seconds, steps=steps, on_progress=progress)
    return _finish(result, console)


def _is_given(value: Any) -> bool:
    # a seed of 0 was given, although it equals False
    return value is not None and value is not False and value != []


def _config(options: Options) -> TrainConfig:
    from nerfkit.presets import PRESETS, config_from_dict, override

    config = PRESETS[options.method or "hash"]
    if options.config is not None:
        config = config_from_dict(_read_settings(Path(options.config)), where=options.config)
        if options.method not in (None, config.method):
            raise NerfkitError(
                f"holds settings of the method {config.method}, not of {options.method}", where=options.config,
                fix="leave out --method or --config",
            )  # fmt: skip
    config = override(config, options.set)
    changes = _budget(options)
    if options.seed is not None:
        changes["seed"] = options.seed
    if options.downscale is not None:
        if not 1 <= options.downscale < math.inf:
            raise NerfkitError(f"must be 1 or more; got {options.downscale:g}", where="--downscale")
        changes["downscale"] = options.downscale
    if options.background is not None:
        changes["background"] = options.background
    return replace(config, **changes)


def _budget(options: Options) -> dict[str, Any]:
    """What --seconds or --steps change; nothing when neither was given."""
    if options.seconds is not None and options.steps is not None:
        raise NerfkitError("give --seconds or --steps, not both", where="nerfkit train")
    for name, value in (("--seconds", options.seconds), ("--steps", options.steps)):
        if value is not None and not value > 0:
            raise NerfkitError(f"must be above 0; got {value:g}", where=name)
    if options.seconds is None and options.steps is None:
        return {}
    return {"seconds": options.seconds, "steps": options.steps}


def _read_settings(path: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise NerfkitError(what, where=path, fix="give a config.yml that a run wrote") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise NerfkitError(f"is no YAML ({error})", where=path) from error
    if not isinstance(values, dict):
        raise NerfkitError("holds no settings", where=path, fix="give a config.yml that a run wrote")
    from nerfkit.runs import PLACES

    return {name: value for name, value in values.items() if name not in PLACES}


def _dry_run(prepared: Prepared, console: Console) -> dict[str, Any]:
    from nerfkit.estimates import estimate

    found = estimate(prepared)
    console.say(
        f"would train {found['parameters']:,} parameters in about {found['memory_mb']:.0f} MB, "
        f"{found['expected_seconds']:.0f} s in all ({found['ms_per_step']:.0f} ms a step on this machine)"
    )
    return {"dry_run": True, **found}


def _finish(result: dict[str, Any], console: Console) -> dict[str, Any]:
    from nerfkit.report import refresh
    from nerfkit.runs import Run

    is_interrupted = result.pop("interrupted")
    run = result["run"]
    refresh(Run(Path(run)))
    if is_interrupted:
        console.say(f"stopped at step {result['steps']}, saved; go on with: nerfkit train --resume {run}")
        raise Interrupted(result)
    quality = "" if result["psnr"] is None else f", validation PSNR {result['psnr']:.2f} dB"
    console.say(f"trained {result['steps']} steps in {result['seconds']:.0f} s{quality}")
    console.say(f"report: {Path(run) / 'report.html'}")
    console.say(f"next: nerfkit eval {run}\n      nerfkit render {run} --path orbit --out orbit.mp4")
    return result


class ProgressPrinter:
    """PSNR, rays a second and the time that is left: a bar on a terminal, lines elsewhere, nothing when quiet."""

    def __init__(self, seconds: float | None, steps: int | None, console: Console) -> None:
        self.seconds, self.steps, self.console = seconds, steps, console
        self.bar: Any = None
        self.printed_at = time.monotonic()
        self.n_rays = 0
        self.rays_since = time.monotonic()

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
        now = time.monotonic()
        if progress.step == 1:
            # what came before the first step is no part of its rate
            self.printed_at = self.rays_since = now
        if self.bar is not None:
            if now - self.printed_at > 0.2:
                self.bar.n = progress.fraction
                self.bar.set_postfix_str(self._text(progress, now), refresh=False)
                self.bar.refresh()
                self.printed_at = now
        elif not self.console.is_quiet and (now - self.printed_at > LINE_SECONDS or progress.step == FIRST_LINE_STEP):
            self.console.say(f"{progress.seconds:6.1f} s  {self._text(progress, now)}")
            self.printed_at = now

    def _text(self, progress: Progress, now: float) -> str:
        rate = self.n_rays / max(now - self.rays_since, 1e-9)
        self.n_rays, self.rays_since = 0, now
        if self.seconds is not None:
            left = max(self.seconds - progress.seconds, 0)
        else:
            left = progress.seconds / max(progress.fraction, 1e-9) * (1 - progress.fraction)
        quality = f"PSNR {progress.figures.get('psnr', 0):.2f} dB"
        return f"step {progress.step}  {quality}  {rate / 1e3:.1f} k rays/s  {left:.0f} s left"
