"""Low-res pixels whose squares are turned, stretched or seen at an angle: means of points that are carried by a map.

Where all frames are shifted alike, a pixel is one sample of an image that was filtered by its PSF
(:mod:`nerfkit.kernels.lowres`). Where they turn or grow, the square of a pixel does so too. Here it is ``n_points`` x
``n_points`` points, evenly over its square, each taken where the frame's homography carries it, from an image that was
filtered by the small square that one point stands for. See README.md.

Positions are (col, row) of the filtered image, real numbers; cell (i, j) is at row i and column j.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nerfkit.kernels._dispatch import choose_impl
from nerfkit.kernels.lowres import Samples

from ._reference import residual_reference, sample_reference

__all__ = ["Footprints", "residual", "sample"]


class Footprints(NamedTuple):
    """Pixels of frames, their squares as points, and what was measured.

    Parameters
    ----------
    matrices : Tensor, shape (n_frames, 3, 3), float64
        Homographies from points (x, y) of a frame, pixel (i, j) centred on (j + 0.5, i + 0.5), to (col, row).
    n_points : int
        Points along a pixel's side.
    side : float
        Side of the square over which they are spread, in pixels of the frame.
    values, weights : Tensor, shape (n_frames, h, w), float32
        What was measured, and the weight of its squared error.
    """

    matrices: Tensor
    n_points: int
    side: float
    values: Tensor
    weights: Tensor


def sample(
    image: Tensor, matrices: Tensor, n_points: int, side: float, size: tuple[int, int], *, impl: str = "auto"
) -> tuple[Samples, Tensor]:  # fmt: skip
    """What each pixel sees: the mean of bilinear samples of ``image`` [h, w] at its points, with the mean slopes.

    Parameters
    ----------
    image : Tensor, shape (h, w), float32
        The filtered image.
    matrices, n_points, side
        As :class:`Footprints` has them.
    size : (int, int)
        Height and width of a frame.

    Returns
    -------
    samples : Samples
        Each [n_frames, *size]; 0 where a point is not within the image.
    is_known : Tensor, shape (n_frames, *size), bool
        Whether all points are.

    Notes
    -----
    Not differentiable through autograd: the slopes are in the answer.

    Examples
    --------
    >>> ramp = torch.arange(6.0).expand(6, 6).contiguous()
    >>> turned = torch.tensor([[[0.0, -1, 5], [1, 0, 1], [0, 0, 1]]], dtype=torch.float64)
    >>> sample(ramp, turned, 2, 1.0, (2, 2))[0].values
    tensor([[[4.5000, 4.5000],
             [3.5000, 3.5000]]])
    """
    _check(image, matrices, n_points, side)
    if choose_impl("footprints", image, impl, ("cpu",)) == "reference":
        values, d_rows, d_cols, is_known = sample_reference(image, matrices, n_points, side, size)
    else:
        from ._cpu import sample_cpu

        values, d_rows, d_cols, is_known = sample_cpu(image, matrices, n_points, side, size)
    return Samples(values, d_rows, d_cols), is_known


def residual(image: Tensor, footprints: Footprints, *, impl: str = "auto") -> Tensor:
    """Gradient [h, w] in the filtered image of the squared error ``sum weights (seen - values)^2 / 2``.

    Pixels of which a point is not within the image count for nothing.
    """
    matrices, n_points, side, values, weights = footprints
    _check(image, matrices, n_points, side)
    if values.shape != weights.shape or values.ndim != 3 or len(values) != len(matrices):
        raise ValueError(
            f"values and weights must have the shape ({len(matrices)}, h, w); got {tuple(values.shape)} and "
            f"{tuple(weights.shape)}"
        )
    if choose_impl("footprints", image, impl, ("cpu",)) == "reference":
        return residual_reference(image, footprints)
    from ._cpu import residual_cpu

    return residual_cpu(image, footprints)


def _check(image: Tensor, matrices: Tensor, n_points: int, side: float) -> None:
    if image.ndim != 2 or min(image.shape) < 2 or image.dtype != torch.float32:
        raise ValueError(
            f"image must be float32 of shape (h, w), both 2 or more; got {image.dtype} {tuple(image.shape)}"
        )
    if matrices.ndim != 3 or matrices.shape[1:] != (3, 3) or matrices.dtype != torch.float64:
        raise ValueError(f"matrices must be float64 [n_frames, 3, 3]; got {matrices.dtype} {tuple(matrices.shape)}")
    if n_points < 1 or not side > 0:
        raise ValueError(f"n_points must be 1 or more and side positive; got {n_points} and {side}")
