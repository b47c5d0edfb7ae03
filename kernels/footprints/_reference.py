"""The definition, in plain torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nerfkit.kernels.lowres import sample as bilinear

if TYPE_CHECKING:
    from . import Footprints


def points(matrices: Tensor, n_points: int, side: float, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Columns and rows [n_frames, h, w, n_points * n_points], float64, where the points of the pixels look."""
    height, width = size
    offsets = ((torch.arange(n_points, dtype=torch.float64) + 0.5) / n_points - 0.5) * side
    x = torch.arange(width)[None, :, None, None] + 0.5 + offsets[None, None, None, :]
    y = torch.arange(height)[:, None, None, None] + 0.5 + offsets[None, None, :, None]
    x, y = (part.expand(height, width, n_points, n_points).flatten(2) for part in (x, y))
    a, b, c, d, e, f, g, h, i = matrices.cpu().flatten(1)[:, :, None, None, None].unbind(1)
    below = g * x + h * y + i
    return (a * x + b * y + c) / below, (d * x + e * y + f) / below


def _seen(
    image: Tensor, matrices: Tensor, n_points: int, side: float, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    cols, rows = (part.float().to(image.device) for part in points(matrices, n_points, side, size))
    is_in = (rows >= 0) & (cols >= 0) & (rows <= image.shape[0] - 1) & (cols <= image.shape[1] - 1)
    is_known = is_in.all(-1)
    found = (part.mean(-1) * is_known for part in bilinear(image, rows, cols, impl="reference"))
    values, d_rows, d_cols = found
    return values, d_rows, d_cols, is_known, rows, cols


def sample_reference(
    image: Tensor, matrices: Tensor, n_points: int, side: float, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Means over the points."""
    return _seen(image, matrices, n_points, side, size)[:4]


def residual_reference(image: Tensor, footprints: Footprints) -> Tensor:
    """Each error goes back to the four cells of each point, by what the point had of them."""
    matrices, n_points, side, measured, weights = footprints
    values, _, _, is_known, rows, cols = _seen(image, matrices, n_points, side, (measured.shape[1], measured.shape[2]))
    errors = (weights * (values - measured) * is_known / n_points**2)[..., None].expand(rows.shape)
    i, j = rows.floor().clamp(0, image.shape[0] - 2), cols.floor().clamp(0, image.shape[1] - 2)
    t, u, width = rows - i, cols - j, image.shape[1]
    index, out = i.long() * width + j.long(), torch.zeros(image.numel(), device=image.device)
    for step, share in ((0, (1 - t) * (1 - u)), (1, (1 - t) * u), (width, t * (1 - u)), (width + 1, t * u)):
        out.index_add_(0, (index + step).flatten(), (errors * share).flatten())
    return out.view(image.shape)
