"""Whether a camera sharpened the frames, by how well held-out pixels are predicted, and its mask undone.

A mask commutes with sampling: a scene with halos one low-res pixel from its edges explains sharpened frames exactly as
well. Where a range of values predicts better than all values, such halos lie beyond it, and that tells the two apart.
So an amount is taken only together with a range.

What was clipped says "at least this". Such pixels weigh nothing while the sharpened picture is beyond them, and have
the values that it predicts there when the mask is undone.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from nerfkit.heldout import Trial
from nerfkit.limits import Limit
from nerfkit.scenes.fields.grid import Grid
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.scenes.observations.unsharp_mask import UnsharpMask
from nerfkit.scenes.transfer import Transfer
from nerfkit.solvers.grid import COLD_RATE, WARM_RATE, Prior, solve

from .alignment import COARSE_CELLS, Alignment
from .priors import START, choose_prior
from .trials import Trials

__all__ = ["SharpenedFrames", "choose_mask", "undo_sharpening"]

logger = logging.getLogger(__name__)

# amounts that are tried in turn while they predict better
AMOUNTS = (0.5, 1.0, 2.0, 4.0)
# steps of a trial with the prior of the amount before, and its squared error beside that one's up to which an amount is
# worth a prior of its own; the first one must be better: by 1 to 2 % where frames were sharpened, while those that
# nobody sharpened have 0.3 to 5 % more
DOUBT_STEPS, WORTH_A_PRIOR = 120, 1.02
# side of the middle of the frames that is looked at, and of its border that judges nothing, as masks reach beyond it;
# least side of frames that tell anything
SIDE, BORDER, LEAST_SIDE = 64, 3, 16
# steps that the choice of a prior takes, about
CHOICE_STEPS = 900
# times within a solution that clipped pixels are predicted anew, steps of the solution that they are predicted by at
# the end
ROUNDS, FILL_ROUNDS, FILL_STEPS = 3, 5, 200
# what a limit in seconds left out
CUT = "whether a camera sharpened the frames"


@dataclass(frozen=True)
class SharpenedFrames:
    """Frames as samples of an image that a camera sharpened and clipped afterwards.

    Parameters
    ----------
    stack : FrameStack
        What was measured, in file values.
    view : LowresView
        Where it looks.
    mask : UnsharpMask
    ends : (Tensor, Tensor)
        Values at which pixels are clipped, each [n_frames, 1, 1]; infinite where none are.
    """

    stack: FrameStack
    view: LowresView
    mask: UnsharpMask
    ends: tuple[Tensor, Tensor]

    @cached_property
    def is_low(self) -> Tensor:
        """Whether a pixel is clipped at the lower end [n_frames, h, w]."""
        return self.stack.values <= self.ends[0]

    @cached_property
    def is_high(self) -> Tensor:
        """Whether a pixel is clipped at the upper end [n_frames, h, w]."""
        return self.stack.values >= self.ends[1]

    @cached_property
    def undone(self) -> Tensor:
        """The frames [n_frames, h, w] as the mask alone would have them, were nothing clipped."""
        return self.mask.undo(self.stack.values)

    def predicted(self, grid: Grid, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What pixels are of ``image`` before and after the mask, and where both are known; each [n_frames, h, w]."""
        samples, is_known = self.view.sample(grid, image)
        before = torch.where(is_known, samples.values, self.undone)
        return before, self.mask.apply(before), is_known

    def before_mask(self, grid: Grid, image: Tensor, weights: Tensor) -> FrameStack:
        """The frames before they were sharpened; what ``weights`` or an end of the range hide is that of ``image``."""
        before, after, _ = self.predicted(grid, image)
        values = self.stack.values
        is_beyond = (self.is_high & (after > values)) | (self.is_low & (after < values))
        is_told = (weights > 0) & ~is_beyond
        left = torch.where(is_told, values - after, 0.0)
        return FrameStack((before + self.mask.undo(left)).contiguous(), weights * is_told)

    def solve(
        self, grid: Grid, start: Tensor, prior: Prior, n_steps: int, weights: Tensor, *, rate: float = WARM_RATE,
        n_rounds: int = ROUNDS, limit: Limit | None = None,
    ) -> Tensor:  # fmt: skip
        """An image [grid.shape] of pixels with ``weights``; what hides the others is predicted anew each round."""
        image = start
        for index in range(n_rounds):
            told = self.before_mask(grid, image, weights)
            image = solve(
                self.view.equations(grid, told.values, told.weights), image, self.view.point_psf, grid, prior,
                n_steps // n_rounds, learning_rate=WARM_RATE if index else rate, limit=limit,
            )  # fmt: skip
        return image


