"""The image of all pixels with the chosen prior: part by part where frames are large, channel by channel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from nerfkit.scenes.observations.lowres_frames import Grid, LowresFrames

from .choice import AS_FILES, Choice, Trials, trusted
from .grid_solve import COLD_RATE, WARM_RATE, Deadline, Prior, solve
from .light import Light
from .registration import pixel_weights, spread
from .settings import Plan
from .tiles import Tile, look_into, make_tiles

__all__ = ["Found", "expose", "solve_everywhere", "still_pixels"]

# cells along a low-res pixel of the image that moving things are found with
COARSE_CELLS = 4
# frames that it takes to tell what moves
MIN_FOR_MOTION = 5
# steps: of a first image, of the whole from it, of channels from that of luminance, of two values, of finer cells
FIRST_STEPS, FINAL_STEPS, CHANNEL_STEPS, REFINED_STEPS = 150, 400, 250, 120
# of two values, and once more from that image averaged over pixels of the output
SHARP_STEPS, SOFTENED_STEPS = 100, 150
# how near to the end of the range a value of integers is at it; the share of such pixels that is worth their rounds,
# and how many those are, in half of the steps
AT_END, MIN_CLIPPED, CLIPPED_ROUNDS = 1e-6, 1e-3, 4


@dataclass(frozen=True)
class Found:
    """What every part is solved with: where the frames look, which count, and the priors."""

    # file values [n_frames, h, w] or [n_frames, h, w, n_channels], and how they hold light
    images: NDArray[np.float32]
    light: Light
    # whether values at the ends of the range may lie beyond it: integers do
    is_clipped: bool
    # grey; only where they look is used
    frames: LowresFrames
    reference: int
    # [n_frames] 0 for outliers; [n_frames, 2] gain and offset
    weights: Tensor
    exposures: Tensor
    # weight of each pixel [n_frames, h, w] where the whole is one part
    pixels: Tensor
    choice: Choice
    # of each channel, on the cells of the choice
    priors: list[Prior]
    plan: Plan


@dataclass(frozen=True)
class _Part:
    """The frames of one part: grey, and the light of each channel; weights of the pixels, and which there are."""

    frames: LowresFrames
    channels: list[Tensor]
    pixels: Tensor
    is_inside: Tensor


def expose(values: Tensor, exposures: Tensor) -> Tensor:
    """Undo gain and offset [n_frames, 2] of frames [n_frames, h, w]."""
    gain, offset = exposures.to(values.device)[:, :, None, None].unbind(1)
    return (values - offset) / gain


def still_pixels(frames: LowresFrames, weights: Tensor, reference: int, pixels: Tensor | None = None) -> Tensor:
    """Weight of each pixel [n_frames, h, w], 0 where something moves through the scene.

    Parameters
    ----------
    frames : LowresFrames
        What was measured.
    weights : Tensor, shape (n_frames,)
        0 for outliers.
    reference : int
        Frame to start from.
    pixels : Tensor, shape (n_frames, h, w), optional
        0 for pixels that are not there.
    """
    there = torch.ones_like(frames.frames) if pixels is None else pixels
    pixels = spread(weights, frames) * there
    if weights.sum() < MIN_FOR_MOTION:
        return pixels
    grid = frames.grid(COARSE_CELLS)
    image = grid.enlarge(frames.frames[reference])
    for _ in range(3):
        equations = frames.equations(grid, pixels)
        image = solve(equations, image, frames.psf, grid, Prior(0.5, 0.02), 80, learning_rate=COLD_RATE)
        pixels = pixel_weights(frames, grid, image, weights) * there
    return pixels


def solve_everywhere(
    found: Found, deadline: Deadline, on_part: Callable[[int, int], None] = lambda done, total: None
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve every part and blend them.

    Parameters
    ----------
    found : Found
        Frames and priors.
    deadline : Deadline
        When all parts should be done.
    on_part : callable
        Called with the number of parts that are done and that there are.

    Returns
    -------
    image : Tensor, shape (n_channels, h * plan.fit, w * plan.fit)
        Light, on the CPU where there are several parts.
    bounds : Tensor, shape (n_channels, 2)
        A range that holds the values of each channel.
    shares : Tensor, shape (n_frames,)
        Share of each frame's pixels that was used.
    """
    height, width = found.frames.frames.shape[1:]
    tiles = make_tiles(height, width, found.plan.side)
    if len(tiles) == 1:
        image, part = _solve_part(found, tiles[0], deadline)
        return image, _bounds(found, image), part.pixels.mean((1, 2))
    cells = found.plan.fit
    whole = torch.zeros(len(found.priors), height * cells, width * cells)
    used, seen = torch.zeros(len(found.weights)), torch.zeros(len(found.weights))
    for index, tile in enumerate(tiles):
        image, part = _solve_part(found, tile, deadline.share(1 / (len(tiles) - index)))
        tile.blend(whole, image.cpu(), cells)
        used += part.pixels.sum((1, 2)).cpu()
        seen += part.is_inside.sum((1, 2))
        on_part(index + 1, len(tiles))
    return whole, _bounds(found, whole), used / seen.clamp(min=1)


