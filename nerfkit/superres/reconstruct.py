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

from .choice import AS_FILES, Choice, RangePercentiles, Trials, choose_contrast, choose_local, choose_prior
from .footprint import START_WIDTHS, choose_width, doubt
from .grid_solve import COLD_RATE, Deadline, Prior
from .light import Light
from .registration import (
    Registered,
    against,
    correction,
    find_outliers,
    fit_exposures,
    phase_correlation,
    refine,
    spread,
)
from .settings import WINDOW, Plan, SuperresSettings, plan_grids
from .solving import COARSE_CELLS, Found, expose, solve_everywhere, still_pixels
from .windows import register_by_windows, windows_for

__all__ = ["Reconstruction", "reconstruct", "register"]

logger = logging.getLogger(__name__)

# shares of the whole budget at which a part of the work must be over; what comes after needs its time as well
REGISTERED_AT, WIDTH_AT, CHOSEN_AT, REFINED_AT, CONTRAST_AT, SOLVED_AT = 0.28, 0.4, 0.46, 0.54, 0.68, 0.8
# in frames larger than the window, the least share for all that looks at the window alone
MIN_SEARCH = 0.25
# rounds and steps of a registration from phase correlation, and of shifts that are nearly right
FROM_SCRATCH, FROM_GIVEN = ((40, 30), (15, 40)), ((12, 30), (6, 40))
LAST_ROUNDS = (12, 40)
# share of the registration of large frames that the busiest window has for itself
BUSIEST_SHARE = 0.5
# given shifts that a step of refinement would move by less, in low-res pixels, are right
RIGHT = 0.008
# refined shifts must predict the kept-out pixels this much better than given ones to take their place
BETTER = 0.98
# median change of brightness between frames from which on gains and offsets are fitted
MIN_DRIFT = 0.01
# share of lost pixels that is worth a word
MIN_LOST = 0.001


@dataclass
class Reconstruction:
    """What is known so far; complete when ``is_complete``."""

    # grey frames where they look, their brightness made equal
    frames: LowresFrames
    # [n_frames] 1 for frames that were used, 0 for outliers; root mean squared error of each
    weights: Tensor
    residuals: Tensor
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
    # [n_frames, 2] gain and offset of each frame against the reference: measured = gain * scene + offset
    exposures: Tensor = field(default_factory=lambda: torch.empty(0, 2))
    # [n_frames] share of each frame's pixels that was used
    shares: Tensor = field(default_factory=lambda: torch.empty(0))
    is_complete: bool = False

    @property
    def shifts(self) -> Tensor:
        """(dx, dy) [n_frames, 2] in low-res pixels."""
        return self.frames.shifts

    @property
    def transforms(self) -> Tensor | None:
        """Homographies [n_frames, 3, 3] from frame to reference pixels, before the shifts; None: the identity."""
        return self.frames.transforms


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
    width = START_WIDTHS[settings.psf] if settings.is_width_estimated else settings.psf_width
    psf = psf or Psf(settings.psf, width)
    work = _Work(images, settings, deadline, shifts, transforms, reference, psf, device, say, found)
    work.register(is_given=shifts is not None or transforms is not None)
    work.estimate_width()
    work.spare_moving_things()
    work.choose()
    work.sharpen()
    work.finish(on_part)
    return work.state


