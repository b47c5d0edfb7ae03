"""The task `denoise`: the clean picture behind one noisy one, chosen without seeing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.settings import check_positive
from nerfkit.workbench.settings import AUTO, FitConfig
from nerfkit.workbench.task import FitTask, Simulated

if TYPE_CHECKING:
    from nerfkit.scenes.readers.picture import PictureFile
    from nerfkit.workbench.job import Job
    from nerfkit.workbench.outcome import Outcome

__all__ = ["TASK", "DenoiseConfig"]

# least side of a picture
MIN_SIDE = 8
# names of the noise as the settings have them
KINDS = (AUTO, "gaussian", "poisson", "impulse")


@dataclass(frozen=True)
class DenoiseConfig(FitConfig):
    """What a user may say of a denoising; written to config.yml."""

    task: ClassVar[str] = "denoise"

    # kind of the noise; auto: estimated with its level
    kind: Literal["auto", "gaussian", "poisson", "impulse"] = AUTO
    # its level: standard deviation over the range; 1 / photons of a white pixel; fraction of the pixels. With a kind
    level: float | None = None
    # whether a field of the position alone is fitted beside it, to compare; it takes its own time
    compare: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("level", self.level)
        if (self.level is None) != (self.kind == AUTO):
            raise ValueError(f"level goes with a kind of noise; got kind {self.kind} and level {self.level}")


@dataclass(frozen=True)
class NoisyData:
    """A noisy picture, the values that are black and white, and the bits that the result is written with."""

    picture: PictureFile
    span: tuple[float, float]
    bit_depth: int


def read(paths: Sequence[Path], config: DenoiseConfig) -> NoisyData:
    """Read the noisy picture; of measurements that were simulated also the range and depth of what they are of."""
    from nerfkit.scenes.readers.picture import array_names, load_array, read_picture

    picture = read_picture(paths[0])
    if min(picture.size) < MIN_SIDE:
        raise NerfkitError(
            "has {}x{} pixels; {least} a side at least are wanted".format(*picture.size, least=MIN_SIDE),
            where=paths[0], fix="give a larger part of the picture",
        )  # fmt: skip
    if paths[0].suffix.lower() == ".npz" and {"range", "bit_depth"} <= set(array_names(paths[0])):
        limits, depth = load_array(paths[0], "range"), load_array(paths[0], "bit_depth")
        if limits.shape != (2,) or not limits[0] < limits[1] or depth.shape != () or depth not in (8, 16, 32):
            raise NerfkitError(
                f"has the range {limits.tolist()} and {depth.tolist()} bits; wanted are (least, greatest) and 8, 16 or "
                "32", where=paths[0], fix="make it again with --simulate, or give the image alone as npy",
            )  # fmt: skip
        return NoisyData(picture, (float(limits[0]), float(limits[1])), int(depth))
    low, high = picture.range
    # floats that noise has carried a little beyond the range of all pictures
    span = (0.0, 1.0) if -0.5 <= low <= high <= 1.5 else (low, high)
    return NoisyData(picture, span, picture.bit_depth)


def simulate(paths: Sequence[Path], config: DenoiseConfig, keys: dict[str, Any]) -> Simulated:
    """Noise added to a clean picture; of integers the noisy values are floats, cut nowhere."""
    from nerfkit.scenes.readers.picture import PictureFile
    from nerfkit.workbench.denoising.noise import add_noise

    clean = read(paths, config)
    low, high = span = clean.picture.range
    noisy = add_noise((clean.picture.values - low) / (high - low), keys["kind"], keys["noise"], seed=config.seed)
    values = (noisy * (high - low) + low).astype(np.float32)
    depth = clean.picture.bit_depth
    arrays = {"image": values, "range": np.array(span), "bit_depth": np.array(depth)}
    return Simulated(NoisyData(PictureFile(values, 32), span, depth), clean.picture, arrays)


def solve(job: Job) -> Outcome:
    """Estimate the noise, train a field on the picture itself, take what is judged best without the clean one."""
    import torch

    from nerfkit.checkpoints import CheckpointFolder
    from nerfkit.metrics import MetricsLog
    from nerfkit.workbench.denoising.denoise import denoise
    from nerfkit.workbench.denoising.noise import Noise, estimate_noise
    from nerfkit.workbench.held_fields import picture_field
    from nerfkit.workbench.job import Stopped
    from nerfkit.workbench.outcome import Outcome, Shown
    from nerfkit.workbench.running import compare

    config, picture = job.config, job.data.picture
    low, high = span = job.data.span
    n_channels = picture.values.shape[2]
    n_colours = n_channels - 1 if n_channels in (2, 4) else n_channels
    noisy = ((picture.values[..., :n_colours] - low) / (high - low)).astype(np.float32)
    noise = estimate_noise(noisy) if config.kind == AUTO else Noise(config.kind, config.level)
    job.say(f"noise: {noise.kind}, level {noise.level:.4g}{'' if config.kind != AUTO else ', estimated'}")
    folder = CheckpointFolder(job.run.folder / "checkpoints" / "denoise")
    metrics = MetricsLog(job.run.folder / "stages" / "denoise.jsonl")
    told = [0]

    def follow(fraction: float, figures: dict[str, float]) -> None:
        percent = round(100 * fraction)
        if percent > told[0]:
            told[0] = percent
            job.on_part(percent, 100)

    try:
        done = denoise(
            noisy, noise=noise, seconds=job.limit.left, seed=config.seed, with_coordinate_field=config.compare,
            checkpoints=folder, metrics=metrics, resume=bool(folder.steps()),
            on_progress=follow,
        )  # fmt: skip
    finally:
        metrics.close()
    if done.is_interrupted:
        raise Stopped
    if done.is_cut:
        job.limit.cut.append(f"denoise after {done.figures['steps']} steps")

    def whole(colours: NDArray) -> NDArray[np.float32]:
        """With the picture's own alpha, in its unit."""
        values = colours * (high - low) + low
        return np.concatenate([values, picture.values[..., n_colours:]], -1).astype(np.float32)

    image = whole(done.image)
    judged = done.figures.get("sure_psnr") or done.figures.get("held_out_psnr") or {}
    expected = judged.get(done.chosen["result"])
    figures: dict[str, Any] = {}
    if expected is not None:
        figures = {
            "holdout": float(f"{(high - low) * 10 ** (-expected / 20):.6g}"), "holdout_psnr": round(expected, 3),
        }  # fmt: skip

    def measure(written: NDArray) -> dict[str, Any]:
        return {} if job.truth is None else compare(written, job.truth.values, span)

    n_params = int(done.figures.get("n_params", 0))
    shown = [Shown("noisy", noisy, "the noisy picture")]
    shown += [Shown(_file_name(name), values, name) for name, values in done.pictures.items()]
    difference = np.abs(noisy - done.image).mean(-1)
    top = float(np.quantile(difference, 0.99)) or 1.0
    shown.append(Shown("removed", difference / top, f"what was removed; white is {top:.3g} of the range"))
    return Outcome(
        image=image, measure=measure, field=done.chosen["result"], n_params=n_params,
        held=picture_field(torch.from_numpy(image)), bit_depth=job.data.bit_depth, icc_profile=picture.icc_profile,
        span=span, metrics=figures, baselines=_baselines(job, noisy, noise, span, done.pictures),
        chosen={"noise": {"kind": noise.kind, "level": round(noise.level, 6)}, **done.chosen}, shown=shown,
        said=["held out: as Stein's unbiased risk estimate has it, on pixels that the field was not trained on"]
        if "sure_psnr" in done.figures else [],
    )  # fmt: skip


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def _baselines(
    job: Job, noisy: NDArray, noise: Any, span: tuple[float, float], pictures: dict[str, NDArray]
) -> dict[str, dict[str, Any]]:
    """Classical methods with the best parameters that the truth can choose; nothing where there is no truth."""
    from nerfkit.workbench.denoising.baselines import bm3d_missing, measure_baselines
    from nerfkit.workbench.running import compare

    if job.truth is None:
        return {}
    low, high = span
    clean = ((job.truth.values[..., : noisy.shape[2]] - low) / (high - low)).astype(np.float32)
    found = {"noisy": compare(noisy.clip(0, 1), clean) | {"how": "nothing is done"}}
    if missing := bm3d_missing():
        job.say(missing)
    for name, baseline in measure_baselines(noisy, clean, noise).items():
        found[name] = {"psnr": round(baseline.psnr, 3), "how": _words(baseline.chosen)}
    for name, values in pictures.items():
        found[name] = compare(values, clean) | {"how": "without the truth"}
    return found


def _words(chosen: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in chosen.items())


TASK = FitTask(
    name="denoise", holds="a denoised picture", data="a noisy picture",
    usage="nerfkit render {run} --size WxH samples it at any size",
    presets={"denoise": DenoiseConfig()}, read=read, solve=solve, simulate=simulate,
    shape=lambda data, config: data.picture.values.shape,
    simulate_keys={"noise": 0.1, "kind": "gaussian"},
)  # fmt: skip
