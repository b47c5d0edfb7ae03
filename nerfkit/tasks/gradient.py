"""The task `gradient`: a field whose derivatives alone are given, Poisson's equation; two pictures blended by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.settings import check_range
from nerfkit.workbench.given_derivatives import GradientData, Of, read_derivatives
from nerfkit.workbench.settings import FieldSettings
from nerfkit.workbench.task import FitTask

if TYPE_CHECKING:
    import torch

    from nerfkit.workbench.job import Job
    from nerfkit.workbench.outcome import Outcome

__all__ = ["TASK", "GradientConfig"]

# what is fitted unless another is named, its detail, and parameters a pixel (docs/decisions/0031)
DEFAULT_FIELD, DEFAULT_SCALE, PER_PIXEL = "tiled", 15.0, 8
# steps of a fit; each sees the whole grid
STEPS = 100
# the values of a field reach beyond those that Poisson's equation gives by this fraction of their range
MARGIN = 0.25


@dataclass(frozen=True)
class GradientConfig(FieldSettings):
    """What a user may say of a fit to derivatives; written to config.yml."""

    task: ClassVar[str] = "gradient"

    # which derivatives of a picture are used: both first ones, or the sum of the unmixed second ones
    of: Of = "gradient"
    # what is compared: derivatives at points; or their integrals from a point to the one a pixel further, which are
    # differences of values and cost no derivative
    over: Literal["pixel", "point"] = "pixel"
    # fraction of the pixels whose gradient a first fit leaves out, to say how well it predicts it, 0 to 0.5; 0: none
    holdout: float = 0.1
    # mean of each channel's values where arrays of derivatives are given, which do not tell it
    mean: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("holdout", self.holdout, 0.0, 0.5)
        check_range("mean", self.mean, -1e9, 1e9)


def read(paths: Sequence[Path], config: GradientConfig) -> GradientData:
    """Read a picture, two pictures, or an array of derivatives."""
    return read_derivatives(paths, config.of, config.mean)


def solve(job: Job) -> Outcome:
    """Fit a field to the derivatives alone, then give it the mean."""
    import torch

    from nerfkit.problem import Problem, Term
    from nerfkit.scenes.fields.named import RECIPES, count_parameters
    from nerfkit.scenes.observations.spectral_derivatives import GradientSpectrum, LaplacianSpectrum, MovedGrids
    from nerfkit.workbench.choosing import hold_out
    from nerfkit.workbench.held_fields import make_held_field
    from nerfkit.workbench.many.beginning import begin_with
    from nerfkit.workbench.outcome import Outcome
    from nerfkit.workbench.regression import sample_picture
    from nerfkit.workbench.running import compare

    config, data = job.config, job.data
    height, width = data.derivatives.shape[:2]
    derivatives = torch.from_numpy(data.derivatives)
    exact = _poisson(derivatives).numpy() + data.mean
    span = data.span or _range(exact)
    truth = _truth(job)
    name = config.field_or(DEFAULT_FIELD)
    recipe, n_params = RECIPES[name], config.n_params or max(16, PER_PIXEL * height * width)
    knob = config.knob or (DEFAULT_SCALE if name == DEFAULT_FIELD else recipe.default)
    start = begin_with(job, len(data.mean), (width, height))
    if start is not None:
        n_params, knob = start.n_params, start.knob
    over = config.over
    # wide enough for the values that there will be; the field is scaled by it, not told them
    low, high = _range(exact)
    bounds = [[low - MARGIN * (high - low), high + MARGIN * (high - low)]] * len(data.mean)

    def fitted(
        stage: str, target: torch.Tensor, known: torch.Tensor | None, fraction: float, before: Any = None
    ) -> Any:
        held = make_held_field(
            name, (width, height), bounds, n_params, seed=config.seed, knob=knob if recipe.knob else None,
            device=job.device, options=None if start is None else start.options,
        )  # fmt: skip
        if start is not None:
            start.give(held)
        held.go_on_from(before)
        observation = GradientSpectrum(target, known, over) if data.is_gradient else LaplacianSpectrum(target, over)
        problem = Problem(
            held.field, [Term(observation, MovedGrids())],
            learning_rate=config.learning_rate or recipe.learning_rate, seed=config.seed,
        )  # fmt: skip
        job.fit(stage, problem, config.steps or STEPS, fraction=fraction)
        return held

    metrics: dict[str, Any] = {}
    held = None
    # a Laplacian may be any function: what it is at a pixel does not follow from the others
    if config.holdout and data.is_gradient:
        held_out = hold_out((height, width), config.holdout, config.seed)
        job.say(
            f"fitting the derivatives at {1 - config.holdout:.0%} of the pixels, to say how well others are predicted"
        )
        held = fitted("held_out", _without(derivatives, held_out), ~held_out, 0.5)
        metrics |= _agreement(held.field, derivatives, held_out)
    held = fitted("fit", derivatives, None, 1.0, held)
    found = sample_picture(held.field, (width, height), (width, height))
    offset = torch.from_numpy(data.mean) - found.double().mean((0, 1))
    held.field.middle += offset.to(held.field.middle)
    image = sample_picture(held.field, (width, height), (width, height)).numpy()
    everywhere = torch.ones(height, width, dtype=torch.bool)
    metrics["fitted_derivatives"] = _agreement(held.field, derivatives, everywhere)

    def measure(written: NDArray) -> dict[str, Any]:
        return {} if truth is None else compare(_levelled(written, truth), truth, span)

    solution = {"how": "cosine series, exact in milliseconds; no parameter"}
    if truth is not None:
        solution = compare(_levelled(exact, truth), truth, span) | solution
    against = compare(image, exact, span)["psnr"]
    metrics["psnr_to_exact"] = against
    return Outcome(
        image=image if data.bit_depth == 32 else image.clip(0, 1), measure=measure, field=name,
        n_params=count_parameters(held.field), held=held, bit_depth=data.bit_depth, icc_profile=data.icc_profile,
        span=span, metrics=metrics, baselines={"poisson": solution},
        chosen={"field": name, "over": over, **({recipe.knob: knob} if recipe.knob else {})},
        shown=_shown(data, image, exact, truth, span), said=_said(data),
    )  # fmt: skip


def _poisson(derivatives: torch.Tensor) -> torch.Tensor:
    """The exact solution [h, w, c], of mean 0."""
    from nerfkit.scenes.observations.spectral_derivatives import poisson_of_gradient, poisson_of_laplacian

    return poisson_of_gradient(derivatives) if derivatives.ndim == 4 else poisson_of_laplacian(derivatives)


def _truth(job: Job) -> NDArray | None:
    """What the result is compared with: a picture that was given, or else the one that the derivatives are of."""
    data = job.data
    if job.truth is None:
        return None if data.picture is None else data.picture.values
    return job.truth.values


def _range(values: NDArray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def _levelled(values: NDArray, truth: NDArray) -> NDArray:
    """With the truth's mean in each channel: derivatives do not tell it."""
    return values - values.mean((0, 1)) + truth.mean((0, 1))


