"""A smooth displacement of each frame's pixels on top of its global motion, improved against an image.

It is a sum of cubic B-splines on a coarse grid of nodes, so that it has few numbers and no kinks. Lengths are low-res
pixels; a displacement [n_frames, h, w, 2] is (dx, dy) as in :mod:`nerfkit.scenes.motion`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nerfkit.kernels.lowres import Samples
from nerfkit.scenes.fields.splines import cubic_splines

__all__ = ["displacement_step", "splines"]

# low-res pixels between two nodes
SPACING = 6.0
# standard deviation of the change of a displacement from a pixel to the next: where planes at two depths meet it is up
# to 0.5, elsewhere near 0. A frame of text tells a displacement over two pixels by itself, a plain one over ten
SLOPE = 0.1
# errors beyond this many standard deviations weigh less: they are of what is hidden, or of something else
ROBUST = 2.5
# most low-res pixels that a step may move a pixel; iterations of conjugate gradients in one
MAX_MOVE, ITERATIONS = 0.5, 25
# least standard deviation of errors
MIN_SIGMA = 1e-3


def splines(n_pixels: int, spacing: float = SPACING) -> Tensor:
    """Values [n_pixels, n_nodes] of the cubic B-splines of equally spaced nodes at the centres of a row of pixels.

    Each row sums to 1. The nodes reach one beyond the row on either side.

    Examples
    --------
    >>> values = splines(12)
    >>> values.shape, bool(((values.sum(1) - 1).abs() < 1e-6).all())
    (torch.Size([12, 5]), True)
    """
    n_intervals = max(1, round(n_pixels / spacing))
    at = (torch.arange(n_pixels, dtype=torch.float64) + 0.5) * n_intervals / n_pixels
    return cubic_splines(at, n_intervals).float()


def displacement_step(values: Tensor, samples: Samples, weights: Tensor, moves: Tensor, cells: int) -> Tensor:
    """The displacement after a damped Gauss-Newton step on squared errors and smoothness.

    Parameters
    ----------
    values : Tensor, shape (n_frames, h, w)
        What was measured.
    samples : Samples
        What an image predicts of it, with slopes per cell.
    weights : Tensor, shape (n_frames, h, w)
        0 for pixels that tell nothing.
    moves : Tensor, shape (n_frames, h, w, 2)
        The displacement so far.
    cells : int
        Cells of the image along a low-res pixel.
    """
    slopes = torch.stack([samples.d_cols, samples.d_rows], -1) * cells
    errors = values - samples.values
    variance = (errors.square() * weights).sum((1, 2)) / weights.sum((1, 2)).clamp(min=1)
    variance = variance.clamp(min=MIN_SIGMA**2)[:, None, None]
    weights = weights / (variance * (1 + errors.square() / (ROBUST**2 * variance)))
    wanted = (weights * errors)[..., None] * slopes - _rough(moves) / SLOPE**2
    found = _solved(weights, slopes, wanted)
    return moves + found.clamp(-MAX_MOVE, MAX_MOVE)


def _rough(moves: Tensor) -> Tensor:
    """Gradient of half the sum of squared differences of neighbours, [n_frames, h, w, 2] as the displacement is."""
    out = torch.zeros_like(moves)
    for axis in (1, 2):
        change = moves.diff(dim=axis)
        n = change.shape[axis]
        out.narrow(axis, 1, n).add_(change)
        out.narrow(axis, 0, n).sub_(change)
    return out


def _solved(weights: Tensor, slopes: Tensor, wanted: Tensor) -> Tensor:
    """The displacement whose normal equations have a right side, all [n_frames, h, w(, 2)]; conjugate gradients."""
    down, across = (splines(n).to(weights) for n in weights.shape[1:])

    def spread(nodes: Tensor) -> Tensor:
        return torch.einsum("ya,nabc,xb->nyxc", down, nodes, across)

    def gathered(moves: Tensor, down: Tensor = down, across: Tensor = across) -> Tensor:
        return torch.einsum("ya,nyxc,xb->nabc", down, moves, across)

    def curved(nodes: Tensor) -> Tensor:
        moves = spread(nodes)
        along = (slopes * moves).sum(-1) * weights
        return gathered(along[..., None] * slopes + _rough(moves) / SLOPE**2)

    def dot(one: Tensor, other: Tensor) -> Tensor:
        return (one * other).sum((1, 2, 3), keepdim=True)

    # each pixel has two neighbours along each axis, whose squared differences count it once
    diagonal = gathered(weights[..., None] * slopes.square() + 4 / SLOPE**2, down.square(), across.square())
    left = gathered(wanted)
    nodes = torch.zeros_like(left)
    towards = left / diagonal
    direction, before = towards, dot(left, towards)
    for _ in range(ITERATIONS):
        curve = curved(direction)
        step = before / dot(direction, curve).clamp(min=1e-30)
        nodes, left = nodes + step * direction, left - step * curve
        towards = left / diagonal
        now = dot(left, towards)
        direction, before = towards + now / before.clamp(min=1e-30) * direction, now
    return spread(nodes)
