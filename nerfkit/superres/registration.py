"""Where each frame looks: phase correlation first, then Gauss-Newton steps together with the image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from nerfkit.scenes.observations.lowres_frames import Grid, LowresFrames

from .grid_solve import COLD_RATE, Deadline, Prior, solve

__all__ = [
    "Registered",
    "against",
    "correction",
    "find_outliers",
    "fit_exposures",
    "frame_residuals",
    "gauss_newton",
    "inlier_weights",
    "phase_correlation",
    "pixel_weights",
    "refine",
    "spread",
    "stepped",
    "take_step",
]

# positions that the sub-pixel peak of a phase correlation is looked for at, per low-res pixel
UPSAMPLING = 100
# an outlier's residual is this many times the median of all frames, and this many standard deviations above it
OUTLIER_FACTOR, OUTLIER_DEVIATIONS = 1.5, 5.0
# median absolute deviation of a normal distribution of standard deviation 1
NORMAL_MAD = 0.6745
# low-res pixels at a frame's border that Gauss-Newton leaves out: what they see is known worst
BORDER = 2
# side of the patches that moving things are looked for in, how many times the usual error theirs is, and low-res pixels
# by which an edge may be misplaced or too soft before it counts as one
PATCH, STRANGE, MISPLACED = 3, 3.0, 0.1
# most low-res pixels that one Gauss-Newton step may move a frame
MAX_MOVE = 0.25


@dataclass(frozen=True)
class Registered:
    """Shifts [n_frames, 2] (dx, dy) in low-res pixels, the weight 0 or 1 of each frame, and each one's residual."""

    shifts: Tensor
    weights: Tensor
    residuals: Tensor
    image: Tensor | None = None
    # homographies [n_frames, 3, 3] before the shifts, where more than shifts is known
    transforms: Tensor | None = None


