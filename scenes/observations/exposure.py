"""Exposure: the gain and the offset by which a frame's values differ from the scene's. Fitted, applied, undone here."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Exposure"]

# least gain: a frame of which less is left shows nothing
MIN_GAIN = 0.05


@dataclass(frozen=True)
class Exposure:
    """measured = gain * scene + offset, for each frame.

    Parameters
    ----------
    gains, offsets : Tensor, shape (n_frames,), float32
        Offsets in the unit of the values.

    Examples
    --------
    >>> exposure = Exposure(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.5]))
    >>> exposure.undo(torch.full((2, 1, 1), 1.5)).flatten().tolist()
    [1.5, 0.5]
    """

    gains: Tensor
    offsets: Tensor

    @classmethod
    def neutral(cls, n_frames: int) -> Exposure:
        """Of frames that are the scene's own values."""
        return cls(torch.ones(n_frames), torch.zeros(n_frames))

    @classmethod
    def fit(cls, measured: Tensor, predicted: Tensor, weights: Tensor) -> Exposure:
        """Least squares of ``measured`` against ``predicted`` [n_frames, h, w], by pixels with ``weights``."""
        total = weights.double().sum((1, 2)).clamp(min=1)

        def mean(values: Tensor) -> Tensor:
            return (values.double() * weights).sum((1, 2)) / total

        middle, centre = mean(predicted), mean(measured)
        apart = predicted.double() - middle[:, None, None]
        spread = mean(apart.square())
        product = mean(apart * (measured.double() - centre[:, None, None]))
        # a frame without contrast tells no gain: rounding alone is this much of the brightest one's
        is_told = spread > 1e-8 * spread.max()
        gains = torch.where(is_told, product / spread.clamp(min=1e-30), 1.0).clamp(min=MIN_GAIN)
        return cls(gains.float().cpu(), (centre - gains * middle).float().cpu())

    @property
    def is_neutral(self) -> bool:
        """Whether nothing is to be undone."""
        return bool((self.gains == 1).all() and (self.offsets == 0).all())

    def relative_to(self, reference: int, is_used: Tensor) -> Exposure:
        """As seen from the reference frame, or from the median of the used frames where it is not among them."""
        chosen = torch.tensor([reference]) if is_used[reference] else is_used.nonzero()[:, 0].cpu()
        gain, offset = self.gains[chosen].median(), self.offsets[chosen].median()
        gains = self.gains / gain
        return Exposure(gains, self.offsets - gains * offset)

    def expose(self, values: Tensor) -> Tensor:
        """The frames' values [n_frames, h, w] of the scene's."""
        gains, offsets = (part.to(values)[:, None, None] for part in (self.gains, self.offsets))
        return gains * values + offsets

    def undo(self, values: Tensor) -> Tensor:
        """The scene's values of frames [n_frames, h, w]."""
        gains, offsets = (part.to(values)[:, None, None] for part in (self.gains, self.offsets))
        return (values - offsets) / gains
