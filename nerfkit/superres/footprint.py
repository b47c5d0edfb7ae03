"""How wide the footprint of a low-res pixel is, by how well what was kept out is predicted."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from nerfkit.scenes.observations.lowres_frames import LowresFrames, Psf

from .choice import START, Choice, Trials
from .grid_solve import Deadline
from .light import Light

__all__ = ["START_WIDTHS", "choose_width", "doubt"]

logger = logging.getLogger(__name__)

# steps of a trial, and cells of a low-res pixel that it has; those of a first doubt, which whole cells hold exactly
N_STEPS, CELLS = 120, 8
DOUBT_STEPS, DOUBT_CELLS = 100, 4
# widths beside a usual one, as shares of it; the share of its error that one of them must stay below for a doubt; the
# frames that it takes to tell
DOUBTS, DOUBTFUL, MIN_FRAMES = (0.75, 1.25), 0.95, 4
# where the search starts, low-res pixels
START_WIDTHS = {"box": 1.0, "gaussian": 0.42}
# widths that are tried: sides of whole cells, which cells hold exactly, and standard deviations a twelfth apart
WIDTHS = {
    "box": [n / CELLS for n in range(2, 4 * CELLS + 1)],
    "gaussian": [START_WIDTHS["gaussian"] * 2 ** (n / 8) for n in range(-16, 21)],
}
# distances between widths that are tried, in places of that list
STRIDES = (4, 2, 1)


def doubt(frames: LowresFrames, weights: Tensor, light: Light, reference: int, seed: int) -> float | None:
    """A width a quarter smaller or larger that surely predicts kept-out frames better than that of ``frames``, if any.

    Cameras that skip pixels to make small frames, or blur them, have another footprint than a pixel's own square; an
    image for the wrong one rings. Frames whose footprint is right predict worse by 8 to 170 % with those beside it.
    ``weights`` [n_frames, h, w] are of each pixel.
    """
    if int((weights.amax((1, 2)) > 0).sum()) < MIN_FRAMES:
        return None

    def tried(width: float) -> Choice:
        return _try(frames.with_psf(Psf(frames.psf.kind, width)), weights, light, reference, seed, is_doubt=True)

    usual = tried(frames.psf.width)
    others = {share * frames.psf.width: tried(share * frames.psf.width) for share in DOUBTS}
    ratios = {width: round(other.mse / usual.mse, 3) for width, other in others.items()}
    logger.debug("kept-out error by the footprint's width, as shares of the usual one's: %s", ratios)
    best = min(others, key=lambda width: others[width].mse)
    is_better = others[best].mse < DOUBTFUL * usual.mse and others[best].is_surely_better(usual)
    return best if is_better else None


def choose_width(
    frames: LowresFrames, weights: Tensor, light: Light, kind: str, reference: int, seed: int, deadline: Deadline,
    first: float,
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
    first : float
        Width that is tried first.
    """
    widths = WIDTHS[kind]
    found: dict[int, float] = {}

    def error(place: int) -> float:
        if place not in found:
            tried = frames.with_psf(Psf(kind, widths[place]))
            found[place] = _try(tried, weights, light, reference, seed).mse
        return found[place]

    best = min(range(len(widths)), key=lambda place: abs(widths[place] - first))
    for stride in STRIDES:
        for step in (stride, -stride):
            while deadline.left > 0 and 0 <= best + step < len(widths) and error(best + step) < error(best):
                best += step
    logger.debug("kept-out errors by width: %s", {widths[place]: mse for place, mse in sorted(found.items())})
    return Psf(kind, widths[best])


def _try(
    frames: LowresFrames, weights: Tensor, light: Light, reference: int, seed: int, *, is_doubt: bool = False
) -> Choice:  # fmt: skip
    """A solution with the footprint of ``frames``: judged by frames and coarser for a doubt, else by pixels."""
    cells, n_steps = (DOUBT_CELLS, DOUBT_STEPS) if is_doubt else (CELLS, N_STEPS)
    grid = frames.grid(cells)
    trials = Trials(frames, grid, weights, torch.Generator().manual_seed(seed), light, is_whole=is_doubt)
    return trials.first(grid.enlarge(frames.frames[reference]), START, n_steps)