class SharpenedTrials(Trials):
    """Trials of frames that were sharpened; pixels that are clipped do not judge."""

    def __init__(self, frames: SharpenedFrames, grid: Grid, seed: int, limit: Limit) -> None:
        self.frames = frames
        super().__init__(frames.stack, frames.view, grid, seed, limit=limit)
        self.is_out = self.is_out & ~(frames.is_low | frames.is_high)

    def _prepare(self) -> None:
        """Equations hang on what the clipped pixels are taken for, so that each solution makes its own."""

    @property
    def start(self) -> Tensor:
        return self.grid.enlarge(self.frames.undone[self.view.nearest(self.stack.is_used)])

    def errors(self, image: Tensor) -> Tensor:
        _, after, is_known = self.frames.predicted(self.grid, image)
        is_told = is_known & ~(self.frames.is_low | self.frames.is_high)
        return torch.where(is_told, after - self.stack.values, math.nan)

    def solve(self, prior: Prior, start: Tensor, n_steps: int, rate: float = WARM_RATE) -> Trial[Prior]:
        image = self.frames.solve(
            self.grid, self.grid.resize(start), prior, n_steps, self.fitted.weights, rate=rate, limit=self.limit
        )
        return Trial(prior, image, self.errors(image).square()[self.is_out])


def choose_mask(frames: SharpenedFrames, seed: int, limit: Limit) -> tuple[UnsharpMask, Prior] | None:
    """The mask with which held-out pixels are surely predicted better than without any, and the prior for it.

    Parameters
    ----------
    frames : SharpenedFrames
        With any mask.
    seed : int
        Draws the pixels that are held out.
    limit : Limit
        What it does not allow is not tried.

    Returns
    -------
    mask, prior : UnsharpMask, Prior
        None: nobody sharpened the frames, or it cannot be told.
    """
    grid = frames.view.grid(COARSE_CELLS)

    def judge(amount: float) -> SharpenedTrials:
        return SharpenedTrials(replace(frames, mask=UnsharpMask(amount)), grid, seed, limit)

    def chosen(amount: float) -> Trial[Prior] | None:
        """With a prior of its own."""
        is_allowed = limit.allows(CHOICE_STEPS * math.prod(grid.shape), CUT)
        return choose_prior(judge(amount))[0] if is_allowed else None

    usual = best = chosen(0.0)
    errors, found = {}, 0.0
    for amount in AMOUNTS:
        if usual is None or best is None:
            return None
        errors[found] = best.mse
        trials = judge(amount)
        trials.n_steps = DOUBT_STEPS
        hurried = trials.attempt(best.setting, best)
        is_worth_a_prior = hurried is not None and hurried.mse < (WORTH_A_PRIOR if found else 1.0) * best.mse
        tried = chosen(amount) if is_worth_a_prior else None
        if tried is None or tried.setting.bounds is None or not tried.is_better(best):
            break
        best, found = tried, amount
    logger.debug("held-out error by the amount: %s", errors)
    if usual is None or best is None or not best.is_surely_better(usual):
        return None
    return UnsharpMask(found), best.setting


