"""Where large frames look, by several windows over them: what is left over in each, and the motion that fits them all.

A turn found in one window is extrapolated to the frame's far end, and its error with it. Shifts that are left over at
places far from one another are interpolated instead. Lengths are low-res pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from nerfkit.scenes.observations.lowres_frames import Grid, LowresFrames

from .grid_solve import COLD_RATE, Deadline, Prior, solve
from .registration import (
    frame_residuals,
    gauss_newton,
    inlier_weights,
    phase_correlation,
    spread,
    stepped,
    take_step,
)
from .settings import WINDOW
from .tiles import Span, Tile, look_into

__all__ = ["NAMES", "Seen", "choose_windows", "fit_motion", "look", "register_by_windows", "richer", "windows_for"]

# side of a window, and how many there are along each side of a frame: nine give a homography's eight numbers twice over
SIDE, N_ALONG = WINDOW // 2, 3
# low-res pixels between places for a window
STEP = SIDE // 8
# windows with less than this share of the most structured one's structure tell of noise
MIN_STRUCTURE = 0.02
# cells along a low-res pixel, rounds of image and shifts in a window, and steps of each in a round
CELLS, ROUNDS, STEPS, SHIFT_STEPS = 4, 6, 30, 2
# weight of the total variation at the first round and at the last, and a pixel's error before it is known
TV_WEIGHTS, FIRST_SIGMA = (8.0, 1.0), 0.015
# what phase correlation finds beyond this is further than Gauss-Newton reaches; half of that is its own error
FAR = 0.5
# share of a window's pixels that a frame must have to count there
MIN_INSIDE = 0.75
# standard deviation of a shift that is not noise: the image's errors, alike in all of a window's pixels
FLOOR = 0.01
# standard deviation of a motion's change at the frame's sides before anything is seen, low-res pixels
SPREAD = 2.0
# rounds of reweighting: with absolute errors, which have one minimum, then with what forgets a window that is far off
ABSOLUTE_ROUNDS, FORGETTING_ROUNDS = 15, 10
# errors, in standard deviations, at which a window's weight is halved: 95 % as good as least squares where none is off
FORGIVEN = 2.385
# times that all windows are looked at
PASSES = 2
# misfit from which a richer motion is worth a word, low-res pixels, and the share of it that this may leave
MISFIT, MUCH_LESS = 0.05, 0.5
N_PARAMETERS = {"shift": 2, "affine": 6, "homography": 8}
NAMES = {"shift": "shifts", "affine": "affine maps", "homography": "homographies"}


@dataclass(frozen=True)
class Seen:
    """How far frames are off in a window."""

    # (x, y) of its middle in the reference frame
    centre: tuple[float, float]
    # [n_frames, 2] shift that is left over, against the reference frame's
    moves: Tensor
    # [n_frames, 2, 2] inverse of their covariance; 0 where a frame does not show the window
    information: Tensor
    # [n_frames] 1 for frames that show what the others do
    weights: Tensor


def choose_windows(frame: Tensor, inset: tuple[int, int]) -> list[tuple[int, int]]:
    """Corners (top, left) of windows spread over a frame [h, w].

    The frame is divided in at most ``N_ALONG`` x ``N_ALONG`` parts. Each has its most structured window, unless there
    is next to nothing in it; ``inset`` rows and columns at the frame's border are left out.
    """
    rows, cols = (_parts(length, spare) for length, spare in zip(frame.shape, inset, strict=True))
    found = []
    for (top, bottom), (left, right) in itertools.product(rows, cols):
        structure = _structure(frame[top:bottom, left:right])
        i, j = divmod(int(structure.argmax()), structure.shape[1])
        found.append((float(structure.max()), (top + i * STEP, left + j * STEP)))
    least = MIN_STRUCTURE * max(most for most, _ in found)
    return [corner for most, corner in found if most > least]


def _parts(length: int, inset: int) -> list[tuple[int, int]]:
    """First and last of the parts that a side is divided in, each long enough for a window."""
    inset = max(0, min(inset, (length - SIDE) // 2))
    n = min(N_ALONG, max(1, (length - 2 * inset) // SIDE))
    return list(itertools.pairwise(inset + (length - 2 * inset) * index // n for index in range(n + 1)))


def _structure(frame: Tensor) -> Tensor:
    """How well a shift is told in windows whose corners are ``STEP`` apart [rows, cols].

    The smaller eigenvalue of the slopes' products: where all edges have one direction, a shift along them is open.
    """
    down, across = frame.diff(dim=0)[:, :-1], frame.diff(dim=1)[:-1]
    products = torch.stack([down.square(), across.square(), down * across])[None]
    size = [min(SIDE, length) - 1 for length in frame.shape]
    rr, cc, rc = avg_pool2d(products, size, stride=STEP)[0]
    return (rr + cc) / 2 - ((rr - cc).square() / 4 + rc.square()).sqrt()


def look(
    frames: LowresFrames, corner: tuple[int, int], weights: Tensor, reference: int, deadline: Deadline
) -> Seen:  # fmt: skip
    """Solve for the image in a window and for the frames' shifts there.

    Parameters
    ----------
    frames : LowresFrames
        Registered to a few pixels.
    corner : (int, int)
        Top and left of the window.
    weights : Tensor, shape (n_frames,)
        0 for frames that are left out at first.
    reference : int
        Frame that the others' shifts are against.
    deadline : Deadline
        No round but the first is begun after it.
    """
    (top, left), (height, width) = corner, (min(SIDE, length) for length in frames.frames.shape[1:])
    tile = Tile(Span(top, top + height, top, top + height), Span(left, left + width, left, left + width))
    values, part, is_inside = look_into(frames.frames.cpu().numpy(), frames, tile)
    part = part.with_values(torch.from_numpy(values).to(frames.frames.device))
    rough = torch.from_numpy(phase_correlation(values, reference))
    distance = rough.norm(dim=1, keepdim=True)
    start = part.shifts + rough * ((distance > FAR) & (distance < min(height, width) / 8))
    # between cells an image is smoother than on them, and a reference that looks at their corners would be held there
    seen, grid, image, weights = _align(part.moved(start + 0.5 / CELLS), weights, reference, deadline)
    moves = seen.shifts - part.shifts
    noise = frame_residuals(seen, grid, image).cpu().double().square()[:, None, None]
    covariance = noise * torch.linalg.inv(gauss_newton(seen, grid, image)[0].cpu())
    information = torch.linalg.inv(covariance + FLOOR**2 * torch.eye(2, dtype=torch.float64))
    information[is_inside.float().mean((1, 2)) < MIN_INSIDE] = 0
    return Seen((left + width / 2, top + height / 2), moves - moves[reference], information, weights)


def _align(
    frames: LowresFrames, weights: Tensor, reference: int, deadline: Deadline
) -> tuple[LowresFrames, Grid, Tensor, Tensor]:  # fmt: skip
    """Shifted frames, the grid, their image on it, and 1 for frames that show what the others do.

    All frames move, the reference too: the image lies where most of them have it, and one that stands still would hold
    it back for many rounds.
    """
    grid = frames.grid(CELLS)
    image, sigma = grid.enlarge(frames.frames[reference]), FIRST_SIGMA
    for index in range(ROUNDS):
        tv_weight = TV_WEIGHTS[0] * (TV_WEIGHTS[1] / TV_WEIGHTS[0]) ** (index / (ROUNDS - 1))
        equations, prior = frames.equations(grid, spread(weights, frames)), Prior(tv_weight, sigma)
        image = solve(equations, image, frames.psf, grid, prior, STEPS, learning_rate=COLD_RATE)
        for _ in range(SHIFT_STEPS):
            frames = take_step(frames, grid, image)
        residuals = frame_residuals(frames, grid, image)
        weights = inlier_weights(residuals) if len(frames) > 2 else weights
        sigma = max(float(residuals[weights > 0].median()), 1e-3)
        if deadline.left <= 0:
            break
    return frames, grid, image, weights


def fit_motion(seen: list[Seen], motion: str, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Steps [n_frames, n_parameters] of a motion that agree best with the windows, and what they leave over.

    Least squares, reweighted so that a window in which something else moves does not count; steps are in the basis of
    :func:`~.registration.stepped` for frames of ``size`` (width, height). What is left over is
    [n_windows, n_frames, 2].
    """
    moves, information = (torch.stack([getattr(one, name) for one in seen]) for name in ("moves", "information"))
    basis = _basis(torch.tensor([one.centre for one in seen], dtype=torch.float64), size)[..., : N_PARAMETERS[motion]]
    unseen = torch.eye(basis.shape[-1], dtype=torch.float64) / SPREAD**2
    factors, steps, left = torch.ones(moves.shape[:2], dtype=torch.float64), moves, moves
    for turn in range(ABSOLUTE_ROUNDS + FORGETTING_ROUNDS):
        share = information * factors[..., None, None]
        normal = torch.einsum("wip,wfij,wjq->fpq", basis, share, basis) + unseen
        steps = torch.linalg.solve(normal, torch.einsum("wip,wfij,wfj->fp", basis, share, moves))
        left = moves - torch.einsum("wip,fp->wfi", basis, steps)
        errors = torch.einsum("wfi,wfij,wfj->wf", left, information, left)
        factors = 1 / errors.sqrt().clamp(min=1) if turn < ABSOLUTE_ROUNDS else 1 / (1 + errors / FORGIVEN**2)
    return steps, left