def _bounds(found: Found, image: Tensor) -> Tensor:
    """The range [n_channels, 2] of the priors; where there is none, or a part had none, that of the image."""

    def of_channel(prior: Prior, values: Tensor) -> tuple[float, float]:
        low, high = prior.bounds or (0.0, 0.0)
        is_kept = low - AT_END <= float(values.min()) and float(values.max()) <= high + AT_END
        return (low, high) if is_kept else _spanned(values)

    return torch.tensor([of_channel(*pair) for pair in zip(found.priors, image, strict=True)])


def _spanned(image: Tensor) -> tuple[float, float]:
    """A range that holds all values of an image with some room, so that a logistic function can reach them."""
    low, high = float(image.min()), float(image.max())
    room = 0.02 * (high - low) + 1e-3
    return low - room, high + room


def _cut(found: Found, tile: Tile) -> _Part:
    """The frames of a part, and the weights of their pixels."""
    images, frames, is_inside = look_into(found.images, found.frames, tile)
    device = found.frames.frames.device
    values = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    channels = [expose(values, found.exposures) for values in found.light.channels(values)]
    frames = frames.with_values(found.light.grey(channels).contiguous())
    if tile.is_whole:
        return _Part(frames, channels, found.pixels, is_inside)
    pixels = still_pixels(frames, found.weights, found.reference, is_inside.float().to(device))
    return _Part(frames, channels, pixels, is_inside)


