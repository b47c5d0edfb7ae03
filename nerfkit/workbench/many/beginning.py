"""A fit that begins with a start which `nerfkit fit many` learned: what must match, and the first steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nerfkit.scenes.errors import NerfkitError
from nerfkit.workbench.held_fields import HeldField
from nerfkit.workbench.job import Job
from nerfkit.workbench.many.adaptation import learnt_steps
from nerfkit.workbench.many.learned import START_FILE, Learned, read_start, write_start
from nerfkit.workbench.many.learning import N_STEPS
from nerfkit.workbench.many.networks import pixel_points, take_networks

__all__ = ["Beginning", "begin_with"]

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
        take_networks(held, start.networks(start.begin(1)), 0)

    def adapt(self, held: HeldField, values: Tensor, known: Tensor) -> None:
        """Give a field the start's numbers, after its learnt steps on the pixels [h, w, c] that are ``known`` [h, w].

        Where all are known the steps are those that remember, else those that predict the others.
        """
        height, width, n_channels = values.shape
        start = (self.learned.whole if bool(known.all()) else self.learned.part).to(values.device)
        seen = known.reshape(-1)
        points = pixel_points(height, width).to(values.device)[seen]
        scaled = ((values - held.field.middle) / held.field.span).view(-1, n_channels)[seen]
        free = learnt_steps(start, points, scaled[None], N_STEPS)
        take_networks(held, start.networks(free), 0)


def begin_with(job: Job, n_channels: int, size: tuple[int, int]) -> Beginning | None:
    """The start that the settings name, checked; None: they name none.

    It is copied into the run folder, so that a resumed run has it wherever it is resumed.

    Raises
    ------
    NerfkitError
        There is no such start, or it is of another size of network, scale, or number of channels.
    """
    config = job.config
    if config.start is None:
        return None
    folder = job.run.folder / "start"
    if not (folder / START_FILE).is_file():
        write_start(folder, read_start(Path(config.start)))
    learned = read_start(folder)
    shape = learned.shape
    for name, its in (("scale", shape.scale), ("n_params", shape.n_params)):
        given = getattr(config, name)
        if given not in (None, its):
            raise NerfkitError(
                f"the start's {name} is {its}, {given} is asked for", where=config.start,
                fix=f"leave {name} out, or give {its}",
            )  # fmt: skip
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