def _basis(centres: Tensor, size: tuple[int, int]) -> Tensor:
    """Moves [n, 2, 8] of points [n, 2] (x, y) by each step of a homography."""
    width, height = size
    x, y = 2 * centres[:, 0] / width - 1, (2 * centres[:, 1] - height) / width
    one, none = torch.ones_like(x), torch.zeros_like(x)
    along_x = torch.stack([one, none, x, y, none, none, x * x, x * y], dim=1)
    along_y = torch.stack([none, one, none, none, x, y, x * y, y * y], dim=1)
    return torch.stack([along_x, along_y], dim=1)


def richer(motion: str) -> list[str]:
    """Motions of more numbers, the next first.

    Examples
    --------
    >>> richer("shift")
    ['affine', 'homography']
    """
    names = list(N_PARAMETERS)
    return names[names.index(motion) + 1 :]


def windows_for(frames: LowresFrames, motion: str, reference: int) -> list[tuple[int, int]]:
    """Corners of the windows that large frames are registered by; none where there are too few for their motion."""
    corners = choose_windows(frames.frames[reference], _inset(frames))
    # one more than fix its numbers
    return corners if len(corners) > N_PARAMETERS[motion] // 2 else []


def register_by_windows(
    frames: LowresFrames, corners: list[tuple[int, int]], weights: Tensor, motion: str, reference: int,
    deadline: Deadline, say: Callable[[str], None], *, may_be_richer: bool = False,
) -> tuple[LowresFrames, str, Tensor]:  # fmt: skip
    """Move frames so that they agree all over the reference frame.

    Parameters
    ----------
    frames : LowresFrames
        Registered to a few pixels.
    corners : list of (int, int)
        Of the windows, as :func:`windows_for` gives them.
    weights : Tensor, shape (n_frames,)
        0 for outliers.
    motion : {"shift", "affine", "homography"}
        What moves.
    reference : int
        Frame that stands still.
    deadline : Deadline
        When it should be over; each window has a round of steps even so.
    say : callable
        Called with a line for a person.
    may_be_richer : bool
        Take a richer motion where it leaves much less; otherwise a line advises it.

    Returns
    -------
    frames : LowresFrames
    motion : {"shift", "affine", "homography"}
        What moved.
    votes : Tensor, shape (n_windows, n_frames)
        1 where a frame shows in a window what the others do.
    """
    say(f"registering: {len(corners)} windows over the frame")
    size = frames.frames.shape[2], frames.frames.shape[1]
    before, left, seen = math.nan, torch.empty(0), list[Seen]()
    for turn in range(PASSES):
        began = Deadline.after(0)
        seen = [
            look(frames, corner, weights, reference, deadline.share(1 / (len(corners) - index)))
            for index, corner in enumerate(corners)
        ]
        if turn == 0:
            before = misfit(seen, torch.stack([one.moves for one in seen]), 0)
        steps, left = fit_motion(seen, motion, size)
        better = _better(seen, motion, misfit(seen, left, N_PARAMETERS[motion]), size) if may_be_richer else None
        if better is not None:
            say(f"registering: {NAMES[better[0]]} explain the frames all over, {NAMES[motion]} do not")
            motion = better[0]
            steps, left = fit_motion(seen, motion, size)
        frames = stepped(frames, steps)
        # the next would take as long
        if deadline.left < -began.left:
            break
    after = misfit(seen, left, N_PARAMETERS[motion])
    say(f"registering: {len(seen)} windows were {before:.3f} low-res pixels (rms) from agreement, now {after:.3f}")
    if advice := _advice(seen, motion, after, size):
        say(advice)
    return frames, motion, torch.stack([one.weights for one in seen])


