"""Images that low-resolution pixels agree with: the filter, the samples, the normal equations and one step of descent.

A low-res pixel is a fine grid filtered by a PSF (:func:`filter_valid`), then sampled (:func:`sample`).
The squared error of any number of such pixels is one small stencil on the filtered image
(:func:`normal_equations`), so a step (:func:`descend`) costs the same for one frame and for a hundred. See README.md.

Under ``torch.compile`` all of these run as they are, between two graphs: loops that work in place on memory of their
own have no place in one.

Positions are rows and columns of the filtered image, real numbers; cell (i, j) is at (i, j).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from nerfkit.kernels._dispatch import choose_impl

from ._reference import (
    descend_reference,
    filter_reference,
    normal_equations_reference,
    sample_reference,
)

__all__ = ["Descent", "NormalEquations", "Samples", "descend", "filter_valid", "normal_equations", "sample"]

# couplings of a cell that are stored; the other four are those of its neighbours: itself and the offsets (row, column)
N_COUPLINGS = 5


class Samples(NamedTuple):
    """A bilinear sample and its slopes, zero where the four cells are not all there; each has the shape of the rows."""

    values: Tensor
    d_rows: Tensor
    d_cols: Tensor


class NormalEquations(NamedTuple):
    """The squared error of weighted samples of an image c: c . N c / 2 - rhs . c plus a constant."""

    # [5, h, w]: of cell (i, j) with itself, (i, j + 1), (i + 1, j), (i + 1, j + 1) and (i + 1, j - 1)
    stencil: Tensor
    # [h, w]
    rhs: Tensor


@dataclass
class Descent:
    """An image on its way down, with what Adam remembers; :func:`descend` changes it in place."""

    # [h, w] float32
    image: Tensor
    n_steps: int = 0
    moments: tuple[Tensor, Tensor] = field(init=False)
    # memory that the loops reuse, since fresh pages cost as much as the arithmetic
    scratch: dict[str, Tensor] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.image.ndim != 2 or self.image.dtype != torch.float32:
            raise ValueError(f"image must be float32 of shape (h, w); got {self.image.dtype} {tuple(self.image.shape)}")
        self.image = self.image.clone(memory_format=torch.contiguous_format)
        self.moments = (torch.zeros_like(self.image), torch.zeros_like(self.image))


def filter_valid(image: Tensor, taps: Tensor, *, impl: str = "auto") -> Tensor:
    """Weighted sum of the ``n_taps`` x ``n_taps`` cells from each cell on, where all of them exist.

    A PSF of any form is a sum of few terms, each a product of weights by row and weights by column (its singular
    values); a box and a Gaussian are one.

    Parameters
    ----------
    image : Tensor, shape (h, w), float32
        The fine grid.
    taps : Tensor, shape (n_taps,) or (n_terms, 2, n_taps), float32
        Weights along a row and along a column alike; or terms that are summed, each with its weights down the column,
        then those along the row.
    impl : {"auto", "reference", "cpu"}
        ``"auto"`` takes the numba loops on the CPU and the reference elsewhere.

    Returns
    -------
    filtered : Tensor, shape (h - n_taps + 1, w - n_taps + 1)

    Notes
    -----
    Not differentiable through autograd; :func:`descend` has the gradient that is needed.

    Examples
    --------
    >>> filter_valid(torch.eye(3), torch.tensor([0.5, 0.5]))
    tensor([[0.5000, 0.2500],
            [0.2500, 0.5000]])
    """
    if torch.compiler.is_compiling():
        from nerfkit.kernels._eager import call_eagerly

        return call_eagerly(filter_valid, image, taps, impl=impl)
    _check_filter(image.shape, taps)
    if choose_impl("lowres", image, impl, ("cpu",)) == "reference":
        return filter_reference(image, _terms(taps))
    from ._cpu import filter_cpu

    return filter_cpu(image, _terms(taps))


def sample(image: Tensor, rows: Tensor, cols: Tensor, *, impl: str = "auto") -> Samples:
    """Bilinear samples of ``image`` [h, w] at ``rows`` and ``cols`` (equal shapes, float32), with their slopes.

    Zero outside of [0, h - 1] x [0, w - 1]. Not differentiable through autograd: the slopes are in the answer.

    Examples
    --------
    >>> ramp = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    >>> sample(ramp, torch.tensor([0.5]), torch.tensor([0.25])).values
    tensor([1.2500])
    """
    if torch.compiler.is_compiling():
        from nerfkit.kernels._eager import call_eagerly

        return call_eagerly(sample, image, rows, cols, impl=impl)
    _check_positions(rows, cols)
    if choose_impl("lowres", image, impl, ("cpu",)) == "reference":
        return Samples(*sample_reference(image, rows, cols))
    from ._cpu import sample_cpu

    return Samples(*sample_cpu(image, rows, cols))


def normal_equations(
    rows: Tensor, cols: Tensor, values: Tensor, weights: Tensor, shape: tuple[int, int], *, impl: str = "auto"
) -> NormalEquations:
    """Normal equations of bilinear samples that should have ``values``.

    Parameters
    ----------
    rows, cols : Tensor, shape (n,), float32
        Where the samples are; those outside of the image count for nothing.
    values, weights : Tensor, shape (n,), float32
        What was measured there, and the weight of its squared error.
    shape : (int, int)
        Height and width of the filtered image.

    Notes
    -----
    With e the errors of the samples of c, ``sum weights e^2 / 2`` has the gradient ``N c - rhs`` in c.
    """
    if torch.compiler.is_compiling():
        from nerfkit.kernels._eager import call_eagerly

        return call_eagerly(normal_equations, rows, cols, values, weights, shape, impl=impl)
    _check_positions(rows, cols)
    if not rows.shape == values.shape == weights.shape or rows.ndim != 1:
        raise ValueError(
            "rows, cols, values and weights must have one shape (n,); "
            f"got {tuple(rows.shape)}, {tuple(values.shape)}, {tuple(weights.shape)}"
        )
    if choose_impl("lowres", rows, impl, ("cpu",)) == "reference":
        return NormalEquations(*normal_equations_reference(rows, cols, values, weights, shape))
    from ._cpu import normal_equations_cpu

    return NormalEquations(*normal_equations_cpu(rows, cols, values, weights, shape))


def descend(
    descent: Descent,
    equations: NormalEquations,
    taps: Tensor,
    *,
    learning_rate: float,
    data_weight: float,
    tv_weight: float,
    epsilon: float = 0.01,
    bounds: tuple[float, float] | None = None,
    contrast: float = 0.0,
    tv_map: Tensor | None = None,
    impl: str = "auto",
) -> None:
    """One step of Adam on squared error plus total variation, then a projection onto a range of values; in place.

    The energy of an image x is ``data_weight (c . N c / 2 - rhs . c) + tv_weight sum_d m sqrt(d^2 + epsilon^2) / length
    + contrast sum_x (x - low) (high - x) / 2`` with ``c = filter_valid(x, taps)``, d the differences of each pair of
    neighbours, the diagonal ones included, and m the map's value at the upper, or left, cell of the pair.

    Parameters
    ----------
    descent : Descent
        The image; changed.
    equations : NormalEquations
        Of the filtered image: its shape is that of ``filter_valid(descent.image, taps)``.
    taps : Tensor, shape (n_taps,) or (n_terms, 2, n_taps), float32
        The filter, as for :func:`filter_valid`.
    learning_rate : float
        Of this step; Adam's decay rates are 0.9 and 0.99.
    data_weight, tv_weight : float
        Weights of the two parts, 1 / sigma^2 and lambda.
    epsilon : float
        Differences below it are smoothed quadratically, in units of the image.
    bounds : (float, float), optional
        Least and greatest value that the image may have; infinite where there is none.
    contrast : float
        Weight of what drives values to the ends of ``bounds``, which it needs.
    tv_map : Tensor, shape (h, w), float32, optional
        Local factor on the total variation; 1 unless given.
    """
    if torch.compiler.is_compiling():
        from nerfkit.kernels._eager import call_eagerly

        call_eagerly(
            descend, descent, equations, taps, learning_rate=learning_rate, data_weight=data_weight,
            tv_weight=tv_weight, epsilon=epsilon, bounds=bounds, contrast=contrast, tv_map=tv_map, impl=impl,
        )  # fmt: skip
        return
    wanted = _check_filter(descent.image.shape, taps)
    if equations.rhs.shape != wanted or equations.stencil.shape != (N_COUPLINGS, *wanted):
        raise ValueError(
            f"the equations must be those of an image of shape {wanted}; "
            f"got {tuple(equations.stencil.shape)} and {tuple(equations.rhs.shape)}"
        )
    if contrast and (bounds is None or not all(map(math.isfinite, bounds))):
        raise ValueError(f"contrast drives values to the ends of bounds, which must be finite; got {bounds}")
    if tv_map is not None and (tv_map.shape != descent.image.shape or tv_map.dtype != torch.float32):
        raise ValueError(
            f"tv_map must be float32 of shape {tuple(descent.image.shape)}; got {tv_map.dtype} {tuple(tv_map.shape)}"
        )
    descent.n_steps += 1
    settings = (learning_rate, data_weight, tv_weight, epsilon, bounds, contrast, tv_map)
    if choose_impl("lowres", descent.image, impl, ("cpu",)) == "reference":
        descend_reference(descent, equations, _terms(taps), *settings)
        return
    from ._cpu import descend_cpu

    descend_cpu(descent, equations, _terms(taps), *settings)


def _terms(taps: Tensor) -> Tensor:
    """Taps as terms [n_terms, 2, n_taps]."""
    return taps.expand(1, 2, -1) if taps.ndim == 1 else taps


def _check_filter(shape: torch.Size, taps: Tensor) -> tuple[int, int]:
    if taps.numel() < 1 or (taps.ndim != 1 and (taps.ndim != 3 or taps.shape[1] != 2)):
        raise ValueError(f"taps must have the shape (n_taps,) or (n_terms, 2, n_taps); got {tuple(taps.shape)}")
    n = taps.shape[-1]
    if len(shape) != 2 or min(shape) < n + 1:
        raise ValueError(f"{n} taps need an image (h, w) of at least {n + 1} cells a side; got {tuple(shape)}")
    return shape[0] - n + 1, shape[1] - n + 1


def _check_positions(rows: Tensor, cols: Tensor) -> None:
    if rows.shape != cols.shape or rows.dtype != torch.float32 or cols.dtype != torch.float32:
        raise ValueError(
            f"rows and cols must be float32 of one shape; got {rows.dtype} {tuple(rows.shape)}, "
            f"{cols.dtype} {tuple(cols.shape)}"
        )
