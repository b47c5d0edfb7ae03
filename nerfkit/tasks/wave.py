"""The task `wave`: the wave equation in a map of speeds, over time or at one frequency, beside finite differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nerfkit.scenes.errors import NerfkitError
from nerfkit.workbench.task import PICTURES, FitTask
from nerfkit.workbench.waves.settings import WaveConfig

if TYPE_CHECKING:
    from nerfkit.workbench.job import Job
    from nerfkit.workbench.outcome import Outcome
    from nerfkit.workbench.waves.helmholtz import Helmholtz
    from nerfkit.workbench.waves.wave import Wave

__all__ = ["TASK"]

# radians that the fastest wave of one frequency runs through along the length, where nobody says
RADIANS = 20.0


def read(paths: Sequence[Path], config: WaveConfig) -> Wave | Helmholtz:
    """The problem that a map of speeds, or a number, and the settings pose."""
    from nerfkit.workbench.waves.helmholtz import Helmholtz
    from nerfkit.workbench.waves.medium import read_medium
    from nerfkit.workbench.waves.pulse import duration, make_pulse
    from nerfkit.workbench.waves.wave import Wave

    medium = read_medium(paths[0], config)
    pulse = make_pulse(medium, config)
    if config.equation == "wave":
        return Wave(medium, pulse, duration(medium, config), config.border == "fixed")
    if medium.n_dims == 1:
        raise NerfkitError(
            "has one dimension; waves of one frequency take two", where=paths[0], fix="give a map [h, w], or dims=2"
        )
    omega = RADIANS * medium.fastest / config.length if config.omega is None else config.omega
    return Helmholtz(medium, pulse, omega)


def solve(job: Job) -> Outcome:
    """Solve by standing waves, and show them beside the finite differences."""
    from nerfkit.workbench.waves.solving import solve_frequency, solve_time

    return solve_time(job) if job.config.equation == "wave" else solve_frequency(job)


TASK = FitTask(
    name="wave", holds="a wave", data="a map of speeds, or a number",
    usage="nerfkit render {run} --size WxH --out FILE.npy samples it",
    presets={"wave": WaveConfig()}, read=read, solve=solve, suffixes=(*PICTURES, ".npz"),
)  # fmt: skip