def register(
    images: NDArray[np.float32], settings: SuperresSettings, deadline: Deadline, *, reference: int = 0,
    psf: Psf | None = None, device: str = "cpu", say: Callable[[str], None] = lambda text: None,
) -> Reconstruction:  # fmt: skip
    """Where the frames look and which of them belong to the scene, as :func:`reconstruct` finds it first.

    Parameters are those of :func:`reconstruct`; of the time until the deadline a registration's share is used.
    """
    psf = psf or Psf(settings.psf, settings.psf_width)
    work = _Work(images, settings, deadline, None, None, reference, psf, device, say, lambda state: None)
    work.register(is_given=False)
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
        self.images = np.ascontiguousarray(images, dtype=np.float32)
        self.light = Light(settings.transfer, settings.n_channels)
        n, height, width = images.shape[:3]
        start = (
            torch.zeros(n, 2, dtype=torch.float64) if shifts is None else torch.as_tensor(shifts, dtype=torch.float64)
        )
        matrices = None if transforms is None else torch.as_tensor(transforms, dtype=torch.float64)
        self.frames = LowresFrames(self._grey(device), start, psf, matrices)
        self.plan: Plan = plan_grids(settings.scale, (width, height))
        self.window, self.corner = _busiest_window(self.frames, reference)
        ones = torch.ones(n, device=device)
        self.state = Reconstruction(self.frames, ones, torch.zeros_like(ones))
        self.state.exposures = torch.stack([torch.ones(n), torch.zeros(n)], dim=1)
        self.state.shares = torch.ones(n)
        # weight of each pixel of the window; 0 for those of outliers and of things that move
        self.pixels = torch.ones_like(self.window.frames)
        self.choice: Choice | None = None
        self.percentiles: RangePercentiles | None = None
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.is_estimated = False

    def _grey(self, device: str) -> Tensor:
        """Grey frames [n_frames, h, w] in light."""
        if self.light.n_channels == 1:
            return self.light.channels(torch.from_numpy(self.images).to(device))[0]
        grey = torch.empty(self.images.shape[:3], device=device)
        # one by one: the channels of all would take three times the memory again
        for out, image in zip(grey, self.images, strict=True):
            out[...] = self.light.grey(self.light.channels(torch.from_numpy(image[None]).to(device)))[0]
        return grey

    def until(self, share: float) -> Deadline:
        """The moment at which ``share`` of the budget is used up, if frames are grey and no larger than the window.

        In others, what looks at the window gets less, and what covers the whole and all channels more.
        """
        n_windows = self.frames.frames[0].numel() / self.window.frames[0].numel()
        # a channel takes about half the steps of a grey image
        work = n_windows * (1 + self.light.n_channels) / 2
        search = max(MIN_SEARCH, CONTRAST_AT / (CONTRAST_AT + (1 - CONTRAST_AT) * work))
        if share <= CONTRAST_AT:
            spent = share * search / CONTRAST_AT
        else:
            spent = 1 - (1 - share) * (1 - search) / (1 - CONTRAST_AT)
        return Deadline(self.deadline.at - self.budget * (1 - spent))

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
        if not (is_given and (self.settings.exact_shifts or self._are_right(first))):
            self._improve(first, is_given=is_given)
        self._leave_reference()

    def _improve(self, first: Registered, *, is_given: bool) -> None:
        """Refine the motions; given ones only if that predicts better."""
        corners = [] if self.has_one_window else windows_for(self.frames, self.settings.register, self.reference)
        if is_given:
            rounds = FROM_GIVEN
        else:
            # what several windows improve need not be fine
            rounds = FROM_SCRATCH[:1] if corners else FROM_SCRATCH
        end = REGISTERED_AT * (BUSIEST_SHARE if corners else 1)
        refined = self._refine_from(first, rounds, end)
        if is_given and not self._is_better(refined, first):
            self.say("registering: refined shifts predict no better than the given ones, which are kept")
            return
        self._move(refined.shifts, refined.transforms)
        # what one window says once the prior is chosen would undo what several have said
        self.is_estimated = not corners
        if corners:
            self._keep(refined)
            self._agree_everywhere(corners)
        else:
            self._keep(find_outliers(self.window, self.window.grid(COARSE_CELLS)))

    @property
    def has_one_window(self) -> bool:
        """Whether the window is all there is."""
        return self.window.frames.shape == self.frames.frames.shape

    def _agree_everywhere(self, corners: list[tuple[int, int]]) -> None:
        """Move the frames by several windows, and keep those that show in half of them what the others do."""
        frames, votes = register_by_windows(
            self.frames, corners, self.state.weights, self.settings.register, self.reference,
            self.until(REGISTERED_AT), self.say,
        )  # fmt: skip
        self.frames = self.state.frames = frames
        self.window = frames.window(*self.corner, *self.window.frames.shape[1:])
        found = find_outliers(self.window, self.window.grid(COARSE_CELLS))
        votes = torch.cat([votes, found.weights[None]])
        self._keep(replace(found, weights=(votes.mean(0) >= 0.5).float()))

    def _leave_reference(self) -> None:
        """Take the brightness of the others where the reference is no good and its own is unlike theirs."""
        is_used, before = self.state.weights.cpu() > 0, self.state.exposures
        if is_used[self.reference] or not is_used.any() or (before == torch.tensor([1.0, 0.0])).all():
            return
        self.say("the reference frame does not fit the others: the picture has their median brightness, not its own")
        wanted = against(before, is_used, self.reference)
        # what is left to undo of the frames as they are now
        gain = wanted[:, 0] / before[:, 0]
        self._expose(torch.stack([gain, (wanted[:, 1] - before[:, 1]) / before[:, 0]], dim=1))

    def _are_right(self, given: Registered) -> bool:
        """Whether given shifts need no refinement, which takes a quarter of the time; asked in a hundredth of it."""
        if self.settings.register != "shift":
            return False
        wrong = correction(self.window, self.window.grid(COARSE_CELLS), given, self.reference)
        logger.debug("given shifts are off by %.4f low-res pixels", wrong)
        if wrong < RIGHT:
            self.say(f"registering: the given shifts are right to {max(wrong, 0.001):.3f} low-res pixels and are kept")
        return wrong < RIGHT

    def _refine_from(self, start: Registered, rounds: tuple[tuple[int, int], ...], at: float) -> Registered:
        """Register by the window until a share of the budget: on coarse cells, then, if there are rounds, on fine."""
        middle, end = self.until(at / len(rounds)), self.until(at)
        self.say(f"registering: {len(self.frames)} frames against the image, coarse")
        coarse = refine(
            self.window.moved(start.shifts), self.window.grid(COARSE_CELLS),
            n_rounds=rounds[0][0], n_steps=rounds[0][1], tv_weights=(8, 1), deadline=middle, reference=self.reference,
            motion=self.settings.register,
        )  # fmt: skip
        if len(rounds) == 1:
            return coarse
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
            trials = Trials(frames, grid, spread(given.weights * refined.weights, frames), generator, self.light)
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
        self.state.frames = self.frames

    def _match_brightness(self) -> None:
        """Bring frames that differ in brightness to the reference's, where the differences are more than chance."""
        if self.light.has_alpha:
            # what is transparent has no brightness
            return
        grey = self.frames.frames
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
        before, exposures = self.state.exposures, exposures.cpu()
        self.state.exposures = torch.stack(
            [before[:, 0] * exposures[:, 0], before[:, 1] + before[:, 0] * exposures[:, 1]], dim=1
        )  # fmt: skip
        self.frames = self.state.frames = self.frames.with_values(expose(self.frames.frames, exposures))
        self.window = self.window.with_values(expose(self.window.frames, exposures))

    def estimate_width(self) -> None:
        """Choose the footprint's width, where the frames are to tell it or contradict the usual one."""
        if self.settings.is_width_given:
            return
        weights, seed = spread(self.state.weights, self.window), self.settings.seed
        first = START_WIDTHS[self.settings.psf]
        if not self.settings.is_width_estimated:
            first = doubt(self.window, weights, self.light, self.reference, seed)
            if first is None:
                return
            usual = f"{self.window.psf.width:g}"
            self.say(f"a footprint of {usual} does not explain these frames; --psf-width {usual} keeps it nevertheless")
        self.say("choosing the width of the footprint by kept-out pixels")
        psf = choose_width(
            self.window, weights, self.light, self.settings.psf, self.reference, seed, self.until(WIDTH_AT), first
        )  # fmt: skip
        what = "a box, side" if psf.kind == "box" else "a Gaussian, standard deviation"
        self.say(f"footprint: {what} {psf.width:.3g} low-res pixels; --psf-width {psf.width:.3g} takes it as it is")
        self.frames = self.state.frames = self.frames.with_psf(psf)
        self.window = self.window.with_psf(psf)

    def spare_moving_things(self) -> None:
        """Leave out the pixels of things that move through the scene."""
        self.pixels = still_pixels(self.window, self.state.weights, self.reference)
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
        trials = Trials(self.window, grid, self.pixels, self.generator, self.light)
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
        self.pixels = self.pixels * spread(last.weights, self.window)
        self._keep(last)

    def sharpen(self) -> None:
        """Compare the chosen prior with one that spares what is busy, and with one for scenes of two values."""
        assert self.choice is not None
        self.say("comparing with priors for busy scenes and for scenes of two values")
        grid, choice = self.window.grid(self.plan.trial), self.choice
        generator = torch.Generator().manual_seed(self.settings.seed)
        trials = Trials(self.window, grid, self.pixels, generator, self.light)
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

    def finish(self, on_part: Callable[[int, int], None]) -> None:
        """Solve with all pixels, part by part and channel by channel, on the grid of the output."""
        assert self.choice is not None
        cells = max(self.plan.final, self.choice.cells)
        self.say(f"solving {cells} x {cells} cells a low-res pixel")
        state = self.state
        found = Found(
            self.images, self.light, self.settings.bit_depth < 32 and not self.light.has_alpha, self.frames,
            self.reference, state.weights, state.exposures, self.pixels, self.choice, self._priors(), self.plan,
        )  # fmt: skip
        state.image, state.bounds, state.shares = solve_everywhere(found, self.until(SOLVED_AT), on_part)
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
        top, left = self.corner
        height, width = self.window.frames.shape[1:]
        part = torch.from_numpy(np.ascontiguousarray(self.images[:, top : top + height, left : left + width]))
        channels = self.light.channels(part.to(self.frames.frames.device))
        lights = [self.light] * len(channels)
        if self.light.has_alpha:
            lights[-1] = AS_FILES
        return [
            self._channel_prior(expose(values, self.state.exposures), light)
            for values, light in zip(channels, lights, strict=True)
        ]

    def _channel_prior(self, values: Tensor, light: Light) -> Prior:
        """The prior for the window in a channel: luminance's, the range at its percentiles if that predicts better."""
        assert self.choice is not None
        plain = self.choice.prior.on_finer(self.plan.trial / self.choice.cells).plain()
        unbounded = replace(self.choice.prior, bounds=None, contrast=0.0)
        if self.percentiles is None:
            return unbounded
        frames = self.window.with_values(values)
        grid, free = frames.grid(self.plan.trial), replace(plain, bounds=None)
        generator = torch.Generator().manual_seed(self.settings.seed)
        trials = Trials(frames, grid, self.pixels, generator, light)
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
