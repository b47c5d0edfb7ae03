"""From frames to an image on a grid: align, choose what is expected of it, solve."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.heldout import Trial
from nerfkit.limits import Limit
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.motion import Motion
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.scenes.observations.psf import Psf
from nerfkit.scenes.transfer import LINEAR, Transfer
from nerfkit.solvers.grid import Prior

from .alignment import COARSE_CELLS, LAST_ROUNDS, POINTS, SHARP_ROUNDS, Alignment
from .fallback import Fallback, Judged, judge, mean_of_channels, not_for_mesh
from .mesh import MOST_MESH, mesh
from .network_fit import work_of_fit
from .priors import (
    START,
    RangePercentiles,
    choose_contrast,
    choose_local,
    choose_prior,
    choose_two_values,
    choose_weight,
    range_at,
)
from .registration import still_pixels
from .settings import SuperresSettings
from .sharpening import CHOICE_STEPS, undo_sharpening
from .solving import Chosen, range_with_room, solve_everywhere, work_of_solving
from .trials import SHARP_TRIAL_STEPS, Trials
from .twins import Way, with_detail_of

__all__ = ["Reconstruction", "reconstruct"]

# fraction of the last solution's steps that no choice may take the time of: it costs some tenths of a decibel, a
# choice that is not made several
LEAST_SOLVED = 0.6
# trials of scenes of two values that the choice of other priors leaves time for: they are worth more
N_SHARP = 3
# steps of a channel's first solution: after fewer, a weak prior is still as smooth as a strong one
CHANNEL_STEPS = 300
# frames below which a mesh is no reason not to write a picture: gaps are left whatever the shifts, which are said to be
# too few, and what a prior makes of them is better than their mean (one frame 0.1 dB, two 0.5)
LEAST_MESHED = 4
# fraction of lost pixels that is worth a word
MIN_LOST = 0.001


@dataclass
class Reconstruction:
    """What was found."""

    # where frames look, their brightness, and which are used
    aligned: Alignment
    # linear radiance [n_channels, rows, cols] on ``cells`` cells a low-res pixel, the reference frame alone
    image: Tensor
    cells: int
    # [n_channels, 2] range of the values
    bounds: Tensor
    # [n_frames] fraction of each frame's pixels that was used
    fractions: Tensor
    # the chosen prior, without what depends on an image, on the cells that candidates are compared on
    prior: Prior
    # mean squared error of the low-res pixels that were held out; NaN of a mean of frames
    holdout_mse: float
    # whether the scene was found to have two values
    is_two_valued: bool = False
    # what frames that were held out whole say of it and of the mean of the frames; None where they were not asked
    judged: Judged | None = None
    # what is written in the place of the picture, and why
    fallback: Fallback | None = None

    @property
    def is_mean(self) -> bool:
        """Whether the image is the mean of the aligned frames."""
        return self.fallback is not None and self.fallback.to == "aligned mean"

    @property
    def stack(self) -> FrameStack:
        """Grey frames, their brightness made equal, with the weight of each."""
        return self.aligned.stack

    @property
    def view(self) -> LowresView:
        """Where the frames look, and with which PSF."""
        return replace(self.aligned.view, most_points=POINTS)

    @property
    def weights(self) -> Tensor:
        """1 for frames that were used, 0 for outliers [n_frames]."""
        return self.aligned.weights

    @property
    def residuals(self) -> Tensor:
        """Root mean squared error of each frame [n_frames]."""
        return self.aligned.residuals

    @property
    def cut(self) -> list[str]:
        """What the limit in seconds left out."""
        return self.aligned.limit.cut


def reconstruct(
    images: NDArray[np.float32], settings: SuperresSettings, *, motion: Motion | None = None, reference: int | None = 0,
    psf: Psf | None = None, device: str = "cpu", limit: Limit | None = None,
    say: Callable[[str], None] = lambda text: None,
    on_part: Callable[[int, int], None] = lambda done, total: None, measured: Tensor | None = None,
) -> Reconstruction:  # fmt: skip
    """Solve for the image on a grid.

    Parameters
    ----------
    images : ndarray, shape (n_frames, h, w) or (n_frames, h, w, n_channels)
        Frames as files have them, in [0, 1].
    settings : SuperresSettings
        Scale, PSF, seed, and whether a given motion is exact.
    motion : Motion, optional
        Where the frames look, as far as it is known; None: they are registered.
    reference : int, optional
        Frame that stands still; None: the first, or one that more frames overlap.
    psf : Psf, optional
        Of a pixel; None: by the settings' name and width.
    device : str
        Where to compute.
    limit : Limit, optional
        Seconds for all of it and for the fit of the networks; what it cuts is in its list.
    say : callable
        Called with a line for a person at each stage.
    on_part : callable
        Called with the number of parts of large frames that are solved and that there are.
    measured : Tensor, shape (n_frames, h, w), optional
        0 for pixels that were filled in, such as the rows of the other field; None: all were measured.
    """
    aligned = Alignment(
        images, settings, motion=motion, reference=reference, psf=psf, device=device, limit=limit, say=say,
        measured=measured,
    )  # fmt: skip
    work = _Work(aligned)
    aligned.register()
    aligned.choose_curve()
    work.undo_sharpening()
    aligned.estimate_width()
    work.spare_moving_things()
    work.choose()
    work.sharpen()
    work.judge()
    return work.finish(on_part)


class _Work:
    """The steps of a reconstruction once its frames are aligned."""

    def __init__(self, aligned: Alignment) -> None:
        self.aligned, self.say = aligned, aligned.say
        self.settings, self.plan = aligned.settings, aligned.plan
        # what must still be done after the registration, which gives way to no more than it must, and after each choice
        aligned.limit.reserve = LEAST_SOLVED * work_of_solving(aligned, is_sharp=False)
        self.work_left = LEAST_SOLVED * work_of_solving(aligned)
        # of the window, with weights of its pixels: 0 for those of outliers and of things that move
        self.stack, self.view = aligned.windowed()
        self.best: Trial[Prior] | None = None
        self.cells = self.plan.trial
        self.percentiles: RangePercentiles | None = None
        self.judged: Judged | None = None
        self.fallback: Fallback | None = None

    @property
    def transfer(self) -> Transfer:
        """How the frames' files hold linear radiance."""
        return self.aligned.transfer

    def undo_sharpening(self) -> None:
        """Undo the mask of a camera that sharpened the frames, where that is surely told.

        Before the PSF's width is asked: sharpened frames are taken for those of a narrow PSF, not the other way round.
        """
        height, width = self.aligned.window[2:]
        self.aligned.limit.reserve = self.work_left + CHOICE_STEPS * height * width * self.plan.trial**2
        undo_sharpening(self.aligned)
        self.stack, self.view = self.aligned.windowed()

    def spare_moving_things(self) -> None:
        """Leave out the pixels of things that move through the scene."""
        self.stack, self.view = self.aligned.windowed()
        before = self.stack.weights.sum()
        self.stack = still_pixels(self.stack, self.view, COARSE_CELLS, self.aligned.limit)
        lost = 1 - float(self.stack.weights.sum() / before)
        if lost > MIN_LOST:
            self.say(f"left out {lost:.1%} of the pixels, which show what moves through the scene")

    def choose(self) -> None:
        """Choose the prior, and move the frames once more under it when their motions were estimated."""
        self.say("choosing the weight of the prior and the range of values from held-out pixels")
        height, width = self.aligned.window[2:]
        sharp = N_SHARP * SHARP_TRIAL_STEPS * height * width * self.plan.contrast**2
        self.aligned.limit.reserve = self.work_left + (sharp if self.plan.contrast > self.plan.trial else 0)
        trials = self._trials(self.plan.trial)
        self.best, self.percentiles = choose_prior(trials)
        if not self.aligned.is_estimated:
            return
        self._refine(LAST_ROUNDS)

    def _refine(self, rounds: tuple[int, int]) -> None:
        """Move the frames under the best prior so far."""
        assert self.best is not None
        self.aligned.refine_with(self.best.setting, self.best.image, self.cells, rounds)
        stack, self.view = self.aligned.windowed()
        self.stack = self.stack.with_weights(self.stack.weights * stack.weights)

    def sharpen(self) -> None:
        """Compare the chosen prior with one that spares what is busy, and with one for scenes of two values."""
        assert self.best is not None
        self.say("comparing with priors for busy scenes and for scenes of two values")
        trials, best, limit = self._trials(self.plan.trial), self.best, self.aligned.limit
        limit.reserve = self.work_left
        if self.aligned.is_estimated:
            # the frames have moved since
            best = trials.attempt(best.setting, best) or best
        self.best = choose_local(trials, best)
        if best.setting.bounds is not None and self.plan.contrast > self.plan.trial:
            self._drive_to_two_values(trials, best)

    def _drive_to_two_values(self, trials: Trials, smooth: Trial[Prior]) -> None:
        """Take two values where these surely predict better; edges that are so sharp also tell motions better."""
        cells = self.plan.contrast
        finer = trials.seen_by(trials.view, cells, SHARP_TRIAL_STEPS)
        sharp = choose_contrast(finer, smooth, cells / self.plan.trial)
        if sharp is smooth or self.best is None or not sharp.is_better(self.best):
            return
        self.best, self.cells = choose_two_values(finer, sharp, smooth), cells
        if self.aligned.is_estimated:
            self._refine(SHARP_ROUNDS)

    def judge(self) -> None:
        """Compare with the mean of the frames by frames that are held out; take a stronger prior where that helps."""
        assert self.best is not None
        self.say("comparing with the mean of the frames by frames that are held out")
        self.aligned.limit.reserve = self.work_left
        prior = self.best.setting.on_finer(self.plan.trial / self.cells).plain()
        self.judged = judge(self.aligned, self.stack, self.view, prior)
        self.fallback = None if self.judged is None else self.judged.fallback
        if self.judged is not None and self.fallback is not None:
            self._fall_back(self.judged, self.fallback.way)

    def _fall_back(self, judged: Judged, way: Way) -> None:
        """Take what the picture that is written is solved by."""
        if way.to == "neighbours' motions" and judged.neighbours is not None:
            self.aligned.take_motions(*judged.neighbours)
            self.judged = replace(judged, neighbours=None)
            # by other motions other pixels move, and another prior predicts best
            self.spare_moving_things()
            self.choose()
            self.sharpen()
            return
        if way.model is not None:
            self.aligned.take_simpler(way.model)
            self.stack, self.view = self.aligned.windowed()
        elif way.to != "stronger prior":
            return
        assert self.best is not None
        twin, trials = judged.twins[-1].trial, self._trials(self.plan.trial)
        # by single pixels, as every other prior was judged; without the time for it nothing is known
        unknown = replace(twin, squares=torch.full_like(self.best.squares, math.nan))
        self.best, self.cells = trials.attempt(twin.setting, twin) or unknown, self.plan.trial

    def finish(self, on_part: Callable[[int, int], None]) -> Reconstruction:
        """The image on the grid of the output: solved, or the mean of the frames where that is to be written."""
        assert self.best is not None
        prior = self.best.setting.on_finer(self.plan.trial / self.cells).plain()
        prior = replace(prior, sigma=prior.sigma * self._radiance_of_error())
        if self.fallback is None or self.fallback.to != "aligned mean":
            image, bounds, fractions = self._solved(on_part)
            if self.fallback is not None and self.fallback.way.scale is not None:
                image = with_detail_of(image, self.fallback.way.scale, self.plan.output)
            found = mesh(self.transfer.grey(image), self.plan.output)
            if found <= MOST_MESH or len(self.aligned.view) < LEAST_MESHED:
                return self._found(image, bounds, fractions, prior)
            self.fallback = not_for_mesh(found)
        return self._found(*self._mean(), prior)

    def _found(self, image: Tensor, bounds: Tensor, fractions: Tensor, prior: Prior) -> Reconstruction:
        assert self.best is not None
        is_two_valued = self.best.setting.contrast > 0 and self.fallback is None
        is_mean = self.fallback is not None and self.fallback.to == "aligned mean"
        holdout_mse = math.nan if is_mean else self.best.mse
        # nothing is left for which the fit that follows must keep time
        self.aligned.limit.reserve = 0.0
        return Reconstruction(
            self.aligned, image, self.plan.output, bounds, fractions, prior, holdout_mse, is_two_valued, self.judged,
            self.fallback,
        )  # fmt: skip

    def _mean(self) -> tuple[Tensor, Tensor, Tensor]:
        """The mean of the frames [n_channels, rows, cols], a range that holds it, and which frames were used."""
        if self.judged is not None and self.judged.neighbours is not None:
            self.aligned.take_motions(*self.judged.neighbours)
        width, height = self.aligned.view.size
        image = mean_of_channels(self.aligned, (width * self.plan.output, height * self.plan.output))
        return image, range_with_room([START] * len(image), image), self.aligned.weights.cpu()

    def _solved(self, on_part: Callable[[int, int], None]) -> tuple[Tensor, Tensor, Tensor]:
        """All pixels, part by part and channel by channel."""
        assert self.best is not None
        cells = max(self.plan.final, self.cells)
        self.say(f"solving {cells} x {cells} cells a low-res pixel")
        limit = self.aligned.limit
        chosen = Chosen(self.best, self.cells, self._priors(), self.stack.weights)
        fit = limit.estimate(work_of_fit(self.plan, self.view.size))
        solving = limit.estimate(work_of_solving(self.aligned, is_sharp=self.cells > self.plan.trial))
        # networks of half of their steps are worth less than the image that they are fitted to
        kept = fit if limit.left > fit + LEAST_SOLVED * solving else 0.0
        if kept + solving > limit.left:
            limit.cut.append("steps of the solution")
        return solve_everywhere(self.aligned, chosen, kept, on_part)

    def _radiance_of_error(self) -> float:
        """Linear radiance that an error of file values is worth, on average."""
        slope = self.transfer.slope(self.stack.values)
        return 1.0 if slope is None else float((1 / slope).square().mean().sqrt())

    def _priors(self) -> list[Prior]:
        """The prior of each channel."""
        assert self.best is not None
        if self.transfer.n_channels == 1:
            return [self.best.setting]
        channels = self.transfer.channels(
            torch.from_numpy(self.aligned.images_of_window()).to(self.stack.values.device)
        )
        transfers = [self.transfer] * len(channels)
        if self.transfer.has_alpha:
            transfers[-1] = LINEAR
        return [
            self._channel_prior(self.stack.with_values(self.aligned.exposure.undo(values)), transfer)
            for values, transfer in zip(channels, transfers, strict=True)
        ]

    def _channel_prior(self, stack: FrameStack, transfer: Transfer) -> Prior:
        """The prior for the window in a channel: luminance's, weight and range by the channel's held-out pixels.

        Colours that a camera interpolates, or a file holds at half the resolution, are further from the scene than
        luminance is.
        """
        assert self.best is not None
        prior = self.best.setting
        free = replace(prior.on_finer(self.plan.trial / self.cells).plain(), bounds=None)
        view = replace(self.view, most_points=POINTS)
        coarse = Trials(
            stack, view, view.grid(COARSE_CELLS), self.settings.seed, transfer, limit=self.aligned.limit
        )  # fmt: skip
        start = free.on_finer(COARSE_CELLS / self.plan.trial)
        factor = choose_weight(coarse, coarse.first(start, n_steps=CHANNEL_STEPS)).setting.tv_weight / start.tv_weight
        unbounded = replace(prior.scaled(factor), bounds=None, contrast=0.0)
        if self.percentiles is None:
            return unbounded
        free, trials = free.scaled(factor), coarse.seen_by(coarse.view, self.plan.trial)
        first = trials.first(free)
        bounds = range_at(trials, first.image, self.percentiles)
        bounded, again = (trials.attempt(one, first) for one in (free.within(*bounds), free))
        if bounded is None or again is None or not bounded.is_better(again):
            return unbounded
        return prior.scaled(factor).within(*bounds)

    def _trials(self, cells: int) -> Trials:
        view = replace(self.view, most_points=POINTS)
        return Trials(
            self.stack, view, view.grid(cells), self.settings.seed, self.transfer, limit=self.aligned.limit
        )  # fmt: skip
