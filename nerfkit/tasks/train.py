"""The task `train`: posed photos to a scene that can be rendered from anywhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from nerfkit.config import from_dict
from nerfkit.memory import telling_memory
from nerfkit.presets import PRESETS, PresetName, TrainConfig, preset_for
from nerfkit.ranks import Ranks, join, launched
from nerfkit.scenes.errors import NerfkitError
from nerfkit.tasks import Task
from nerfkit.trained_scene import TrainedScene

if TYPE_CHECKING:
    from nerfkit.fitting import Progress
    from nerfkit.runs import Run
    from nerfkit.training import Prepared

__all__ = ["TASK", "budget", "configured", "dry_run", "resume", "train"]

# torch is imported where it is used: a run's settings are read before it is known what is computed with them


def _load(run: Run, device: str) -> TrainedScene:
    # whatever is wrong with it is said now, not when a picture is wanted
    run.read_config(TASK.name)
    run.read_scene()
    return TrainedScene(run, device)


TASK = Task(
    name="train", holds="a scene", data="photos", usage="nerfkit eval {run}, or nerfkit render {run}", presets=PRESETS,
    load=_load, inputs=("skip_bad", "masks", "job"), group="field",
)  # fmt: skip


_LOWER = (
    "the photos' size (--downscale 2), the samples of a step (--set samples_per_step=8192), or the field "
    "(--set field.log2_table_size=15, --set field.width=16)"
)
_telling_memory = telling_memory("nerfkit train", f"lower {_LOWER}")


def _silent(_: Any) -> None:
    pass


@_telling_memory
def train(
    data: str | Path, out: str | Path | None = None, *, method: str | None = None,
    config: TrainConfig | str | Path | None = None, device: str = "auto", skip_bad: bool = False,
    masks: str | Path | None = None, overwrite: bool = False, memory_budget: int | None = None,
    say: Callable[[str], None] = _silent, on_progress: Callable[[Progress], None] = _silent,
    on_photo: Callable[[int, int], None] = lambda done, total: None, **settings: Any,
) -> TrainedScene:  # fmt: skip
    """Train a scene on posed photos.

    Parameters
    ----------
    data : str or Path
        Folder of posed photos (Blender, instant-ngp, nerfstudio, COLMAP), or a transforms.json.
    out : str or Path, optional
        The run folder; None: ``outputs/<scene>/<method>/<time>`` below the current folder, with a link ``latest``.
    method : {"hash", "fourier"}, optional
        What holds the scene, as in ``nerfkit.presets.PRESETS``; None: hash.
    config : TrainConfig, str or Path, optional
        Settings to start from: an object, or a config.yml of another run.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    skip_bad : bool
        Whether to go on without frames that are damaged.
    masks : str or Path, optional
        Folder of masks, one for a photo by its name, which the dataset does not list; what is black in one is left out.
    overwrite : bool
        Whether to replace what is in the run folder.
    memory_budget : int, optional
        Bytes that the training may take; None: most of what is free. Photos that do not fit are decoded once into a
        file of the cache folder and mapped from there: the result is the same.
    say : callable
        Called with a line for a person at each stage.
    on_progress : callable
        Called after every step.
    on_photo : callable
        Called with the number of photos read and in all.
    **settings
        Settings of :class:`nerfkit.presets.TrainConfig` by name: ``seconds=300``, ``steps=2000``, ``downscale=2``,
        ``seed=1``, ``preset="best"`` (sizes, by device), ``field={"width": 64}``. With ``steps`` alone, steps say when
        training ends.

    Returns
    -------
    scene : TrainedScene
        With what was measured in ``scene.figures``. Interrupting (Ctrl-C, a notebook's stop button) ends the training;
        the scene is then what it was, and ``scene.is_interrupted`` is true.

    Notes
    -----
    Started by torchrun in several processes, these train one scene together (docs/scaling.md). Each gets it; the first
    has the figures. One that torchrun starts again goes on from the newest checkpoint.

    Raises
    ------
    NerfkitError
        What a long run would stumble over: photos, settings, the output folder, the device.

    Examples
    --------
    >>> import nerfkit
    >>> scene = nerfkit.train("photos/fox", out="runs/fox", seconds=300)  # doctest: +SKIP
    >>> scene.render_path("orbit", "orbit.mp4")  # doctest: +SKIP
    """
    from nerfkit.devices import choose_device
    from nerfkit.files import check_output_folder, prepare_output_folder
    from nerfkit.run_lock import locked, refuse_locked
    from nerfkit.runs import Run, default_run_folder, link_latest

    config = _configured(method, config, settings, device)
    ranks, launch = _joined(device), launched()
    if launch.may_restart and out is None:
        raise NerfkitError(
            "no run folder given, and one that starts anew has to find it", where="torchrun --max-restarts",
            fix="add --out RUN",
        )  # fmt: skip
    # checked before the photos are read: the cheap mistakes come first
    source = _read(data, skip_bad, masks)
    device = choose_device(device)
    folder = default_run_folder(source.name, config.field.kind) if out is None else Path(out)
    # by the clock of the first
    folder = Path(ranks.first_says(str(folder)))
    is_begun = launch.n_restarts > 0 and ranks.is_first and _is_of_job(folder, launch.job)
    is_begun = ranks.first_says("begun" if is_begun else "") == "begun"
    if is_begun and Run(folder).checkpoints.steps():
        say(f"started again: going on with {folder}")
        return resume(
            folder, data=data, device=device, memory_budget=memory_budget, say=say, on_progress=on_progress,
            on_photo=on_photo,
        )  # fmt: skip
    # one that ended before its first checkpoint makes way for itself
    overwrite = overwrite or is_begun
    if ranks.is_first:
        refuse_locked(folder)
        check_output_folder(folder, overwrite=overwrite, keep=source.root)
    from nerfkit import training

    prepared = training.prepare(
        source, config, device, memory_budget=memory_budget, say=say, on_photo=on_photo
    )  # fmt: skip
    for line in prepared.describe():
        say(line)
    training.check_alike(prepared, ranks)
    run = Run(folder)
    with locked(folder) if ranks.is_first else contextlib.nullcontext():
        if ranks.is_first:
            # only now, when the photos turned out to be good, does an earlier run make way
            prepare_output_folder(folder, overwrite=overwrite, keep=source.root)
            if out is None:
                link_latest(folder)
            say(f"run: {folder}")
        done = training.train(
            prepared, run, on_progress, data=Path(data), skip_bad=skip_bad, masks=_path(masks), ranks=ranks
        )  # fmt: skip
        return _finished(run, device, done, ranks)


@_telling_memory
def dry_run(
    data: str | Path, *, method: str | None = None, config: TrainConfig | str | Path | None = None,
    device: str = "auto", skip_bad: bool = False, masks: str | Path | None = None, memory_budget: int | None = None,
    say: Callable[[str], None] = _silent, on_photo: Callable[[int, int], None] = lambda done, total: None,
    **settings: Any,
) -> dict[str, Any]:  # fmt: skip
    """Check the data and tell what :func:`train` would take, with nothing written; its parameters.

    Returns
    -------
    found : dict
        ``parameters``, ``memory_mb``, ``photos_mb``, ``ms_per_step`` and ``expected_seconds``.
    """
    from nerfkit.devices import choose_device
    from nerfkit.estimates import estimate
    from nerfkit.training import prepare

    config = _configured(method, config, settings, device)
    source = _read(data, skip_bad, masks)
    prepared: Prepared = prepare(
        source, config, choose_device(device), memory_budget=memory_budget, say=say, on_photo=on_photo
    )  # fmt: skip
    for line in prepared.describe():
        say(line)
    return estimate(prepared)


@telling_memory("nerfkit train --resume", f"end other programs, or train again and lower {_LOWER}")
def resume(
    run: str | Path, *, data: str | Path | None = None, device: str = "auto", seconds: float | None = None,
    steps: int | None = None, memory_budget: int | None = None, say: Callable[[str], None] = _silent,
    on_progress: Callable[[Progress], None] = _silent,
    on_photo: Callable[[int, int], None] = lambda done, total: None,
) -> TrainedScene:  # fmt: skip
    """Go on with a training from its newest checkpoint; its settings hold, only the budget is new.

    Parameters
    ----------
    run : str or Path
        The run folder.
    data : str or Path, optional
        The photos, when they were moved.
    device : {"auto", "cpu", "cuda"}
        Where to compute; auto: where the run did.
    seconds, steps : optional
        New budget: seconds count anew, steps are the total; None: the run's own.
    memory_budget, say, on_photo
        As :func:`train` takes them.
    on_progress : callable
        Called after every step.
    """
    from nerfkit import training
    from nerfkit.devices import choose_device
    from nerfkit.run_lock import locked
    from nerfkit.runs import Run

    folder = Run(Path(run))
    recorded = folder.read_config(TASK.name)
    # a budget that cannot be is said before the photos are read
    config = from_dict(recorded.config, budget(seconds, steps), where="nerfkit.resume")
    device = choose_device(recorded.device if device == "auto" else device)
    ranks = join(device)
    with locked(folder.folder) if ranks.is_first else contextlib.nullcontext():
        done = training.resume(
            folder, config, data=None if data is None else Path(data), device=device, on_progress=on_progress,
            memory_budget=memory_budget, say=say, on_photo=on_photo, ranks=ranks,
        )  # fmt: skip
        return _finished(folder, device, done, ranks)


def budget(seconds: float | None, steps: int | None) -> dict[str, Any]:
    """The settings by which a training ends: of seconds and steps the one that is named; nothing when neither is."""
    if seconds is not None and steps is not None:
        raise NerfkitError("give seconds or steps, not both", where="nerfkit train", fix="leave one of them out")
    return {} if seconds is None and steps is None else {"seconds": seconds, "steps": steps}


def configured(
    method: str | None, device: str, *, file: str | Path | None = None, assignments: Sequence[str] = (),
    given: Mapping[str, Mapping[str, Any]],
) -> TrainConfig:  # fmt: skip
    """The settings of a new run: those of the method on this device, and what a file, assignments and options say.

    Parameters
    ----------
    method : str, optional
        One of ``nerfkit.presets.PRESETS``; None: by what is given, else hash.
    device : {"auto", "cpu", "cuda"}
        Where it will be trained; one that is not there is refused when it is needed.
    file, assignments, given
        As :meth:`nerfkit.tasks.Task.configure` takes them.
    """

    def sized(base: TrainConfig, name: str | None) -> TrainConfig:
        # a name that there is not is refused when the settings are made
        known = get_args(PresetName)
        return preset_for(base.field.kind, _kind(device), name if name in known else "default")  # pyright: ignore[reportArgumentType]

    return TASK.configure(preset=method, file=file, assignments=assignments, given=given, sized=sized)


def _kind(device: str) -> str:
    """The kind of device that is meant, without a word on whether it is there."""
    if device != "auto":
        return device
    from nerfkit.devices import choose_device

    return choose_device("auto")


def _configured(
    method: str | None, config: TrainConfig | str | Path | None, settings: dict[str, Any], device: str
) -> TrainConfig:
    settings |= budget(settings.get("seconds"), settings.get("steps"))
    if not isinstance(config, TrainConfig):
        return configured(method, device, file=config, given={"nerfkit.train": settings})
    if method not in (None, config.field.kind):
        raise NerfkitError(f"the settings are of {config.field.kind}, not of {method}", fix="leave one of the two out")
    return from_dict(config, settings, where="nerfkit.train")


def _read(data: str | Path, skip_bad: bool, masks: str | Path | None) -> Any:
    from nerfkit.scenes.readers import read_posed_photos

    return read_posed_photos(Path(data), skip_bad=skip_bad, masks=_path(masks))


def _path(place: str | Path | None) -> Path | None:
    return None if place is None else Path(place)


def _joined(device: str) -> Ranks:
    """The processes that train together; they meet before any of them reads, so that none waits for one that fails."""
    if launched().size == 1:
        return join("cpu")
    from nerfkit.devices import choose_device

    return join(choose_device(device))


def _is_of_job(folder: Path, job: str) -> bool:
    """Whether a run folder was begun by this job of torchrun's: any other it must leave alone."""
    from nerfkit.runs import Run

    return bool(job) and (folder / "config.yml").is_file() and Run(folder).read_config().inputs.get("job") == job


def _finished(run: Run, device: str, figures: dict[str, Any], ranks: Ranks) -> TrainedScene:
    from nerfkit.report import refresh

    if ranks.is_first:
        refresh(run)
    # what the first wrote is there when any goes on
    ranks.wait()
    is_interrupted = figures.pop("interrupted")
    return TrainedScene(run, device, figures, is_interrupted=is_interrupted)
