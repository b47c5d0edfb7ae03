"""The unsharp mask by which cameras sharpen frames before they write them, and its inverse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["UnsharpMask"]

# standard deviations at which the blur is cut
REACH = 4.0


@dataclass(frozen=True)
class UnsharpMask:
    """``y = x + amount * (x - blur(x))`` of file values, blurred by a Gaussian; frames are mirrored at their edges.

    It passes a wave with a factor of 1 or more, so that its inverse is exact and makes no noise larger.

    Parameters
    ----------
    amount : float
        Fraction of the detail that is added, 0 or more.
    radius : float
        Standard deviation of the Gaussian in low-res pixels.

    Examples
    --------
    >>> frames = torch.rand(2, 9, 7, generator=torch.Generator().manual_seed(0))
    >>> mask = UnsharpMask(1.0, 1.0)
    >>> bool((mask.undo(mask.apply(frames)) - frames).abs().max() < 1e-6)
    True
    """

    amount: float
    radius: float = 1.0

    def apply(self, frames: Tensor) -> Tensor:
        """Sharpened frames [n_frames, h, w], nothing clipped."""
        return self._filtered(frames, self._passes(*frames.shape[1:]))

    def undo(self, frames: Tensor) -> Tensor:
        """What frames [n_frames, h, w] were before they were sharpened."""
        return self._filtered(frames, 1 / self._passes(*frames.shape[1:]))

    def _passes(self, height: int, width: int) -> NDArray[np.float64]:
        """The factor [h, w] of each wave of a discrete cosine transform."""
        blur = self._blur(height)[:, None] * self._blur(width)
        return 1 + self.amount * (1 - blur)

    def _blur(self, side: int) -> NDArray[np.float64]:
        at = np.arange(1, int(REACH * self.radius + 0.5) + 1)
        weights = np.exp(-np.square(at / self.radius) / 2)
        waves = np.cos(np.pi * np.arange(side)[:, None] * at / side)
        return (1 + 2 * waves @ weights) / (1 + 2 * weights.sum())

    def _filtered(self, frames: Tensor, factors: NDArray[np.float64]) -> Tensor:
        from scipy.fft import dctn, idctn

        if self.amount == 0:
            return frames.clone()
        out = torch.empty(frames.shape, dtype=frames.dtype)
        # one by one: waves of all would take several times the memory of the frames
        for filtered, frame in zip(out, frames.cpu(), strict=True):
            waves = np.asarray(dctn(frame.double().numpy(), norm="ortho"))
            filtered[...] = torch.from_numpy(idctn(waves * factors, norm="ortho"))
        return out.to(frames.device)
