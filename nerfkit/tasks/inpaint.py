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
from nerfkit.workbench.settings import AUTO, FieldSettings
from nerfkit.workbench.task import FitTask, Simulated

if TYPE_CHECKING:
    from nerfkit.heldout import Trial
    from nerfkit.scenes.readers.picture import PictureFile
    from nerfkit.workbench.holes import Smoothness
    from nerfkit.workbench.job import Job
    from nerfkit.workbench.outcome import Outcome

__all__ = ["TASK", "InpaintConfig", "InpaintData"]

# what predicts held-out holes best: pixels, solved exactly (docs/decisions/0031)
DEFAULT_FIELD = "grid"
# where the search for what is smooth begins and, unless another is surely better, stays; and the factors of its steps
CONTRAST, CONTRAST_STEP = 0.01, 2.0
BENDING, BENDING_STEP = 0.03, 3.0
# steps that it goes at most; as far as that the membrane and the thin plate are as good as reached
REACH = 4
# solves of a trial, which begins with the edges of the best one before
TRIAL_SOLVES = 2
# weight of the total variation of a network's field, where nothing chooses and where a search begins
VARIATION, VARIATION_STEP = 0.1, 3.0
# points at which it is taken in a step
VARIATION_POINTS = 2048
# of networks: steps of a fit and of a trial, and parameters unless they are given
STEPS, TRIAL_STEPS, N_PARAMS = 300, 100, 34_000


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
    from nerfkit.workbench.hole_baselines import filled_by_all
    from nerfkit.workbench.outcome import Outcome
    from nerfkit.workbench.regression import decibels
    from nerfkit.workbench.running import compare

    data, config = job.data, job.config
    values, known, span = data.picture.values, data.known, data.picture.range
    truth = None if job.truth is None else job.truth.values
    name = DEFAULT_FIELD if config.field == AUTO else config.field
    found = (_by_grid if name == "grid" else _by_network)(job, name)
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

    from nerfkit.workbench.holes import held_out_holes

    baselines: dict[str, Any] = {}
    held_out = held_out_holes(known, config.seed + 2, config.holdout)
    # in [0, 1], as OpenCV wants it; held-out pixels where no truth tells of the holes
    seen = known if truth is not None else known & ~held_out
    job.say("filling the holes by classical methods, to compare with")
    for other, filled, how in filled_by_all(_unit(values, span), seen):
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


def _unit(values: NDArray, span: tuple[float, float]) -> NDArray[np.float64]:
    return (values.astype(np.float64) - span[0]) / (span[1] - span[0])


@dataclass
class _Found:
    """What either way of filling has to say."""

    # [h, w, c], in the unit of the input
    image: NDArray
    n_params: int
    # mean squared error of pixels that were held out of a solve of their own, range 1
    held_out_mse: float
    chosen: dict[str, Any]
    charts: list[Any]
    # what is sampled at any size; None: the pixels
    held: Any = None


