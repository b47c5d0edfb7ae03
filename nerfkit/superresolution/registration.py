"""Registration: phase correlation first, then the image and the motions in turn. Lengths are low-res pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from nerfkit.limits import Limit
from nerfkit.scenes.fields.grid import Grid
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.motion import Motion, basis
from nerfkit.scenes.observations.exposure import Exposure
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.solvers.grid import COLD_RATE, WARM_RATE, Prior, solve

from .displacement import displacement_step

__all__ = [
    "Registered",
    "correction",
    "find_outliers",
    "fit_exposures",
    "phase_correlation",
    "refine",
    "still_pixels",
]

# positions that the sub-pixel peak of a phase correlation is looked for at, per low-res pixel
UPSAMPLING = 20
# an outlier's residual is this many times the median of all frames, and this many standard deviations above it
OUTLIER_FACTOR, OUTLIER_DEVIATIONS = 1.5, 5.0
# median absolute deviation of a normal distribution of standard deviation 1
NORMAL_MAD = 0.6745
# low-res pixels at a frame's border that Gauss-Newton leaves out: what they see is known worst
BORDER = 2
# most low-res pixels that one Gauss-Newton step may move a frame, steps of it in a round, pixels taken at a time
MAX_MOVE, MOTION_STEPS, CHUNK = 0.25, 3, 2**20
# motions have converged when a round moves the median frame by less than this fraction of a low-res pixel, of which a
# picture knows nothing; rounds as a multiple of those planned that are enough in any case
CONVERGED, MOST_ROUNDS = 0.002, 3
# rounds before frames are judged, and those with the cold rate
UNJUDGED_ROUNDS, COLD_ROUNDS = 4, 3
# the prior and the standard deviation that solutions start with before a residual is known; the least that one is
FIRST, FIRST_SIGMA, MIN_SIGMA = Prior(0.5, 0.02), 0.015, 1e-3
# side of the patches that moving things are looked for in, how many times the usual error theirs is, and low-res pixels
# by which an edge may be misplaced or too soft before it counts as one
PATCH, STRANGE, MISPLACED = 3, 3.0, 0.1
# frames that it takes to tell what moves, and rounds and steps of the image that they are compared with
MIN_FOR_MOTION, STILL_ROUNDS, STILL_STEPS = 5, 3, 80


@dataclass(frozen=True)
class Registered:
    """Where frames look, the weight 0 or 1 of each [n_frames], each one's residual [n_frames], and their image."""

    motion: Motion
    weights: Tensor
    residuals: Tensor
    image: Tensor
    grid: Grid

    @property
    def sigma(self) -> float:
        """Median residual of the used frames."""
        return max(float(self.residuals[self.weights > 0].median()), MIN_SIGMA)


def phase_correlation(
    frames: NDArray[np.floating], reference: int = 0, limit: Limit | None = None
) -> NDArray[np.float64]:  # fmt: skip
    """Shift of each frame against a reference from the peak of their cross-correlation, to 1/20 pixel.

    Parameters
    ----------
    frames : ndarray, shape (n_frames, h, w)
        Grey frames.
    reference : int
        Which one stands still.
    limit : Limit, optional
        Frames that it leaves no time for have NaN.

    Returns
    -------
    shifts : ndarray, shape (n_frames, 2)
        (dx, dy) in low-res pixels: pixel (i, j) of the frame looks at (j + dx, i + dy) of the reference; below half of
        the frame's sides. Method: Guizar-Sicairos et al., Optics Letters 33, 2008.
    """
    from skimage.registration import phase_cross_correlation

    centred = [frame - frame.mean(dtype=np.float64) for frame in frames]
    shifts = np.zeros((len(frames), 2))
    for index, frame in enumerate(centred):
        if index != reference and limit is not None and not limit.allows(0, "the registration of some frames"):
            shifts[index] = np.nan
        elif index != reference:
            found = phase_cross_correlation(
                centred[reference], frame, upsample_factor=UPSAMPLING,
                normalization=None,  # pyright: ignore[reportArgumentType]  as its documentation has it
            )  # fmt: skip
            shifts[index] = found[0][::-1]
    return shifts


