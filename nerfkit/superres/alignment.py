"""Frames brought to one place, one brightness and one footprint, and which of them belong to the scene.

What comes before an image is chosen (reconstruct.py): the methods of registration.py, windows.py and footprint.py in
their order, each within its share of the time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from nerfkit.scenes.observations.lowres_frames import LowresFrames, Psf

from .choice import Choice, Trials
from .footprint import START_WIDTHS, choose_width, doubt
from .grid_solve import Deadline, Prior
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
from .settings import DEFAULT_WIDTH, WINDOW, Plan, SuperresSettings, plan_grids
from .solving import COARSE_CELLS, expose
from .windows import NAMES, register_by_windows, richer, windows_for

__all__ = ["SEARCHED_AT", "Alignment"]

logger = logging.getLogger(__name__)

# shares of the whole budget at which a part of the work must be over: registration, footprint, and all that looks at
# the window; what comes after needs its time as well
REGISTERED_AT, WIDTH_AT, SEARCHED_AT = 0.28, 0.4, 0.68
# in frames larger than the window, the least share for all that looks at the window alone
MIN_SEARCH = 0.25
# rounds and steps of a registration from phase correlation, of shifts that are nearly right, and with a chosen prior
FROM_SCRATCH, FROM_GIVEN = ((40, 30), (15, 40)), ((12, 30), (6, 40))
LAST_ROUNDS = (12, 40)
# share of the registration of large frames that the busiest window has for itself
BUSIEST_SHARE = 0.5
# given shifts that a step of refinement would move by less, in low-res pixels, are right
RIGHT = 0.008
# refined shifts must predict the kept-out pixels this much better than given ones to take their place
BETTER = 0.98
# the prior and the steps with which motions are compared
PREDICTED, PREDICTION_STEPS = Prior(0.5, 0.015), 120
# rounds and steps of a richer motion that is tried, and the squared error that it may have beside the simpler one's
RICHER_ROUNDS, RICHER = (12, 30), 0.95
# low-res pixels over the window from which a richer motion is no mere fit of noise
MIN_DEPARTURE = 0.03
# median change of brightness between frames from which on gains and offsets are fitted
MIN_DRIFT = 0.01


class Alignment:
    """Where frames look, how bright they are, and which of them count; changed by each step.

    Parameters
    ----------
    images, settings, deadline, shifts, transforms, reference, psf, device, say
        Those of :func:`nerfkit.superres.reconstruct.reconstruct`.

    Attributes
    ----------
    images : ndarray of float32
        As files have them.
    frames : LowresFrames
        Grey frames where they look, their brightness made equal.
    window, corner
        The part of them that is searched, at most 128 x 128 pixels, and its top and left.
    weights, residuals : Tensor, shape (n_frames,)
        1 for frames that are used, 0 for outliers; root mean squared error of each.
    exposures : Tensor, shape (n_frames, 2)
        Gain and offset of each frame against the reference: measured = gain * scene + offset.
    motion : {"shift", "affine", "homography"}
        What moves between frames; what the settings say, or the simplest that the frames do not contradict.
    is_estimated : bool
        Whether motions were found here, by the window: they may be refined once more when a prior is chosen.
    """

    def __init__(
        self, images: NDArray[np.float32], settings: SuperresSettings, deadline: Deadline, *,
        shifts: NDArray[np.float64] | None = None, transforms: NDArray[np.float64] | None = None, reference: int = 0,
        psf: Psf | None = None, device: str = "cpu", say: Callable[[str], None] = lambda text: None,
    ) -> None:  # fmt: skip
        self.settings, self.deadline, self.reference, self.say = settings, deadline, reference, say
        self.budget = max(deadline.left, 1e-3)
        self.images = np.ascontiguousarray(images, dtype=np.float32)
        self.light = Light(settings.transfer, settings.n_channels)
        n, height, width = images.shape[:3]
        self.is_given = shifts is not None or transforms is not None
        start = np.zeros((n, 2)) if shifts is None else shifts
        matrices = None if transforms is None else torch.as_tensor(transforms, dtype=torch.float64)
        first_width = (
            START_WIDTHS[settings.psf] if settings.psf_width == "auto" else settings.psf_width or DEFAULT_WIDTH
        )
        self.frames = LowresFrames(
            self._grey(device), torch.as_tensor(start, dtype=torch.float64), psf or Psf(settings.psf, first_width),
            matrices,
        )  # fmt: skip
        self.plan: Plan = plan_grids(settings.scale, (width, height))
        self.window, self.corner = _busiest_window(self.frames, reference)
        self.weights, self.residuals = torch.ones(n, device=device), torch.zeros(n, device=device)
        self.exposures = torch.stack([torch.ones(n), torch.zeros(n)], dim=1)
        self.may_be_richer = settings.register == "auto" and not self.is_given
        self.motion = "shift" if settings.register == "auto" else settings.register
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
        search = max(MIN_SEARCH, SEARCHED_AT / (SEARCHED_AT + (1 - SEARCHED_AT) * work))
        if share <= SEARCHED_AT:
            spent = share * search / SEARCHED_AT
        else:
            spent = 1 - (1 - share) * (1 - search) / (1 - SEARCHED_AT)
        return Deadline(self.deadline.at - self.budget * (1 - spent))

    def register(self) -> None:
        """Find or improve the shifts, and which frames belong to the scene."""
        if len(self.frames) == 1:
            return
        if not self.is_given:
            self.say("registering: phase correlation")
            start = phase_correlation(self.frames.frames.cpu().numpy(), self.reference)
            self._move(torch.from_numpy(start))
        self._match_brightness()
        first = find_outliers(self.window, self.window.grid(COARSE_CELLS))
        self._keep(first)
        if not (self.is_given and (self.settings.exact_shifts or self._are_right(first))):
            self._improve(first)
        self._leave_reference()

    def _improve(self, first: Registered) -> None:
        """Refine the motions; given ones only if that predicts better."""
        corners = [] if self.has_one_window else windows_for(self.frames, self.motion, self.reference)
        if self.is_given:
            rounds = FROM_GIVEN
        else:
            # what several windows improve need not be fine
            rounds = FROM_SCRATCH[:1] if corners else FROM_SCRATCH
        end = REGISTERED_AT * (BUSIEST_SHARE if corners else 1)
        refined = self._refine_from(first, rounds, end)
        if self.is_given and not self._is_better(refined, first):
            self.say("registering: refined shifts predict no better than the given ones, which are kept")
            return
        self._move(refined.shifts, refined.transforms)
        if corners:
            # a motion of more numbers takes more of them
            corners = windows_for(self.frames, self.motion, self.reference)
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
        frames, self.motion, votes = register_by_windows(
            self.frames, corners, self.weights, self.motion, self.reference, self.until(REGISTERED_AT), self.say,
            may_be_richer=self.may_be_richer,
        )  # fmt: skip
        self.frames = frames
        self.window = frames.window(*self.corner, *self.window.frames.shape[1:])
        found = find_outliers(self.window, self.window.grid(COARSE_CELLS))
        votes = torch.cat([votes, found.weights[None]])
        self._keep(replace(found, weights=(votes.mean(0) >= 0.5).float()))

    def _leave_reference(self) -> None:
        """Take the brightness of the others where the reference is no good and its own is unlike theirs."""
        is_used, before = self.weights.cpu() > 0, self.exposures
        if is_used[self.reference] or not is_used.any() or (before == torch.tensor([1.0, 0.0])).all():
            return
        self.say("the reference frame does not fit the others: the picture has their median brightness, not its own")
        wanted = against(before, is_used, self.reference)
        # what is left to undo of the frames as they are now
        gain = wanted[:, 0] / before[:, 0]
        self._expose(torch.stack([gain, (wanted[:, 1] - before[:, 1]) / before[:, 0]], dim=1))

    def _are_right(self, given: Registered) -> bool:
        """Whether given shifts need no refinement, which takes a quarter of the time; asked in a hundredth of it."""
        if self.motion != "shift":
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
            motion=self.motion,
        )  # fmt: skip
        if self.may_be_richer:
            coarse = self._richer(coarse, middle)
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
            reference=self.reference, start=begin, motion=self.motion,
        )  # fmt: skip

    def _richer(self, simple: Registered, end: Deadline) -> Registered:
        """The motions after some rounds more, richer ones where these surely predict better what was kept out."""
        grid = self.window.grid(COARSE_CELLS)

        def refined(motion: str) -> Registered:
            return refine(
                self.window.moved(simple.shifts, simple.transforms), grid, n_rounds=RICHER_ROUNDS[0],
                n_steps=RICHER_ROUNDS[1], tv_weights=(4, 1), deadline=end, reference=self.reference, start=simple,
                motion=motion,
            )  # fmt: skip

        simple = refined(self.motion)
        for motion in richer(self.motion):
            tried = refined(motion)
            now, before = self._predictions(tried, simple, COARSE_CELLS)
            logger.debug("kept-out error of motions by %s: %.3g, by %s: %.3g", motion, now.mse, self.motion, before.mse)
            is_better = now.mse < RICHER * before.mse and now.is_surely_better(before)
            if not is_better or self._departure(tried, simple) < MIN_DEPARTURE:
                break
            self.say(f"registering: {NAMES[motion]} explain the frames, {NAMES[self.motion]} do not")
            self.motion, simple = motion, tried
        return simple

    def _departure(self, one: Registered, other: Registered) -> float:
        """Low-res pixels (rms over the window, median of the used frames) that motions differ by beyond a shift."""
        looks = [torch.stack(self.window.moved(it.shifts, it.transforms).looks_at()).flatten(2) for it in (one, other)]
        apart = (looks[0] - looks[1])[:, (one.weights * other.weights).cpu() > 0]
        apart = apart - apart.mean(2, keepdim=True)
        return float(apart.square().sum(0).mean(1).sqrt().median()) if apart.shape[1] else 0.0

    def _is_better(self, refined: Registered, given: Registered) -> bool:
        """Whether refined shifts predict kept-out pixels better than the given ones."""
        now, before = self._predictions(refined, given, self.plan.trial)
        logger.debug("kept-out error with refined and with given shifts: %.3g, %.3g", now.mse, before.mse)
        return now.mse < BETTER * before.mse

    def _predictions(self, one: Registered, other: Registered, cells: int) -> list[Choice]:
        """Solutions with either's motions, judged by kept-out pixels: the prior and the pixels are the same."""
        found = []
        for registered in (one, other):
            frames = self.window.moved(registered.shifts, registered.transforms)
            grid = frames.grid(cells)
            generator = torch.Generator().manual_seed(self.settings.seed)
            trials = Trials(frames, grid, spread(one.weights * other.weights, frames), generator, self.light)
            found.append(trials.first(grid.enlarge(frames.frames[self.reference]), PREDICTED, PREDICTION_STEPS))
        return found

    def refine_with(self, prior: Prior, image: Tensor, end: Deadline) -> None:
        """Move the frames of the window once more under a chosen prior, from the image that it gave."""
        self.say("registering: with the chosen prior")
        begin = Registered(self.window.shifts, self.weights, self.residuals, image)
        last = refine(
            self.window, self.window.grid(self.plan.trial), n_rounds=LAST_ROUNDS[0], n_steps=LAST_ROUNDS[1],
            tv_weights=(2 * prior.tv_weight, prior.tv_weight), deadline=end, reference=self.reference, start=begin,
            bounds=prior.bounds, motion=self.motion,
        )  # fmt: skip
        self._move(last.shifts, last.transforms)
        self._keep(last)

    def _move(self, shifts: Tensor, of_window: Tensor | None = None) -> None:
        """Let the frames look elsewhere; transforms are those of the window."""
        transforms = None
        if of_window is not None:
            corner = torch.eye(3, dtype=torch.float64)
            corner[:2, 2] = torch.tensor(self.corner[::-1], dtype=torch.float64)
            transforms = corner @ of_window @ torch.linalg.inv(corner)
            transforms = transforms / transforms[:, 2:, 2:]
        self.frames, self.window = self.frames.moved(shifts, transforms), self.window.moved(shifts, of_window)

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
        before, exposures = self.exposures, exposures.cpu()
        self.exposures = torch.stack(
            [before[:, 0] * exposures[:, 0], before[:, 1] + before[:, 0] * exposures[:, 1]], dim=1
        )  # fmt: skip
        self.frames = self.frames.with_values(expose(self.frames.frames, exposures))
        self.window = self.window.with_values(expose(self.window.frames, exposures))

    def estimate_width(self) -> None:
        """Choose the footprint's width, where the frames are to tell it or contradict the usual one."""
        if isinstance(self.settings.psf_width, float) or self.window.psf.kind == "file":
            return
        weights, seed = spread(self.weights, self.window), self.settings.seed
        first = START_WIDTHS[self.settings.psf]
        if self.settings.psf_width != "auto":
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
        self.frames = self.frames.with_psf(psf)
        self.window = self.window.with_psf(psf)

    def _keep(self, registered: Registered) -> None:
        self.weights, self.residuals = registered.weights, registered.residuals


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