def _without(derivatives: torch.Tensor, held_out: torch.Tensor) -> torch.Tensor:
    """Derivatives with those that are held out replaced by the mean of what is known round them."""
    from scipy.ndimage import uniform_filter

    known = (~held_out).numpy().astype(np.float64)
    flat = derivatives.reshape(*derivatives.shape[:2], -1).numpy()
    weight = uniform_filter(known, 3) + 1e-9
    near = np.stack([uniform_filter(flat[..., i] * known, 3) for i in range(flat.shape[-1])], -1) / weight[..., None]
    import torch

    return torch.from_numpy(np.where(held_out.numpy()[..., None], near, flat)).view(derivatives.shape)


def _agreement(field: Any, derivatives: torch.Tensor, where: torch.Tensor) -> dict[str, float]:
    """How well the field's derivatives agree with those that are given at the pixels ``where`` [h, w]: rms and PSNR."""
    import torch

    from nerfkit.scenes.observations.derivatives import grid_jet
    from nerfkit.workbench.regression import held_out_figures

    height, width = where.shape
    ys, xs = (torch.arange(n, dtype=torch.float64) + 0.5 for n in (height, width))
    with torch.no_grad():
        found = grid_jet(field, ys, xs, 1 if derivatives.ndim == 4 else "laplacian")
    values = found.gradient if derivatives.ndim == 4 else found.laplacian
    assert values is not None
    errors = (values.cpu().view(derivatives.shape) - derivatives)[where]
    return held_out_figures(errors, float(derivatives.max() - derivatives.min()) or 1.0)


def _said(data: GradientData) -> list[str]:
    said = [
        "derivatives do not tell the mean: that of the picture is given, and both are levelled before PSNR is taken"
    ]
    if not data.is_gradient:
        said.append("the slope at the border is taken to be 0: a Laplacian alone leaves any harmonic function free")
    if len(data.shown) == 2:
        said.append("blended: at each pixel the differences of the picture in which they are the stronger")
    return said


def _shown(
    data: GradientData, image: NDArray, exact: NDArray, truth: NDArray | None, span: tuple[float, float]
) -> list[Any]:  # fmt: skip
    from nerfkit.workbench.outcome import Shown
    from nerfkit.workbench.pictures import error_map

    low, high = span

    def scaled(values: NDArray) -> NDArray:
        return (values - low) / (high - low)

    names = ("first", "second") if len(data.shown) == 2 else ("given",)
    captions = ("the first picture", "the second picture")
    if len(data.shown) == 1:
        captions = ("what is given: " + ("length of the gradient" if data.is_gradient else "Laplacian"),)
    shown = [
        Shown(name, scaled(pixels) if len(names) == 2 else pixels, caption)
        for name, pixels, caption in zip(names, data.shown, captions, strict=True)
    ]
    shown.append(Shown("exact", scaled(exact), "Poisson's equation, solved exactly"))
    if truth is not None:
        error = error_map(_levelled(image, truth), truth, span)
        shown.append(Shown("error", error, "error, white is a tenth of the range"))
    return shown


TASK = FitTask(
    name="gradient", holds="a picture in a field, made from derivatives", data="a picture, two, or derivatives",
    usage="nerfkit render {run} --size WxH samples it at any size",
    presets={"gradient": GradientConfig()}, read=read, solve=solve, most_inputs=2,
    shape=lambda data, config: (*data.derivatives.shape[:2], len(data.mean)),
)  # fmt: skip