def frame_residuals(stack: FrameStack, view: LowresView, grid: Grid, image: Tensor) -> Tensor:
    """Root mean squared error of each frame [n_frames], over the pixels that the grid covers."""
    found = []
    for part, some in view.chunks(CHUNK):
        samples, is_known = some.sample(grid, image)
        is_known = stack.frames(part).where_measured(is_known)
        squares = (samples.values - stack.values[part]).square() * is_known
        found.append((squares.sum((1, 2)) / is_known.sum((1, 2)).clamp(min=1)).sqrt())
    return torch.cat(found)


def inlier_weights(residuals: Tensor) -> Tensor:
    """1 for frames whose residual is like the others', 0 for the rest; of two frames neither is the outlier."""
    if len(residuals) < 3:
        return torch.ones_like(residuals)
    middle = residuals.median().clamp(min=1e-4)
    deviation = (residuals - middle).abs().median() / NORMAL_MAD
    return (residuals < middle + torch.maximum((OUTLIER_FACTOR - 1) * middle, OUTLIER_DEVIATIONS * deviation)).float()


def find_outliers(
    stack: FrameStack, view: LowresView, grid: Grid, *, start: Tensor | None = None, limit: Limit | None = None
) -> Registered:  # fmt: skip
    """Solve with motions that are trusted, leave out frames that stay unlike the image, and solve again."""
    weights = torch.ones(len(view), device=stack.values.device)
    image = grid.enlarge(stack.values[view.nearest(weights > 0)]) if start is None else grid.resize(start)
    for index in range(3 if len(view) > 2 else 1):
        seen = stack.with_frame_weights(weights)
        rate = WARM_RATE if index or start is not None else COLD_RATE
        equations = view.equations(grid, seen.values, seen.weights)
        image = solve(equations, image, view.point_psf, grid, FIRST, 100, learning_rate=rate, limit=limit)
        residuals = frame_residuals(stack, view, grid, image)
        weights = inlier_weights(residuals)
    return Registered(view.motion, weights, residuals, image, grid)


def refine(
    stack: FrameStack, view: LowresView, start: Registered, *, rounds: int, steps: int,
    tv_weights: tuple[float, float], reference: int = 0, prior: Prior = FIRST, model: str = "shift",
    limit: Limit | None = None,
) -> Registered:  # fmt: skip
    """Improve image and motions in turn until they have converged, with a prior that is strong at first and relaxes.

    A weak prior lets the image explain wrong motions by detail that is not there, and the motions stay where they are.

    Parameters
    ----------
    stack, view : FrameStack, LowresView
        The frames, and the motions to start from.
    start : Registered
        The image, on the grid to solve on, and the weights to start from.
    rounds, steps : int
        Rounds over which the prior relaxes, and steps of the image in each.
    tv_weights : (float, float)
        Weight of the total variation at the first and at the last of these rounds, falling geometrically.
    reference : int
        Frame whose axes the motions are on. It moves like the others until the end: the image lies where most of them
        have it, and one that stood still would seem to be off.
    prior : Prior
        Range of the image's values, and its contrast.
    model : {"shift", "similarity", "affine", "homography"}
        The motion model.
    limit : Limit, optional
        No round is begun that it does not allow.
    """
    grid, image, weights, sigma = start.grid, start.image, start.weights, FIRST_SIGMA
    residuals = start.residuals
    for index in range(MOST_ROUNDS * rounds):
        if limit is not None and not limit.allows(steps * image.numel(), "rounds of the registration"):
            break
        fraction = min(index / max(rounds - 1, 1), 1.0)
        tv_weight = tv_weights[0] * (tv_weights[1] / tv_weights[0]) ** fraction
        prior = replace(prior, tv_weight=tv_weight, sigma=sigma)
        seen = stack.with_frame_weights(weights)
        image = solve(
            view.equations(grid, seen.values, seen.weights), image, view.point_psf, grid, prior, steps,
            learning_rate=COLD_RATE if index < COLD_ROUNDS else WARM_RATE, limit=limit,
        )  # fmt: skip
        before = view
        for _ in range(MOTION_STEPS):
            view = view.moved(_stepped(stack, view, grid, image, model))
        residuals = frame_residuals(stack, view, grid, image)
        if index >= UNJUDGED_ROUNDS:
            weights = inlier_weights(residuals)
        sigma = Registered(view.motion, weights, residuals, image, grid).sigma
        if fraction == 1 and _moved_by(view, before, weights) < CONVERGED:
            break
    return Registered(view.motion.relative_to(reference), weights, residuals, image, grid)


