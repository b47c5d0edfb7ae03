"""How near an image is to the truth."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.metrics import SSIM_WINDOW, psnr, ssim

__all__ = ["decibels", "score"]

# low-res pixels at each side that psnr_interior leaves out
INTERIOR = 2


def score(image: NDArray[np.float32], truth: NDArray[np.float32], scale: float) -> dict[str, float | None]:
    """PSNR, SSIM, and PSNR without two low-res pixels at each side.

    Of grey against colour, the channels are equal; what is transparent is compared on white.
    """
    a, b = (torch.from_numpy(_on_white(np.clip(part, 0, 1))) for part in (image, truth))
    a, b = (part[..., None] if part.ndim == 2 else part for part in (a, b))
    a, b = torch.broadcast_tensors(a, b)
    border = round(INTERIOR * scale)
    inner = (slice(border, -border), slice(border, -border))
    is_large = min(a.shape[:2]) > 2 * border
    return {
        "psnr": _finite(psnr(a, b), 4),
        "ssim": _finite(ssim(a, b), 5) if min(a.shape[:2]) >= SSIM_WINDOW else None,
        "psnr_interior": _finite(psnr(a[inner], b[inner]), 4) if is_large else None,
    }


def decibels(mse: float | None) -> float | None:
    """The PSNR of a mean squared error on the range [0, 1]; None where there is none or it is 0."""
    return None if mse is None or mse <= 0 else _finite(-10 * math.log10(mse), 4)


def _on_white(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """An image [h, w] or [h, w, 1 or 3] without alpha."""
    if image.ndim == 2 or image.shape[2] not in (2, 4):
        return image
    alpha = image[..., -1:]
    return image[..., :-1] * alpha + 1 - alpha


def _finite(value: float, digits: int) -> float | None:
    """JSON has no infinity and no NaN."""
    return round(value, digits) if math.isfinite(value) else None
