"""The task `image`: a picture held in the weights of a field, and sampled at any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.settings import check_range
from nerfkit.workbench.settings import FieldSettings
from nerfkit.workbench.task import FitTask

if TYPE_CHECKING:
    from nerfkit.scenes.readers.picture import PictureFile
    from nerfkit.workbench.held_fields import HeldField
    from nerfkit.workbench.job import Job
    from nerfkit.workbench.outcome import Outcome

__all__ = ["TASK", "ImageConfig", "ImageData"]

# what holds a picture unless another is named: it predicts held-out pixels best (docs/decisions/0030)
DEFAULT_FIELD = "tiled"
# steps of a fit; a full batch of a photograph is a step
STEPS = 400
# largest picture whose derivatives are shown, pixels
MAX_DERIVED = 2**20


@dataclass(frozen=True)
class ImageConfig(FieldSettings):
    """What a user may say of a picture's fit; written to config.yml."""

    task: ClassVar[str] = "image"

    # what a pixel has measured: the value at its centre, or the mean over its square
    pixel: Literal["point", "box"] = "point"
    # fraction of the pixels that a first fit leaves out, to say how well it predicts between pixels, 0 to 0.5; 0: none
    holdout: float = 0.1
    # width and height of the output; None: the picture's own
    output_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("holdout", self.holdout, 0.0, 0.5)
        for side in self.output_size or ():
            check_range("output_size", side, 1, 99999)


@dataclass(frozen=True)
class ImageData:
    """A picture, and a map that is a further channel of the field, such as depth."""

    picture: PictureFile
    depth: NDArray[np.float32] | None = None

    @property
    def values(self) -> NDArray[np.float32]:
        """All channels [h, w, c]."""
        parts = [self.picture.values] + ([] if self.depth is None else [self.depth[..., None]])
        return np.concatenate(parts, -1)

    @property
    def bounds(self) -> list[list[float]]:
        """Least and greatest value of each channel."""
        low, high = self.picture.range
        found = [[low, high]] * self.picture.values.shape[2]
        if self.depth is not None:
            low, high = float(self.depth.min()), float(self.depth.max())
            found = [*found, [low, high] if low < high else [low - 0.5, low + 0.5]]
        return found


def read(paths: Sequence[Path], config: ImageConfig) -> ImageData:
    """Read the picture and, where there is a second file, the map."""
    from nerfkit.scenes.readers.picture import read_map, read_picture

    picture = read_picture(paths[0])
    if min(picture.size) < 2:
        raise NerfkitError(
            "has {}x{} pixels; two a side at least are wanted".format(*picture.size), where=paths[0],
            fix="give a picture with something on it",
        )  # fmt: skip
    return ImageData(picture, None if len(paths) < 2 else read_map(paths[1], picture.size))


def shape(data: ImageData, config: ImageConfig) -> tuple[int, ...]:
    """Of the output."""
    height, width, n_channels = data.picture.values.shape
    width, height = config.output_size or (width, height)
    return height, width, n_channels


