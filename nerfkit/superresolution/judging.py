"""What an image says the frames should have measured, and how far off that is: the judge of what is written."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nerfkit.scenes.fields.grid import Grid
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.scenes.transfer import Transfer

__all__ = ["doubt", "frames_error", "left_out"]

# pixels of frames that are predicted at a time
CHUNK = 2**22
# fraction of the frames' contrast that a picture may leave unexplained without a word: up to 0.10 where a global motion
# holds, 0.29 and more with parallax
UNEXPLAINED = 0.25
# fraction of the frames that may be left out without a word: single ones show something else, many are misplaced
LEFT_OUT = 0.1


def doubt(unexplained: float | None, motions: str) -> str:
    """What to say of a picture that leaves so much of the frames' contrast unexplained; "" of one that does not.

    Examples
    --------
    >>> doubt(0.1, "shifts"), doubt(0.4, "shifts")[:60]
    ('', "the picture leaves 40% of the frames' contrast unexplained: ")
    """
    if unexplained is None or unexplained <= UNEXPLAINED:
        return ""
    return (
        f"the picture leaves {unexplained:.0%} of the frames' contrast unexplained: more moved between them than "
        f"{motions} tell; give a part that moves as one (--crop X,Y,W,H), or fewer frames"
    )


def left_out(n_left_out: int, n_frames: int) -> str:
    """What to say of so many frames that were left out; "" of few.

    Examples
    --------
    >>> left_out(1, 20), left_out(5, 20)[:44]
    ('', '5 of 20 frames (25%) are left out, as they d')
    """
    if n_left_out < max(LEFT_OUT * n_frames, 1):
        return ""
    return (
        f"{n_left_out} of {n_frames} frames ({n_left_out / n_frames:.0%}) are left out, as they do not fit the "
        "picture: if they show the same scene, it is their motions that are wrong; registered.csv lists them, "
        "--register homography or --crop X,Y,W,H may find them"
    )


@torch.no_grad()
def frames_error(stack: FrameStack, view: LowresView, image: Tensor, transfer: Transfer) -> float:
    """Mean squared error of the used pixels that an image predicts, in fractions of the range of file values.

    Parameters
    ----------
    stack, view : FrameStack, LowresView
        What was measured, and how.
    image : Tensor, shape (rows, cols)
        Grey linear radiance of the reference frame, on square cells.
    transfer : Transfer
        How files hold it.

    Returns
    -------
    error : float
        NaN where no used pixel lies wholly within the reference frame.
    """
    width, height = view.size
    grid = Grid(height, width, image.shape[0] // height)
    squares, total = 0.0, 0.0
    for part, some in view.chunks(CHUNK):
        samples, is_known = some.sample(grid, image.to(stack.values.device))
        errors = transfer.encode(samples.values) - transfer.encode(stack.values[part])
        weights = (stack.weights[part] * is_known).double()
        squares += float((errors.double().square() * weights).sum())
        total += float(weights.sum())
    return squares / total if total else math.nan