def _moved_by(view: LowresView, before: LowresView, weights: Tensor) -> float:
    """Median distance over the used frames by which the middles, or displaced pixels, moved, beyond a move of all."""
    if view.motion.displacement is None:
        moves = view.motion.displacements(view.size) - before.motion.displacements(view.size)
    else:
        moves = torch.stack(view.motion.looks_at(view.size), -1) - torch.stack(before.motion.looks_at(view.size), -1)
    moves = moves[weights.cpu() > 0]
    return float((moves - moves.median(0).values).norm(dim=-1).median()) if len(moves) else 0.0


def correction(stack: FrameStack, view: LowresView, start: Registered, limit: Limit | None = None) -> float:
    """Median distance by which a Gauss-Newton step would move the used frames, beyond a move of all.

    One step from an image that a weak prior has sharpened shows an error of the shifts nearly whole: 0.10 where they
    are off by 0.10, 0.002 to 0.005 where they are right.
    """
    seen = stack.with_frame_weights(start.weights)
    equations = view.equations(start.grid, seen.values, seen.weights)
    image = solve(equations, start.image, view.point_psf, start.grid, Prior(1.0, start.sigma), 60, limit=limit)
    return _moved_by(view.moved(_stepped(stack, view, start.grid, image, "shift")), view, start.weights)


def _stepped(stack: FrameStack, view: LowresView, grid: Grid, image: Tensor, model: str) -> Motion:
    """The motions after a damped Gauss-Newton step, which reduces the squared errors of each frame."""
    if view.motion.displacement is not None:
        moves = [_displaced(stack.frames(part), some, grid, image) for part, some in view.chunks(CHUNK)]
        return view.motion.displaced(torch.cat(moves))
    steps = [_step(stack.frames(part), some, grid, image, model) for part, some in view.chunks(CHUNK)]
    return view.motion.stepped(torch.cat(steps), view.size)


def _step(stack: FrameStack, view: LowresView, grid: Grid, image: Tensor, model: str) -> Tensor:
    """Steps [n_frames, n_numbers] along the basis of a motion model."""
    samples, is_known = view.sample(grid, image)
    is_used = _within(stack.where_measured(is_known))
    errors = (stack.values - samples.values) * is_used
    slope_x, slope_y = (slope * is_used * grid.cells for slope in (samples.d_cols, samples.d_rows))
    if model == "shift":
        columns = torch.stack([slope_x, slope_y], -1)
    else:
        x, y = (part.float().to(errors.device) for part in view.motion.looks_at(view.size))
        along_x, along_y = basis(x, y, view.size, model)
        columns = along_x * slope_x[..., None] + along_y * slope_y[..., None]
    columns = columns.flatten(1, 2)  # [n_frames, n_pixels, n_numbers]
    normal = (columns.transpose(1, 2) @ columns).double()
    # a frame without structure along an axis must not move along it
    damping = 1e-3 * (normal[:, 0, 0] + normal[:, 1, 1]) + 1e-9
    normal += damping[:, None, None] * torch.eye(normal.shape[1], dtype=torch.float64, device=normal.device)
    wanted = (columns.transpose(1, 2) @ errors.flatten(1)[..., None]).double()
    return torch.linalg.solve(normal, wanted)[..., 0].clamp(-MAX_MOVE, MAX_MOVE).cpu()


