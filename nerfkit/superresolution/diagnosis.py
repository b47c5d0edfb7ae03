"""How well the frames agree with an image, and how sure it is: residuals, power spectrum, uncertainty."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.scenes.fields.grid import Grid
from nerfkit.scenes.filters import gaussian_filter
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.solvers.grid import COLD_RATE, Prior, solve

__all__ = ["power_spectrum", "residual_map", "uncertainty"]

# steps of a half's solution, and cells along a low-res pixel that it has
HALF_STEPS, HALF_CELLS = 120, 8
# pixels of frames that are predicted at a time
CHUNK = 2**22
# standard deviation that maps are smoothed by, low-res pixels
SMOOTHING = 0.75


def residual_map(stack: FrameStack, view: LowresView, grid: Grid, image: Tensor) -> Tensor:
    """Root mean squared error of the used pixels [h, w] at each place of the frame, over all frames.

    Parameters
    ----------
    stack, view : FrameStack, LowresView
        What was measured, and how.
    grid : Grid
        Of the image.
    image : Tensor, shape grid.shape
        What the frames are compared with.
    """
    squares, total = (torch.zeros(stack.values.shape[1:], device=image.device) for _ in range(2))
    for part, some in view.chunks(CHUNK):
        samples, is_known = some.sample(grid, image)
        weights = stack.weights[part] * is_known
        squares += ((stack.values[part] - samples.values).square() * weights).sum(0)
        total += weights.sum(0)
    return (squares / total.clamp(min=1e-6)).sqrt()


def uncertainty(stack: FrameStack, view: LowresView, prior: Prior, generator: torch.Generator) -> Tensor | None:
    """Standard error of the image at each low-res pixel [h, w], from the data alone; None below four used frames.

    The frames are divided in two at random and each half is solved with the same prior. With independent noise, half
    the difference of the two is as large as the error of their mean. What both halves get wrong alike, such as the
    smoothness that the prior imposes, does not show.

    Parameters
    ----------
    stack, view : FrameStack, LowresView
        What was measured, and how.
    prior : Prior
        On cells of 1/8 low-res pixel.
    generator : torch.Generator
        Divides the frames.
    """
    used = stack.is_used.cpu().nonzero()[:, 0]
    if len(used) < 4:
        return None
    order = used[torch.randperm(len(used), generator=generator)]
    grid = view.grid(HALF_CELLS)
    start = grid.enlarge(stack.values[used[0]])
    halves = []
    for part in (order[::2], order[1::2]):
        chosen = torch.zeros(len(stack))
        chosen[part] = 1.0
        half = stack.with_weights(stack.weights * chosen[:, None, None])
        equations = view.equations(grid, half.values, half.weights)
        halves.append(solve(equations, start, view.point_psf, grid, prior, HALF_STEPS, learning_rate=COLD_RATE))
    squares = ((halves[0] - halves[1]) / 2).square()
    # a sample of one at each place: its neighbours make it an estimate
    squares = torch.nn.functional.avg_pool2d(grid.crop(squares)[None, None], HALF_CELLS)[0, 0]
    return gaussian_filter(squares, SMOOTHING).sqrt()


def power_spectrum(image: NDArray[np.floating], scale: float) -> tuple[list[float], list[float]]:
    """Mean power of an image [h, w] at each spatial frequency, whatever its direction.

    Returns
    -------
    frequencies : list of float
        Cycles per low-res pixel; 0.5 is the most that one frame can hold.
    power : list of float
        Mean squared amplitude, the mean of the image left out.
    """
    h, w = image.shape
    window = np.hanning(h)[:, None] * np.hanning(w)
    spectrum = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2 / np.square(window).sum()
    radius = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)) * scale
    edges = np.linspace(0, scale / 2, 41)
    index = np.digitize(radius.ravel(), edges) - 1
    kept = index < len(edges) - 1
    total = np.bincount(index[kept], spectrum.ravel()[kept], len(edges) - 1)
    count = np.bincount(index[kept], minlength=len(edges) - 1)
    is_seen = count > 0
    middles = (edges[1:] + edges[:-1]) / 2
    return middles[is_seen].tolist(), (total[is_seen] / count[is_seen]).tolist()
