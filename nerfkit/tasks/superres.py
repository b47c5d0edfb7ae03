"""The task `superres`: many shifted low-resolution frames to one sharp image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfkit.config import from_dict
from nerfkit.memory import telling_memory
from nerfkit.scenes.errors import NerfkitError
from nerfkit.superresolution.settings import SuperresConfig
from nerfkit.superresolved_image import SuperresolvedImage
from nerfkit.tasks import Task

if TYPE_CHECKING:
    from nerfkit.runs import Run

__all__ = ["TASK", "output_size", "resume", "superres"]

# torch is imported where it is used: a run's settings are read before it is known what is computed with them


def _load(run: Run, device: str) -> SuperresolvedImage:
    image = SuperresolvedImage(run, device)
    # whatever is wrong with it is said now, not when a picture is wanted
    _ = image.settings
    return image


TASK = Task(
    name="superres", holds="a super-resolved image", data="frames",
    usage="nerfkit render {run} --size WxH gives it at any size; nerfkit superres --truth compares it",
    presets={"superres": SuperresConfig()}, load=_load, inputs=("frames", "shifts", "reference", "output", "truth"),
)  # fmt: skip


@telling_memory(
    "nerfkit superres", "lower --scale, take the first N frames (--frames N), or a part of each (--crop X,Y,W,H)"
)
def superres(
    frames: str | Path, out: str | Path, *, shifts: str | Path | None = None, reference: str | None = None,
    n_frames: int | None = None, truth: str | Path | None = None, config: SuperresConfig | str | Path | None = None,
    device: str = "auto", overwrite: bool = False, say: Callable[[str], None] = lambda text: None,
    on_part: Callable[[int, int], None] = lambda done, total: None, **settings: Any,
) -> SuperresolvedImage:  # fmt: skip
    """Fuse low-resolution frames of one scene into one sharp image.

    Parameters
    ----------
    frames : str or Path
        A folder of images, a glob, a video, an npz or npy.
    out : str or Path
        The picture, a PNG or a TIFF; its run folder is the same name without suffix.
    shifts : str or Path, optional
        Where each frame looks: ``file,dx,dy`` in low-res pixels, or affine maps or homographies; None: the frames are
        registered. They are of the whole frames, also where a part of them is used.
    reference : str, optional
        Name of the frame that the output covers; None: the first, or where few of the others see it the one that most
        of them overlap.
    n_frames : int, optional
        Use the first so many only. Of more than the setting ``most_frames``, the sharpest are chosen.
    truth : str or Path, optional
        A picture of the output's size to compare with.
    config : SuperresConfig, str or Path, optional
        Settings to start from: an object, or a config.yml of another run.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    overwrite : bool
        Whether to replace an earlier picture and run folder.
    say : callable
        Called with a line for a person at each stage.
    on_part : callable
        Of large frames, called with the number of parts that are done and that there are.
    **settings
        Settings of :class:`nerfkit.superresolution.settings.SuperresConfig` by name: ``scale=8``, ``seconds=120``,
        ``output_size=(334, 334)``, ``psf="gaussian"``, ``psf_width="auto"``, ``register="affine"``, ``seed=1``,
        ``most_frames=256``, ``crop=(x, y, width, height)`` of the part of the frames that matters, in low-res pixels.

    Returns
    -------
    image : SuperresolvedImage
        With what was measured in ``image.figures``. Interrupting (Ctrl-C, a notebook's stop button) ends the work; what
        there was is in the picture, and ``image.is_interrupted`` is true.

    Raises
    ------
    NerfkitError
        What is wrong with the frames, the shifts, the settings or the output.

    Examples
    --------
    >>> import nerfkit
    >>> image = nerfkit.superres("frames", "sharp.png", scale=4, seconds=60)  # doctest: +SKIP
    >>> image.figures["holdout_psnr"]  # doctest: +SKIP
    38.2
    """
    from nerfkit.devices import choose_device
    from nerfkit.files import check_output_folder, prepare_output_folder
    from nerfkit.run_lock import locked, refuse_locked
    from nerfkit.runs import Run
    from nerfkit.superresolution.inputs import check_output, read_source, read_truth

    config = _configured(config, settings)
    output = check_output(out, overwrite=overwrite)
    source = read_source(frames, config, shifts=shifts, reference=reference, n_frames=n_frames)
    folder, keep = output.with_suffix(""), source.frames.root
    refuse_locked(folder)
    check_output_folder(folder, overwrite=overwrite, keep=keep)
    true_image = None if truth is None else read_truth(truth, source.settings)
    device = choose_device(device)
    from nerfkit.superresolution.running import run_superres

    for line in source.describe():
        say(line)
    with locked(folder):
        prepare_output_folder(folder, overwrite=overwrite, keep=keep)
        run = Run(folder)
        source = source.with_inputs(output=output, truth=None if truth is None else Path(truth))
        figures = run_superres(source, run, output, device, truth=true_image, say=say, on_part=on_part)
    return _finished(run, device, figures)


@telling_memory("nerfkit superres --resume", "end other programs, or begin anew with fewer frames")
def resume(
    run_folder: str | Path, *, seconds: float | None = None, device: str = "auto",
    say: Callable[[str], None] = lambda text: None, on_part: Callable[[int, int], None] = lambda done, total: None,
) -> SuperresolvedImage:  # fmt: skip
    """Go on with a super-resolution that was killed or interrupted, to the picture that it would have made.

    Parameters
    ----------
    run_folder : str or Path
        Its run folder, beside the picture.
    seconds : float, optional
        They count anew; None: as many as at first.
    device, say, on_part
        As :func:`superres` takes them.

    Raises
    ------
    NerfkitError
        The folder is no such run, it is done, or its frames are not there any more.
    """
    from nerfkit.devices import choose_device
    from nerfkit.run_lock import locked
    from nerfkit.runs import Run
    from nerfkit.superresolution.inputs import check_output, read_source, read_truth
    from nerfkit.superresolution.runs import BEGUN_FOLDER

    run = Run(Path(run_folder))
    run.read_config(TASK.name)
    if not (run.folder / BEGUN_FOLDER / "config.yml").is_file():
        raise NerfkitError(
            "is done: there is nothing to go on with", where=run.folder,
            fix="nerfkit superres FRAMES -o OUT.png --overwrite makes it anew",
        )  # fmt: skip
    begun = Run(run.folder / BEGUN_FOLDER)
    recorded = begun.read_config(TASK.name)
    config = from_dict(recorded.config, {} if seconds is None else {"seconds": seconds}, where="nerfkit superres")

    def place(name: str) -> Path | None:
        given = recorded.inputs[name]
        return None if given is None else (begun.folder / str(given)).resolve()

    truth = place("truth")
    output = run.output_beside(
        recorded.inputs["output"], lambda name: check_output(name, overwrite=True).suffix
    )  # fmt: skip
    source = read_source(
        recorded.data, config, shifts=place("shifts"), reference=recorded.inputs["reference"],
        n_frames=recorded.inputs["frames"],
    ).with_inputs(output=output, truth=truth)  # fmt: skip
    true_image = None if truth is None else read_truth(truth, source.settings)
    device = choose_device(recorded.device if device == "auto" else device)
    from nerfkit.superresolution.running import run_superres

    with locked(run.folder):
        figures = run_superres(source, run, output, device, truth=true_image, say=say, on_part=on_part)
    return _finished(run, device, figures)


def _finished(run: Run, device: str, figures: dict[str, Any]) -> SuperresolvedImage:
    is_interrupted = figures.pop("interrupted")
    return SuperresolvedImage(run, device, figures, is_interrupted=is_interrupted)


def output_size(scale: float | None, size: tuple[int, int] | None) -> dict[str, Any]:
    """The settings that say how large the output is: the one that is named; nothing when neither is."""
    if scale is not None and size is not None:
        raise NerfkitError(
            "give --scale or --output-size, not both", where="nerfkit superres", fix="leave one of them out"
        )
    return {} if scale is None and size is None else {"scale": scale, "output_size": size}


def _configured(config: SuperresConfig | str | Path | None, settings: dict[str, Any]) -> SuperresConfig:
    settings = settings | output_size(settings.get("scale"), settings.get("output_size"))
    if isinstance(settings.get("psf"), Path):
        settings["psf"] = str(settings["psf"])
    if isinstance(config, SuperresConfig):
        return from_dict(config, settings, where="nerfkit.superres")
    return TASK.configure(file=config, given={"nerfkit.superres": settings})
