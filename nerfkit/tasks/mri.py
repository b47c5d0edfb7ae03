"""The task `mri`: a picture from few coefficients of a magnetic resonance scanner, its phase kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.extras import import_extra
from nerfkit.scenes.kspace_data import KspaceData
from nerfkit.scenes.settings import check_positive, check_range
from nerfkit.workbench.settings import AUTO, FitConfig
from nerfkit.workbench.task import FitTask, Simulated

if TYPE_CHECKING:
    from nerfkit.workbench.job import Job
    from nerfkit.workbench.outcome import Outcome

__all__ = ["TASK", "MriConfig"]


@dataclass(frozen=True)
class MriConfig(FitConfig):
    """What a user may say of a picture from k-space; written to config.yml."""

    task: ClassVar[str] = "mri"

    # what holds the picture; auto: the mean of both that predicts held-out samples best
    prior: Literal["auto", "field", "variation"] = AUTO
    # standard deviation of a real part of the noise, in the data's unit, above 0; None: from k-space's rim and the air
    noise: float | None = None
    # of the total variation, against squared errors over the noise's variance, peak 1; None: by the risk estimate
    weight: float | None = None
    # width and height of the picture, for a trajectory whose file does not say it
    size: tuple[int, int] | None = None
    # steps of the field's fit, those without the held-out samples included, 1 or more
    steps: int = 600
    # whether classical reconstructions are made beside it where the truth is known; they take their own time
    baselines: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("noise", self.noise)
        check_positive("weight", self.weight)
        if self.size is not None:
            for side in self.size:
                check_range("size", side, 16, 4096)
        check_range("steps", self.steps, 1, 10**9)


def read(paths: Sequence[Path], config: MriConfig) -> KspaceData:
    """Read k-space; a trajectory needs finufft."""
    from nerfkit.scenes.readers.kspace import is_kspace, read_kspace

    if paths[0].is_file() and not is_kspace(paths[0]) and paths[0].suffix.lower() != ".npz":
        raise NerfkitError(
            "is a picture, not k-space", where=paths[0],
            fix="let it be measured: --simulate acceleration=4,coils=8,noise=0.01, or give an npz of k-space",
        )  # fmt: skip
    data = read_kspace(paths[0], config.size)
    if data.trajectory is not None:
        import_extra("finufft", "mri", paths[0])
    return data


def simulate(paths: Sequence[Path], config: MriConfig, keys: dict[str, Any]) -> Simulated:
    """K-space of a picture; of colours their mean."""
    from nerfkit.scenes.readers.picture import PictureFile, read_picture
    from nerfkit.workbench.magnetic.simulated import simulate_kspace

    picture = read_picture(paths[0])
    n_channels = picture.values.shape[2]
    grey = picture.values[..., : n_channels - 1 if n_channels in (2, 4) else n_channels].mean(-1)
    if min(grey.shape) < 16 or grey.min() < 0 or not grey.any():
        raise NerfkitError(
            "a magnitude of 16x16 pixels at least is wanted, 0 or more", where=paths[0], fix="give another picture"
        )
    if keys["radial"]:
        import_extra("finufft", "mri", "--simulate")
    data = simulate_kspace(grey, keys, config.seed)
    named = {"mask": data.mask, "trajectory": data.trajectory, "sensitivities": data.sensitivities}
    arrays = {name: array for name, array in named.items() if array is not None}
    arrays["kspace" if data.trajectory is None else "samples"] = data.values
    if data.trajectory is not None:
        arrays["size"] = np.array(data.shape[::-1])
    truth = PictureFile(grey[..., None].astype(np.float32), 32)
    truth_arrays = {} if n_channels == 1 else {"image": truth.values}
    return Simulated(data, truth, arrays, truth_arrays)


def solve(job: Job) -> Outcome:
    """Estimate noise, phase and the prior's weight; mix pixels and a field as predicts held-out samples best."""
    from nerfkit.files import npy_bytes, npz_bytes
    from nerfkit.workbench.magnetic.reconstruct import reconstruct
    from nerfkit.workbench.magnetic.shown import MISSING, WAVELETS, baselines, charts, pictures
    from nerfkit.workbench.magnetic.simulated import peak_of
    from nerfkit.workbench.outcome import Outcome
    from nerfkit.workbench.running import compare

    done = reconstruct(job)
    magnitude = np.abs(done.picture).astype(np.float32)[..., None]
    truth = None if job.truth is None else job.truth.values
    span = (0.0, peak_of(magnitude if truth is None else truth))

    def measure(written: NDArray) -> dict[str, Any]:
        return {} if truth is None else compare(written, truth, span)

    figures = {} if done.holdout is None else {"holdout": round(done.holdout, 5)}
    others = {} if truth is None or not job.config.baselines else baselines(done, truth, span)
    if others and WAVELETS not in others:
        job.say(MISSING)
    return Outcome(
        image=magnitude, measure=measure, field=done.prior, n_params=done.n_params, bit_depth=32, span=span,
        window=span,
        files={
            "phase.npy": npy_bytes(np.angle(done.picture).astype(np.float32)),
            "complex.npz": npz_bytes(picture=done.picture), "deviation.npy": npy_bytes(done.deviation),
        },
        metrics=figures, baselines=others, chosen=done.chosen,
        shown=pictures(done, job.data, truth, span), charts=charts(done),
        said=["held out: error of runs of samples that were left out, over their own size"]
        if figures else [],
    )  # fmt: skip


TASK = FitTask(
    name="mri", holds="a picture from k-space", data="k-space",
    usage="nerfkit render {run} --size WxH samples its magnitude at any size",
    presets={"mri": MriConfig()}, read=read, solve=solve, simulate=simulate,
    shape=lambda data, config: (*data.shape, 1),
    simulate_keys={"acceleration": 4, "coils": 1, "noise": 0.01, "radial": 0},
)  # fmt: skip
