"""The image of all pixels with the chosen prior: part by part where frames are large, channel by channel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from nerfkit.heldout import Trial
from nerfkit.limits import Limit
from nerfkit.scenes.fields.grid import Grid
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.scenes.transfer import LINEAR, Transfer
from nerfkit.solvers.grid import COLD_RATE, WARM_RATE, Prior, solve

from .alignment import COARSE_CELLS, POINTS, Alignment
from .registration import still_pixels
from .tiles import Tile, look_into, make_tiles
from .trials import SHARP_TRIAL_STEPS, Trials, trusted

__all__ = ["Chosen", "range_with_room", "solve_everywhere", "work_of_solving"]

# steps: of a first image, of the whole from it, of channels from that of luminance, of finer cells
FIRST_STEPS, FINAL_STEPS, CHANNEL_STEPS, REFINED_STEPS = 150, 400, 250, 120
# of two values, and once more from that image averaged over pixels of the output
SHARP_STEPS, SOFTENED_STEPS = 100, 150
# how near to the end of the range a value of integers is at it; the fraction of such pixels that is worth their rounds,
# and how many those are, in half of the steps
AT_END, MIN_CLIPPED, CLIPPED_ROUNDS = 1e-6, 1e-3, 4
# room beyond an image's own range, as a fraction of it, so that a logistic function can reach its values
ROOM = 0.02


@dataclass(frozen=True)
class Chosen:
    """What every part is solved with: the prior of luminance and of each channel, and its image."""

    trial: Trial[Prior]
    # cells along a low-res pixel that the priors are for
    cells: int
    # of each channel
    priors: list[Prior]
    # weights of the pixels [n_frames, h, w] where the whole is one part
    pixels: Tensor


@dataclass(frozen=True)
class _Part:
    """The frames of one part: grey ones, the linear radiance of each channel, and which pixels there are."""

    stack: FrameStack
    view: LowresView
    channels: list[Tensor]
    is_inside: Tensor


def work_of_solving(aligned: Alignment, *, is_sharp: bool = True) -> float:
    """Cells times steps that solving takes, at most or without two values, for a :class:`nerfkit.limits.Limit`."""
    plan, (width, height), n_channels = aligned.plan, aligned.view.size, aligned.transfer.n_channels
    sharp = (SHARP_STEPS + SOFTENED_STEPS) * plan.contrast**2 if is_sharp and plan.contrast > plan.trial else 0
    steps = FINAL_STEPS if n_channels == 1 else CHANNEL_STEPS
    return n_channels * width * height * max(sharp, steps * plan.final**2)


def solve_everywhere(
    aligned: Alignment, chosen: Chosen, kept: float, on_part: Callable[[int, int], None] = lambda done, total: None
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve every part and blend them.

    Parameters
    ----------
    aligned : Alignment
        The frames.
    chosen : Chosen
        The priors.
    kept : float
        Seconds of the limit that must be left at the end; parts are hastened where there are fewer.
    on_part : callable
        Called with the number of parts that are done and that there are.

    Returns
    -------
    image : Tensor, shape (n_channels, h * plan.output, w * plan.output)
        Linear radiance, on the CPU where there are several parts.
    bounds : Tensor, shape (n_channels, 2)
        A range that holds the values of each channel.
    fractions : Tensor, shape (n_frames,)
        Fraction of each frame's pixels that was used.
    """
    width, height = aligned.view.size
    plan, limit = aligned.plan, aligned.limit
    tiles = make_tiles(height, width, plan.side)

    def solved(tile: Tile, n_left: int) -> tuple[Tensor, _Part]:
        return _PartSolver(aligned, chosen, tile, max(limit.left - kept, 0.0) / n_left).solve()

    if len(tiles) == 1:
        image, part = solved(tiles[0], 1)
        return image, range_with_room(chosen.priors, image), part.stack.weights.mean((1, 2))
    whole = torch.zeros(len(chosen.priors), height * plan.output, width * plan.output)
    used, seen = torch.zeros(len(aligned.view)), torch.zeros(len(aligned.view))
    for index, tile in enumerate(tiles):
        image, part = solved(tile, len(tiles) - index)
        tile.blend(whole, image.cpu(), plan.output)
        used += part.stack.weights.sum((1, 2)).cpu()
        seen += part.is_inside.sum((1, 2))
        on_part(index + 1, len(tiles))
    return whole, range_with_room(chosen.priors, whole), used / seen.clamp(min=1)


def range_with_room(priors: list[Prior], image: Tensor) -> Tensor:
    """The range [n_channels, 2] of the priors; where there is none, or a part had none, that of the image."""

    def of_channel(prior: Prior, values: Tensor) -> tuple[float, float]:
        (low, high), least, most = prior.bounds or (0.0, 0.0), float(values.min()), float(values.max())
        if low - AT_END <= least and most <= high + AT_END:
            return low, high
        room = ROOM * (most - least) + AT_END
        return least - room, most + room

    return torch.tensor([of_channel(*pair) for pair in zip(priors, image, strict=True)])