def _inset(frames: LowresFrames) -> tuple[int, int]:
    """Rows and columns at the reference frame's border that a fifth of the frames do not see; a quarter at most."""
    height, width = frames.frames.shape[1:]
    corners = torch.tensor([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]], dtype=torch.float64)
    there = frames.matrices() @ corners
    moved = (there[:, :2] / there[:, 2:] - corners[:2]).abs().amax(2)
    x, y = moved.quantile(0.8, dim=0).ceil().int().tolist()
    return min(y, height // 4), min(x, width // 4)


def misfit(seen: list[Seen], left: Tensor, n_parameters: int) -> float:
    """Root mean square over the frames of what a motion leaves over in the middle window, low-res pixels.

    As large as it would be in windows that were not fitted; infinite where these fix the motion alone.
    """
    n_free = 2 * len(seen) - n_parameters
    if n_free <= 0:
        return math.inf
    is_seen = torch.stack([one.information[:, 0, 0] for one in seen]) > 0
    squares = torch.where(is_seen, left.square().sum(2), math.nan).nanmedian(dim=0).values
    # the reference frame is 0 by definition
    return math.sqrt(float(squares[squares > 0].mean()) * 2 * len(seen) / n_free)


def _better(seen: list[Seen], motion: str, after: float, size: tuple[int, int]) -> tuple[str, float] | None:
    """A richer motion and the misfit that it leaves, where ``after`` is more than it should be and that much less."""
    best, least = motion, after
    for more in richer(motion):
        less = misfit(seen, fit_motion(seen, more, size)[1], N_PARAMETERS[more])
        if less < MUCH_LESS * least:
            best, least = more, less
    return None if after <= MISFIT or best == motion else (best, least)


def _advice(seen: list[Seen], motion: str, after: float, size: tuple[int, int]) -> str | None:
    """A line about a richer motion that leaves much less, where the windows disagree by more than they should."""
    better = _better(seen, motion, after, size)
    if better is None:
        return None
    return (
        f"registering: {NAMES[motion]} leave places of the frame {after:.2f} low-res pixels (rms) apart, "
        f"where --register {better[0]} would leave {better[1]:.2f}"
    )
