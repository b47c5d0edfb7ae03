"""A fit that begins with a start which `nerfkit fit many` learned: what must match, and the first steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerfkit.scenes.errors import NerfkitError
from nerfkit.workbench.held_fields import HeldField
from nerfkit.workbench.job import Job
from nerfkit.workbench.many.adaptation import learnt_steps
from nerfkit.workbench.many.learned import START_FILE, Learned, read_start, write_start
from nerfkit.workbench.many.learning import N_STEPS
from nerfkit.workbench.many.networks import lattice_points, take_networks
from nerfkit.workbench.shapes.frame import BOX

__all__ = ["Beginning", "begin_shape_with", "begin_with"]

# ratio of two aspect ratios from which on it is said that they differ
ASPECT = 1.01


@dataclass(frozen=True)
class Beginning:
    """A start that fits the problem, and what the field must be made with.

    Parameters
    ----------
    learned : Learned
        The start.
    """

    learned: Learned

    @property
    def knob(self) -> float:
        """Scale of the sines."""
        return self.learned.shape.scale

    @property
    def n_params(self) -> int:
        """Of the field."""
        return self.learned.shape.n_params

    @property
    def bounds(self) -> list[list[float]]:
        """Of the values of each channel: what the start learned for, so that its networks mean the same here."""
        return [list(self.learned.bounds)] * self.learned.shape.n_outputs

    @property
    def options(self) -> dict[str, Any]:
        """As :func:`nerfkit.workbench.held_fields.make_held_field` takes them."""
        return {"n_layers": self.learned.shape.n_layers}

    @property
    def rate(self) -> float:
        """Adam's, after the learnt steps."""
        return self.learned.rate

    def give(self, held: HeldField) -> None:
        """Give a field the numbers that the start for instances seen in part has, before any step."""
        start = self.learned.part
        take_networks(held.field.field.network, start.networks(start.begin(1)), 0)

    def adapt(self, held: HeldField, values: Tensor, known: Tensor) -> None:
        """Give a field the start's numbers, after its learnt steps on the pixels [h, w, c] that are ``known`` [h, w].

        Where all are known the steps are those that remember, else those that predict the others.
        """
        height, width, n_channels = values.shape
        start = (self.learned.whole if bool(known.all()) else self.learned.part).to(values.device)
        seen = known.reshape(-1)
        points = lattice_points((height, width)).to(values.device)[seen]
        scaled = ((values - held.field.middle) / held.field.span).view(-1, n_channels)[seen]
        free = learnt_steps(start, points, scaled[None], N_STEPS)
        take_networks(held.field.field.network, start.networks(free), 0)

    def adapt_shape(self, field: Any, points: Tensor, distances: Tensor) -> None:
        """Give the field of a shape the start's numbers, after its learnt steps on those samples.

        Parameters
        ----------
        field : CoordinateField
            Over the frame's box, [-1, 1]^3.
        points, distances : Tensor, shape (n, 3) and (n, 1)
            In the frame; signed.
        """
        values = torch.tanh(distances / self.learned.bounds[1])
        start = self.learned.whole.to(points.device)
        take_networks(field.network, start.networks(learnt_steps(start, points / BOX, values[None], N_STEPS)), 0)


def begin_with(job: Job, n_channels: int, size: tuple[int, int]) -> Beginning | None:
    """The start that the settings name, checked; None: they name none.

    It is copied into the run folder, so that a resumed run has it wherever it is resumed.

    Raises
    ------
    NerfkitError
        There is no such start, or it is of another size of network, scale, or number of channels.
    """
    config, learned = job.config, _read_checked(job, 2)
    if learned is None:
        return None
    shape = learned.shape
    if n_channels != shape.n_outputs:
        raise NerfkitError(
            f"the start was learned from pictures of {shape.n_outputs} channels, this one has {n_channels}",
            where=config.start,
            fix=f"give a picture of {shape.n_outputs} channels, or nerfkit fit many on such as this",
        )  # fmt: skip
    mine, its = size[0] / size[1], learned.size[0] / learned.size[1]
    if max(mine / its, its / mine) > ASPECT:
        job.say(
            "warning: the start's pictures are {}x{}, this one is {}x{}: another shape".format(*learned.size, *size)
        )
    return Beginning(learned)


def begin_shape_with(job: Job) -> Beginning | None:
    """The start of shapes that the settings name, checked and copied as :func:`begin_with` does; None: they name none.

    Raises
    ------
    NerfkitError
        There is no such start, it is of pictures, or of another size of network or scale.
    """
    learned = _read_checked(job, 3)
    return None if learned is None else Beginning(learned)


def _read_checked(job: Job, n_inputs: int) -> Learned | None:
    config = job.config
    if config.start is None:
        return None
    folder = job.run.folder / "start"
    if not (folder / START_FILE).is_file():
        write_start(folder, read_start(Path(config.start)))
    learned = read_start(folder)
    shape = learned.shape
    if shape.n_inputs != n_inputs:
        kinds = {2: "pictures", 3: "shapes"}
        raise NerfkitError(
            f"the start was learned from {kinds[shape.n_inputs]}, and this is for {kinds[n_inputs]}",
            where=config.start, fix=f"nerfkit fit many on a folder of {kinds[n_inputs]}",
        )  # fmt: skip
    for name, its in (("scale", shape.scale), ("n_params", shape.n_params)):
        given = getattr(config, name)
        if given not in (None, its):
            raise NerfkitError(
                f"the start's {name} is {its}, {given} is asked for", where=config.start,
                fix=f"leave {name} out, or give {its}",
            )  # fmt: skip
    return learned
