"""How good a slice is: within the disc that is seen, over the range of the truth in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nerfkit.metrics import SSIM_WINDOW
from nerfkit.workbench.regression import decibels

__all__ = ["score"]


def score(image: NDArray, truth: NDArray, seen: NDArray[np.bool_]) -> dict[str, float]:
    """PSNR and SSIM of ``image`` [h, w] where ``seen`` [h, w]; the peak is the truth's range there."""
    from skimage.metrics import structural_similarity

    image, truth = (np.asarray(values, np.float64) for values in (image, truth))
    span = float(np.ptp(truth[seen])) or 1.0
    found = {"psnr": round(decibels(float(np.square(image - truth)[seen].mean()), span), 3)}
    if min(image.shape) >= SSIM_WINDOW:
        _, places, *_ = structural_similarity(
            image, truth, data_range=span, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )
        found["ssim"] = round(float(places[seen].mean()), 5)
    return found
