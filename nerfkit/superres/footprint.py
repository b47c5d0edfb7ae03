"""How wide the footprint of a low-res pixel is, by how well pixels that were kept out are predicted."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from nerfkit.scenes.observations.lowres_frames import LowresFrames, Psf

from .choice import START, Trials
from .grid_solve import COLD_RATE, Deadline
from .light import Light

__all__ = ["START_WIDTHS", "choose_width"]

logger = logging.getLogger(__name__)

# steps of a trial, and cells of a low-res pixel that it has
N_STEPS, CELLS = 120, 8
# where the search starts, low-res pixels
START_WIDTHS = {"box": 1.0, "gaussian": 0.42}
# widths that are tried: sides of whole cells, which cells hold exactly, and standard deviations a twelfth apart
WIDTHS = {
    "box": [n / CELLS for n in range(2, 4 * CELLS + 1)],
    "gaussian": [START_WIDTHS["gaussian"] * 2 ** (n / 8) for n in range(-16, 21)],
}
# distances between widths that are tried, in places of that list
STRIDES = (4, 2, 1)


def choose_width(
    frames: LowresFrames, weights: Tensor, light: Light, kind: str, reference: int, seed: int, deadline: Deadline
) -> Psf:  # fmt: skip
    """The footprint whose width predicts best.

    A footprint that is too narrow still predicts well, from an image that is blurred instead; one that is too wide does
    not. So the answer is at times a little narrow.

    Parameters
    ----------
    frames : LowresFrames
        With shifts that are trusted.
    weights : Tensor, shape (n_frames, h, w)
        Weight of each pixel.
    light : Light
        How files hold the frames' values.
    kind : {"box", "gaussian"}
    reference : int
        Frame that a solution starts from.
    seed : int
        Draws the pixels that are kept out.
    deadline : Deadline
        No width is tried after it.
    """
    widths = WIDTHS[kind]
    found: dict[int, float] = {}

    def error(place: int) -> float:
        if place not in found:
            tried = frames.with_psf(Psf(kind, widths[place]))
            grid = tried.grid(CELLS)
            trials = Trials(tried, grid, weights, torch.Generator().manual_seed(seed), light)
            image = trials.image(grid.enlarge(tried.frames[reference]), START, N_STEPS, COLD_RATE)
            found[place] = trials.judge(image)
        return found[place]

    best = widths.index(START_WIDTHS[kind])
    for stride in STRIDES:
        for step in (stride, -stride):
            while deadline.left > 0 and 0 <= best + step < len(widths) and error(best + step) < error(best):
                best += step
    logger.debug("kept-out errors by width: %s", {widths[place]: mse for place, mse in sorted(found.items())})
    return Psf(kind, widths[best])
