"""The definition, in plain torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import conv2d

if TYPE_CHECKING:
    from . import Descent, NormalEquations

# Adam's decay rates (arXiv:1412.6980) and the constant that keeps its quotient finite
BETA1, BETA2, ADAM_EPSILON = 0.9, 0.99, 1e-8
# each pair of neighbours once, as offsets (row, column); weighted by 1 / distance
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))


def filter_reference(image: Tensor, taps: Tensor) -> Tensor:
    """For each term [2, n_taps] of ``taps`` two correlations in one dimension each, summed."""
    down, across = taps.unbind(1)
    rows = conv2d(image[None, None], across[:, None, None])
    return conv2d(rows, down[None, :, :, None])[0, 0]


def _corners(rows: Tensor, cols: Tensor, shape: tuple[int, int] | torch.Size) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Flat index of the upper left cell, the two fractions, and whether all four cells are there."""
    is_inside = (rows >= 0) & (rows <= shape[0] - 1) & (cols >= 0) & (cols <= shape[1] - 1)
    rows, cols = torch.where(is_inside, rows, 0), torch.where(is_inside, cols, 0)
    i = rows.floor().clamp(max=shape[0] - 2)
    j = cols.floor().clamp(max=shape[1] - 2)
    return (i * 1.0).long() * shape[1] + j.long(), rows - i, cols - j, is_inside


def sample_reference(image: Tensor, rows: Tensor, cols: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Bilinear interpolation and its two derivatives."""
    index, t, u, is_inside = _corners(rows, cols, image.shape)
    flat, width = image.reshape(-1), image.shape[1]
    a, b, c, d = flat[index], flat[index + 1], flat[index + width], flat[index + width + 1]
    values = (1 - t) * ((1 - u) * a + u * b) + t * ((1 - u) * c + u * d)
    d_rows = (1 - u) * (c - a) + u * (d - b)
    d_cols = (1 - t) * (b - a) + t * (d - c)
    return values * is_inside, d_rows * is_inside, d_cols * is_inside


def normal_equations_reference(
    rows: Tensor, cols: Tensor, values: Tensor, weights: Tensor, shape: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Sums over the samples of the products of their four weights."""
    index, t, u, is_inside = _corners(rows, cols, shape)
    weights = weights * is_inside
    width = shape[1]
    # offset of each corner in the flat image, and its weight in the sample
    corners = {(0, 0): (1 - t) * (1 - u), (0, 1): (1 - t) * u, (1, 0): t * (1 - u), (1, 1): t * u}
    stencil, rhs = values.new_zeros(5, shape[0] * width), values.new_zeros(shape[0] * width)
    pairs = ((0, 0), *NEIGHBOURS)
    for (i, j), a in corners.items():
        first = index + i * width + j
        rhs.index_add_(0, first, weights * a * values)
        for k, (di, dj) in enumerate(pairs):
            if (i + di, j + dj) in corners:
                stencil[k].index_add_(0, first, weights * a * corners[i + di, j + dj])
    return stencil.view(5, *shape), rhs.view(shape)


def _overlap(size: int, offset: int) -> tuple[slice, slice]:
    """Slices of x[i] and x[i + offset] over all i for which both exist."""
    return slice(max(0, -offset), size - max(0, offset)), slice(max(0, offset), size - max(0, -offset))


def apply_reference(stencil: Tensor, image: Tensor) -> Tensor:
    """N c: each stored coupling acts in both directions."""
    out = stencil[0] * image
    for k, (di, dj) in enumerate(NEIGHBOURS, 1):
        (i0, i1), (j0, j1) = _overlap(image.shape[0], di), _overlap(image.shape[1], dj)
        coupling = stencil[k, i0, j0]
        out[i0, j0] += coupling * image[i1, j1]
        out[i1, j1] += coupling * image[i0, j0]
    return out


def total_variation_gradient(image: Tensor, epsilon: float, tv_map: Tensor | None = None) -> Tensor:
    """Gradient of sum m sqrt(d^2 + epsilon^2) / length over pairs of neighbours."""
    out = torch.zeros_like(image)
    for di, dj in NEIGHBOURS:
        (i0, i1), (j0, j1) = _overlap(image.shape[0], di), _overlap(image.shape[1], dj)
        d = image[i0, j0] - image[i1, j1]
        slope = d / (d * d + epsilon * epsilon).sqrt() / math.hypot(di, dj)
        slope = slope if tv_map is None else slope * tv_map[i0, j0]
        out[i0, j0] += slope
        out[i1, j1] -= slope
    return out


def descend_reference(
    descent: Descent, equations: NormalEquations, taps: Tensor, learning_rate: float, data_weight: float,
    tv_weight: float, epsilon: float, bounds: tuple[float, float] | None, contrast: float, tv_map: Tensor | None,
) -> None:  # fmt: skip
    """The gradient of the energy, Adam's step, the projection."""
    image, (mean, square) = descent.image, descent.moments
    residual = apply_reference(equations.stencil, filter_reference(image, taps)) - equations.rhs
    # the adjoint of the valid filter: pad by what it cut off, then the mirrored taps
    padding = taps.shape[-1] - 1
    padded = torch.nn.functional.pad(residual, (padding,) * 4)
    gradient = data_weight * filter_reference(padded, taps.flip(-1)) + tv_weight * total_variation_gradient(
        image, epsilon, tv_map
    )
    if bounds is not None and contrast:
        gradient -= contrast * (image - (bounds[0] + bounds[1]) / 2)
    mean.mul_(BETA1).add_(gradient, alpha=1 - BETA1)
    square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    step = descent.n_steps
    denominator = (square / (1 - BETA2**step)).sqrt_().add_(ADAM_EPSILON)
    image.addcdiv_(mean, denominator, value=-learning_rate / (1 - BETA1**step))
    if bounds is not None:
        image.clamp_(*bounds)