def _by_grid(job: Job, name: str) -> _Found:
    """Pixels of least energy; what energy, held-out holes choose."""
    import torch

    from nerfkit.heldout import Trial, search_line
    from nerfkit.workbench.holes import GridEnergy, Smoothness, fill, held_out_holes

    config, known = job.config, job.data.known
    span = job.data.picture.range
    values = _unit(job.data.picture.values, span)
    energy = GridEnergy(known.shape)
    held_out = held_out_holes(known, config.seed + 1, config.holdout)

    def attempt(setting: Smoothness, best: Trial[Smoothness]) -> Trial[Smoothness] | None:
        return solved(setting, best.image.numpy()) if job.limit.allows(0, "the choice of what is smooth") else None

    def solved(setting: Smoothness, start: NDArray | None = None) -> Trial[Smoothness]:
        job.check_stopped()
        picture = fill(energy, values, known & ~held_out, setting, start, TRIAL_SOLVES)
        squares = np.square(picture - values)[held_out].mean(-1)
        return Trial(setting, torch.from_numpy(picture), torch.from_numpy(squares))

    def search() -> dict[str, Any]:
        contrast, bending = config.contrast or CONTRAST, BENDING if config.bending is None else config.bending
        best = solved(Smoothness(bending, contrast))
        tried: dict[str, list[list[float]]] = {}
        for what, start, step in (("contrast", contrast, CONTRAST_STEP), ("bending", bending, BENDING_STEP)):
            if getattr(config, what) is None:
                found = search_line(best, _along(best.setting, what, start, step), attempt)
                lowest = min(found.values(), key=lambda trial: trial.mse)
                best = lowest if lowest.is_surely_better(best) else best
                tried[what] = _tried([(getattr(trial.setting, what), trial) for trial in found.values()])
        return {"contrast": best.setting.contrast, "bending": best.setting.bending, "tried": tried}

    job.say("choosing what is smooth by holes that are moved onto known pixels")
    chosen = job.decide("smoothness", search)
    setting = Smoothness(chosen["bending"], chosen["contrast"])
    job.say(f"contrast {setting.contrast:g}, bending {setting.bending:g}: none is surely better at held-out pixels")

    def predict_others() -> float:
        others = held_out_holes(known, config.seed + 2, config.holdout)
        return float(np.square(fill(energy, values, known & ~others, setting) - values)[others].mean())

    mse = job.decide("held_out_mse", predict_others)
    picture = fill(energy, values, known, setting)
    image = (picture * (span[1] - span[0]) + span[0]).astype(np.float32)
    return _Found(image, image.size, mse, chosen, _choice_charts(chosen["tried"]))


def _along(best: Smoothness, what: str, start: float, step: float) -> Any:
    """Settings along a line of one of the two numbers."""
    from dataclasses import replace

    return lambda place: replace(best, **{what: start * step**place}) if abs(place) <= REACH else None


def _tried(trials: Sequence[tuple[float, Trial]]) -> list[list[float]]:
    """Value and held-out PSNR of each."""
    from nerfkit.workbench.regression import decibels

    return sorted([float(f"{value:.6g}"), round(decibels(trial.mse), 3)] for value, trial in trials)


def _choice_charts(tried: Mapping[str, list[list[float]]]) -> list[Any]:
    from nerfkit.report.blocks import Chart, Series

    return [
        Chart(f"Choice of {what}", [Series("held out", [v for v, _ in rows], [p for _, p in rows])], what, "dB")
        for what, rows in tried.items()
    ]


