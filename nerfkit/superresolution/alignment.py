"""Frames brought to one place, one brightness and one PSF, and which of them belong to the scene."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from nerfkit.heldout import Trial
from nerfkit.limits import Limit
from nerfkit.scenes.errors import MissingCapabilityError
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.motion import Motion, richer_models
from nerfkit.scenes.observations.exposure import Exposure
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.scenes.observations.psf import Psf
from nerfkit.scenes.observations.unsharp_mask import UnsharpMask
from nerfkit.scenes.transfer import Transfer
from nerfkit.solvers.grid import Prior

from .flow import displaced_by_flow
from .local_motion import displace
from .neighbours import follow_neighbours
from .psf_width import USUAL_WIDTHS, choose_width, doubt
from .refiner import PREDICTED, Refiner
from .registration import (
    Registered,
    correction,
    find_outliers,
    fit_exposures,
    phase_correlation,
    resized,
)
from .sensor_pattern import MIN_FRAMES, find_pattern, from_neighbours, without_pattern
from .settings import DEFAULT_WIDTH, WINDOW, Plan, SuperresSettings, plan_grids
from .trials import Trials

__all__ = [
    "COARSE_CELLS",
    "LAST_ROUNDS",
    "NAMES",
    "POINTS",
    "SHARP_ROUNDS",
    "SIMPLER_ROUNDS",
    "SIMPLER_WEIGHTS",
    "Alignment",
]

logger = logging.getLogger(__name__)

# cells along a low-res pixel where frames are registered first, and over which large frames agree all over
COARSE_CELLS, WHOLE_CELLS = 4, 4
# rounds and steps of a registration from phase correlation, of motions that are nearly right, with a chosen prior, with
# one that drives values to two ends, and over the whole of large frames
FROM_SCRATCH, FROM_GIVEN = ((10, 30), (5, 40)), ((8, 30), (4, 40))
LAST_ROUNDS, SHARP_ROUNDS, WHOLE_ROUNDS = (6, 40), (5, 40), (4, 30)
# points along the side of a pixel that turns with its frame, for all but the registration
POINTS = 3
# given shifts that a step of refinement would move by less, in low-res pixels, are right
RIGHT = 0.008
# refined motions must predict the held-out pixels this much better than given ones to take their place
BETTER = 0.98
# rounds and steps of a richer motion model that is tried, and the squared error that it may have beside the simpler's
RICHER_ROUNDS, RICHER = (6, 30), 0.95
# the same of a simpler one, and weights of the total variation at their first and last
SIMPLER_ROUNDS, SIMPLER_WEIGHTS = (10, 30), (8.0, 1.0)
# standard deviation of the frames' moves, low-res pixels, from which on what stands still on the sensor is no part of
# the scene
MOVED = 0.6
# images that what stands still on the sensor is told from, each without what the one before showed
MENDING_ROUNDS = 3
# low-res pixels over the frame from which a richer motion is no mere fit of noise
MIN_DEPARTURE = 0.03
# median change of the frames' means, or of their contrast, as a fraction of it, from which on gains and offsets are
# fitted
MIN_DRIFT = 0.03
NAMES = {"shift": "shifts", "similarity": "similarities", "affine": "affine maps", "homography": "homographies"}


class Alignment:
    """Where frames look, how bright they are, and which of them count; changed by each step.

    Parameters
    ----------
    images, settings, motion, reference, psf, device, limit, say, measured
        Those of :func:`nerfkit.superresolution.reconstruct.reconstruct`.

    Attributes
    ----------
    images : ndarray of float32
        As files have them.
    grey : Tensor, shape (n_frames, h, w)
        Their linear radiance, as bright as they are.
    view : LowresView
        Where they look, and with which PSF.
    weights, residuals : Tensor, shape (n_frames,)
        1 for frames that are used, 0 for outliers; root mean squared error of each.
    exposure : Exposure
        Of each frame against the reference.
    window : (int, int, int, int)
        Top, left, height and width of the part that is searched, at most ``WINDOW`` low-res pixels a side.
    is_estimated : bool
        Whether the window found the motions, which may be refined once more when a prior is chosen.
    """

    def __init__(
        self, images: NDArray[np.float32], settings: SuperresSettings, *, motion: Motion | None = None,
        reference: int | None = 0, psf: Psf | None = None, device: str = "cpu", limit: Limit | None = None,
        say: Callable[[str], None] = lambda text: None, measured: Tensor | None = None,
    ) -> None:  # fmt: skip
        self.settings, self.reference, self.say = settings, reference or 0, say
        # whether frames may be laid over another than the first
        self.is_reference_free = reference is None
        self.limit = Limit() if limit is None else limit
        self.images = np.ascontiguousarray(images, dtype=np.float32)
        self.transfer = Transfer(settings.transfer, settings.n_channels, settings.value_range)
        n, *size = images.shape[:3]
        self.grey = self._grey(device)
        self.measured = None if measured is None else measured.to(self.grey)
        self.is_given = motion is not None
        if motion is None:
            motion = Motion.of_shifts(torch.zeros(n, 2))
        width = USUAL_WIDTHS[settings.psf] if settings.psf_width == "auto" else settings.psf_width or DEFAULT_WIDTH
        self.view = LowresView(motion, (size[1], size[0]), psf or Psf(settings.psf, width))
        self.plan: Plan = plan_grids(settings.scale, self.view.size)
        self.window = _busiest_window(self.grey[self.reference])
        # left and top of the window in each frame, as it was last cut [n_frames, 2]
        self.corners = torch.tensor([self.window[1::-1]], dtype=torch.float64).repeat(n, 1)
        self.weights, self.residuals = torch.ones(n, device=device), torch.zeros(n, device=device)
        # 0 for frames that there was no time to register [n_frames]
        self.is_placed = torch.ones(n, device=device)
        # whether a pattern on the sensor had locked the registration, and pixels that were defect
        self.is_locked, self.n_defects = False, 0
        # what was last found of the window, or of the whole of large frames
        self.registered: Registered | None = None
        # whether neighbours told the motions
        self.is_chained = False
        self.exposure = Exposure.neutral(n)
        self.is_automatic = settings.register == "auto" and not self.is_given
        self.model = motion.model if settings.register == "auto" else settings.register
        self.is_estimated = False
        # by which a camera sharpened the frames, which are as they were before it
        self.mask: UnsharpMask | None = None

    def _grey(self, device: str) -> Tensor:
        if self.transfer.n_channels == 1:
            return self.transfer.channels(torch.from_numpy(self.images).to(device))[0]
        grey = torch.empty(self.images.shape[:3], device=device)
        # one by one: the channels of all would take three times the memory again
        for out, image in zip(grey, self.images, strict=True):
            out[...] = self.transfer.grey(self.transfer.channels(torch.from_numpy(image[None]).to(device)))[0]
        return grey

    @property
    def stack(self) -> FrameStack:
        """Grey frames of equal brightness, and the weight of each."""
        return FrameStack.of(self.exposure.undo(self.grey), self.weights, self.measured)

    @property
    def has_one_window(self) -> bool:
        """Whether the window is all there is."""
        return self.window[2:] == self.view.size[::-1]

    def windowed(self) -> tuple[FrameStack, LowresView]:
        """The part of the frames that is searched: what looks at the window of the reference, or near it."""
        top, left, height, width = self.window
        if self.has_one_window:
            return self.stack, self.view
        corner = torch.tensor([left, top], dtype=torch.float64)
        middle = corner + torch.tensor([width, height]) / 2
        seen = torch.linalg.solve(
            self.view.motion.matrices, torch.cat([middle, torch.ones(1)]).expand(len(self.view), 3)
        )
        most = torch.tensor(self.view.size) - torch.tensor([width, height])
        at = (seen[:, :2] / seen[:, 2:] - middle + corner).round()
        self.corners = torch.minimum(at.clamp(min=0), most.double())
        motion, moves = self.view.motion.between_parts(self.corners, corner), self.view.motion.displacement
        if moves is not None:
            motion = motion.displaced(self._cut(moves))
        view = LowresView(motion, (width, height), self.view.psf)
        measured = None if self.measured is None else self._cut(self.measured)
        return FrameStack(self._cut(self.stack.values), self._cut(self.stack.weights), measured), view

    def images_of_window(self) -> NDArray[np.float32]:
        """What the window shows of the images, as files have them."""
        return self._cut(torch.from_numpy(self.images)).numpy()

    def _cut(self, values: Tensor) -> Tensor:
        """The window of each of the frames [n_frames, h, w, ..]."""
        height, width = self.window[2:]
        return torch.stack([
            one[top : top + height, left : left + width]
            for one, (left, top) in zip(values, self.corners.int().tolist(), strict=True)
        ])  # fmt: skip

    def register(self) -> None:
        """Find or improve the motions, and which frames belong to the scene."""
        if len(self.view) == 1:
            return
        if not self.is_given:
            self.say("registering: phase correlation")
            shifts = torch.from_numpy(phase_correlation(self.grey.cpu().numpy(), self.reference, self.limit))
            self.is_placed = shifts.isfinite().all(1).to(self.weights)
            self.view = self.view.moved(Motion.of_shifts(self._freed(shifts.nan_to_num())))
            self._follow_neighbours()
        self._match_brightness()
        stack, view = self.windowed()
        first = find_outliers(stack, view, view.grid(COARSE_CELLS), limit=self.limit)
        self._keep(first)
        if not (self.is_given and (self.settings.exact_shifts or self._are_right(stack, view, first))):
            self._improve(stack, view, first)
        if self.settings.register == "auto" and not self.settings.exact_shifts:
            self._displace()
        if (self.is_locked or self._has_defects()) and not self.limit.is_over:
            self._mend_sensor()
        self._leave_reference()

    def choose_curve(self) -> None:
        """Average the values of files instead of light where nothing names their curve and that surely predicts better.

        Cameras that sharpen, or make colours of a mosaic, do so behind their curve.
        """
        is_asked = self.settings.is_curve_assumed and self.exposure.is_neutral and not self.transfer.has_alpha
        if not is_asked or len(self.view) == 1 or self.limit.is_over:
            return
        lit, plain = (self._seen_as(curve) for curve in (self.transfer.curve, "linear"))
        if not plain.is_surely_better(lit):
            return
        self.say("averages of file values explain the frames better than averages of light: --transfer linear")
        self.transfer = replace(self.transfer, curve="linear")
        self.settings = replace(self.settings, transfer="linear", is_curve_assumed=False)
        self.grey = self._grey(str(self.grey.device))

    def _seen_as(self, curve: str) -> Trial[Prior]:
        """A solution for the green of the window, which both curves are judged by, if files have that curve."""
        transfer = Transfer(curve, 1, self.settings.value_range)
        green = transfer.channels(torch.from_numpy(self.images_of_window()[..., 1]).to(self.grey.device))[0]
        stack, view = self.windowed()
        stack = stack.with_values(green)
        return Trials(stack, view, view.grid(COARSE_CELLS), self.settings.seed, transfer).first(PREDICTED)

    def _follow_neighbours(self) -> None:
        """Take what neighbours tell of the motions where shifts against the reference do not explain the frames."""
        try:
            found = follow_neighbours(
                self.grey.cpu().numpy(), self.view.motion, self.is_placed.cpu().numpy() > 0,
                None if self.is_reference_free else self.reference, self.settings.register, limit=self.limit,
                say=self.say,
            )  # fmt: skip
        except MissingCapabilityError as error:
            self.say(f"registering: frames are not compared with their neighbours: {error.what}; {error.fix}")
            return
        if found is None:
            return
        self.is_chained, self.reference = True, found.reference
        if found.motion.model != "shift":
            self.say(f"registering: {NAMES[found.motion.model]} explain the frames, shifts do not")
        self.model = found.motion.model if self.is_automatic else self.settings.register
        self.is_placed = torch.from_numpy(found.is_placed).to(self.weights)
        self.view = self.view.moved(found.motion)
        self.window = _busiest_window(self.grey[self.reference])

    def _freed(self, shifts: Tensor) -> Tensor:
        """The shifts, or those without what all frames have in common where that had locked the registration."""
        if self.transfer.has_alpha or self.measured is not None:
            # pixels that were filled in show no sensor
            return shifts
        found = find_pattern(self.grey.cpu().numpy(), shifts.numpy(), self.reference, self.limit)
        if found is None:
            return shifts
        self.say("something stands still on the sensor while the scene moves: frames are registered without it")
        self.is_locked, self.grey = True, self.grey - torch.from_numpy(found[1]).to(self.grey)
        return torch.from_numpy(found[0])

    def _has_defects(self) -> bool:
        """Whether pixels of the sensor are far from the scene in all frames, though they did not lock the registration.

        Only where frames move so far that several pixels see a place: else a star is as still as a hot pixel.
        """
        moves = self.view.motion.displacements(self.view.size)[self.weights.cpu() > 0]
        is_unfit = self.transfer.has_alpha or self.measured is not None or len(moves) < MIN_FRAMES
        if is_unfit or float(moves.std(0).norm()) < MOVED:
            return False
        found = self.registered
        assert found is not None
        stack, view = (self.stack, self.view) if found.grid.height == self.view.size[1] else self.windowed()
        samples, is_known = view.sample(found.grid, found.image)
        seen = torch.where(is_known, samples.values, math.nan)
        return bool(without_pattern(stack.values, seen, self.weights > 0)[1].any())

    def _mend_sensor(self) -> None:
        """Take from the images what they have beside the scene; defect pixels show what other frames say of them."""
        channels = self.transfer.channels(torch.from_numpy(self.images).to(self.grey.device))
        mended, is_bad = [], torch.zeros(self.grey.shape[1:], dtype=torch.bool)
        for channel in channels:
            channel, is_defect = self._mended(channel)
            mended.append(channel)
            is_bad |= is_defect.cpu()
        self.n_defects = int(is_bad.sum())
        if self.n_defects:
            self.say(f"{self.n_defects} pixels are the same in all frames: they show what other frames see there")
        self.images = np.stack([self.transfer.image(frame) for frame in torch.stack(mended, 1).cpu()])
        self.grey = self._grey(str(self.grey.device))

    def _mended(self, channel: Tensor) -> tuple[Tensor, Tensor]:
        """A channel [n_frames, h, w] without what its frames have beside the scene, and its defect pixels [h, w]."""
        grid, values = self.view.grid(COARSE_CELLS), channel
        for index in range(MENDING_ROUNDS):
            found = find_outliers(FrameStack.of(self.exposure.undo(values)), self.view, grid, limit=self.limit)
            samples, is_known = self.view.sample(grid, found.image)
            seen = torch.where(is_known, self.exposure.expose(samples.values), math.nan)
            values, is_defect = without_pattern(channel, seen, self.weights > 0)
            around = from_neighbours(values, is_defect)
            # the first image has the trails of the defect pixels, which nothing of it may bring into the next
            values = torch.where(is_defect if index == 0 else values.isnan(), around, values)
        return values, is_defect

    def _improve(self, stack: FrameStack, view: LowresView, first: Registered) -> None:
        """Refine the motions; given ones only if that predicts better."""
        coarse, *fine = FROM_GIVEN if self.is_given or self.is_chained else FROM_SCRATCH
        self.say(f"registering: {len(view)} frames against the image, coarse")
        found = self.refiner.refined(stack, view, first, coarse, (8, 1))
        if self.is_automatic:
            found = self._richer(stack, view, found)
        if self.has_one_window:
            self.say("registering: fine")
            found = self.refiner.refined(stack, view, resized(found, view.grid(self.plan.trial)), fine[0], (4, 1))
        if self.is_given and not self.refiner.predicts_better(
            stack, view, found.motion, view.motion, self.plan.trial, BETTER
        ):
            self.say("registering: refined motions predict no better than the given ones, which are kept")
            return
        self._move_window(found.motion)
        if self.has_one_window:
            self.is_estimated = True
            moved = view.moved(found.motion)
            self._keep(find_outliers(stack, moved, moved.grid(COARSE_CELLS), start=found.image, limit=self.limit))
        else:
            self._agree_everywhere()

    def _displace(self) -> None:
        """Let pixels look elsewhere than one motion of the whole frame says, where that surely predicts better."""
        try:
            found = displace(self.stack, self.view, self.refiner, COARSE_CELLS, self.say)
        except MissingCapabilityError as error:
            self.say(f"registering: pixels are not moved by themselves: {error.what}; {error.fix}")
            return
        if found is not None:
            self.view = self.view.moved(found.motion)
            self._keep(found)

    @property
    def refiner(self) -> Refiner:
        """What refinements and comparisons of these motions have in common."""
        return Refiner(self.reference, self.model, self.settings.seed, self.transfer, self.limit)

    def _agree_everywhere(self) -> None:
        """Refine the motions over the whole of large frames, where the window alone would be extrapolated."""
        self.say("registering: over the whole of the frames")
        stack, view = self.stack, self.view
        found = find_outliers(stack, view, view.grid(WHOLE_CELLS), limit=self.limit)
        found = self.refiner.refined(stack, view, found, WHOLE_ROUNDS, (4, 1))
        if self.is_automatic:
            found = self._richer(stack, view, found)
        self.view = view.moved(found.motion)
        self._keep(found)

    def _richer(self, stack: FrameStack, view: LowresView, found: Registered) -> Registered:
        """The same after some rounds more, by a richer motion model where that surely predicts better."""
        found = self.refiner.refined(stack, view, found, RICHER_ROUNDS, (4, 1))
        for model in richer_models(self.model):
            if model == "similarity":
                # an affine map holds it, and the shear of a shutter that rolls as well
                continue
            tried = self.refiner.with_model(model).refined(stack, view, found, RICHER_ROUNDS, (4, 1))
            is_used = (tried.weights * found.weights).cpu() > 0
            if _departure(tried.motion, found.motion, view.size, is_used) < MIN_DEPARTURE:
                break
            if not self.refiner.predicts_better(
                stack, view, tried.motion, found.motion, found.grid.cells, RICHER, surely=True
            ):
                break
            self.say(f"registering: {NAMES[model]} explain the frames, {NAMES[self.model]} do not")
            self.model, found = model, tried
        return found

    def _are_right(self, stack: FrameStack, view: LowresView, given: Registered) -> bool:
        """Whether given shifts need no refinement; asked in a hundredth of the time that it takes."""
        if self.model != "shift":
            return False
        wrong = correction(stack, view, given, self.limit)
        logger.debug("given shifts are off by %.4f low-res pixels", wrong)
        if wrong < RIGHT:
            self.say(f"registering: the given shifts are right to {max(wrong, 0.001):.3f} low-res pixels and are kept")
        return wrong < RIGHT

    def refine_with(self, prior: Prior, image: Tensor, cells: int, rounds: tuple[int, int]) -> None:
        """Move the frames of the window once more under a chosen prior, from the image that it gave on some cells."""
        self.say("registering: with the chosen prior")
        stack, view = self.windowed()
        begin = Registered(view.motion, self.weights, self.residuals, image, view.grid(cells))
        tv_weights = 2 * prior.tv_weight, prior.tv_weight
        found = self.refiner.refined(stack, view, begin, rounds, tv_weights, prior=prior)
        self._move_window(found.motion)
        self._keep(found)

    def _move_window(self, motion: Motion) -> None:
        """Let the frames look as those of the window do."""
        if self.has_one_window:
            self.view = self.view.moved(motion)
            return
        corner = torch.tensor(self.window[1::-1], dtype=torch.float64)
        self.view = self.view.moved(motion.between_parts(-self.corners, -corner))

    def take_motions(self, motion: Motion, is_used: Tensor) -> None:
        """Let the frames look where something else has those of the window look; ``is_used`` [n_frames] is 1 or 0."""
        self._move_window(motion)
        if motion.displacement is not None and not self.has_one_window:
            # what the window's pixels do by themselves tells nothing of the others
            self.view = self.view.moved(
                displaced_by_flow(self.grey.cpu().numpy(), self.view.motion, self.reference)
            )  # fmt: skip
        self.model, self.weights = motion.model, is_used.to(self.weights)
        self.is_estimated = self.has_one_window

    def take_simpler(self, model: str) -> None:
        """Register the frames anew, over all of them, by a motion model of fewer numbers."""
        self.model, self.view = model, self.view.moved(self.view.motion.nearest(model, self.view.size))
        stack, view = self.stack, self.view
        found = find_outliers(stack, view, view.grid(WHOLE_CELLS), limit=self.limit)
        found = self.refiner.refined(stack, view, found, SIMPLER_ROUNDS, SIMPLER_WEIGHTS)
        self.view = view.moved(found.motion)
        self._keep(found)

    def take_unsharpened(self, mask: UnsharpMask, images: NDArray[np.float32], measured: Tensor) -> None:
        """Take what the files' values were before a mask.

        ``measured`` [n_frames, h, w], bool, says which of them were not filled in.
        """
        self.mask, self.images = mask, images
        self.grey = self._grey(str(self.grey.device))
        self.measured = measured.to(self.grey)

    def _match_brightness(self) -> None:
        """Fit gain and offset of each frame where they differ by more than chance."""
        if self.transfer.has_alpha:
            # what is transparent has no brightness
            return
        means, deviations = self.grey.mean((1, 2)).cpu(), self.grey.std((1, 2)).cpu()
        usual = deviations.median()
        moved = ((means - means[self.reference]) / usual).abs().median()
        stretched = (deviations / deviations[self.reference]).log().abs().median()
        drift = float(torch.maximum(moved, stretched))
        if not drift > MIN_DRIFT:
            return
        gains = (deviations / deviations[self.reference]).clamp(0.2, 5.0)
        self.say(f"frames differ in brightness by {drift:.1%} of their contrast (median): gain and offset are fitted")
        self.exposure = Exposure(gains, means - gains * means[self.reference])
        # twice: with the image of frames that are nearly alike, then with that of frames that are
        for _ in range(2):
            stack, view = self.windowed()
            found = find_outliers(stack, view, view.grid(COARSE_CELLS), limit=self.limit)
            seen = stack.with_values(self.grey if self.has_one_window else self._cut(self.grey))
            seen = seen.with_frame_weights(found.weights)
            self.exposure = fit_exposures(seen, view, found, self.reference)

    def _leave_reference(self) -> None:
        """Take the brightness of the others where the reference is no good and its own is unlike theirs."""
        is_used = self.weights.cpu() > 0
        if is_used[self.reference] or not is_used.any() or self.exposure.is_neutral:
            return
        self.say("the reference frame does not fit the others: the picture has their median brightness, not its own")
        self.exposure = self.exposure.relative_to(self.reference, is_used)

    def estimate_width(self) -> None:
        """Choose the PSF's width, where the frames are to tell it or contradict the usual one."""
        if isinstance(self.settings.psf_width, float) or self.view.psf.kind == "file":
            return
        stack, view = self.windowed()
        view = replace(view, most_points=POINTS)
        first = USUAL_WIDTHS[self.settings.psf]
        if self.settings.psf_width != "auto":
            first = doubt(stack, view, self.settings.seed, self.transfer, self.limit)
            if first is None:
                return
            usual = f"{view.psf.width:g}"
            self.say(f"a PSF of {usual} does not explain these frames; --psf-width {usual} keeps it nevertheless")
        self.say("choosing the width of the PSF by held-out pixels")
        grid = view.grid(self.plan.trial)
        trials = Trials(stack, view, grid, self.settings.seed, self.transfer, limit=self.limit)
        psf = choose_width(trials, self.settings.psf, first)
        what = "a box, side" if psf.kind == "box" else "a Gaussian, standard deviation"
        self.say(f"PSF: {what} {psf.width:.3g} low-res pixels; --psf-width {psf.width:.3g} takes it as it is")
        self.view = self.view.with_psf(psf)

    def _keep(self, registered: Registered) -> None:
        self.registered = registered
        self.weights, self.residuals = registered.weights * self.is_placed, registered.residuals


def _departure(one: Motion, other: Motion, size: tuple[int, int], is_used: Tensor) -> float:
    """Low-res pixels (rms over the frame, median of the used frames) that motions differ by beyond a shift."""
    apart = torch.stack(one.looks_at(size)).flatten(2) - torch.stack(other.looks_at(size)).flatten(2)
    apart = apart[:, is_used]
    apart = apart - apart.mean(2, keepdim=True)
    return float(apart.square().sum(0).mean(1).sqrt().median()) if apart.shape[1] else 0.0


def _busiest_window(frame: Tensor) -> tuple[int, int, int, int]:
    """Top, left, height and width of the part of at most ``WINDOW`` a side whose values vary most."""
    height, width = frame.shape
    size = min(height, WINDOW), min(width, WINDOW)
    if size == (height, width):
        return 0, 0, height, width
    energy = torch.zeros_like(frame)
    energy[1:] += frame.diff(dim=0).square()
    energy[:, 1:] += frame.diff(dim=1).square()
    step = max(1, WINDOW // 8)
    sums = avg_pool2d(energy[None, None], size, stride=step)[0, 0]
    top, left = (int(part) * step for part in divmod(int(sums.argmax()), sums.shape[1]))
    return top, left, *size
