"""From frames to an image on a grid, within a budget of wall seconds: align, choose what is expected of it, solve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from nerfkit.scenes.observations.lowres_frames import Grid, LowresFrames, Psf

from .alignment import SEARCHED_AT, Alignment
from .choice import (
    AS_FILES,
    Choice,
    RangePercentiles,
    Trials,
    choose_contrast,
    choose_local,
    choose_prior,
    choose_weight,
)
from .grid_solve import Deadline, Prior
from .light import Light
from .registration import spread
from .settings import SuperresSettings
from .solving import COARSE_CELLS, Found, expose, solve_everywhere, still_pixels

__all__ = ["Reconstruction", "reconstruct"]

# shares of the whole budget at which a part of the work must be over; alignment.py has those before
CHOSEN_AT, REFINED_AT, SOLVED_AT = 0.46, 0.54, 0.8
# share of the time for the solutions that the priors of channels may take
CHANNEL_SHARE = 0.3
# steps of a channel's first solution: after fewer, a weak prior is still as smooth as a strong one
CHANNEL_STEPS = 300
# share of lost pixels that is worth a word
MIN_LOST = 0.001


@dataclass
class Reconstruction:
    """What is known so far; complete when ``is_complete``."""

    # where frames look, their brightness, and which are used
    aligned: Alignment
    # light [n_channels, rows, cols] on ``cells`` cells a low-res pixel, the reference frame alone
    image: Tensor | None = None
    cells: int = 0
    # [n_channels, 2] range of the values
    bounds: Tensor | None = None
    # mean squared error of the low-res pixels that were kept out
    holdout_mse: float | None = None
    # whether the scene was found to have two values
    is_two_valued: bool = False
    # the chosen prior, without what depends on an image, on the cells that candidates are compared on
    prior: Prior | None = None
    # [n_frames] share of each frame's pixels that was used
    shares: Tensor = field(default_factory=lambda: torch.empty(0))
    is_complete: bool = False

    @property
    def frames(self) -> LowresFrames:
        """Grey frames where they look, their brightness made equal."""
        return self.aligned.frames

    @property
    def shifts(self) -> Tensor:
        """(dx, dy) [n_frames, 2] in low-res pixels."""
        return self.frames.shifts

    @property
    def transforms(self) -> Tensor | None:
        """Homographies [n_frames, 3, 3] from frame to reference pixels, before the shifts; None: the identity."""
        return self.frames.transforms

    @property
    def weights(self) -> Tensor:
        """1 for frames that were used, 0 for outliers [n_frames]."""
        return self.aligned.weights

    @property
    def residuals(self) -> Tensor:
        """Root mean squared error of each frame [n_frames]."""
        return self.aligned.residuals

    @property
    def exposures(self) -> Tensor:
        """Gain and offset of each frame against the reference [n_frames, 2]: measured = gain * scene + offset."""
        return self.aligned.exposures


def reconstruct(
    images: NDArray[np.float32], settings: SuperresSettings, deadline: Deadline, *,
    shifts: NDArray[np.float64] | None = None, transforms: NDArray[np.float64] | None = None, reference: int = 0,
    psf: Psf | None = None, device: str = "cpu", say: Callable[[str], None] = lambda text: None,
    found: Callable[[Reconstruction], None] = lambda state: None,
    on_part: Callable[[int, int], None] = lambda done, total: None,
) -> Reconstruction:  # fmt: skip
    """Solve for the image on a grid.

    Parameters
    ----------
    images : ndarray, shape (n_frames, h, w) or (n_frames, h, w, n_channels)
        Frames as files have them, in [0, 1].
    settings : SuperresSettings
        Scale, footprint, seed, and whether the shifts are exact.
    deadline : Deadline
        End of the whole budget; the networks' share of it is left over.
    shifts : ndarray, shape (n_frames, 2), optional
        Known (dx, dy) in low-res pixels; None: the frames are registered.
    transforms : ndarray, shape (n_frames, 3, 3), optional
        Homographies from frame to reference pixels instead; the shifts are refined on top.
    reference : int
        Frame that stands still.
    psf : Psf, optional
        Footprint of a pixel; None: by the settings' name and width.
    device : str
        Where to compute.
    say : callable
        Called with a line for a person at each stage.
    found : callable
        Called with the state whenever it holds a better image, so that a caller who is interrupted has the last one.
    on_part : callable
        Called with the number of parts of large frames that are solved and that there are.
    """
    aligned = Alignment(
        images, settings, deadline, shifts=shifts, transforms=transforms, reference=reference, psf=psf, device=device,
        say=say,
    )  # fmt: skip
    aligned.register()
    aligned.estimate_width()
    work = _Work(aligned, found)
    work.spare_moving_things()
    work.choose()
    work.sharpen()
    work.finish(on_part)
    return work.state


class _Work:
    """The steps of a reconstruction once its frames are aligned."""

    def __init__(self, aligned: Alignment, found: Callable[[Reconstruction], None]) -> None:
        self.aligned, self.say, self.found = aligned, aligned.say, found
        self.settings, self.plan, self.light = aligned.settings, aligned.plan, aligned.light
        self.reference = aligned.reference
        self.state = Reconstruction(aligned)
        # weight of each pixel of the window; 0 for those of outliers and of things that move
        self.pixels = torch.ones_like(self.window.frames)
        self.choice: Choice | None = None
        self.percentiles: RangePercentiles | None = None

    @property
    def window(self) -> LowresFrames:
        """The part of the frames that is searched."""
        return self.aligned.window

    def spare_moving_things(self) -> None:
        """Leave out the pixels of things that move through the scene."""
        self.pixels = still_pixels(self.window, self.state.weights, self.reference)
        self.state.shares = self.pixels.mean((1, 2))
        lost = 1 - float(self.state.shares.sum() / self.state.weights.sum())
        if lost > MIN_LOST:
            self.say(f"left out {lost:.1%} of the pixels, which show what moves through the scene")

    def choose(self) -> None:
        """Choose the prior, and move the frames once more under it when their shifts were estimated."""
        self.say("choosing the weight of the prior and the range of values from kept-out pixels")
        grid = self.window.grid(self.plan.trial)
        trials = self._trials(self.window, grid, self.light)
        start = grid.enlarge(self.window.frames[self.reference])
        self.choice, self.percentiles = choose_prior(trials, start, self.aligned.until(CHOSEN_AT))
        self.state.holdout_mse = self.choice.mse
        self._show([self.choice.image], grid)
        if not self.aligned.is_estimated:
            return
        self.aligned.refine_with(self.choice.prior, self.choice.image, self.aligned.until(REFINED_AT))
        self.pixels = self.pixels * spread(self.aligned.weights, self.window)

    def sharpen(self) -> None:
        """Compare the chosen prior with one that spares what is busy, and with one for scenes of two values."""
        assert self.choice is not None
        self.say("comparing with priors for busy scenes and for scenes of two values")
        grid, choice = self.window.grid(self.plan.trial), self.choice
        trials = self._trials(self.window, grid, self.light)
        if self.aligned.is_estimated:
            # the frames have moved since
            start = (
                choice.image if choice.image.shape == grid.shape else grid.enlarge(self.window.frames[self.reference])
            )
            choice = trials.attempt(choice.prior, start)
        until = self.aligned.until(SEARCHED_AT)
        candidates = [choice, choose_local(trials, choice, until)]
        if choice.prior.bounds is not None and self.plan.contrast > self.plan.trial:
            finer = trials.on(self.window.grid(self.plan.contrast))
            candidates.append(choose_contrast(finer, choice, until))
        self.choice = min(candidates, key=lambda found: found.mse)
        self.state.holdout_mse = self.choice.mse

    def finish(self, on_part: Callable[[int, int], None]) -> None:
        """Solve with all pixels, part by part and channel by channel, on the grid of the output."""
        assert self.choice is not None
        cells = max(self.plan.final, self.choice.cells)
        self.say(f"solving {cells} x {cells} cells a low-res pixel")
        state = self.state
        found = Found(
            self.aligned.images, self.light, self.settings.bit_depth < 32 and not self.light.has_alpha, state.frames,
            self.reference, state.weights, state.exposures, self.pixels, self.choice, self._priors(), self.plan,
        )  # fmt: skip
        state.image, state.bounds, state.shares = solve_everywhere(found, self.aligned.until(SOLVED_AT), on_part)
        state.cells = self.plan.fit
        prior = self.choice.prior.on_finer(self.plan.trial / self.choice.cells).plain()
        state.prior = replace(prior, sigma=prior.sigma * self._light_of_error())
        state.is_two_valued = self.choice.prior.contrast > 0
        state.is_complete = True
        self.found(state)

    def _light_of_error(self) -> float:
        """Light that an error of file values is worth, on average."""
        slope = self.light.slope(self.window.frames)
        return 1.0 if slope is None else float((1 / slope).square().mean().sqrt())

    def _priors(self) -> list[Prior]:
        """The prior of each channel."""
        assert self.choice is not None
        if self.light.n_channels == 1:
            return [self.choice.prior]
        top, left = self.aligned.corner
        height, width = self.window.frames.shape[1:]
        part = torch.from_numpy(np.ascontiguousarray(self.aligned.images[:, top : top + height, left : left + width]))
        channels = self.light.channels(part.to(self.state.frames.frames.device))
        lights = [self.light] * len(channels)
        if self.light.has_alpha:
            lights[-1] = AS_FILES
        until = self.aligned.until(SOLVED_AT).share(CHANNEL_SHARE)
        return [
            self._channel_prior(expose(values, self.state.exposures), light, until.share(1 / (len(channels) - index)))
            for index, (values, light) in enumerate(zip(channels, lights, strict=True))
        ]

    def _channel_prior(self, values: Tensor, light: Light, deadline: Deadline) -> Prior:
        """The prior for the window in a channel: luminance's, weight and range by the channel's kept-out pixels.

        Colours that a camera interpolates, or a file holds at half the resolution, are further from the scene than
        luminance is.
        """
        assert self.choice is not None
        frames = self.window.with_values(values)
        free = replace(self.choice.prior.on_finer(self.plan.trial / self.choice.cells).plain(), bounds=None)
        factor = self._weight_factor(frames, light, free, deadline)
        unbounded = replace(self.choice.prior.scaled(factor), bounds=None, contrast=0.0)
        if self.percentiles is None:
            return unbounded
        free = free.scaled(factor)
        trials = self._trials(frames, frames.grid(self.plan.trial), light)
        first = trials.attempt(free, trials.grid.enlarge(frames.frames[self.reference]))
        bounds = trials.range_at(first.image, self.percentiles)
        bounded = trials.attempt(replace(free, bounds=bounds), first.image)
        again = trials.attempt(free, first.image)
        if bounded.mse >= again.mse:
            return unbounded
        return replace(self.choice.prior.scaled(factor), bounds=bounds)

    def _weight_factor(self, frames: LowresFrames, light: Light, prior: Prior, deadline: Deadline) -> float:
        """How many times luminance's weight of the total variation predicts a channel best; on coarse cells."""
        trials = self._trials(frames, frames.grid(COARSE_CELLS), light)
        prior = prior.on_finer(COARSE_CELLS / self.plan.trial)
        start = trials.grid.enlarge(frames.frames[self.reference])
        found = choose_weight(trials, trials.first(start, prior, CHANNEL_STEPS), deadline)
        return found.prior.tv_weight / prior.tv_weight

    def _trials(self, frames: LowresFrames, grid: Grid, light: Light) -> Trials:
        generator = torch.Generator().manual_seed(self.settings.seed)
        return Trials(frames, grid, self.pixels, generator, light)

    def _show(self, images: list[Tensor], grid: Grid) -> None:
        """Hand a better image to the caller, where it covers the whole frame."""
        if (grid.height, grid.width) != self.state.frames.frames.shape[1:]:
            return
        image = torch.stack([grid.crop(image) for image in images])
        cells = grid.cells
        if cells % self.plan.fit == 0 and cells > self.plan.fit:
            image, cells = avg_pool2d(image, cells // self.plan.fit), self.plan.fit
        self.state.image, self.state.cells = image, cells
        self.found(self.state)