def _displaced(stack: FrameStack, view: LowresView, grid: Grid, image: Tensor) -> Tensor:
    """The displacement of some frames after a step of it."""
    assert view.motion.displacement is not None
    samples, is_known = view.sample(grid, image)
    weights = _within(stack.where_measured(is_known)).float()
    return displacement_step(stack.values, samples, weights, view.motion.displacement, grid.cells)


def _within(is_known: Tensor) -> Tensor:
    """Known pixels [n_frames, h, w] without those at a frame's border, unless there are hardly any others."""
    is_used = is_known.clone()
    if min(is_used.shape[1:]) > 4 * BORDER:
        is_used[:, :BORDER] = is_used[:, -BORDER:] = False
        is_used[:, :, :BORDER] = is_used[:, :, -BORDER:] = False
    return is_used


def fit_exposures(stack: FrameStack, view: LowresView, registered: Registered, reference: int) -> Exposure:
    """Gain and offset of each frame's values against what its image predicts, relative to the reference's."""
    samples, is_known = view.sample(registered.grid, registered.image)
    # of outliers too: one that only its brightness made one comes back
    exposure = Exposure.fit(stack.values, samples.values, stack.where_measured(is_known).float())
    return exposure.relative_to(reference, stack.is_used.cpu())


def still_pixels(
    stack: FrameStack, view: LowresView, cells: int, limit: Limit | None = None
) -> FrameStack:  # fmt: skip
    """The stack with weight 0 where something moves through the scene; too few frames stay as they are.

    What moves is seen by few frames in each place. A pixel's own noise is no reason to lose it, so errors are averaged
    over ``PATCH`` x ``PATCH`` pixels; edges of the scene, where errors of the model are large in all frames, are
    excused by the median over the frames, and by what a small shift of them would make (as cosmic rays are told from
    stars: Fruchter and Hook 2002, section 5).
    """
    if stack.is_used.sum() < MIN_FOR_MOTION:
        return stack
    if limit is not None and not limit.allows(
        STILL_ROUNDS * STILL_STEPS * math.prod(view.grid(cells).shape), "the search for what moves in the scene"
    ):
        return stack
    grid, there = view.grid(cells), stack
    image = grid.enlarge(stack.values[view.nearest(stack.is_used)])
    for _ in range(STILL_ROUNDS):
        equations = view.equations(grid, stack.values, stack.weights)
        image = solve(equations, image, view.point_psf, grid, FIRST, STILL_STEPS, learning_rate=COLD_RATE, limit=limit)
        stack = there.with_weights(there.weights * ~_is_strange(there, view, grid, image))
    return stack


def _is_strange(stack: FrameStack, view: LowresView, grid: Grid, image: Tensor) -> Tensor:
    """Whether a pixel and its neighbours [n_frames, h, w] are far from the image of all frames."""
    samples, is_known = view.sample(grid, image)
    is_known = stack.where_measured(is_known)

    def patches(squares: Tensor) -> Tensor:
        return avg_pool2d((squares * is_known)[:, None], PATCH, 1, PATCH // 2)[:, 0] / share

    # rows that were filled in tell nothing of a patch
    share = 1.0 if stack.measured is None else _share(stack.measured)

    squares = patches((stack.values - samples.values).square())
    usual = squares[stack.is_used].median(dim=0).values
    everywhere = usual.median().clamp(min=1e-8)
    slopes = patches((samples.d_rows.square() + samples.d_cols.square()) * grid.cells**2)
    return squares > STRANGE**2 * torch.maximum(usual, everywhere) + MISPLACED**2 * slopes


def _share(measured: Tensor) -> Tensor:
    """Fraction of the pixels of each patch within the frame that was measured [n_frames, h, w]."""
    of_patch, of_all = (
        avg_pool2d(part[:, None], PATCH, 1, PATCH // 2) for part in (measured, torch.ones_like(measured))
    )
    return (of_patch / of_all)[:, 0].clamp(min=1e-3)


def resized(registered: Registered, grid: Grid) -> Registered:
    """The same with its image on the cells of another grid of the same extent."""
    return replace(registered, image=grid.resize(registered.image), grid=grid)
