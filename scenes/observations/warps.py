"""A moving image as a map shows it: registration compares this with the fixed one."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

__all__ = ["Warp", "Warped"]


class Warped(NamedTuple):
    """What a map shows of an image."""

    # [c, (d,) h, w]
    values: Tensor
    # [(d,) h, w]: whether the map looks into the image there
    is_inside: Tensor


class Warp:
    """An image sampled where a map looks.

    Parameters
    ----------
    image : Tensor, shape (c, h, w) or (c, d, h, w)
        The moving image.
    is_cubic : bool
        Cubic convolution between its pixels, else linear; volumes are always linear.

    Notes
    -----
    Differentiable in what the map gives. Places beyond the image have the value of its border, and are told.

    Examples
    --------
    >>> image = torch.arange(6.0).view(1, 2, 3)
    >>> Warp(image).predict(lambda where: where + torch.tensor([1.0, 0.0]), torch.tensor([[[0.0, 0.0], [2.0, 1.0]]]))
    Warped(values=tensor([[[1., 5.]]]), is_inside=tensor([[ True, False]]))
    """

    def __init__(self, image: Tensor, *, is_cubic: bool = False) -> None:
        self.image, self.n_dims = image, image.ndim - 1
        self.mode = "bicubic" if is_cubic and self.n_dims == 2 else "bilinear"
        sides = torch.tensor(image.shape[:0:-1], dtype=torch.float32, device=image.device)
        # an axis of one pixel has no distance between two
        self._sides = (sides - 1).clamp(min=1)

    def predict(self, field: Any, where: Any) -> Warped:
        """Values where ``field(where)`` looks: places [.., n_dims], x first, whole numbers at centres of pixels."""
        return self.at(field(where))

    def at(self, places: Tensor) -> Warped:
        """Values at places [(d,) h, w, d]."""
        scaled = places * (2 / self._sides) - 1
        found = grid_sample(self.image[None], scaled[None], mode=self.mode, padding_mode="border", align_corners=True)
        # half a pixel round the border still belongs to its pixels
        reach = 1 + 1 / self._sides
        return Warped(found[0], (scaled.detach().abs() < reach).all(-1))