def _solve_part(found: Found, tile: Tile, deadline: Deadline) -> tuple[Tensor, _Part]:
    """The image [n_channels, rows, cols] of a part on ``plan.fit`` cells a low-res pixel, and its frames."""
    part, plan, choice = _cut(found, tile), found.plan, found.choice
    if tile.is_whole and choice.image.shape == part.frames.grid(choice.cells).shape:
        first = choice.image
    else:
        trial = part.frames.grid(plan.trial)
        start = trial.enlarge(part.frames.frames[found.reference])
        plain = choice.prior.on_finer(plan.trial / choice.cells).plain()
        soon = deadline.share(0.2)
        first = _solve_on(trial, part, part.frames.frames, start, plain, FIRST_STEPS, COLD_RATE, soon, found.light)
    if not tile.is_whole:
        found = _suited(found, part, first)
        choice = found.choice
    images = []
    for index, prior in enumerate(found.priors):
        until = deadline.share(1 / (len(found.priors) - index))
        images.append(_solve_channel(found, part, index, prior, first, until))
    cells = max(plan.final, choice.cells)
    image = torch.stack([part.frames.grid(cells).crop(image) for image in images])
    return (avg_pool2d(image, cells // plan.fit) if cells > plan.fit else image), part


def _suited(found: Found, part: _Part, first: Tensor) -> Found:
    """The priors without a range, or without what drives values to its ends, where that predicts a part better.

    The search saw the busiest window alone; a photograph on a page of text is something else.
    """
    choice, cells = found.choice, found.plan.trial
    if choice.prior.bounds is None:
        return found
    generator = torch.Generator().manual_seed(0)
    trials = Trials(part.frames, part.frames.grid(cells), part.pixels, generator, found.light)
    plain = choice.prior.on_finer(cells / choice.cells).plain()
    free, bounded = (trials.attempt(prior, first) for prior in (replace(plain, bounds=None), plain))
    has_range = bounded.mse < free.mse
    if has_range and choice.prior.contrast:
        finer = trials.on(part.frames.grid(choice.cells))
        if finer.attempt(choice.prior, _resized(first, finer.grid)).is_surely_better(bounded):
            return found
    elif has_range:
        return found

    def reduced(prior: Prior) -> Prior:
        kept = prior.bounds if has_range else None
        return replace(prior.on_finer(cells / choice.cells), bounds=kept, contrast=0.0)

    priors = [reduced(prior) for prior in found.priors]
    return replace(found, choice=replace(choice, prior=reduced(choice.prior), cells=cells), priors=priors)


def _solve_channel(
    found: Found, part: _Part, index: int, prior: Prior, first: Tensor, deadline: Deadline
) -> Tensor:  # fmt: skip
    """The image of a channel on the finest cells, from that of luminance."""
    plan, choice, is_only = found.plan, found.choice, len(part.channels) == 1
    values, image = part.channels[index], first
    is_alpha = found.light.has_alpha and index == len(part.channels) - 1
    light = AS_FILES if is_alpha else found.light
    if not is_only:
        trial = part.frames.grid(plan.trial)
        # colours differ in what is smooth, their edges are those of luminance; alpha is something else
        shared = torch.zeros_like(first) if is_alpha else first
        left = values[found.reference] - (0 if is_alpha else part.frames.frames[found.reference])
        image = _resized(shared, trial) + trial.enlarge(left)
    is_sharp = choice.cells > plan.trial
    n_steps, rate = (SHARP_STEPS, WARM_RATE) if is_sharp else (FINAL_STEPS if is_only else CHANNEL_STEPS, COLD_RATE)
    needs_more = plan.final > choice.cells
    until = deadline.share(0.4) if needs_more else deadline
    grid = part.frames.grid(choice.cells)
    if found.is_clipped:
        prior = _not_negative(prior)
    if found.is_clipped and float(_at_ends(found, values).any(0).float().mean()) > MIN_CLIPPED:
        for n_left in range(CLIPPED_ROUNDS, 0, -1):
            values = _unclipped(found, part, part.channels[index], image)
            some, soon = n_steps // (2 * CLIPPED_ROUNDS), until.share(0.5 / n_left)
            image = _solve_on(grid, part, values, image, prior, some, rate, soon, light)
        n_steps //= 2
        values = _unclipped(found, part, part.channels[index], image)
    soon = until.share(0.4) if is_sharp else until
    image = _solve_on(grid, part, values, image, prior, n_steps, rate, soon, light)
    if is_sharp:
        # without time for all of its steps an averaged image would stay blurred
        is_timely = soon.left > 0
        start = _softened(image, part.frames.grid(plan.output)) if is_timely else image
        image = _solve_on(grid, part, values, start, prior, SOFTENED_STEPS, rate, until, light, is_anchored=is_timely)
    if needs_more:
        finer = prior.on_finer(plan.final / choice.cells)
        grid = part.frames.grid(plan.final)
        image = _solve_on(grid, part, values, image, finer, REFINED_STEPS, 0.01, deadline, light)
    return image


def _not_negative(prior: Prior) -> Prior:
    """Without values below zero, which frames sharpened in the camera ask for: files cannot hold them."""
    low, high = prior.bounds or (0.0, math.inf)
    return replace(prior, bounds=(max(low, 0.0), high))


def _solve_on(
    grid: Grid, part: _Part, values: Tensor, start: Tensor, prior: Prior, n_steps: int, rate: float, until: Deadline,
    light: Light, *, is_anchored: bool = False,
) -> Tensor:  # fmt: skip
    """A solution with all pixels from an image on any grid, which it may be pulled to."""
    frames = part.frames.with_values(values)
    equations = frames.equations(grid, trusted(part.pixels, values, light))
    start = _resized(start, grid)
    return solve(
        equations, start, frames.psf, grid, prior, n_steps, learning_rate=rate, deadline=until,
        tv_map=light.slope(start), anchor=start if is_anchored else None,
    )  # fmt: skip


def _softened(image: Tensor, pixels: Grid) -> Tensor:
    """An image averaged over the output's pixels, smooth between them.

    Values driven to two ends are sure of every edge to a fraction of a pixel, the frames are not: a second descent from
    what is known for sure ends nearer to the scene.
    """
    averaged = interpolate(image[None, None], pixels.shape, mode="area")
    low, high = float(image.min()), float(image.max())
    return interpolate(averaged, image.shape, mode="bicubic")[0, 0].clamp(low, high)


def _at_ends(found: Found, values: Tensor) -> Tensor:
    """Whether values [n_frames, h, w] are at the lower and at the upper end of what files hold: [2, n_frames, h, w]."""
    low, high = (expose(torch.full_like(values[:, :1, :1], end), found.exposures) for end in (0.0, 1.0))
    return torch.stack([values <= low + AT_END, values >= high - AT_END])


def _unclipped(found: Found, part: _Part, values: Tensor, image: Tensor) -> Tensor:
    """The values, but of pixels at an end of the range what ``image`` predicts if that is beyond it.

    White says "at least this": an image that is brighter there contradicts nothing.
    """
    is_low, is_high = _at_ends(found, values)
    cells = round(image.shape[0] / part.frames.grid(1).shape[0])
    samples, is_known = part.frames.predict(part.frames.grid(cells), image)
    predicted = torch.where(is_known, samples.values, values)
    values = torch.where(is_high, torch.maximum(values, predicted), values)
    return torch.where(is_low, torch.minimum(values, predicted), values)


def _resized(image: Tensor, grid: Grid) -> Tensor:
    """An image on the cells of another grid of the same extent."""
    return image if image.shape == grid.shape else interpolate(image[None, None], grid.shape, mode="bilinear")[0, 0]