def undo_sharpening(aligned: Alignment) -> bool:
    """Undo the mask of a camera in all frames; whether there was one, said by the user or surely by held-out pixels.

    Frames with alpha, fields, and those whose light has a gain of its own stay as they are.
    """
    asked, limit, seed = aligned.settings.sharpened, aligned.limit, aligned.settings.seed
    is_possible = not aligned.transfer.has_alpha and aligned.measured is None and len(aligned.view) > 1
    is_possible &= min(aligned.view.size) >= LEAST_SIDE
    # a gain of linear radiance is none of what was sharpened
    is_possible &= aligned.exposure.is_neutral or aligned.transfer.curve == "linear"
    if not is_possible or asked == 0 or limit.is_over:
        return False
    frames = _middle(aligned)
    if asked == "auto":
        mask, prior = choose_mask(frames, seed, limit) or (None, START)
        if mask is None:
            return False
        aligned.say(f"the frames were sharpened (unsharp mask, amount {mask.amount:g}), which is undone")
    else:
        mask = UnsharpMask(asked)
        grid = frames.view.grid(COARSE_CELLS)
        prior = choose_prior(SharpenedTrials(replace(frames, mask=mask), grid, seed, limit))[0].setting
    filled = [_before_mask(aligned, channel, mask, prior) for channel in _channels(aligned, aligned.images)]
    transfer = _file_values(aligned)
    images = torch.stack([values for values, _ in filled], 1).cpu()
    measured = torch.stack([is_told for _, is_told in filled]).all(0)
    aligned.take_unsharpened(mask, np.stack([transfer.image(frame) for frame in images]), measured)
    return True


def _file_values(aligned: Alignment) -> Transfer:
    """Cameras sharpen behind their curve."""
    return replace(aligned.transfer, curve="linear")


def _channels(aligned: Alignment, images: np.ndarray) -> list[Tensor]:
    return _file_values(aligned).channels(torch.from_numpy(images).to(aligned.grey.device))


def _ends(aligned: Alignment) -> tuple[Tensor, Tensor]:
    """Values of equal brightness at which each frame is clipped."""
    n, settings = len(aligned.view), aligned.settings
    ends = [0.0, settings.white] if settings.bit_depth < 32 else [-math.inf, math.inf]
    low, high = _file_values(aligned).decode(torch.tensor(ends)).tolist()
    low, high = (aligned.exposure.undo(torch.full((n, 1, 1), end)).to(aligned.grey) for end in (low, high))
    return low, high


def _middle(aligned: Alignment) -> SharpenedFrames:
    """The middle of the window, grey or green; its border judges nothing where frames go on beyond it."""
    stack, view = aligned.windowed()
    channels = _channels(aligned, aligned.images_of_window())
    stack = stack.with_values(aligned.exposure.undo(channels[len(channels) // 2]))
    width, height = (min(side, SIDE) for side in view.size)
    left, top = ((side - part) // 2 for side, part in zip(view.size, (width, height), strict=True))
    stack, view = stack.window(top, left, height, width), view.window(top, left, height, width)
    if (height, width) != aligned.grey.shape[1:]:
        inner = pad(torch.ones(height - 2 * BORDER, width - 2 * BORDER), (BORDER,) * 4).to(stack.weights)
        stack = stack.with_weights(stack.weights * inner)
    return SharpenedFrames(stack, view, UnsharpMask(0.0), _ends(aligned))


def _before_mask(aligned: Alignment, channel: Tensor, mask: UnsharpMask, prior: Prior) -> tuple[Tensor, Tensor]:
    """A channel [n_frames, h, w] of the frames before they were sharpened, and which pixels were not filled in."""
    stack, view = FrameStack.of(aligned.exposure.undo(channel), aligned.weights), aligned.view
    frames, grid = SharpenedFrames(stack, view, mask, _ends(aligned)), view.grid(COARSE_CELLS)
    start = grid.enlarge(frames.undone[view.nearest(stack.is_used)])
    image = frames.solve(
        grid, start, prior.plain(), FILL_STEPS, stack.weights, rate=COLD_RATE, n_rounds=FILL_ROUNDS, limit=aligned.limit
    )
    told = frames.before_mask(grid, image, torch.ones_like(stack.weights))
    return aligned.exposure.expose(told.values), told.weights > 0
