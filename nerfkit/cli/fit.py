"""``nerfkit fit``: the tasks of the workbench, what was measured held in a field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nerfkit.cli.options import CommonOptions, argument, option, parse_cells, parse_size
from nerfkit.cli.running import Console, Interrupted, progress_bar, use_cores
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.fields.named import FIELD_NAMES
from nerfkit.tasks import FIT_TASKS

if TYPE_CHECKING:
    from nerfkit.fitted_result import FittedResult

__all__ = ["Options", "main"]

# options that are settings, by the settings' names
SETTINGS = {
    "field": "field", "params": "n_params", "sigma": "sigma", "scale": "scale", "steps": "steps",
    "learning_rate": "learning_rate", "seconds": "seconds", "seed": "seed", "spacing": "spacing",
    "transform": "transform", "similarity": "similarity", "landmarks": "landmarks", "solver": "solver",
    "start": "start", "method": "method",
}  # fmt: skip
# figures that are printed of a result and of each baseline, and their words
PSNR = {
    "holdout_psnr": "held out", "psnr": "PSNR", "fitted_psnr": "fitted", "psnr_3": "3 steps",
    "psnr_10": "10 steps", "psnr_100": "100 steps", "unseen": "unseen half",
}  # fmt: skip
OVERLAP = {
    "iou": "IoU", "iou_near": "near the surface", "iou_3": "IoU after 3 steps", "iou_10": "10", "iou_100": "100"
}  # fmt: skip
EXAMPLE = "nerfkit fit image PICTURE -o OUT.png"


@dataclass(kw_only=True)
class Options(CommonOptions):
    """Options of ``nerfkit fit``."""

    task: str | None = argument(
        "; ".join(f"{name}: {what}" for name, what in FIT_TASKS.items()), default=None, metavar="TASK"
    )
    source: str | None = argument(
        "what it works on: a picture, an npy, an npz, a volume (NIfTI, DICOM folder), a mesh",
        default=None,
        metavar="INPUT",
    )
    # argument() returns a dataclass field that makes a new list each time
    others: list[str] = argument(  # noqa: RUF009
        "further files: depth, a mask, another picture, other stacks", default=[], metavar="INPUT2"
    )
    out: str | None = option(
        None, "what to write, a picture (PNG, TIFF, npy), volume (NIfTI) or mesh (PLY), unless the task differs; "
        "its run folder is OUT without suffix", flag="-o", metavar="OUT",
    )  # fmt: skip
    resume: str | None = option(None, "go on with a run that was stopped", metavar="RUN")
    run_code: bool = option(False, "with --resume: run the Python file of an equation that the run names")
    field: str | None = option(None, "field to fit (default: auto)", choices=("auto", *FIELD_NAMES))
    params: int | None = option(None, "parameters at most (default: by the task)", kind=int, metavar="N")
    sigma: float | None = option(
        None, "deviation of Fourier features, cycles along the longer side (default: chosen)", kind=float, metavar="S"
    )
    scale: float | None = option(
        None, "frequency of sines, steepness of Gaussians (default: chosen)", kind=float, metavar="S"
    )
    learning_rate: float | None = option(None, "Adam's peak rate (default: the field's own)", kind=float, metavar="R")
    steps: int | None = option(None, "steps of the fit (default: by the task)", kind=int, metavar="N")
    size: str | None = option(
        None, "width and height of the output (default: the picture's); of a shape N", metavar="WxH"
    )
    spacing: float | None = option(
        None, "side of a volume's voxels in mm (default: the finest of the inputs)", kind=float, metavar="MM"
    )
    transform: str | None = option(
        None, "of a registration (default: displacement)", choices=("rigid", "affine", "displacement")
    )
    similarity: str | None = option(
        None, "by which images are registered (default: auto)", choices=("auto", "ssd", "ncc", "mi", "mind")
    )
    landmarks: str | None = option(
        None, "pairs of points, x_fixed,y_fixed[,z_fixed],x_moving,..., whose distance is told", metavar="FILE.csv"
    )
    solver: str | None = option(
        None, "of an equation: the last layer by least squares, Adam, or the better (default: auto)",
        choices=("auto", "last-layer", "adam"),
    )  # fmt: skip
    start: str | None = option(
        None, "a run of nerfkit fit many, or its start.safetensors, that the field begins with", metavar="RUN"
    )
    method: str | None = option(
        None, "of many: how a start is learned (default: the better one)", choices=("auto", "meta", "modulation")
    )
    truth: str | None = option(None, "picture or volume of the output's size to compare with", metavar="FILE")
    simulate: str | None = option(
        None, "make the measurements from INPUT, use these alone, compare with INPUT", metavar="KEY=VALUE,..."
    )
    seconds: float | None = option(
        None, "wall seconds from the first step, a limit (default: 60)", kind=float, metavar="S"
    )
    # the default is None so that that of --config and --set can hold
    seed: int | None = option(None, "seed of every random draw (default: 0)", kind=int, metavar="N")  # pyright: ignore[reportIncompatibleVariableOverride]
    config: str | None = option(None, "settings to start from: a config.yml of another run", metavar="FILE")
    # option() returns a dataclass field that makes a new list each time
    set: list[str] = option([], "change a setting, may be given again", many=True, metavar="NAME=VALUE")  # noqa: RUF009
    overwrite: bool = option(False, "replace an earlier output and run folder")


def main(options: Options, console: Console) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    from nerfkit.tasks.fit import fit, fit_task, resume_fit

    progress = progress_bar(console, "steps")
    if options.resume is not None:
        if options.task is not None:
            raise NerfkitError("takes no TASK and no INPUT: the run remembers", where="--resume", fix="leave them out")
        use_cores(options.device)
        given = {name: value for name in ("seconds", "steps") if (value := getattr(options, name)) is not None}
        result = resume_fit(
            options.resume, device=options.device, run_code=options.run_code, say=console.say, on_part=progress, **given
        )
        return _finish(result, console)
    if options.task is None or options.source is None:
        missing = "TASK" if options.task is None else "INPUT"
        raise NerfkitError(f"no {missing} given; tasks: {', '.join(FIT_TASKS)}", where="nerfkit fit", fix=EXAMPLE)
    task = fit_task(options.task)
    if options.out is None:
        raise NerfkitError(
            "no output given", where="nerfkit fit", fix=f"nerfkit fit {task.name} INPUT -o OUT{task.suffixes[0]}"
        )
    given = {
        f"--{name.replace('_', '-')}": {setting: value}
        for name, setting in SETTINGS.items()
        if (value := getattr(options, name)) is not None
    }
    if options.size is not None and hasattr(next(iter(task.presets.values())), "resolution"):
        given["--size"] = {"resolution": parse_cells(options.size, "--size")}
    elif (size := parse_size(options.size, "--size", most=99999)) is not None:
        given["--size"] = {"output_size": size}
    config = task.configure(file=options.config, assignments=options.set, given=given)
    use_cores(options.device)
    inputs = [options.source, *options.others]
    result = fit(
        task.name, inputs, options.out, truth=options.truth, simulate=_keys(options.simulate), config=config,
        device=options.device, overwrite=options.overwrite, say=console.say, on_part=progress,
    )  # fmt: skip
    return _finish(result, console)


def _keys(text: str | None) -> dict[str, str] | None:
    """``KEY=VALUE,...`` as a dict."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",") if part]
    if not all(equals and name for name, equals, _ in pairs):
        raise NerfkitError(f"wanted KEY=VALUE,...; got {text!r}", where="--simulate", fix="for example noise=0.1")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _finish(result: FittedResult, console: Console) -> dict[str, Any]:
    figures = result.figures
    if result.is_interrupted:
        console.say(f"stopped; go on with it: nerfkit fit --resume {figures['run']}")
        raise Interrupted(figures)
    found = figures["metrics"]
    known = _in_words(found)
    console.say(f"{figures['output']}: {figures['field']}, {figures['n_params']:,} parameters{known and ', ' + known}")
    for name, baseline in figures["baselines"].items():
        if values := _in_words(baseline):
            console.say(f"  {name}: {values}")
    console.say(f"next: {figures['run']}/report.html; {result.example.replace('RUN', figures['run'])}")
    return figures


def _in_words(figures: Mapping[str, Any]) -> str:
    """PSNR and overlaps of a result or a baseline, those that there are."""
    decibels = [f"{name} {figures[key]:.2f} dB" for key, name in PSNR.items() if figures.get(key) is not None]
    return ", ".join(decibels + [f"{name} {figures[key]:.4f}" for key, name in OVERLAP.items() if key in figures])
