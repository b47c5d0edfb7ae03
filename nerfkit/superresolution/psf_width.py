"""How wide the PSF of a low-res pixel is, by how well what was held out is predicted."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import torch

from nerfkit.heldout import Trial, search_line
from nerfkit.limits import Limit
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.scenes.observations.psf import Psf
from nerfkit.scenes.transfer import Transfer
from nerfkit.solvers.grid import Prior

from .priors import START
from .trials import Trials

__all__ = ["USUAL_WIDTHS", "choose_width", "doubt"]

logger = logging.getLogger(__name__)

# steps of a trial, and cells of a low-res pixel that it has; those of a first doubt, which whole cells hold exactly
N_STEPS, CELLS = 120, 8
DOUBT_STEPS, DOUBT_CELLS = 100, 4
# parts that the frames are held out in
N_FOLDS = 3
# widths beside a usual one, as fractions of it; the fraction of its error that one of them must stay below for a
# doubt; the frames that it takes to tell
DOUBTS, DOUBTFUL, MIN_FRAMES = (0.75, 1.25), 0.98, 4
# where the search starts, low-res pixels
USUAL_WIDTHS = {"box": 1.0, "gaussian": 0.42}
# widths that are tried: sides of whole cells, which cells hold exactly, and standard deviations a twelfth apart
WIDTHS = {
    "box": [n / CELLS for n in range(2, 4 * CELLS + 1)],
    "gaussian": [USUAL_WIDTHS["gaussian"] * 2 ** (n / 8) for n in range(-16, 21)],
}
# distances between widths that are tried, in places of that list
STRIDES = (4, 2, 1)


def doubt(
    stack: FrameStack, view: LowresView, seed: int, transfer: Transfer, limit: Limit | None = None
) -> float | None:  # fmt: skip
    """A width a quarter smaller or larger that surely predicts held-out frames better than the view's own, if any.

    Each frame is held out once, with every ``N_FOLDS``-th other: neighbours in its frame help to predict a pixel
    whatever the PSF, and a few frames alone say too little.

    Cameras that skip pixels to make small frames, or blur them, have another PSF than a pixel's own square; an image
    for the wrong one rings. Frames whose PSF is right predict worse by 8 to 170 % with those beside it.
    """
    if int(stack.is_used.sum()) < MIN_FRAMES:
        return None
    kind, width = view.psf.kind, view.psf.width
    grid = view.grid(DOUBT_CELLS)
    limit = Limit() if limit is None else limit
    if not limit.allows(N_FOLDS * (1 + len(DOUBTS)) * DOUBT_STEPS * math.prod(grid.shape), "doubts about the PSF"):
        return None
    folds = [
        Trials(stack, view, grid, seed, transfer, fold=fold, n_folds=N_FOLDS, limit=limit) for fold in range(N_FOLDS)
    ]

    def predicted(part: float) -> Trial[Prior]:
        tried = [_tried(trials, Psf(kind, part * width), DOUBT_CELLS, DOUBT_STEPS) for trials in folds]
        return replace(tried[0], squares=torch.cat([one.squares for one in tried]))

    usual, found = predicted(1.0), {part: predicted(part) for part in DOUBTS}
    ratios = {part: round(other.mse / usual.mse, 3) for part, other in found.items()}
    logger.debug("held-out error by the PSF's width, as fractions of the usual one's: %s", ratios)
    best = min(found, key=lambda part: found[part].mse)
    is_doubtful = found[best].mse < DOUBTFUL * usual.mse and found[best].is_surely_better(usual)
    is_doubtful = is_doubtful and not limit.is_over
    return best * width if is_doubtful else None


def choose_width(trials: Trials, kind: str, first: float) -> Psf:
    """The PSF whose width predicts best.

    A PSF that is too narrow still predicts well, from an image that is blurred instead; one that is too wide does not.
    So the answer is at times a little narrow.

    Parameters
    ----------
    trials : Trials
        With motions that are trusted.
    kind : {"box", "gaussian"}
    first : float
        Width that is tried first, low-res pixels.
    """
    widths = WIDTHS[kind]
    origin = min(range(len(widths)), key=lambda place: abs(widths[place] - first))

    def at(place: int) -> Psf | None:
        return Psf(kind, widths[origin + place]) if 0 <= origin + place < len(widths) else None

    def attempt(psf: Psf, _: Trial[Psf]) -> Trial[Psf] | None:
        if not trials.limit.allows(N_STEPS * trials.grid.shape[0] * trials.grid.shape[1], "trials of the PSF's width"):
            return None
        tried = _tried(trials, psf, CELLS, N_STEPS)
        return Trial(psf, tried.image, tried.squares)

    start = Psf(kind, widths[origin])
    tried = _tried(trials, start, CELLS, N_STEPS)
    found = search_line(Trial(start, tried.image, tried.squares), at, attempt, STRIDES)
    return min(found.values(), key=lambda trial: trial.mse).setting


def _tried(trials: Trials, psf: Psf, cells: int, n_steps: int) -> Trial[Prior]:
    return trials.seen_by(trials.view.with_psf(psf), cells).first(START, n_steps=n_steps)