def _by_network(job: Job, name: str) -> _Found:
    """A field of least total variation that has the values of the known pixels."""
    import torch

    from nerfkit.fitting import Budget, FitSchedule, fit
    from nerfkit.heldout import Trial, search_line
    from nerfkit.problem import Term
    from nerfkit.scenes.fields.named import RECIPES, count_parameters
    from nerfkit.scenes.measurements.domains import Box
    from nerfkit.scenes.observations.differences import NeighbourDifferences, total_variation
    from nerfkit.workbench.held_fields import make_held_field
    from nerfkit.workbench.holes import held_out_holes
    from nerfkit.workbench.regression import pixel_problem, sample_picture

    config, recipe, span = job.config, RECIPES[name], job.data.picture.range
    width, height = job.data.picture.size
    values = torch.from_numpy(job.data.picture.values).to(job.device)
    known = torch.from_numpy(job.data.known)
    bounds = [list(span)] * values.shape[2]
    # differences of range 1: the weight means the same for any unit
    domain = Box([(0.0, width - 1.0), (0.0, height - 1.0)])

    def make(knob: float, variation: float, seen: torch.Tensor) -> tuple[Any, Any]:
        held = make_held_field(
            name, (width, height), bounds, config.n_params or N_PARAMS, seed=config.seed, knob=knob, device=job.device
        )
        weight = variation * (span[1] - span[0])
        smooth = Term(NeighbourDifferences(), domain, total_variation, weight, VARIATION_POINTS)
        problem = pixel_problem(
            held.field, values, seen.to(values.device), learning_rate=config.learning_rate or recipe.learning_rate,
            n=recipe.batch, seed=config.seed, extra=[smooth] if variation else [],
        )  # fmt: skip
        return held, problem

    def sampled(held: Any) -> torch.Tensor:
        return sample_picture(held.field, (width, height), (width, height))

    def errors(held: Any, held_out: NDArray[np.bool_]) -> torch.Tensor:
        difference = (sampled(held) - values.cpu())[torch.from_numpy(held_out)] / (span[1] - span[0])
        return difference.double().square().mean(-1)

    held_out = held_out_holes(job.data.known, config.seed + 1, config.holdout)

    def attempt(setting: tuple[float, float], best: Any) -> Trial[tuple[float, float]] | None:
        return fitted(setting) if job.limit.allows(0, "the choice of detail and smoothness") else None

    def fitted(setting: tuple[float, float]) -> Trial[tuple[float, float]]:
        job.check_stopped()
        held, problem = make(*setting, known & ~torch.from_numpy(held_out))
        steps = min(TRIAL_STEPS, config.steps or TRIAL_STEPS)
        fit(problem, Budget(steps=steps), schedule=FitSchedule(final_fraction=0.02))
        return Trial(setting, torch.empty(0), errors(held, held_out))

    def search() -> dict[str, Any]:
        knob = config.knob or recipe.default
        variation = VARIATION if config.variation is None else config.variation
        tried, best = {}, None
        if recipe.knob and config.knob is None:
            best = fitted((knob, variation))
            found = search_line(best, lambda at: (knob * 2.0**at, variation) if abs(at) <= REACH else None, attempt)
            best = min(found.values(), key=lambda trial: trial.mse)
            tried[recipe.knob] = _tried([(trial.setting[0], trial) for trial in found.values()])
            knob = best.setting[0]
        if config.variation is None:
            best = fitted((knob, variation)) if best is None else best
            step = VARIATION_STEP
            found = search_line(best, lambda at: (knob, variation * step**at) if abs(at) <= REACH else None, attempt)
            best = min(found.values(), key=lambda trial: trial.mse)
            tried["variation"] = _tried([(trial.setting[1], trial) for trial in found.values()])
            variation = best.setting[1]
        return {"knob": knob, "variation": variation, "tried": tried}

    job.say("choosing the field's detail and its smoothness by holes that are moved onto known pixels")
    chosen = dict(job.decide("choice", search))
    knob, variation = chosen.pop("knob"), chosen["variation"]
    steps = config.steps or STEPS
    others = held_out_holes(job.data.known, config.seed + 2, config.holdout)
    held, problem = make(knob, variation, known & ~torch.from_numpy(others))
    job.fit("held_out", problem, steps, fraction=0.5)
    mse = float(errors(held, others).mean())
    held_out_fit, (held, problem) = held, make(knob, variation, known)
    held.go_on_from(held_out_fit)
    job.fit("fit", problem, steps)
    if recipe.knob:
        chosen[recipe.knob] = knob
    charts = _choice_charts(chosen["tried"])
    return _Found(sampled(held).numpy(), count_parameters(held.field), mse, chosen, charts, held)


def _shown(data: InpaintData, image: NDArray, truth: NDArray | None, span: tuple[float, float]) -> list[Any]:
    from nerfkit.workbench.outcome import Shown
    from nerfkit.workbench.pictures import error_map

    holes = np.where(data.known[..., None], _unit(data.picture.values, span), 0.5)
    shown = [
        Shown("input", holes, "what is known; the holes are grey"),
        Shown("mask", data.known.astype(float), "white: known"),
    ]
    if truth is not None:
        shown.append(Shown("error", error_map(image, truth, span), "error, white is a tenth of the range"))
        shown.append(Shown("truth", _unit(truth, span), "the truth"))
    return shown


TASK = FitTask(
    name="inpaint", holds="a picture whose holes are filled", data="a picture and a mask",
    usage="nerfkit render {run} --size WxH samples it at any size",
    presets={"inpaint": InpaintConfig()}, read=read, solve=solve, simulate=simulate, simulate_keys={"keep": 0.1},
    most_inputs=2, shape=lambda data, config: data.picture.values.shape,
)  # fmt: skip
