"""The tasks: what is made of which data. Each is called from Python, from the command line, and by its run folders.

``TASKS`` names them. A :class:`Task` says what its settings are, how a run of it is loaded, and how to speak of it.
Importing this, or a task, loads no torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfkit.config import assigned, from_dict, load
from nerfkit.scenes.errors import NerfkitError

if TYPE_CHECKING:
    from nerfkit.results import Result
    from nerfkit.runs import Run

__all__ = ["FIT_TASKS", "TASKS", "Task", "get_task", "load_run"]

# name, as in config.yml -> 'module:object'; a string, so that listing the names loads nothing
TASKS = {
    "train": "nerfkit.tasks.train:TASK",
    "superres": "nerfkit.tasks.superres:TASK",
    "image": "nerfkit.tasks.image:TASK",
    "compare": "nerfkit.tasks.compare:TASK",
    "compress": "nerfkit.tasks.compress:TASK",
    "denoise": "nerfkit.tasks.denoise:TASK",
    "solve": "nerfkit.tasks.solve:TASK",
    "wave": "nerfkit.tasks.wave:TASK",
    "inpaint": "nerfkit.tasks.inpaint:TASK",
    "gradient": "nerfkit.tasks.gradient:TASK",
    "volume": "nerfkit.tasks.volume:TASK",
    "register": "nerfkit.tasks.register:TASK",
    "ct": "nerfkit.tasks.ct:TASK",
    "mri": "nerfkit.tasks.mri:TASK",
    "many": "nerfkit.tasks.many:TASK",
    "shape": "nerfkit.tasks.shape:TASK",
}
# those of `nerfkit fit`, and what they do
FIT_TASKS = {
    "image": "hold a picture in a field, and sample it at any size",
    "compare": "fields side by side at equal parameters, over the iterations",
    "compress": "few bytes that decode again, beside JPEG, WebP, AVIF and our DCT",
    "denoise": "the clean picture behind a noisy one",
    "inpaint": "fill the holes of a picture, white in a mask where it is known",
    "gradient": "a picture from its gradient or Laplacian alone, or from the gradients of two",
    "solve": "a field that satisfies an equation",
    "wave": "a wave in a map of speeds, over time or of one frequency, beside finite differences",
    "volume": "thick, missing or crossing slices of a scanner to one volume of cubes",
    "register": "where in a second image or volume each pixel of a first one is, and the second brought onto the first",
    "ct": "a slice from the sinogram of a tomograph, and how sure it is",
    "mri": "a picture from few coefficients of a magnetic resonance scanner, its phase kept",
    "many": "one start for many pictures of a kind, from which a new one is fitted in a few steps",
    "shape": "a mesh with or without holes, or points, as a signed distance, and a mesh of any resolution of it",
}


@dataclass(frozen=True)
class Task:
    """What is the same for every task: its settings and its runs.

    Parameters
    ----------
    name : str
        As in ``TASKS`` and in config.yml.
    holds, data : str
        What a run of it holds and what it is made of, for messages.
    usage : str
        What can be done with a run of it, in a line.
    presets : mapping
        Settings to start from; the first unless another is named.
    load : callable
        From a run folder and a device ("cpu" or "cuda") to what it holds.
    inputs : tuple of str
        What config.yml holds besides the settings, ``task``, ``data`` and ``device``.
    group : str
        The group of settings whose kind names the preset; empty where there is one preset.
    """

    name: str
    holds: str
    data: str
    usage: str
    presets: Mapping[str, Any]
    load: Callable[[Run, str], Result]
    inputs: tuple[str, ...] = ()
    group: str = ""

    def configure(
        self, *, preset: str | None = None, file: str | Path | None = None, assignments: Sequence[str] = (),
        given: Mapping[str, Mapping[str, Any]] | None = None,
        sized: Callable[[Any, str | None], Any] = lambda base, name: base,
    ) -> Any:  # fmt: skip
        """The settings that a preset, a file, assignments and options make, the later ones first.

        Parameters
        ----------
        preset : str, optional
            Name of one of the presets.
        file : str or Path, optional
            YAML of settings; a config.yml of a run will do.
        assignments : sequence of str
            ``NAME=VALUE``, as ``--set`` takes them.
        given : mapping, optional
            From the name of an option, for messages, to the settings that it gives.
        sized : callable
            Makes of a preset the one that a new run starts from, by what the settings call ``preset``, or None.
        """
        sources = [] if file is None else [(str(file), self.settings_in(load(file), file))]
        sources += [("--set", assigned(assignments)), *(given or {}).items()]
        named = [values["preset"] for _, values in sources if "preset" in values]
        config = sized(self._base(preset, sources), named[-1] if named else None)
        for where, values in sources:
            config = from_dict(config, values, where=where)
            if where == str(file):
                config = config.below(Path(where).parent)
        return config

    def settings_in(self, values: Mapping[str, Any], where: str | Path) -> dict[str, Any]:
        """The settings among the ``values`` of a config.yml."""
        named = values.get("task", self.name)
        if named != self.name:
            raise NerfkitError(
                f"holds settings of the task {named}, not of {self.name}", where=where,
                fix=f"give a config.yml that nerfkit {self.name} wrote",
            )  # fmt: skip
        return {name: value for name, value in values.items() if name not in ("task", "data", "device", *self.inputs)}

    def _base(self, preset: str | None, sources: Sequence[tuple[str, Mapping[str, Any]]]) -> Any:
        """The preset that is named, or else the one that the kind of a group names."""
        if preset is not None and preset not in self.presets:
            raise NerfkitError(f"{preset!r} is not one of {', '.join(self.presets)}", fix="give one of these")
        for where, values in sources:
            group = values.get(self.group)
            kind = group.get("kind") if isinstance(group, Mapping) else None
            # a kind that there is not, or that is no text, is named when the settings are made
            if isinstance(kind, str) and kind in self.presets and kind != (preset := preset or kind):
                raise NerfkitError(
                    f"holds settings of {kind}, not of {preset}", where=where, fix="leave one of the two out"
                )
        return self.presets[preset or next(iter(self.presets))]


def get_task(name: str) -> Task:
    """The task registered under ``name``.

    Examples
    --------
    >>> get_task("train").holds
    'a scene'
    """
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}; there are {', '.join(TASKS)}")
    module, _, attribute = TASKS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def load_run(run: str | Path, *, device: str = "auto") -> Any:
    """What a run folder holds: a scene, or an image. It is ``nerfkit.load``.

    Parameters
    ----------
    run : str or Path
        A folder that ``nerfkit train``, ``superres`` or ``fit`` made, or their functions in Python; or an .nkc file.
    device : {"auto", "cpu", "cuda"}
        Where to compute.

    Returns
    -------
    result : TrainedScene, SuperresolvedImage, FittedField, FittedVolume, FittedShape or CompressedPicture
        By the task that config.yml names. Its weights are read when they are first used.

    Raises
    ------
    NerfkitError
        The folder is no run, or damaged.

    Examples
    --------
    >>> scene = nerfkit.load("outputs/fox/hash/latest")  # doctest: +SKIP
    >>> scene.render_path("orbit", "orbit.mp4")  # doctest: +SKIP
    """
    if Path(run).suffix == ".nkc" and Path(run).is_file():
        from nerfkit.compressed_picture import CompressedPicture

        return CompressedPicture(Path(run))
    from nerfkit.devices import choose_device
    from nerfkit.runs import Run

    found = Run(Path(run))
    task = found.task
    return task.load(found, choose_device(device))
