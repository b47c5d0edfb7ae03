"""The task `inpaint`: a picture of which only some pixels are known, and the holes filled by the smoothest field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.settings import check_range
from nerfkit.workbench.settings import FieldSettings
from nerfkit.workbench.task import FitTask, Simulated

if TYPE_CHECKING:
    from nerfkit.scenes.readers.picture import PictureFile
    from nerfkit.workbench.job import Job
    from nerfkit.workbench.outcome import Outcome

__all__ = ["TASK", "InpaintConfig", "InpaintData"]

# what predicts held-out holes best: pixels, solved exactly (docs/decisions/0031)
DEFAULT_FIELD = "grid"


@dataclass(frozen=True)
class InpaintConfig(FieldSettings):
    """What a user may say of filling holes; written to config.yml."""

    task: ClassVar[str] = "inpaint"

    # of the grid: slope that is an edge, in ranges of the values a pixel, above 0; None: chosen by held-out holes
    contrast: float | None = None
    # of the grid: weight of second derivatives beside first ones, 0 or more; None: chosen by held-out holes
    bending: float | None = None
    # of networks: weight of the total variation, 0 or more; None: chosen by held-out holes
    variation: float | None = None
    # fraction of the known pixels that are held out at a time, 0.01 to 0.5
    holdout: float = 0.15

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.contrast is not None:
            check_range("contrast", self.contrast, 1e-6, 1e6)
        for name in ("bending", "variation"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), 0.0, 1e6)
        check_range("holdout", self.holdout, 0.01, 0.5)


@dataclass(frozen=True)
class InpaintData:
    """A picture, and which of its pixels are known."""

    # where they are not, all have the mean of those that are
    picture: PictureFile
    known: NDArray[np.bool_]


def read(paths: Sequence[Path], config: InpaintConfig) -> InpaintData:
    """Read the picture and the mask, which is white where the picture is known."""
    from nerfkit.scenes.readers.picture import array_names, read_mask, read_picture

    has_mask = "mask" in array_names(paths[0])
    picture = read_picture(paths[0], has_unknown=True)
    is_finite = np.asarray(np.isfinite(picture.values).all(-1))
    if len(paths) > 1:
        known = read_mask(paths[1], picture.size)
    elif has_mask:
        known = read_mask(paths[0], picture.size, key="mask")
    elif not is_finite.all():
        known = is_finite
    else:
        raise NerfkitError(
            "no mask tells which of its pixels are known", where=paths[0],
            fix="give a second picture, white where it is known; or an npz with image and mask; or --simulate keep=0.1",
        )  # fmt: skip
    return _data(picture, np.asarray(known & is_finite), paths[-1])


def _data(picture: PictureFile, known: NDArray[np.bool_], where: Path) -> InpaintData:
    """Checked, and with nothing in the holes that could be looked at."""
    import dataclasses

    if min(picture.size) < 2:
        raise NerfkitError(
            "has {}x{} pixels; two a side at least are wanted".format(*picture.size), where=where,
            fix="give a picture with something on it",
        )  # fmt: skip
    if not known.any():
        raise NerfkitError("no pixel is known", where=where, fix="make the mask white where the picture is known")
    if known.all():
        raise NerfkitError(
            "every pixel is known: there is nothing to fill", where=where, fix="make the mask black in the holes"
        )
    if known.sum() < 2:
        raise NerfkitError("one pixel alone is known", where=where, fix="make the mask white where more is known")
    values = picture.values.copy()
    values[~known] = values[known].mean(0)
    return InpaintData(dataclasses.replace(picture, values=values), known)


def simulate(paths: Sequence[Path], config: InpaintConfig, keys: Mapping[str, Any]) -> Simulated:
    """Keep a part of the pixels, by chance; what is written holds nothing of the others."""
    from nerfkit.scenes.readers.picture import read_picture

    keep = keys["keep"]
    if not 0 < keep < 1:
        raise NerfkitError(f"keep must be above 0 and below 1; got {keep}", where="--simulate", fix="give keep=0.1")
    if len(paths) > 1:
        raise NerfkitError("takes no mask: it makes one", where="--simulate", fix="leave the second file out")
    truth = read_picture(paths[0])
    width, height = truth.size
    known = np.random.default_rng(config.seed).random((height, width)) < keep
    # whole numbers stay such, so that the file has the depth of the input
    image: NDArray = truth.values
    if truth.bit_depth < 32:
        kind = {8: np.uint8, 16: np.uint16}[truth.bit_depth]
        image = np.rint(truth.values * np.iinfo(kind).max).astype(kind)
    image = np.where(known[..., None], image, 0).astype(image.dtype)
    kept = np.where(known[..., None], truth.values, 0).astype(np.float32)
    data = _data(_of_depth(kept, truth.bit_depth), known, paths[0])
    return Simulated(data, truth, {"image": image, "mask": known})


def _of_depth(values: NDArray[np.float32], bit_depth: int) -> PictureFile:
    from nerfkit.scenes.readers.picture import PictureFile

    return PictureFile(values, bit_depth)


def solve(job: Job) -> Outcome:
    """Choose what is smooth by holes that are held out, then fill the holes by it."""
    from nerfkit.workbench.inpainting.baselines import filled_by_all
    from nerfkit.workbench.inpainting.by_grid import fill_by_grid
    from nerfkit.workbench.inpainting.by_network import fill_by_network
    from nerfkit.workbench.inpainting.filled import unit_range
    from nerfkit.workbench.inpainting.holes import held_out_holes
    from nerfkit.workbench.outcome import Outcome
    from nerfkit.workbench.regression import decibels
    from nerfkit.workbench.running import compare

    data, config = job.data, job.config
    values, known, span = data.picture.values, data.known, data.picture.range
    truth = None if job.truth is None else job.truth.values
    name = config.field_or(DEFAULT_FIELD)
    found = fill_by_grid(job) if name == "grid" else fill_by_network(job, name)
    image = np.where(known[..., None], values, found.image)
    if data.picture.bit_depth < 32:
        image = image.clip(0, 1)

    def over_holes(picture: NDArray, wanted: NDArray, holes: NDArray[np.bool_]) -> float:
        mse = float(np.square(np.clip(picture, *span) - wanted)[holes].mean())
        return round(decibels(mse, span[1] - span[0]), 3)

    def measure(written: NDArray) -> dict[str, Any]:
        if truth is None:
            return {}
        whole = compare(written, truth, span)
        return {"psnr": over_holes(written, truth, ~known), "psnr_whole": whole.pop("psnr"), **whole}

    baselines: dict[str, Any] = {}
    held_out = held_out_holes(known, config.seed + 2, config.holdout)
    # in [0, 1], as OpenCV wants it; held-out pixels where no truth tells of the holes
    seen = known if truth is not None else known & ~held_out
    job.say("filling the holes by classical methods, to compare with")
    for other, filled, how in filled_by_all(unit_range(values, span), seen):
        job.check_stopped()
        if not job.limit.allows(0, "classical methods to compare with"):
            break
        picture = filled * (span[1] - span[0]) + span[0]
        figure = over_holes(picture, values, held_out) if truth is None else over_holes(picture, truth, ~known)
        baselines[other] = (_held_out(figure, span) if truth is None else {"psnr": figure}) | {"how": how}
    return Outcome(
        image=image, measure=measure, field=name, n_params=found.n_params, held=found.held,
        bit_depth=data.picture.bit_depth, icc_profile=data.picture.icc_profile, span=span,
        metrics=_held_out(decibels(found.held_out_mse), span), baselines=baselines,
        chosen={"field": name, **found.chosen}, charts=found.charts, shown=_shown(data, image, truth, span),
        said=[f"{float(known.mean()):.0%} of the pixels are known; PSNR is over the others"],
    )  # fmt: skip


def _held_out(psnr: float, span: tuple[float, float]) -> dict[str, float]:
    """A PSNR of held-out pixels, and the rms in the data's unit that it stands for."""
    return {"holdout": float(f"{(span[1] - span[0]) * 10 ** (-psnr / 20):.6g}"), "holdout_psnr": round(psnr, 3)}


def _shown(data: InpaintData, image: NDArray, truth: NDArray | None, span: tuple[float, float]) -> list[Any]:
    from nerfkit.workbench.inpainting.filled import unit_range
    from nerfkit.workbench.outcome import Shown
    from nerfkit.workbench.pictures import error_map

    holes = np.where(data.known[..., None], unit_range(data.picture.values, span), 0.5)
    shown = [
        Shown("input", holes, "what is known; the holes are grey"),
        Shown("mask", data.known.astype(float), "white: known"),
    ]
    if truth is not None:
        shown.append(Shown("error", error_map(image, truth, span), "error, white is a tenth of the range"))
        shown.append(Shown("truth", unit_range(truth, span), "the truth"))
    return shown


TASK = FitTask(
    name="inpaint", holds="a picture whose holes are filled", data="a picture and a mask",
    usage="nerfkit render {run} --size WxH samples it at any size",
    presets={"inpaint": InpaintConfig()}, read=read, solve=solve, simulate=simulate, simulate_keys={"keep": 0.1},
    most_inputs=2, shape=lambda data, config: data.picture.values.shape,
)  # fmt: skip
