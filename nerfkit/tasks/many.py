"""The task `many`: one start for many instances, from which a new one is fitted in a few steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from nerfkit.scenes.settings import check_positive, check_range
from nerfkit.workbench.settings import FitConfig
from nerfkit.workbench.task import FitTask

if TYPE_CHECKING:
    from nerfkit.workbench.job import Job
    from nerfkit.workbench.many.instances import Instances
    from nerfkit.workbench.outcome import Outcome

__all__ = ["TASK", "ManyConfig"]


@dataclass(frozen=True)
class ManyConfig(FitConfig):
    """What a user may say of learning from many instances; written to config.yml."""

    task: ClassVar[str] = "many"

    # how: a start and a step for every weight (meta), a latent an instance (modulation), or whichever serves better
    method: Literal["auto", "meta", "modulation"] = "auto"
    # hidden layers of the sine network, 1 to 16, and their width, 4 to 1024
    n_layers: int = 3
    width: int = 64
    # frequency of the sines, above 0
    scale: float = 30.0
    # numbers of a latent, and components that it is compared with, 1 to 4096
    n_latents: int = 64
    # steps that a start is learned for, and again for instances that are seen in part, 1 or more
    steps: int = 120
    # width and height that all pictures are brought to; None: that of most of them
    output_size: tuple[int, int] | None = None
    # cells along each side of the lattice that shapes are brought to, 4 to 128
    lattice: int = 32
    # wall seconds from the first step, a limit
    seconds: float = 900.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("n_layers", self.n_layers, 1, 16)
        check_range("width", self.width, 4, 1024)
        check_range("n_latents", self.n_latents, 1, 4096)
        check_range("steps", self.steps, 1, 10**9)
        check_range("lattice", self.lattice, 4, 128)
        check_positive("scale", self.scale)
        for side in self.output_size or ():
            check_range("output_size", side, 2, 4096)


def read(paths: Sequence[Path], config: ManyConfig) -> Instances:
    """Read a folder of pictures or meshes, or an array of pictures."""
    from nerfkit.workbench.many.instances import read_instances

    return read_instances(paths[0], config.output_size, config.lattice)


def solve(job: Job) -> Outcome:
    """Learn a start by one or both methods, choose between them, and measure on instances that nothing has seen."""
    import torch

    from nerfkit.workbench.many.instances import split
    from nerfkit.workbench.many.learned import read_start, write_start
    from nerfkit.workbench.many.methods import Given, choose, learn, measure
    from nerfkit.workbench.many.networks import hold
    from nerfkit.workbench.many.shown import outcome_charts, sheet, write_video
    from nerfkit.workbench.outcome import Outcome, Shown

    config, data = job.config, job.data
    parts = split(len(data.names), config.seed)
    said = [
        *data.said,
        f"{len(parts.learned)} instances of {'x'.join(map(str, data.size))} {'cells' if data.is_shapes else 'pixels'} "
        "are learned from, "
        f"{len(parts.choosing)} choose settings, {len(parts.new)} are new: nothing but the figures sees these "
        f"({', '.join(data.names[index] for index in parts.new[:4])}, ... by the seed)",
    ]
    for text in said:
        job.say(text)
    given = Given.of(data, parts, config, torch.device(job.device))
    methods = ("meta", "modulation") if config.method == "auto" else (config.method,)
    learned = {method: learn(job, given, method, len(methods) - index) for index, method in enumerate(methods)}
    decided = job.decide("choice", lambda: choose(given, learned, job.check_stopped))
    method = decided["method"]
    learned[method].rate = decided["rates"][method]
    write_start(job.run.folder, learned[method])
    # what is measured is what was written
    start = read_start(job.run.folder).to(job.device)
    job.say("measuring on the new instances")
    found = measure(given, start, decided["fresh_rate"], job.check_stopped)
    for other in methods:
        if other != method:
            learned[other].rate = decided["rates"][other]
            figures = measure(given, learned[other], None, job.check_stopped).figures
            how = f"the other method; its Adam's rate {learned[other].rate:g} by the instances that choose"
            found.baselines[other] = figures | {"how": how}
    video = write_video(job.run.folder / "interpolation.mp4", given, start)
    shape = start.shape
    held = (
        None if data.is_shapes else hold(found.networks, 0, shape, (data.size[0], data.size[1]), given.channel_bounds)
    )
    image = sheet(given, found)
    return Outcome(
        image=image, measure=lambda written: found.figures, field="siren", n_params=shape.n_params, held=held,
        baselines=found.baselines,
        chosen={
            "method": method, "rate": start.rate, "numbers_per_instance": start.whole.n_free,
            "learned": len(parts.learned), "new": [data.names[index] for index in parts.new], **decided["judged"],
        },
        charts=outcome_charts(found), video=video, said=said,
        shown=[Shown("new_instance", given.as_picture(found.whole.values[3][0]), "a new instance after 3 steps")],
    )  # fmt: skip


TASK = FitTask(
    name="many", holds="a start for many instances", data="a folder of pictures, or of meshes, of one kind",
    usage="nerfkit fit image PICTURE --start {run} -o OUT.png begins with it; of meshes fit shape MESH",
    presets={"many": ManyConfig()}, read=read, solve=solve, suffixes=(".png",),
)  # fmt: skip
