"""How well the frames agree with an image, and how sure it is: residuals, power spectrum, uncertainty."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.scenes.observations.lowres_frames import Grid, LowresFrames

from .grid_solve import Prior, solve
from .registration import spread

__all__ = ["power_spectrum", "residual_map", "uncertainty"]

# steps of a half's solution, and cells along a low-res pixel that it has
HALF_STEPS, HALF_CELLS = 120, 8
# pixels of frames that are predicted at a time
CHUNK = 2**22
# standard deviation that maps are smoothed by, low-res pixels
SMOOTHING = 0.75


def residual_map(frames: LowresFrames, grid: Grid, image: Tensor, weights: Tensor) -> Tensor:
    """Root mean squared error of the used frames [h, w] at each pixel of the frame, over all of them.

    Parameters
    ----------
    frames : LowresFrames
        What was measured.
    grid : Grid
        Of the image.
    image : Tensor, shape grid.shape
        What the frames are compared with.
    weights : Tensor, shape (n_frames, h, w)
        Weights of the pixels; those of 0 do not count.
    """
    squares, total = (torch.zeros(frames.frames.shape[1:], device=image.device) for _ in range(2))
    for part, some in frames.chunks(CHUNK):
        samples, is_known = some.predict(grid, image)
        share = weights[part] * is_known
        squares += ((some.frames - samples.values).square() * share).sum(0)
        total += share.sum(0)
    return (squares / total.clamp(min=1e-6)).sqrt()


def uncertainty(frames: LowresFrames, weights: Tensor, prior: Prior, generator: torch.Generator) -> Tensor | None:
    """Standard error of the image at each low-res pixel [h, w], from the data alone; None below four frames.

    The frames are divided in two at random and each half is solved with the same prior. With independent noise, half
    the difference of the two is as large as the error of their mean. What both halves get wrong alike, such as the
    smoothness that the prior imposes, does not show.

    Parameters
    ----------
    frames : LowresFrames
        What was measured.
    weights : Tensor, shape (n_frames,)
        1 for frames that are used.
    prior : Prior
        On cells of 1/8 low-res pixel.
    generator : torch.Generator
        Divides the frames.
    """
    used = torch.nonzero(weights.cpu() > 0)[:, 0]
    if len(used) < 4:
        return None
    order = used[torch.randperm(len(used), generator=generator)]
    grid = frames.grid(HALF_CELLS)
    start = grid.enlarge(frames.frames[used[0]])
    halves = []
    for part in (order[::2], order[1::2]):
        chosen = torch.zeros_like(weights)
        chosen[part] = 1.0
        equations = frames.equations(grid, spread(chosen, frames))
        halves.append(solve(equations, start, frames.psf, grid, prior, HALF_STEPS, learning_rate=0.03))
    squares = ((halves[0] - halves[1]) / 2).square()
    # a sample of one at each place: its neighbours make it an estimate
    squares = torch.nn.functional.avg_pool2d(grid.crop(squares)[None, None], HALF_CELLS)
    taps = torch.exp(-0.5 * (torch.arange(-2, 3, device=squares.device) / SMOOTHING).square())
    kernel = taps[:, None] * taps
    padded = torch.nn.functional.pad(squares, (2,) * 4, mode="replicate")
    return torch.nn.functional.conv2d(padded, (kernel / kernel.sum())[None, None])[0, 0].sqrt()


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