class _PartSolver:
    """The solution of one part in some seconds."""

    def __init__(self, aligned: Alignment, chosen: Chosen, tile: Tile, seconds: float) -> None:
        self.aligned, self.tile, self.seconds = aligned, tile, seconds
        self.plan, self.transfer, self.limit = aligned.plan, aligned.transfer, aligned.limit
        settings = aligned.settings
        # integers at an end of their range may stand for values beyond it; those before a mask was undone are left out
        self.is_clipped = settings.bit_depth < 32 and not aligned.transfer.has_alpha and aligned.mask is None
        self.began = Limit(seconds)
        self.part = self._cut(chosen)
        self.chosen = chosen

    def _cut(self, chosen: Chosen) -> _Part:
        aligned, tile = self.aligned, self.tile
        images, motion, is_inside = look_into(aligned.images, aligned.view.motion, tile)
        values = torch.from_numpy(np.ascontiguousarray(images)).to(aligned.grey.device)
        channels = [aligned.exposure.undo(channel) for channel in self.transfer.channels(values)]
        height, width = tile.shape
        view = LowresView(motion, (width, height), aligned.view.psf, POINTS)
        grey, measured = self.transfer.grey(channels).contiguous(), aligned.measured
        if tile.is_whole:
            return _Part(FrameStack(grey, chosen.pixels, measured), view, channels, is_inside)
        if measured is not None:
            measured = torch.from_numpy(look_into(measured.cpu().numpy(), aligned.view.motion, tile)[0]).to(grey)
        stack = FrameStack.of(grey, aligned.weights, measured)
        stack = stack.with_weights(stack.weights * is_inside.to(stack.weights))
        return _Part(still_pixels(stack, replace(view, most_points=1), COARSE_CELLS), view, channels, is_inside)

    def solve(self) -> tuple[Tensor, _Part]:
        """The image [n_channels, rows, cols] on ``plan.output`` cells a low-res pixel, and the frames."""
        part, plan, chosen = self.part, self.plan, self.chosen
        first = chosen.trial.image
        if not self.tile.is_whole or first.shape != part.view.grid(chosen.cells).shape:
            trial = part.view.grid(plan.trial)
            start = trial.enlarge(part.stack.values[part.view.nearest(part.stack.is_used)])
            plain = chosen.trial.setting.on_finer(plan.trial / chosen.cells).plain()
            first = self._solve_on(trial, part.stack, start, plain, FIRST_STEPS, COLD_RATE, self.transfer, 0.2)
        if not self.tile.is_whole:
            self.chosen = chosen = self._suited(first)
        n = len(chosen.priors)
        images = [
            self._solve_channel(index, prior, first, 1 / (n - index)) for index, prior in enumerate(chosen.priors)
        ]
        cells = max(plan.final, chosen.cells)
        image = torch.stack([part.view.grid(cells).crop(image) for image in images])
        return (avg_pool2d(image, cells // plan.output) if cells > plan.output else image), part

    def _suited(self, first: Tensor) -> Chosen:
        """The priors without a range, or without what drives values to its ends, where that predicts the part better.

        The search saw the busiest window alone; a photograph on a page of text is something else.
        """
        chosen, cells = self.chosen, self.plan.trial
        prior = chosen.trial.setting
        if prior.bounds is None:
            return chosen
        part, seed = self.part, self.aligned.settings.seed
        trials = Trials(part.stack, part.view, part.view.grid(cells), seed, self.transfer, limit=self.limit)
        plain = prior.on_finer(cells / chosen.cells).plain()
        start = Trial(plain, first, torch.empty(0))
        free, bounded = (trials.attempt(one, start) for one in (replace(plain, bounds=None), plain))
        if free is None or bounded is None:
            return chosen
        has_range = bounded.is_better(free)
        if has_range and prior.contrast:
            sharp = trials.seen_by(part.view, chosen.cells, SHARP_TRIAL_STEPS).attempt(prior, bounded)
            if sharp is not None and sharp.is_surely_better(bounded):
                return chosen
        elif has_range:
            return chosen

        def reduced(prior: Prior) -> Prior:
            kept = prior.bounds if has_range else None
            return replace(prior.on_finer(cells / chosen.cells), bounds=kept, contrast=0.0)

        trial = replace(chosen.trial, setting=reduced(prior))
        return replace(chosen, trial=trial, cells=cells, priors=[reduced(prior) for prior in chosen.priors])

    def _solve_channel(self, index: int, prior: Prior, first: Tensor, fraction: float) -> Tensor:
        """The image of a channel on the finest cells, from that of luminance."""
        part, plan, cells, reference = self.part, self.plan, self.chosen.cells, self.aligned.reference
        measured, image, is_only = part.channels[index], first, len(part.channels) == 1
        is_alpha = self.transfer.has_alpha and index == len(part.channels) - 1
        transfer = LINEAR if is_alpha else self.transfer
        if not is_only:
            trial = part.view.grid(plan.trial)
            # colours differ in what is smooth, their edges are those of luminance; alpha is something else
            shared = torch.zeros(trial.shape) if is_alpha else trial.resize(first)
            left = measured[reference] - (0 if is_alpha else part.stack.values[reference])
            image = shared.to(left) + trial.enlarge(left)
        is_sharp, needs_more = cells > plan.trial, plan.final > cells
        n_steps, rate = (SHARP_STEPS, WARM_RATE) if is_sharp else (FINAL_STEPS if is_only else CHANNEL_STEPS, COLD_RATE)
        grid, stack = part.view.grid(cells), part.stack.with_values(measured)
        fraction *= 0.4 if needs_more else 1.0
        if self.is_clipped:
            # files hold no values below zero, which frames sharpened in the camera ask for
            black = float(self.transfer.decode(torch.zeros(())))
            low, high = prior.bounds or (black, math.inf)
            prior = prior.within(max(low, black), high)
            n_rounds = CLIPPED_ROUNDS if self._at_ends(measured).any(0).float().mean() > MIN_CLIPPED else 0
            for n_left in range(n_rounds, 0, -1):
                stack = stack.with_values(self._unclipped(measured, image))
                some = n_steps // (2 * CLIPPED_ROUNDS)
                image = self._solve_on(grid, stack, image, prior, some, rate, transfer, fraction * 0.5 / n_left)
            if n_rounds:
                n_steps //= 2
                stack = stack.with_values(self._unclipped(measured, image))
        image = self._solve_on(grid, stack, image, prior, n_steps, rate, transfer, fraction * (0.4 if is_sharp else 1))
        if is_sharp and self.began.left > 0:
            # without time for all of its steps an averaged image would stay blurred
            start = _softened(image, part.view.grid(plan.output))
            image = self._solve_on(
                grid, stack, start, prior, SOFTENED_STEPS, rate, transfer, fraction, is_anchored=True
            )  # fmt: skip
        if needs_more:
            finer, grid = prior.on_finer(plan.final / cells), part.view.grid(plan.final)
            image = self._solve_on(grid, stack, image, finer, REFINED_STEPS, WARM_RATE / 2, transfer, 1.0)
        return image

    def _solve_on(
        self, grid: Grid, stack: FrameStack, start: Tensor, prior: Prior, n_steps: int, rate: float,
        transfer: Transfer, fraction: float, *, is_anchored: bool = False,
    ) -> Tensor:  # fmt: skip
        """A solution from an image on any grid, which it may be pulled to, in a fraction of the time that is left."""
        equations = self.part.view.equations(grid, stack.values, trusted(stack, transfer))
        start = grid.resize(start)
        return solve(
            equations, start, self.part.view.point_psf, grid, prior, n_steps, learning_rate=rate,
            tv_map=transfer.slope(start), anchor=start if is_anchored else None, limit=self.limit,
            seconds=max(self.began.left, 0.0) * fraction,
        )  # fmt: skip

    def _at_ends(self, values: Tensor) -> Tensor:
        """Whether values [n_frames, h, w] are at the lower and at the upper end of the files': [2, n_frames, h, w]."""
        ends = self.transfer.decode(torch.tensor([0.0, self.aligned.settings.white])).tolist()
        ends = (self.aligned.exposure.undo(torch.full_like(values[:, :1, :1], end)) for end in ends)
        low, high = ends
        return torch.stack([values <= low + AT_END, values >= high - AT_END])

    def _unclipped(self, measured: Tensor, image: Tensor) -> Tensor:
        """The values, but of pixels at an end of the range what ``image`` predicts if that is beyond it.

        White says "at least this": an image that is brighter there contradicts nothing.
        """
        is_low, is_high = self._at_ends(measured)
        view = self.part.view
        cells = round(image.shape[0] / view.grid(1).shape[0])
        samples, is_known = view.sample(view.grid(cells), image)
        predicted = torch.where(is_known, samples.values, measured)
        values = torch.where(is_high, torch.maximum(measured, predicted), measured)
        return torch.where(is_low, torch.minimum(values, predicted), values)


def _softened(image: Tensor, pixels: Grid) -> Tensor:
    """An image averaged over the output's pixels, smooth between them.

    Values driven to two ends are sure of every edge to a fraction of a pixel, the frames are not: a second descent from
    what is known for sure ends nearer to the scene.
    """
    averaged = interpolate(image[None, None], pixels.shape, mode="area")
    low, high = float(image.min()), float(image.max())
    return interpolate(averaged, image.shape, mode="bicubic")[0, 0].clamp(low, high)
