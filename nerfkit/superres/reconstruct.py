"""From frames to an image in a network, within a budget of wall seconds: register, choose, solve, fit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from nerfkit.scenes.observations.lowres_frames import Grid, LowresFrames, Psf

from .choice import Choice, RangePercentiles, Trials, choose_contrast, choose_local, choose_prior
from .footprint import START_WIDTHS, choose_width
from .grid_solve import COLD_RATE, WARM_RATE, Deadline, Prior, solve
from .registration import (
    Registered,
    correction,
    find_outliers,
    fit_exposures,
    phase_correlation,
    pixel_weights,
    refine,
    spread,
)
from .settings import Plan, SuperresSettings, plan_grids

__all__ = ["Reconstruction", "reconstruct"]

logger = logging.getLogger(__name__)

# shares of the whole budget at which a part of the work must be over; what comes after needs its time as well
REGISTERED_AT, WIDTH_AT, CHOSEN_AT, REFINED_AT, CONTRAST_AT, SOLVED_AT = 0.28, 0.4, 0.46, 0.54, 0.68, 0.8
# low-res pixels of a side of the window that registration and choice look at in large frames
WINDOW = 128
# cells along a low-res pixel on which registration begins: coarse, quick, and with a wide reach
COARSE_CELLS = 4
# rounds and steps of a registration from phase correlation, and of shifts that are nearly right
FROM_SCRATCH, FROM_GIVEN = ((40, 30), (15, 40)), ((12, 30), (6, 40))
LAST_ROUNDS, FIRST_STEPS, FINAL_STEPS, SHARP_STEPS, REFINED_STEPS = (12, 40), 150, 400, 200, 120
# given shifts that a step of refinement would move by less, in low-res pixels, are right
RIGHT = 0.008
# refined shifts must predict the kept-out pixels this much better than given ones to take their place
BETTER = 0.98
# median change of brightness between frames from which on gains and offsets are fitted
MIN_DRIFT = 0.01
# frames that it takes to tell what moves, and the share of lost pixels that is worth a word
MIN_FOR_MOTION, MIN_LOST = 5, 0.001
# weights of red, green and blue in luminance (ITU-R BT.709)
LUMINANCE = (0.2126, 0.7152, 0.0722)


@dataclass
class Reconstruction:
    """What is known so far; complete when ``is_complete``."""

    # [n_frames, 2] (dx, dy) in low-res pixels
    shifts: Tensor
    # [n_frames] 1 for frames that were used, 0 for outliers; root mean squared error of each
    weights: Tensor
    residuals: Tensor
    # footprint of a pixel, its width estimated where that was asked for
    psf: Psf
    # [n_channels, rows, cols] on ``cells`` cells a low-res pixel, the reference frame alone
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
    # [n_frames, 3, 3] homographies from frame pixels to reference pixels, before the shifts; None: the identity
    transforms: Tensor | None = None
    # [n_frames, 2] gain and offset of each frame against the reference: measured = gain * scene + offset
    exposures: Tensor = field(default_factory=lambda: torch.empty(0, 2))
    # [n_frames] share of each frame's pixels that was used
    shares: Tensor = field(default_factory=lambda: torch.empty(0))
    is_complete: bool = False


def luminance(images: Tensor) -> Tensor:
    """Grey frames [n, h, w] of frames [n, h, w] or [n, h, w, 3]."""
    return images if images.ndim == 3 else (images * images.new_tensor(LUMINANCE)).sum(-1)


def reconstruct(
    images: NDArray[np.float32], settings: SuperresSettings, deadline: Deadline, *,
    shifts: NDArray[np.float64] | None = None, transforms: NDArray[np.float64] | None = None, reference: int = 0,
    psf: Psf | None = None, device: str = "cpu", say: Callable[[str], None] = lambda text: None,
    found: Callable[[Reconstruction], None] = lambda state: None,
) -> Reconstruction:  # fmt: skip
    """Solve for the image on a grid.

    Parameters
    ----------
    images : ndarray, shape (n_frames, h, w) or (n_frames, h, w, 3)
        Frames in [0, 1].
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
    """
    width = START_WIDTHS[settings.psf] if settings.is_width_estimated else settings.psf_width
    psf = psf or Psf(settings.psf, width)
    work = _Work(images, settings, deadline, shifts, transforms, reference, psf, device, say, found)
    work.register(is_given=shifts is not None or transforms is not None)
    work.estimate_width()
    work.spare_moving_things()
    work.choose()
    work.sharpen()
    work.finish()
    return work.state


class _Work:
    """The steps of a reconstruction, which share the frames, the plan and the clock."""

    def __init__(
        self, images: NDArray[np.float32], settings: SuperresSettings, deadline: Deadline,
        shifts: NDArray[np.float64] | None, transforms: NDArray[np.float64] | None, reference: int, psf: Psf,
        device: str, say: Callable[[str], None], found: Callable[[Reconstruction], None],
    ) -> None:  # fmt: skip
        self.settings, self.deadline, self.reference = settings, deadline, reference
        self.say, self.found = say, found
        self.budget = max(deadline.left, 1e-3)
        everything = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)).to(device)
        self.channels = [everything] if everything.ndim == 3 else [part.contiguous() for part in everything.unbind(-1)]
        n = len(everything)
        start = (
            torch.zeros(n, 2, dtype=torch.float64) if shifts is None else torch.as_tensor(shifts, dtype=torch.float64)
        )
        matrices = None if transforms is None else torch.as_tensor(transforms, dtype=torch.float64)
        self.frames = LowresFrames(luminance(everything), start, psf, matrices)
        self.plan: Plan = plan_grids(settings.scale, (everything.shape[2], everything.shape[1]))
        self.window, self.corner = _busiest_window(self.frames, reference)
        ones = torch.ones(n, device=device)
        self.state = Reconstruction(start, ones, torch.zeros_like(ones), psf, transforms=matrices)
        self.state.exposures = torch.stack([torch.ones(n), torch.zeros(n)], dim=1)
        self.state.shares = torch.ones(n)
        # weight of each pixel; 0 for those of outliers and of things that move
        self.pixels = torch.ones_like(self.frames.frames)
        self.choice: Choice | None = None
        self.percentiles: RangePercentiles | None = None
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.is_estimated = False

    def _window_weights(self) -> Tensor:
        """Weights of the window's pixels [n_frames, h, w]."""
        top, left = self.corner
        height, width = self.window.frames.shape[1:]
        return self.pixels[:, top : top + height, left : left + width].contiguous()

    def until(self, share: float) -> Deadline:
        """The moment at which ``share`` of the budget is used up."""
        return Deadline(self.deadline.at - self.budget * (1 - share))

    def register(self, *, is_given: bool) -> None:
        """Find or improve the shifts, and which frames belong to the scene."""
        if len(self.frames) == 1:
            return
        if not is_given:
            self.say("registering: phase correlation")
            start = phase_correlation(self.frames.frames.cpu().numpy(), self.reference)
            self._move(torch.from_numpy(start))
        self._match_brightness()
        first = find_outliers(self.window, self.window.grid(COARSE_CELLS))
        self._keep(first)
        if is_given and self.settings.exact_shifts:
            return
        if is_given and self._are_right(first):
            return
        refined = self._refine_from(first, FROM_GIVEN if is_given else FROM_SCRATCH)
        if is_given and not self._is_better(refined, first):
            self.say("registering: refined shifts predict no better than the given ones, which are kept")
            return
        self.is_estimated = True
        self._move(refined.shifts, refined.transforms)
        self._keep(find_outliers(self.window, self.window.grid(COARSE_CELLS)))

    def _are_right(self, given: Registered) -> bool:
        """Whether given shifts need no refinement, which takes a quarter of the time; asked in a hundredth of it."""
        if self.settings.register != "shift":
            return False
        wrong = correction(self.window, self.window.grid(COARSE_CELLS), given, self.reference)
        logger.debug("given shifts are off by %.4f low-res pixels", wrong)
        if wrong < RIGHT:
            self.say(f"registering: the given shifts are right to {max(wrong, 0.001):.3f} low-res pixels and are kept")
        return wrong < RIGHT

    def _refine_from(self, start: Registered, rounds: tuple[tuple[int, int], tuple[int, int]]) -> Registered:
        middle, end = self.until(REGISTERED_AT / 2), self.until(REGISTERED_AT)
        self.say(f"registering: {len(self.frames)} frames against the image, coarse")
        coarse = refine(
            self.window.moved(start.shifts), self.window.grid(COARSE_CELLS),
            n_rounds=rounds[0][0], n_steps=rounds[0][1], tv_weights=(8, 1), deadline=middle, reference=self.reference,
            motion=self.settings.register,
        )  # fmt: skip
        self.say("registering: fine")
        frames = self.window.moved(coarse.shifts, coarse.transforms)
        grid = frames.grid(self.plan.trial)
        assert coarse.image is not None
        image = interpolate(coarse.image[None, None], grid.shape, mode="bilinear")[0, 0]
        begin = Registered(coarse.shifts, coarse.weights, coarse.residuals, image, coarse.transforms)
        return refine(
            frames, grid, n_rounds=rounds[1][0], n_steps=rounds[1][1], tv_weights=(4, 1), deadline=end,
            reference=self.reference, start=begin, motion=self.settings.register,
        )  # fmt: skip

    def _is_better(self, refined: Registered, given: Registered) -> bool:
        """Whether refined shifts predict kept-out pixels better than the given ones, the prior and the pixels alike."""
        errors = []
        for found in (refined, given):
            frames = self.window.moved(found.shifts, found.transforms)
            grid = frames.grid(self.plan.trial)
            generator = torch.Generator().manual_seed(self.settings.seed)
            trials = Trials(frames, grid, spread(given.weights * refined.weights, frames), generator)
            image = trials.image(grid.enlarge(frames.frames[self.reference]), Prior(0.5, 0.015), 120, COLD_RATE)
            errors.append(trials.judge(image))
        logger.debug("kept-out error with refined and with given shifts: %.3g, %.3g", *errors)
        return errors[0] < BETTER * errors[1]

    def _move(self, shifts: Tensor, of_window: Tensor | None = None) -> None:
        """Let the frames look elsewhere; transforms are those of the window."""
        transforms = None
        if of_window is not None:
            corner = torch.eye(3, dtype=torch.float64)
            corner[:2, 2] = torch.tensor(self.corner[::-1], dtype=torch.float64)
            transforms = corner @ of_window @ torch.linalg.inv(corner)
            transforms = transforms / transforms[:, 2:, 2:]
        self.frames, self.window = self.frames.moved(shifts, transforms), self.window.moved(shifts, of_window)
        self.state.shifts, self.state.transforms = shifts, self.frames.transforms

    def _match_brightness(self) -> None:
        """Bring frames that differ in brightness to the reference's, where the differences are more than chance."""
        grey = self.frames.frames.double()
        means, deviations = grey.mean((1, 2)), grey.std((1, 2))
        drift = (means / means[self.reference] - 1).abs().median()
        if drift < MIN_DRIFT:
            return
        gains = (deviations / deviations[self.reference]).clamp(0.2, 5.0)
        self.say(f"frames differ in brightness by {float(drift):.1%} (median): gain and offset are fitted")
        self._expose(torch.stack([gains, means - gains * means[self.reference]], dim=1).float())
        # twice: with the image of frames that are nearly alike, then with that of frames that are
        for _ in range(2):
            grid = self.window.grid(COARSE_CELLS)
            found = find_outliers(self.window, grid, n_rounds=1)
            assert found.image is not None
            weights = spread(found.weights, self.window)
            self._expose(fit_exposures(self.window, grid, found.image, weights, self.reference))

    def _expose(self, exposures: Tensor) -> None:
        """Undo a gain and an offset [n_frames, 2] of each frame, in every channel alike."""
        gain, offset = exposures.to(self.frames.frames.device)[:, :, None, None].unbind(1)
        before = self.state.exposures
        self.state.exposures = torch.stack(
            [before[:, 0] * exposures[:, 0], before[:, 1] + before[:, 0] * exposures[:, 1]], dim=1
        )  # fmt: skip
        self.channels = [(values - offset) / gain for values in self.channels]
        self.frames = self.frames.with_values((self.frames.frames - offset) / gain)
        self.window = self.window.with_values((self.window.frames - offset) / gain)

    def estimate_width(self) -> None:
        """Choose the footprint's width, where the frames are to tell it."""
        if not self.settings.is_width_estimated:
            return
        self.say("choosing the width of the footprint by kept-out pixels")
        weights = spread(self.state.weights, self.window)
        psf = choose_width(
            self.window, weights, self.settings.psf, self.reference, self.settings.seed, self.until(WIDTH_AT)
        )
        what = "a box, side" if psf.kind == "box" else "a Gaussian, standard deviation"
        self.say(f"footprint: {what} {psf.width:.3g} low-res pixels; --psf-width {psf.width:.3g} takes it as it is")
        self.state.psf = psf
        self.frames, self.window = self.frames.with_psf(psf), self.window.with_psf(psf)

    def spare_moving_things(self) -> None:
        """Leave out the pixels of things that move through the scene."""
        self.pixels = spread(self.state.weights, self.frames)
        if self.state.weights.sum() < MIN_FOR_MOTION:
            return
        grid = self.frames.grid(COARSE_CELLS)
        start = grid.enlarge(self.frames.frames[self.reference])
        prior = Prior(0.5, 0.02)
        for _ in range(3):
            equations = self.frames.equations(grid, self.pixels)
            start = solve(equations, start, self.frames.psf, grid, prior, 80, learning_rate=COLD_RATE)
            self.pixels = pixel_weights(self.frames, grid, start, self.state.weights)
        self.state.shares = self.pixels.mean((1, 2))
        lost = 1 - float(self.state.shares.sum() / self.state.weights.sum())
        if lost > MIN_LOST:
            self.say(f"left out {lost:.1%} of the pixels, which show what moves through the scene")

    def _keep(self, registered: Registered) -> None:
        self.state.weights, self.state.residuals = registered.weights, registered.residuals

    def choose(self) -> None:
        """Choose the prior, and move the frames once more under it when their shifts were estimated."""
        self.say("choosing the weight of the prior and the range of values from kept-out pixels")
        grid = self.window.grid(self.plan.trial)
        trials = Trials(self.window, grid, self._window_weights(), self.generator)
        start = grid.enlarge(self.window.frames[self.reference])
        self.choice, self.percentiles = choose_prior(trials, start, self.until(CHOSEN_AT))
        self.state.holdout_mse = self.choice.mse
        self._show([self.choice.image], grid)
        if not self.is_estimated:
            return
        self.say("registering: with the chosen prior")
        prior = self.choice.prior
        begin = Registered(self.window.shifts, self.state.weights, self.state.residuals, self.choice.image)
        last = refine(
            self.window, grid, n_rounds=LAST_ROUNDS[0], n_steps=LAST_ROUNDS[1],
            tv_weights=(2 * prior.tv_weight, prior.tv_weight), deadline=self.until(REFINED_AT),
            reference=self.reference, start=begin, bounds=prior.bounds, motion=self.settings.register,
        )  # fmt: skip
        self._move(last.shifts, last.transforms)
        self.pixels = self.pixels * spread(last.weights, self.frames)
        self._keep(last)

    def sharpen(self) -> None:
        """Compare the chosen prior with one that spares what is busy, and with one for scenes of two values."""
        assert self.choice is not None
        self.say("comparing with priors for busy scenes and for scenes of two values")
        grid, choice = self.window.grid(self.plan.trial), self.choice
        generator = torch.Generator().manual_seed(self.settings.seed)
        trials = Trials(self.window, grid, self._window_weights(), generator)
        if self.is_estimated:
            # the frames have moved since
            start = (
                choice.image if choice.image.shape == grid.shape else grid.enlarge(self.window.frames[self.reference])
            )
            choice = trials.attempt(choice.prior, start)
        until = self.until(CONTRAST_AT)
        candidates = [choice, choose_local(trials, choice, until)]
        if choice.prior.bounds is not None and self.plan.contrast > self.plan.trial:
            finer = trials.on(self.window.grid(self.plan.contrast))
            candidates.append(choose_contrast(finer, choice, until))
        self.choice = min(candidates, key=lambda found: found.mse)
        self.state.holdout_mse = self.choice.mse

    def finish(self) -> None:
        """Solve with all pixels, channel by channel, on the grid of the output."""
        assert self.choice is not None
        cells = max(self.plan.final, self.choice.cells)
        self.say(f"solving {cells} x {cells} cells a low-res pixel")
        images, bounds = [], []
        for index, values in enumerate(self.channels):
            part = 1 / (len(self.channels) - index)
            image, prior = self._solve_channel(values, self.until(SOLVED_AT).share(part))
            images.append(image)
            bounds.append(prior.bounds or _spanned(image))
        self._show(images, self.frames.grid(cells))
        self.state.prior = self.choice.prior.on_finer(self.plan.trial / self.choice.cells).plain()
        self.state.is_two_valued = self.choice.prior.contrast > 0
        self.state.bounds = torch.tensor(bounds)
        self.state.is_complete = True

    def _solve_channel(self, values: Tensor, deadline: Deadline) -> tuple[Tensor, Prior]:
        assert self.choice is not None
        choice, frames = self.choice, self.frames.with_values(values)
        prior = choice.prior if len(self.channels) == 1 else self._channel_prior(values)
        if len(self.channels) == 1 and choice.image.shape == frames.grid(choice.cells).shape:
            image = choice.image
        else:
            grid, plain = frames.grid(self.plan.trial), prior.on_finer(self.plan.trial / choice.cells).plain()
            start = grid.enlarge(values[self.reference])
            image = self._solve_on(grid, frames, start, plain, FIRST_STEPS, COLD_RATE, deadline.share(0.3))
        is_sharp = choice.cells > self.plan.trial
        n_steps, rate = (SHARP_STEPS, WARM_RATE) if is_sharp else (FINAL_STEPS, COLD_RATE)
        needs_more = self.plan.final > choice.cells
        until = deadline.share(0.4) if needs_more else deadline
        image = self._solve_on(frames.grid(choice.cells), frames, image, prior, n_steps, rate, until)
        if needs_more:
            finer = prior.on_finer(self.plan.final / choice.cells)
            image = self._solve_on(
                frames.grid(self.plan.final), frames, image, finer, REFINED_STEPS, 0.01, deadline
            )  # fmt: skip
        return image, prior

    def _solve_on(
        self, grid: Grid, frames: LowresFrames, start: Tensor, prior: Prior, n_steps: int, rate: float, until: Deadline
    ) -> Tensor:  # fmt: skip
        """A solution with all pixels from an image on any grid."""
        if start.shape != grid.shape:
            start = interpolate(start[None, None], grid.shape, mode="bilinear")[0, 0]
        equations = frames.equations(grid, self.pixels)
        return solve(equations, start, frames.psf, grid, prior, n_steps, learning_rate=rate, deadline=until)

    def _channel_prior(self, values: Tensor) -> Prior:
        """The prior for a channel: the weight of luminance, the range at the same percentiles if it predicts better."""
        assert self.choice is not None
        plain = self.choice.prior.on_finer(self.plan.trial / self.choice.cells).plain()
        unbounded = replace(self.choice.prior, bounds=None, contrast=0.0)
        if self.percentiles is None:
            return unbounded
        top, left = self.corner
        height, width = self.window.frames.shape[1:]
        frames = self.window.with_values(values[:, top : top + height, left : left + width].contiguous())
        grid, free = frames.grid(self.plan.trial), replace(plain, bounds=None)
        generator = torch.Generator().manual_seed(self.settings.seed)
        trials = Trials(frames, grid, self._window_weights(), generator)
        first = trials.attempt(free, grid.enlarge(frames.frames[self.reference]))
        bounds = trials.range_at(first.image, self.percentiles)
        bounded = trials.attempt(replace(free, bounds=bounds), first.image)
        again = trials.attempt(free, first.image)
        return replace(self.choice.prior, bounds=bounds) if bounded.mse < again.mse else unbounded

    def _show(self, images: list[Tensor], grid: Grid) -> None:
        """Hand a better image to the caller, where it covers the whole frame."""
        if (grid.height, grid.width) != self.frames.frames.shape[1:]:
            return
        image = torch.stack([grid.crop(image) for image in images])
        cells = grid.cells
        if cells % self.plan.fit == 0 and cells > self.plan.fit:
            image, cells = avg_pool2d(image, cells // self.plan.fit), self.plan.fit
        self.state.image, self.state.cells = image, cells
        self.found(self.state)


def _spanned(image: Tensor) -> tuple[float, float]:
    """A range that holds all values of an image with some room, so that a logistic function can reach them."""
    low, high = float(image.min()), float(image.max())
    room = 0.02 * (high - low) + 1e-3
    return low - room, high + room


def _busiest_window(frames: LowresFrames, reference: int) -> tuple[LowresFrames, tuple[int, int]]:
    """The part of at most 128 x 128 pixels whose values vary most in the reference frame, and its corner."""
    height, width = frames.frames.shape[1:]
    size = min(height, WINDOW), min(width, WINDOW)
    if size == (height, width):
        return frames, (0, 0)
    frame = frames.frames[reference]
    energy = torch.zeros_like(frame)
    energy[1:] += frame.diff(dim=0).square()
    energy[:, 1:] += frame.diff(dim=1).square()
    step = max(1, WINDOW // 8)
    sums = avg_pool2d(energy[None, None], size, stride=step)[0, 0]
    top, left = (int(part) * step for part in divmod(int(sums.argmax()), sums.shape[1]))
    return frames.window(top, left, *size), (top, left)
