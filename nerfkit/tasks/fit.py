"""`nerfkit.fit`: any task of the workbench from Python, the same as the command."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfkit.config import from_dict
from nerfkit.memory import telling_memory
from nerfkit.scenes.errors import NerfkitError
from nerfkit.tasks import FIT_TASKS, get_task

if TYPE_CHECKING:
    from nerfkit.fitted_result import FittedResult
    from nerfkit.runs import Run
    from nerfkit.workbench.task import FitTask

__all__ = ["fit", "fit_task", "resume_fit"]

Say = Callable[[str], None]


def fit_task(name: str) -> FitTask:
    """The task of that name.

    Raises
    ------
    NerfkitError
        There is none.
    """
    if name not in FIT_TASKS:
        raise NerfkitError(f"no task {name!r}", where="nerfkit fit", fix=f"there are {', '.join(FIT_TASKS)}")
    task: Any = get_task(name)
    return task


@telling_memory("nerfkit fit", "give a smaller picture, or fewer parameters: --params N")
def fit(
    task: str, inputs: str | Path | Sequence[str | Path], out: str | Path, *, truth: str | Path | None = None,
    simulate: Mapping[str, Any] | None = None, config: Any = None, device: str = "auto", overwrite: bool = False,
    say: Say = lambda text: None, on_part: Callable[[int, int], None] = lambda done, total: None, **settings: Any,
) -> Any:  # fmt: skip
    """Do a task of the workbench: ``image``, ``compare``, ``denoise`` and others.

    Parameters
    ----------
    task : str
        Its name; ``nerfkit fit --help`` lists them.
    inputs : str, Path or a sequence of them
        What it works on, such as a picture, or a picture and a mask.
    out : str or Path
        What is written; the run folder is the same name without its suffix.
    truth : str or Path, optional
        A picture of the output's size to compare with.
    simulate : mapping, optional
        Make the measurements from the input, ``{"noise": 0.1}``, write them to RUN/measurements.npz, use these alone,
        and compare with the input.
    config : object, str or Path, optional
        Settings to start from: an object, or a config.yml of another run.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    overwrite : bool
        Whether to replace an earlier output and run folder.
    say, on_part : callable
        Called with a line for a person at each stage, and with the steps that are done and that there are.
    **settings
        The task's settings by name, ``seconds=20``, ``field="siren"``.

    Returns
    -------
    result : FittedField, FittedVolume or FittedShape
        With what was measured in ``result.figures``.

    Raises
    ------
    NerfkitError
        What is wrong with the input, the settings or the output.

    Examples
    --------
    >>> result = nerfkit.fit("image", "photo.png", "fitted.png", seconds=20)  # doctest: +SKIP
    >>> result.figures["metrics"]["holdout_psnr"]  # doctest: +SKIP
    29.8
    """
    from nerfkit.devices import choose_device
    from nerfkit.files import check_output_folder, prepare_output_folder
    from nerfkit.run_lock import locked, refuse_locked
    from nerfkit.runs import Run

    chosen = fit_task(task)
    config = _configured(chosen, config, settings)
    paths = [Path(path) for path in ([inputs] if isinstance(inputs, str | Path) else inputs)]
    if not 1 <= len(paths) <= chosen.most_inputs:
        raise NerfkitError(
            f"{chosen.name} takes {chosen.most_inputs} file{'s at most' * (chosen.most_inputs > 1)}; got {len(paths)}",
            where="nerfkit fit", fix="leave the others out",
        )  # fmt: skip
    output = _check_output(chosen, Path(out), overwrite=overwrite)
    suffix = chosen.suffix_of(output)
    folder = output.with_name(output.name[: len(output.name) - len(suffix)])
    if simulate is not None and truth is not None:
        raise NerfkitError("the input is the truth of what is simulated from it", where="--truth", fix="leave it out")
    simulated = None if simulate is None else chosen.simulated(paths, config, simulate)
    data = chosen.read(paths, config) if simulated is None else simulated.data
    true_picture = _read_truth(chosen, truth, data, config) if simulated is None else simulated.truth
    refuse_locked(folder)
    keep = paths[0].resolve().parent if paths and paths[0].exists() else None
    check_output_folder(folder, overwrite=overwrite, keep=keep)
    device = choose_device(device)
    from nerfkit.workbench.running import run_fit

    with locked(folder):
        prepare_output_folder(folder, overwrite=overwrite, keep=keep)
        run = Run(folder)
        run.write_versions()
        if simulated is not None:
            truth = simulated.write_truth(folder / "truth.npz", paths[0])
            paths = [simulated.write(folder / "measurements.npz")]
        run.write_config(
            config, data=paths[0], device=device, more=[str(path.resolve()) for path in paths[1:]],
            truth=None if truth is None else Path(truth), output=output,
            example=None if paths[0].exists() else str(paths[0]),
        )  # fmt: skip
        figures = run_fit(chosen, data, run, output, config, device, truth=true_picture, say=say, on_part=on_part)
    return _result(run, device, figures)


@telling_memory("nerfkit fit --resume", "end other programs, or fit anew with a smaller picture or --params")
def resume_fit(
    run_folder: str | Path, *, device: str = "auto", run_code: bool = False, say: Say = lambda text: None,
    on_part: Callable[[int, int], None] = lambda done, total: None, **settings: Any,
) -> Any:  # fmt: skip
    """Go on with a run of :func:`fit` that was stopped or killed; ``settings``, such as ``seconds``, replace its own.

    The result is written beside the run folder, under its name. ``run_code`` lets the Python file of an equation, which
    its config.yml names, be run: a run of somebody else's may name any.

    Raises
    ------
    NerfkitError
        The folder is no such run, its input is not there any more, or it is code that nobody has allowed.
    """
    from nerfkit.devices import choose_device
    from nerfkit.run_lock import locked
    from nerfkit.runs import Run
    from nerfkit.workbench.running import run_fit

    run = Run(Path(run_folder))
    task = fit_task(run.task.name) if run.task.name in FIT_TASKS else None
    if task is None:
        raise NerfkitError(
            f"is {run.task.holds}, which nerfkit fit did not make", where=run.folder,
            fix=f"nerfkit {run.task.name} --resume, where it has that option",
        )  # fmt: skip
    recorded = run.read_config(task.name)
    config = from_dict(recorded.config, settings, where="nerfkit fit --resume")
    inputs = recorded.inputs
    output = run.output_beside(inputs["output"], task.suffix_of)
    first = recorded.data if inputs["example"] is None else Path(inputs["example"])
    if inputs["example"] is None and not os.path.exists(first):  # noqa: PTH110  any text may stand in config.yml
        raise NerfkitError("its input is not there any more", where=first, fix="put it back, or fit anew")
    if task.runs_code(first) and not run_code:
        raise NerfkitError(
            f"would run the Python file that its config.yml names, {first}", where=run.folder,
            fix="look at that file; if you trust it: --run-code, or run_code=True from Python",
        )  # fmt: skip
    data = task.read([first, *map(Path, inputs["more"] or ())], config)
    truth = None if inputs["truth"] is None else (run.folder / str(inputs["truth"])).resolve()
    device = choose_device(device)
    with locked(run.folder):
        figures = run_fit(
            task,
            data,
            run,
            output,
            config,
            device,
            truth=_read_truth(task, truth, data, config),
            say=say,
            on_part=on_part,
        )
    return _result(run, device, figures)


def _result(run: Run, device: str, figures: dict[str, Any]) -> FittedResult:
    found = fit_task(run.task.name).load(run, device)
    found.is_interrupted = figures.pop("interrupted")
    found.figures = figures
    return found


def _configured(task: FitTask, config: Any, settings: dict[str, Any]) -> Any:
    if config is None or isinstance(config, str | Path):
        return task.configure(file=config, given={"nerfkit.fit": settings})
    return from_dict(config, settings, where="nerfkit.fit")


def _check_output(task: FitTask, output: Path, *, overwrite: bool) -> Path:
    task.suffix_of(output)
    if output.is_dir():
        raise NerfkitError("is a folder; the name of a file is wanted", where=output, fix="give another -o")
    if output.exists() and not overwrite:
        raise NerfkitError("is there already", where=output, fix="give another -o, or --overwrite to replace it")
    return output


def _read_truth(task: FitTask, truth: str | Path | None, data: Any, config: Any) -> Any:
    """What to compare with, of the output's shape."""
    if truth is None:
        return None
    if task.shape is None:
        raise NerfkitError(f"{task.name} has no truth to compare with", where="--truth", fix="leave it out")
    found, wanted = task.read_truth(truth), task.shape(data, config)
    if wanted and found.values.shape != wanted:
        raise NerfkitError(
            f"has shape {list(found.values.shape)}; that of the output is {list(wanted)}",
            where=truth, fix="give one of the output's size and kind, or leave --truth out",
        )  # fmt: skip
    return found
