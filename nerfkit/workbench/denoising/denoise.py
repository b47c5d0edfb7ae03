"""Denoise one picture: its noise is estimated and stabilised, guides are made, a field is trained on it, and judged.

``nerfkit fit denoise`` calls this. Nothing here sees a clean picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.checkpoints import CheckpointFolder
from nerfkit.clock import working_seconds
from nerfkit.fitting import Budget, FitResult, FitSchedule, Fittable, fit
from nerfkit.metrics import MetricsLog
from nerfkit.scenes.errors import NerfkitError

from .coordinate_field import fit_coordinate_field
from .guided_field import GuidedField, GuidedFieldConfig, GuidedFit
from .guides import make_guides
from .impulses import NeighbourConfig, NeighbourField, NeighbourFit, fill_by_neighbours
from .noise import Noise, estimate_noise, find_impulses, stabilise, unstabilise

__all__ = ["Denoised", "check_picture", "denoise"]

# sides and values that a picture may have: what is far beyond [0, 1] is in another unit
MIN_SIDE, MAX_VALUE = 8, 4.0
# a fit that was left less than this takes as long
MIN_SECONDS = 0.5
# fraction of the progress when the guides are made
GUIDES_FRACTION = 0.4
SCHEDULE = FitSchedule(final_fraction=0.02, epsilon=1e-8)


@dataclass(frozen=True)
class Denoised:
    """What became of a noisy picture.

    Parameters
    ----------
    image : ndarray, shape (h, w, c)
        The estimate of the clean picture, in [0, 1].
    noise : Noise
        The noise it was denoised for: as given, or as estimated.
    chosen : dict
        What was chosen on the noisy picture alone: the result that is shown (``result``), the parameters of guides,
        the step that the field was taken from.
    figures : dict
        Seconds, steps, number of the field's parameters, and the expected PSNR by SURE of each guide and of the field,
        or of held-out pixels (impulses).
    pictures : dict
        Others to look at, each [h, w, c] in [0, 1]: ``guide: ...``, and ``coordinate field`` where it was asked for.
    is_interrupted, is_cut : bool
        Whether Ctrl-C, or the limit of seconds, ended the fit before its steps were done.
    """

    image: NDArray[np.float32]
    noise: Noise
    chosen: dict[str, Any]
    figures: dict[str, Any]
    pictures: dict[str, NDArray[np.float32]]
    is_interrupted: bool = False
    is_cut: bool = False


def check_picture(picture: NDArray[np.floating]) -> NDArray[np.float32]:
    """``picture`` [h, w, c] as float32, or an error that names what is wrong with it."""
    picture = np.asarray(picture)
    if picture.ndim != 3 or min(picture.shape[:2], default=0) < MIN_SIDE:
        raise NerfkitError(
            f"a picture to denoise is [h, w, c] with at least {MIN_SIDE} pixels a side; got shape {picture.shape}",
            fix="crop less, or add an axis of channels",
        )
    is_bad = ~np.isfinite(picture)
    if is_bad.any():
        place = tuple(int(index) for index in np.argwhere(is_bad)[0])
        raise NerfkitError(
            f"the picture has {int(is_bad.sum())} values that are no numbers, the first {picture[place]} in row "
            f"{place[0]}, column {place[1]}, channel {place[2]}",
            fix="fill them first: nerfkit fit inpaint",
        )
    largest = float(np.abs(picture).max())
    if largest > MAX_VALUE:
        raise NerfkitError(f"the picture has values up to {largest:g}, expected [0, 1]", fix="divide by the range")
    return np.ascontiguousarray(picture, np.float32)


def denoise(
    picture: NDArray[np.floating], *, noise: Noise | None = None, seconds: float = 30.0, seed: int = 0,
    config: GuidedFieldConfig | NeighbourConfig | None = None, with_coordinate_field: bool = False,
    checkpoints: CheckpointFolder | None = None, metrics: MetricsLog | None = None, resume: bool = False,
    on_progress: Callable[[float, dict[str, float]], None] = lambda fraction, figures: None,
) -> Denoised:  # fmt: skip
    """Estimate the clean picture behind a noisy one, from the noisy one alone.

    Parameters
    ----------
    picture : ndarray, shape (h, w, c)
        Noisy values, [0, 1] where there is no noise; grey (c = 1), RGB, or any number of channels.
    noise : Noise, optional
        Kind and level; None: by :func:`.noise.estimate_noise`.
    seconds : float
        A limit, from the call on; unless it is met the result is a function of the picture, the settings and the seed.
    seed : int
        Of the probes, the initial weights and what is held out.
    config : GuidedFieldConfig or NeighbourConfig, optional
        Sizes of the field and its fit; the latter is for impulses. One that is for other noise is not used.
    with_coordinate_field : bool
        Fit a field of the position alone too, for comparison; it takes its own time, up to ``seconds`` once more.
    checkpoints, metrics
        Where weights and figures of the fit are written.
    resume : bool
        Start the fit from the newest checkpoint; guides are made anew, alike.
    on_progress : callable
        Called with the fraction that is done and figures of the fit.

    Raises
    ------
    NerfkitError
        A value is not finite, or the picture is too small or in another unit.

    Examples
    --------
    >>> from nerfkit.workbench.denoising.noise import add_noise
    >>> clean = np.tile(np.linspace(0.2, 0.8, 24, dtype=np.float32), (24, 1))[..., None]
    >>> noisy = add_noise(clean, "gaussian", 0.1)
    >>> done = denoise(noisy, noise=Noise("gaussian", 0.1), config=GuidedFieldConfig(n_steps=20))
    >>> bool(np.abs(done.image - clean).mean() < 0.5 * np.abs(noisy - clean).mean())
    True
    """
    started = working_seconds()
    picture = check_picture(picture)
    noise = noise or estimate_noise(picture)
    run = _Run(started, seconds, seed, checkpoints, metrics, resume, on_progress)
    if noise.kind == "impulse":
        sizes = config if isinstance(config, NeighbourConfig) else NeighbourConfig()
        done = _without_impulses(picture, noise, sizes, run)
    else:
        sizes = config if isinstance(config, GuidedFieldConfig) else GuidedFieldConfig()
        done = _without_noise(picture, noise, sizes, run)
    figures, pictures, chosen = dict(done.figures), dict(done.pictures), dict(done.chosen)
    figures["seconds"] = working_seconds() - started
    if with_coordinate_field and not done.is_interrupted:
        beside = fit_coordinate_field(picture, seconds=seconds, seed=seed)
        pictures["coordinate field"] = beside.picture
        chosen["coordinate field"] = {"scale": beside.scale, "step": beside.step, "by": "held-out pixels"}
        figures["coordinate_field_held_out"] = _decibels(beside.held_out_mse)
    return Denoised(done.image, noise, chosen, figures, pictures, done.is_interrupted, done.is_cut)


@dataclass(frozen=True)
class _Run:
    """How a fit is to be run, and where what it does is written."""

    started: float
    seconds: float
    seed: int
    checkpoints: CheckpointFolder | None
    metrics: MetricsLog | None
    resume: bool
    on_progress: Callable[[float, dict[str, float]], None]

    def fit(self, problem: Fittable, n_steps: int) -> FitResult:
        left = max(self.seconds - (working_seconds() - self.started), MIN_SECONDS)
        done = GUIDES_FRACTION
        return fit(
            problem, Budget(left, n_steps), schedule=SCHEDULE, checkpoints=self.checkpoints, metrics=self.metrics,
            on_progress=lambda p: self.on_progress(done + (1 - done) * p.fraction, p.figures), resume=self.resume,
        )  # fmt: skip


def _without_noise(picture: NDArray[np.float32], noise: Noise, config: GuidedFieldConfig, run: _Run) -> Denoised:
    """Normal noise, and Poisson noise that was brought to it."""
    values, std, unit = picture, noise.level, 1.0
    if noise.kind == "poisson":
        # a noise of 1 in the transform's unit; its range becomes about [0, 1]
        unit = float(stabilise(np.ones(1), noise.level)[0])
        values, std = (stabilise(picture, noise.level) / unit).astype(np.float32), 1 / unit

    def shown(values: NDArray[np.float32]) -> NDArray[np.float32]:
        back = unstabilise(values * unit, noise.level) if noise.kind == "poisson" else values
        return np.clip(back, 0, 1).astype(np.float32)

    guides = make_guides(
        values, std, seed=run.seed, on_estimate=lambda done, total: run.on_progress(GUIDES_FRACTION * done / total, {})
    )
    field = GuidedField(config, values, guides, std, torch.Generator().manual_seed(run.seed))
    problem = GuidedFit(field, std, run.seed)
    done = run.fit(problem, config.n_steps)
    problem.finish(done.steps)
    # the field is judged on pixels that it was not trained on, and the guides on the same ones
    candidates = {"guided field": problem.best_mse, **problem.guides_mse()}
    result = min(candidates, key=lambda name: candidates[name])
    if result == "guided field":
        image = field.render()
    else:
        image = guides.values[guides.names.index(result)]
    chosen = {"result": result, "guides": guides.chosen, "step": problem.best_step, "by": "SURE"}
    figures = {
        "steps": done.steps, "n_params": sum(p.numel() for p in field.network.parameters()),
        "sure_psnr": {name: _decibels(mse) for name, mse in candidates.items()},
    }  # fmt: skip
    pictures = {f"guide: {name}": shown(value) for name, value in zip(guides.names, guides.values, strict=True)}
    return Denoised(shown(image), noise, chosen, figures, pictures, done.is_interrupted, done.is_cut)


def _without_impulses(picture: NDArray[np.float32], noise: Noise, config: NeighbourConfig, run: _Run) -> Denoised:
    """Impulses are found and filled; all other values stay as they are."""
    is_known = ~find_impulses(picture)
    filled = fill_by_neighbours(picture, is_known)
    pictures = {"guide: neighbours' mean": np.clip(filled, 0, 1)}
    n_found = int((~is_known).sum())
    chosen: dict[str, Any] = {"impulses": n_found / picture.size, "result": "neighbours' mean", "by": "held-out pixels"}
    if not n_found or is_known.all(-1).sum() < MIN_SIDE**2:
        return Denoised(np.clip(filled, 0, 1), noise, chosen, {"steps": 0}, pictures)
    field = NeighbourField(config, filled, is_known, torch.Generator().manual_seed(run.seed))
    problem = NeighbourFit(field, is_known, run.seed)
    done = run.fit(problem, config.n_steps)
    problem.finish(done.steps)
    image, hit = filled.reshape(-1, picture.shape[2]).copy(), ~is_known.reshape(-1, picture.shape[2])
    candidates = {"neighbour field": problem.best_mse, "neighbours' mean": problem.filled_mse(picture, is_known)}
    result = min(candidates, key=lambda name: candidates[name])
    if result == "neighbour field":
        at = np.flatnonzero(hit.any(1))
        image[at] = np.where(hit[at], field.render(torch.from_numpy(at)).numpy(), image[at])
    figures = {
        "steps": done.steps, "n_params": sum(p.numel() for p in field.network.parameters()),
        "held_out_psnr": {name: _decibels(mse) for name, mse in candidates.items()},
    }  # fmt: skip
    chosen |= {"result": result, "step": problem.best_step}
    image = np.clip(image.reshape(picture.shape), 0, 1)
    return Denoised(image, noise, chosen, figures, pictures, done.is_interrupted, done.is_cut)


def _decibels(mse: float) -> float:
    return -10 * math.log10(max(mse, 1e-12))
