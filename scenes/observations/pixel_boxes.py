"""What a pixel with the area of a square has measured of a field: its mean over that square."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from nerfkit.scenes.fields.image_field import ImageField, Lattice

__all__ = ["LatticePixelBoxes", "PixelBoxes", "gauss_positions"]

# the two nodes of Gauss-Legendre quadrature on [-1/2, 1/2], of equal weight: exact for polynomials of degree 3
NODE = 0.5 / math.sqrt(3)


def gauss_positions(n_pixels: int) -> Tensor:
    """Positions [2 n_pixels] along an axis, float64, two in each of the pixels [0, 1], [1, 2], ..."""
    centres = torch.arange(n_pixels, dtype=torch.float64) + 0.5
    return torch.stack([centres - NODE, centres + NODE], -1).view(-1)


class PixelBoxes:
    """Means over squares of side 1 round points, by two Gauss nodes along each axis.

    Examples
    --------
    >>> PixelBoxes().predict(lambda x: x[:, :1] ** 2, torch.tensor([[0.5, 0.5]])).item()  # the integral of x^2: 1/3
    0.3333333134651184
    """

    def predict(self, field: Callable[[Tensor], Tensor], where: Tensor) -> Tensor:
        """Means [n, c] of ``field`` round ``where`` [n, 2], in pixels."""
        offsets = torch.tensor([[-NODE, -NODE], [NODE, -NODE], [-NODE, NODE], [NODE, NODE]], device=where.device)
        points = where[:, None] + offsets.to(where.dtype)
        return field(points.view(-1, 2)).view(len(where), 4, -1).mean(1)


class LatticePixelBoxes:
    """The same on a lattice of :func:`gauss_positions`."""

    def predict(self, field: ImageField, where: Lattice) -> Tensor:
        """Means [c, h, w] over the pixels of a lattice of twice as many rows and columns."""
        return avg_pool2d(field.evaluate_lattice(where)[None], 2)[0]