def solve(job: Job) -> Outcome:
    """Choose how fine, say how well it predicts between pixels, then fit them all."""
    import torch

    from nerfkit.scenes.fields.named import RECIPES, count_parameters
    from nerfkit.workbench.choosing import choice_chart, choose_knob, choose_rate, hold_out
    from nerfkit.workbench.held_fields import make_held_field
    from nerfkit.workbench.many.beginning import begin_with
    from nerfkit.workbench.outcome import Outcome
    from nerfkit.workbench.pictures import spectrum_chart
    from nerfkit.workbench.regression import held_out_figures, pixel_problem, sample_picture
    from nerfkit.workbench.running import compare

    config, data = job.config, job.data
    values = torch.from_numpy(data.values).to(job.device)
    height, width, _ = values.shape
    start = begin_with(job, values.shape[2], (width, height))
    name = config.field_or(DEFAULT_FIELD)
    recipe, n_params = RECIPES[name], config.n_params or 4 * height * width
    everything = torch.ones(height, width, dtype=torch.bool, device=values.device)
    chosen: dict[str, Any] = {"field": name}
    knob, charts, rate, options, bounds = config.knob, [], recipe.learning_rate, {}, data.bounds
    if start is not None:
        bounds = start.bounds
        knob, n_params, rate, options = start.knob, start.n_params, start.rate, start.options
    if recipe.knob and knob is None:
        found = job.decide(
            "knob", lambda: choose_knob(
                name, values, everything, data.bounds, n_params, seed=config.seed, check=job.check_stopped
            ),
        )  # fmt: skip
        knob, charts = found["value"], [choice_chart(found)]
        chosen["tried"] = found["tried"]
        job.say(f"{found['knob']} {knob:g}: it predicts held-out pixels best")
    if recipe.knob:
        chosen[recipe.knob] = knob
    if start is None and config.learning_rate is None:
        found = job.decide(
            "rate", lambda: choose_rate(
                name, values, everything, data.bounds, n_params, knob, seed=config.seed, check=job.check_stopped
            ),
        )  # fmt: skip
        rate = chosen["learning_rate"] = found["value"]
        chosen["rates_tried"] = found["tried"]
        if rate != recipe.learning_rate:
            job.say(f"learning rate {rate:g}, not {recipe.learning_rate:g}: it predicts held-out pixels better")

    def fitted(stage: str, known: torch.Tensor, fraction: float, before: HeldField | None = None) -> HeldField:
        held = make_held_field(
            name, (width, height), bounds, n_params, seed=config.seed, knob=knob, device=job.device,
            options=options,
        )  # fmt: skip
        if start is None:
            held.go_on_from(before)
        else:
            start.adapt(held, values, known)
        problem = pixel_problem(
            held.field, values, known, learning_rate=config.learning_rate or rate, n=recipe.batch,
            seed=config.seed, pixel=config.pixel,
        )  # fmt: skip
        job.fit(stage, problem, config.steps or STEPS, fraction=fraction)
        return held

    held = held_out = None
    span, metrics, baselines = data.picture.range, dict[str, Any](), dict[str, dict[str, Any]]()
    if config.holdout:
        held_out = hold_out((height, width), config.holdout, config.seed)
        job.say(f"fitting {1 - config.holdout:.0%} of the pixels, to say how well the others are predicted")
        held = fitted("held_out", ~held_out.to(values.device), 0.5)
        predicted = sample_picture(held.field, (width, height), (width, height))
        errors = (predicted - values.cpu())[held_out][:, : data.picture.values.shape[2]]
        metrics |= held_out_figures(errors, _width(span))
    held = fitted("fit", everything, 1.0, held)
    if held_out is not None:
        baselines["cubic"] = _cubic(data, held_out.numpy())
    n_picture = data.picture.values.shape[2]
    own = sample_picture(held.field, (width, height), (width, height)).numpy()
    image = own
    if config.output_size not in (None, (width, height)):
        image = sample_picture(held.field, config.output_size, (width, height)).numpy()
    metrics |= {
        f"fitted_{key}": value for key, value in compare(own[..., :n_picture], data.picture.values, span).items()
    }
    charts.append(spectrum_chart({"picture": data.values, "field": own}))

    def measure(written: NDArray) -> dict[str, Any]:
        return {} if job.truth is None else compare(written, job.truth.values, span)

    if data.depth is not None:
        from nerfkit.files import npy_bytes, write_atomically

        write_atomically(job.run.folder / "depth.npy", npy_bytes(own[..., -1]))
    if job.truth is not None:
        baselines |= _enlarged(data, job.truth.values, span)
    return Outcome(
        image=image[..., :n_picture], measure=measure, field=name, n_params=count_parameters(held.field), held=held,
        bit_depth=data.picture.bit_depth, icc_profile=data.picture.icc_profile, span=span, metrics=metrics,
        baselines=baselines, chosen=chosen, charts=charts, shown=_shown(data, own, held, span),
    )  # fmt: skip


def _width(span: tuple[float, float]) -> float:
    return span[1] - span[0]


def _cubic(data: ImageData, held_out: NDArray[np.bool_]) -> dict[str, Any]:
    """Held-out pixels by piecewise cubics through the others."""
    import torch

    from nerfkit.workbench.interpolation import scattered_cubic
    from nerfkit.workbench.regression import held_out_figures

    values = data.picture.values
    errors = torch.from_numpy((scattered_cubic(values, ~held_out) - values)[held_out])
    return held_out_figures(errors, _width(data.picture.range)) | {"how": "Clough-Tocher cubics; no parameter"}


def _enlarged(data: ImageData, truth: NDArray, span: tuple[float, float]) -> dict[str, dict[str, Any]]:
    """The picture brought to the truth's size by what every viewer has."""
    import torch
    from torch.nn.functional import interpolate

    from nerfkit.workbench.running import compare

    picture = torch.from_numpy(data.picture.values).permute(2, 0, 1)[None]
    found = interpolate(picture, truth.shape[:2], mode="bicubic", align_corners=False)[0].permute(1, 2, 0).numpy()
    return {"bicubic": compare(found, truth, span) | {"how": "cubic convolution of the whole picture; no parameter"}}


def _shown(data: ImageData, own: NDArray, held: Any, span: tuple[float, float]) -> list[Any]:
    from nerfkit.workbench.outcome import Shown
    from nerfkit.workbench.pictures import derivative_pictures, error_map

    n_picture = data.picture.values.shape[2]
    values = (data.picture.values - span[0]) / _width(span)
    shown = [
        Shown("input", values, "the picture"),
        Shown(
            "error", error_map(own[..., :n_picture], data.picture.values, span), "error, white is a tenth of the range"
        ),
    ]
    if own.shape[0] * own.shape[1] <= MAX_DERIVED:
        shown += derivative_pictures(held.field, data.picture.size)
    if data.depth is not None:
        low, high = data.bounds[-1]
        shown.append(Shown("depth", (own[..., -1:] - low) / (high - low), "the map, as the field has it"))
    return shown


TASK = FitTask(
    name="image", holds="a picture in a field", data="a picture",
    usage="nerfkit render {run} --size WxH samples it at any size",
    presets={"image": ImageConfig()}, read=read, solve=solve, most_inputs=2, shape=shape,
)  # fmt: skip
