"""The task `gradient`: a field whose derivatives alone are given, Poisson's equation; two pictures blended by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.settings import check_range
from nerfkit.workbench.settings import AUTO, FieldSettings
from nerfkit.workbench.task import FitTask

if TYPE_CHECKING:
    import torch

    from nerfkit.scenes.readers.picture import PictureFile
    from nerfkit.workbench.job import Job
    from nerfkit.workbench.outcome import Outcome

__all__ = ["TASK", "GradientConfig", "GradientData"]

# what is fitted unless another is named, its detail, and parameters a pixel (docs/decisions/0031)
DEFAULT_FIELD, DEFAULT_SCALE, PER_PIXEL = "tiled", 15.0, 8
# steps of a fit; each sees the whole grid
STEPS = 100
# the values of a field reach beyond those that Poisson's equation gives by this fraction of their range
MARGIN = 0.25
# largest picture, pixels: each step sees all of them
MAX_PIXELS = 2**20


@dataclass(frozen=True)
class GradientConfig(FieldSettings):
    """What a user may say of a fit to derivatives; written to config.yml."""

    task: ClassVar[str] = "gradient"

    # which derivatives of a picture are used: both first ones, or the sum of the unmixed second ones
    of: Literal["gradient", "laplacian"] = "gradient"
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


@dataclass(frozen=True)
class GradientData:
    """Derivatives at the pixels, and what they do not tell.

    Parameters
    ----------
    derivatives : ndarray, shape (h, w, c, 2) or (h, w, c)
        The gradient (x, y), a pixel; or the Laplacian, a pixel squared.
    mean : ndarray, shape (c,)
        Of the values.
    picture : PictureFile, optional
        What the derivatives are of, which nothing but the comparison looks at.
    shown : tuple of ndarray
        Pictures [h, w, c] for the report: what was given.
    bit_depth : {8, 16, 32}
        Of what is written.
    span : (float, float), optional
        Least and greatest value; None: they are what comes out.
    """

    derivatives: NDArray[np.float64]
    mean: NDArray[np.float64]
    picture: PictureFile | None = None
    shown: tuple[NDArray, ...] = ()
    bit_depth: int = 32
    span: tuple[float, float] | None = None
    icc_profile: bytes | None = None

    @property
    def is_gradient(self) -> bool:
        """Whether first derivatives are given."""
        return self.derivatives.ndim == 4


def read(paths: Sequence[Path], config: GradientConfig) -> GradientData:
    """Read a picture, two pictures, or an array of derivatives."""
    from nerfkit.scenes.readers.picture import array_names, read_picture

    names = array_names(paths[0])
    if len(paths) == 1:
        for name in ("gradient", "laplacian"):
            if name in names or (paths[0].suffix.lower() == ".npy" and _is_gradient(paths[0], name)):
                return _of_array(paths[0], name, name in names, config)
    pictures = [read_picture(path) for path in paths]
    for picture, path in zip(pictures, paths, strict=True):
        _check_size(picture.values.shape[:2], path)
    if len(pictures) == 1:
        return _of_picture(pictures[0], config)
    return _blended(pictures[0], pictures[1], paths[1], config)


def _is_gradient(path: Path, name: str) -> bool:
    """Whether an npy is a gradient [h, w, 2] or [h, w, c, 2]; one of other shapes is a picture."""
    from nerfkit.scenes.readers.picture import load_array

    shape = load_array(path).shape
    return name == "gradient" and len(shape) in (3, 4) and shape[-1] == 2


def _check_size(shape: tuple[int, ...], path: Path) -> None:
    height, width = shape[:2]
    if min(height, width) < 2:
        raise NerfkitError(
            f"has {width}x{height} pixels; two a side at least are wanted", where=path,
            fix="give a picture with something on it",
        )  # fmt: skip
    if height * width > MAX_PIXELS:
        raise NerfkitError(
            f"has {width}x{height} pixels; at most {MAX_PIXELS:,} are fitted, as each step sees all", where=path,
            fix="scale it down",
        )  # fmt: skip


def _of_array(path: Path, name: str, is_named: bool, config: GradientConfig) -> GradientData:
    """Derivatives as a file has them."""
    from nerfkit.scenes.readers.picture import load_array

    found = load_array(path, name if is_named else None)
    wanted = "[h, w, 2] or [h, w, c, 2]" if name == "gradient" else "[h, w] or [h, w, c]"
    least = 3 if name == "gradient" else 2
    if found.ndim not in (least, least + 1) or (name == "gradient" and found.shape[-1] != 2) or 0 in found.shape:
        raise NerfkitError(
            f"{name} has shape {list(found.shape)}; {wanted} is wanted", where=path, fix="x before y, a pixel"
        )
    if found.dtype.kind not in "fiu" or not np.isfinite(found).all():
        raise NerfkitError(
            f"{name} holds values that are no real numbers", where=path, fix="replace NaN and infinite values"
        )
    _check_size(found.shape, path)
    values = found.astype(np.float64)
    if found.ndim == least:
        values = values[:, :, None]
    return GradientData(values, np.full(values.shape[2], config.mean), shown=_drawn(values))


def _drawn(derivatives: NDArray) -> tuple[NDArray]:
    """Derivatives as a picture: the length of a gradient, or a Laplacian about grey."""
    if derivatives.ndim == 4:
        slope = np.sqrt(np.square(derivatives).sum((-1, -2)))
        return (slope / max(float(np.quantile(slope, 0.99)), 1e-12),)
    reach = max(float(np.quantile(np.abs(derivatives), 0.99)), 1e-12)
    return (0.5 + 0.5 * derivatives.mean(-1) / reach,)


def _of_picture(picture: PictureFile, config: GradientConfig) -> GradientData:
    import torch

    from nerfkit.scenes.observations.spectral_derivatives import picture_gradient, picture_laplacian

    derive = picture_gradient if config.of == "gradient" else picture_laplacian
    derivatives = derive(torch.from_numpy(picture.values)).numpy()
    mean = picture.values.mean((0, 1), dtype=np.float64)
    return GradientData(
        derivatives, mean, picture, _drawn(derivatives), picture.bit_depth, picture.range, picture.icc_profile
    )


def _blended(first: PictureFile, second: PictureFile, path: Path, config: GradientConfig) -> GradientData:
    """At each pixel the differences of the picture in which they are the stronger (Perez et al. 2003, mixed)."""
    import torch

    from nerfkit.scenes.observations.spectral_derivatives import gradient_of_differences

    if second.values.shape != first.values.shape:
        raise NerfkitError(
            f"has shape {list(second.values.shape)}, the first picture {list(first.values.shape)}; they must be the "
            "same", where=path, fix="give two pictures of one size, both grey or both in colour",
        )  # fmt: skip
    if config.of != "gradient":
        raise NerfkitError("two pictures are blended by their gradients", where="--set of", fix="leave it out")
    found, mean = mixed_differences(first.values, second.values), first.values.mean((0, 1), dtype=np.float64)
    derivatives = gradient_of_differences(torch.from_numpy(found)).numpy()
    low, high = (pick(a, b) for pick, a, b in zip((min, max), first.range, second.range, strict=True))
    return GradientData(
        derivatives, mean, None, (first.values, second.values), max(first.bit_depth, second.bit_depth), (low, high),
        first.icc_profile,
    )  # fmt: skip


def mixed_differences(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """Differences [h, w, c, 2] to the next pixel (x, y) of the picture [h, w, c] that has the longer ones there.

    Those across the last column and the last row are 0.
    """
    parts = []
    for picture in (first, second):
        values = picture.astype(np.float64)
        across = np.diff(values, axis=1, append=values[:, -1:])
        parts.append(np.stack([across, np.diff(values, axis=0, append=values[-1:])], -1))
    lengths = [np.square(part).sum((-1, -2)) for part in parts]
    return np.where((lengths[0] >= lengths[1])[..., None, None], parts[0], parts[1])


def solve(job: Job) -> Outcome:
    """Fit a field to the derivatives alone, then give it the mean."""
    import torch

    from nerfkit.problem import Problem, Term
    from nerfkit.scenes.fields.named import RECIPES, count_parameters
    from nerfkit.scenes.observations.spectral_derivatives import GradientSpectrum, LaplacianSpectrum, MovedGrids
    from nerfkit.workbench.choosing import hold_out
    from nerfkit.workbench.held_fields import make_held_field
    from nerfkit.workbench.outcome import Outcome
    from nerfkit.workbench.regression import sample_picture
    from nerfkit.workbench.running import compare

    config, data = job.config, job.data
    height, width = data.derivatives.shape[:2]
    derivatives = torch.from_numpy(data.derivatives)
    exact = _poisson(derivatives).numpy() + data.mean
    span = data.span or _range(exact)
    truth = _truth(job)
    name = DEFAULT_FIELD if config.field == AUTO else config.field
    recipe, n_params = RECIPES[name], config.n_params or max(16, PER_PIXEL * height * width)
    knob = config.knob or (DEFAULT_SCALE if name == DEFAULT_FIELD else recipe.default)
    over = config.over
    # wide enough for the values that there will be; the field is scaled by it, not told them
    low, high = _range(exact)
    bounds = [[low - MARGIN * (high - low), high + MARGIN * (high - low)]] * len(data.mean)

    def fitted(
        stage: str, target: torch.Tensor, known: torch.Tensor | None, fraction: float, before: Any = None
    ) -> Any:
        held = make_held_field(
            name, (width, height), bounds, n_params, seed=config.seed, knob=knob if recipe.knob else None,
            device=job.device,
        )  # fmt: skip
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