def phase_correlation(frames: NDArray[np.floating], reference: int = 0) -> NDArray[np.float64]:
    """Shift of each frame against a reference from the peak of their cross-correlation.

    Parameters
    ----------
    frames : ndarray, shape (n_frames, h, w)
        Grey frames.
    reference : int
        Which one stands still.

    Returns
    -------
    shifts : ndarray, shape (n_frames, 2)
        (dx, dy) in low-res pixels: pixel (i, j) of the frame looks at (j + dx, i + dy) of the reference.

    Notes
    -----
    The peak is found on whole pixels by FFT, then to 1/100 pixel by an upsampled discrete Fourier transform round it
    (Guizar-Sicairos et al., Optics Letters 33, 2008). Shifts are below half of the frame's sides.
    """
    h, w = frames.shape[1:]
    shifts = np.zeros((len(frames), 2))

    def spectrum(frame: NDArray[np.floating]) -> NDArray[np.complexfloating]:
        return np.fft.fft2(frame - frame.mean(dtype=np.float64))

    of_reference = spectrum(frames[reference])
    # one frame at a time: the spectra of all take eight times the memory of the frames
    for index, frame in enumerate(frames):
        if index == reference:
            continue
        # the peak lies at s where frame(x) = reference(x + s)
        product = of_reference * spectrum(frame).conj()
        peak = np.unravel_index(np.argmax(np.real(np.fft.ifft2(product))), (h, w))
        row, col = (p - n if p > n // 2 else p for p, n in zip(peak, (h, w), strict=True))
        # coarse to fine: to a tenth within a pixel and a half, then to a hundredth within a tenth
        for step, reach in ((0.1, 1.5), (1 / UPSAMPLING, 0.12)):
            row, col = _peak_near(product, float(row), float(col), step, reach)
        shifts[index] = col, row
    return shifts


def _peak_near(product: NDArray, row: float, col: float, step: float, reach: float) -> tuple[float, float]:
    """Position of the greatest correlation within ``reach`` of (row, col), on a lattice of ``step``."""
    h, w = product.shape
    offsets = np.arange(-round(reach / step), round(reach / step) + 1) * step
    rows, cols = row + offsets, col + offsets
    down = np.exp(2j * np.pi * rows[:, None] * np.fft.fftfreq(h)[None])
    across = np.exp(2j * np.pi * np.fft.fftfreq(w)[:, None] * cols[None])
    i, j = np.unravel_index(np.argmax(np.real(down @ product @ across)), (len(rows), len(cols)))
    return float(rows[i]), float(cols[j])


def frame_residuals(frames: LowresFrames, grid: Grid, image: Tensor) -> Tensor:
    """Root mean squared error of each frame [n_frames], over the pixels that the grid covers."""
    samples, is_known = frames.predict(grid, image)
    squares = (samples.values - frames.frames).square() * is_known
    return (squares.sum((1, 2)) / is_known.sum((1, 2)).clamp(min=1)).sqrt()


def fit_exposures(frames: LowresFrames, grid: Grid, image: Tensor, weights: Tensor, reference: int = 0) -> Tensor:
    """Gain and offset of each frame [n_frames, 2] against the image: measured = gain * predicted + offset.

    Least squares over the pixels with ``weights`` [n_frames, h, w] that the grid covers. The reference has (1, 0);
    where it has no weight, a frame of the others' median gain and offset would have that.
    """
    samples, is_known = frames.predict(grid, image)
    share = (weights * is_known).double()
    total = share.sum((1, 2)).clamp(min=1)

    def mean(values: Tensor) -> Tensor:
        return (values * share).sum((1, 2)) / total

    seen, measured = samples.values.double(), frames.frames.double()
    centre_seen, centre = mean(seen), mean(measured)
    spread_seen = mean((seen - centre_seen[:, None, None]).square())
    product = mean((seen - centre_seen[:, None, None]) * (measured - centre[:, None, None]))
    gain = torch.where(spread_seen > 1e-8, product / spread_seen.clamp(min=1e-8), 1.0).clamp(min=0.05)
    offset = centre - gain * centre_seen
    # so that the image keeps its brightness
    return against(torch.stack([gain, offset], dim=1), weights.amax((1, 2)) > 0, reference).float()


def against(exposures: Tensor, is_used: Tensor, reference: int) -> Tensor:
    """Gains and offsets [n_frames, 2] as seen from the reference, or from the median of the used frames without it."""
    usual = exposures[reference] if is_used[reference] else exposures[is_used].median(dim=0).values
    gain = exposures[:, 0] / usual[0]
    return torch.stack([gain, exposures[:, 1] - gain * usual[1]], dim=1)


def pixel_weights(frames: LowresFrames, grid: Grid, image: Tensor, weights: Tensor) -> Tensor:
    """Weight 0 or 1 of each pixel [n_frames, h, w]: 0 where it and its neighbours are far from the others' image.

    What moves through the scene is seen by few frames in each place. A pixel's own noise is no reason to lose it, so
    errors are averaged over ``PATCH`` x ``PATCH`` pixels; edges of the scene, where errors of the model are large in
    all frames, are excused by the median over the frames, and by what a small shift of them would make (as cosmic rays
    are told from stars: Fruchter and Hook 2002, section 5).
    """
    samples, is_known = frames.predict(grid, image)

    def patches(squares: Tensor) -> Tensor:
        return avg_pool2d((squares * is_known)[:, None], PATCH, 1, PATCH // 2)[:, 0]

    squares = patches((frames.frames - samples.values).square())
    usual = squares[weights > 0].median(dim=0).values
    everywhere = usual.median().clamp(min=1e-8)
    slopes = patches((samples.d_rows.square() + samples.d_cols.square()) * grid.cells**2)
    is_strange = squares > STRANGE**2 * torch.maximum(usual, everywhere) + MISPLACED**2 * slopes
    return weights[:, None, None] * ~is_strange


def inlier_weights(residuals: Tensor) -> Tensor:
    """1 for frames whose residual is like the others', 0 for the rest."""
    middle = residuals.median().clamp(min=1e-4)
    deviation = (residuals - middle).abs().median() / NORMAL_MAD
    return (residuals < middle + torch.maximum((OUTLIER_FACTOR - 1) * middle, OUTLIER_DEVIATIONS * deviation)).float()


def find_outliers(
    frames: LowresFrames, grid: Grid, n_steps: tuple[int, int] = (100, 80), n_rounds: int = 3
) -> Registered:
    """Solve, leave out frames that stay unlike the image, and solve again.

    Parameters
    ----------
    frames : LowresFrames
        With shifts that are trusted.
    grid : Grid
        A coarse grid is enough.
    n_steps : (int, int)
        Steps of the first solution and of each round.
    n_rounds : int
        Times that frames are judged.
    """
    prior = Prior(tv_weight=0.5, sigma=0.02)
    weights = torch.ones(len(frames), device=frames.frames.device)
    start = grid.enlarge(frames.frames[0])
    image = solve(frames.equations(grid), start, frames.psf, grid, prior, n_steps[0], learning_rate=COLD_RATE)
    for _ in range(n_rounds if len(frames) > 2 else 0):
        weights = inlier_weights(frame_residuals(frames, grid, image))
        equations = frames.equations(grid, spread(weights, frames))
        image = solve(equations, image, frames.psf, grid, prior, n_steps[1])
    return Registered(frames.shifts, weights, frame_residuals(frames, grid, image), image)


def spread(weights: Tensor, frames: LowresFrames) -> Tensor:
    """A weight for each pixel [n_frames, h, w] from one for each frame."""
    return weights[:, None, None].expand_as(frames.frames).contiguous()


def refine(
    frames: LowresFrames, grid: Grid, *, n_rounds: int, n_steps: int, tv_weights: tuple[float, float],
    deadline: Deadline, reference: int = 0, start: Registered | None = None, bounds: tuple[float, float] | None = None,
    motion: str = "shift",
) -> Registered:  # fmt: skip
    """Improve image and shifts in turn, with a prior that is strong at first and relaxes.

    A weak prior lets the image explain wrong shifts by detail that is not there, and the shifts stay where they are.

    Parameters
    ----------
    frames : LowresFrames
        With the shifts to start from.
    grid : Grid
        Where the image is solved.
    n_rounds, n_steps : int
        Rounds, and steps of the image in each.
    tv_weights : (float, float)
        Weight of the total variation at the first and at the last round, falling geometrically.
    deadline : Deadline
        When to stop; the weights fall the faster the nearer it is.
    reference : int
        Frame whose axes the motions are on. It moves like the others until the end: the image lies where most of them
        have it, and one that stood still would seem to be off.
    start : Registered, optional
        Image and weights to start from.
    bounds : (float, float), optional
        Range of the image's values.
    motion : {"shift", "affine", "homography"}
        What moves; beyond shifts, it becomes part of the frames' transforms.
    """
    image = grid.enlarge(frames.frames[reference]) if start is None or start.image is None else start.image
    weights = torch.ones(len(frames), device=frames.frames.device) if start is None else start.weights
    residuals, sigma = torch.zeros_like(weights), 0.015
    round_seconds, share, done = math.inf, 0.0, 0
    began = Deadline.after(0)
    while share <= 1:
        tv_weight = tv_weights[0] * (tv_weights[1] / tv_weights[0]) ** min(share, 1.0)
        equations = frames.equations(grid, spread(weights, frames))
        is_first = done == 0 and start is None
        image = solve(
            equations, image, frames.psf, grid, Prior(tv_weight, sigma, bounds), 80 if is_first else n_steps,
            learning_rate=COLD_RATE if done < 3 else 0.02,
        )  # fmt: skip
        for _ in range(3):
            frames = take_step(frames, grid, image, motion)
        residuals = frame_residuals(frames, grid, image)
        done += 1
        if done >= min(5, n_rounds) and len(frames) > 2:
            weights = inlier_weights(residuals)
        sigma = max(float(residuals[weights > 0].median()), 1e-3)
        round_seconds = -began.left / done
        left = max(deadline.left, 0.0) / max(round_seconds, 1e-6)
        # the step that brings the share to 1 in the rounds that are left of the plan or of the time
        remaining = min(n_rounds - done, left)
        share = share + (1 - share) / remaining if remaining >= 1 and share < 1 else 2.0
    frames = _seen_from(frames, reference)
    return Registered(frames.shifts, weights, residuals, image, frames.transforms)


def _seen_from(frames: LowresFrames, reference: int) -> LowresFrames:
    """The same frames on the axes of one of them."""
    if frames.transforms is None:
        return frames.moved(frames.shifts - frames.shifts[reference])
    matrices = frames.matrices()
    matrices = torch.linalg.inv(matrices[reference]) @ matrices
    matrices[reference] = torch.eye(3, dtype=matrices.dtype)
    return frames.moved(torch.zeros_like(frames.shifts), matrices / matrices[:, 2:, 2:])


def correction(frames: LowresFrames, grid: Grid, start: Registered, reference: int = 0) -> float:
    """Median distance, low-res pixels, by which a Gauss-Newton step would move the used frames.

    One step from an image that a weak prior has sharpened shows an error of the shifts nearly whole: 0.10 where they
    are off by 0.10, 0.002 to 0.005 where they are right.
    """
    assert start.image is not None
    sigma = max(float(start.residuals[start.weights > 0].median()), 1e-3)
    equations = frames.equations(grid, spread(start.weights, frames))
    image = solve(equations, start.image, frames.psf, grid, Prior(1.0, sigma), 60)
    moves = take_step(frames, grid, image, "shift", reference).shifts - frames.shifts
    moves = moves[(start.weights.cpu() > 0) & (torch.arange(len(moves)) != reference)]
    # a move that all share is the reference's own
    return float((moves - moves.median(0).values).norm(dim=1).median()) if len(moves) else 0.0


def take_step(
    frames: LowresFrames, grid: Grid, image: Tensor, motion: str = "shift", reference: int | None = None
) -> LowresFrames:  # fmt: skip
    """The frames after a Gauss-Newton step of their motion, which reduces the squared errors; a reference stands."""
    normal, wanted = gauss_newton(frames, grid, image, motion)
    step = torch.linalg.solve(normal, wanted)[..., 0].clamp(-MAX_MOVE, MAX_MOVE).cpu()
    if reference is not None:
        step[reference] = 0
    return stepped(frames, step)


def gauss_newton(frames: LowresFrames, grid: Grid, image: Tensor, motion: str = "shift") -> tuple[Tensor, Tensor]:
    """Damped normal matrices [n_frames, n, n] and right-hand sides [n_frames, n, 1] of a step of each frame's motion.

    What a pixel sees at (x, y) of the reference, in units of half the frame's width from its middle, moves by a sum of
    (1, 0), (0, 1); affine also (x, 0), (y, 0), (0, x), (0, y); homography also (x x, x y), (x y, y y).
    """
    samples, is_known = frames.predict(grid, image)
    is_used = is_known.clone()
    if min(is_used.shape[1:]) > 4 * BORDER:
        is_used[:, :BORDER] = is_used[:, -BORDER:] = False
        is_used[:, :, :BORDER] = is_used[:, :, -BORDER:] = False
    errors = (frames.frames - samples.values) * is_used
    slope_x, slope_y = (slope * is_used * grid.cells for slope in (samples.d_cols, samples.d_rows))
    columns = [slope_x, slope_y]
    height, width = frames.frames.shape[1:]
    if motion != "shift":
        seen_x, seen_y = (seen.to(errors.device) for seen in frames.looks_at())
        x, y = ((2 * seen_x / width - 1).float(), ((2 * seen_y - height) / width).float())
        columns += [x * slope_x, y * slope_x, x * slope_y, y * slope_y]
        if motion == "homography":
            along = x * slope_x + y * slope_y
            columns += [x * along, y * along]
    basis = torch.stack(columns, dim=1).flatten(2)  # [n_frames, n_parameters, n_pixels]
    normal = (basis @ basis.transpose(1, 2)).double()
    # a frame without structure along an axis must not move along it
    damping = 1e-3 * (normal[:, 0, 0] + normal[:, 1, 1]) + 1e-9
    normal += damping[:, None, None] * torch.eye(len(columns), dtype=torch.float64, device=normal.device)
    return normal, (basis @ errors.flatten(1)[..., None]).double()


def stepped(frames: LowresFrames, steps: Tensor) -> LowresFrames:
    """The frames after steps [n_frames, 2, 6 or 8], low-res pixels, of the motions of :func:`gauss_newton`."""
    if steps.shape[1] == 2:
        return frames.moved(frames.shifts + steps)
    height, width = frames.frames.shape[1:]
    small = _small_motions(steps * 2 / width, (width, height))
    return frames.moved(torch.zeros_like(frames.shifts), small @ frames.matrices())


def _small_motions(steps: Tensor, size: tuple[int, int]) -> Tensor:
    """Homographies [n_frames, 3, 3] of reference pixels from steps [n_frames, 6 or 8], half widths."""
    width, height = size
    to_unit = torch.tensor([[2 / width, 0, -1], [0, 2 / width, -height / width], [0, 0, 1]], dtype=torch.float64)
    small = torch.eye(3, dtype=torch.float64).repeat(len(steps), 1, 1)
    small[:, :2, 2] = steps[:, :2]
    small[:, :2, :2] += steps[:, 2:6].reshape(-1, 2, 2)
    if steps.shape[1] == 8:
        # to first order, a point over 1 - (g x + h y) moves by itself times g x + h y
        small[:, 2, :2] = -steps[:, 6:]
    moved = torch.linalg.inv(to_unit) @ small @ to_unit
    return moved / moved[:, 2:, 2:]
