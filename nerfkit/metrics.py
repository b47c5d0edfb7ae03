"""Figures of merit, PSNR and SSIM, and the log that figures are written to."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

from torch import Tensor

from nerfkit.files import explain_os_error, write_atomically
from nerfkit.scenes.filters import gaussian_filter

__all__ = ["SSIM_WINDOW", "MetricsLog", "psnr", "ssim"]

# Wang et al. 2004: window of 11 pixels with sigma 1.5, and the constants that keep quotients finite
SSIM_RADIUS, SSIM_SIGMA, SSIM_K1, SSIM_K2 = 5, 1.5, 0.01, 0.03
SSIM_WINDOW = 2 * SSIM_RADIUS + 1


def psnr(image: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB for values in [0, 1]; infinite for equal images.

    Examples
    --------
    >>> round(psnr(torch.zeros(2, 2, 3), torch.full((2, 2, 3), 0.1)), 6)
    20.0
    """
    mse = float((image.double() - truth.double()).square().mean())
    return math.inf if mse == 0 else -10 * math.log10(mse)


def ssim(image: Tensor, truth: Tensor) -> float:
    """Structural similarity (Wang et al. 2004) with a Gaussian window of sigma 1.5, mean over pixels and channels.

    Parameters
    ----------
    image, truth : Tensor, shape (h, w, c)
        Values in [0, 1], at least 11 pixels a side. The border of 5 pixels is left out, as scikit-image does.
    """
    if min(image.shape[:2]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs images of at least 11 x 11 pixels; got {image.shape[1]} x {image.shape[0]}")
    blur = partial(gaussian_filter, sigma=SSIM_SIGMA, truncate=SSIM_RADIUS / SSIM_SIGMA, mode="valid")
    a, b = (x.double().permute(2, 0, 1) for x in (image, truth))  # [c, h, w]
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    quotient = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return float(quotient.mean())


class MetricsLog:
    """``metrics.jsonl``: one JSON object a line, appended and flushed at once.

    Parameters
    ----------
    path : Path
        The file; created with its folder.

    Raises
    ------
    NerfkitError
        It cannot be written, or the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # unbuffered: a line is one write, and nothing is left to write when the file is closed
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise explain_os_error(error, path) from error

    def write(self, figures: dict[str, float]) -> None:
        """Append one object."""
        try:
            self._file.write((json.dumps(figures) + "\n").encode())
        except OSError as error:
            raise explain_os_error(error, self.path) from error

    def rewind(self, step: int) -> None:
        """Forget lines of later steps than ``step``, and one that was cut short: a resumed run writes them anew."""
        kept = [line for line in self.path.read_bytes().splitlines() if _step_of(line) <= step]
        write_atomically(self.path, b"".join(line + b"\n" for line in kept))
        self._file.close()
        self._file = self.path.open("ab", buffering=0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _step_of(line: bytes) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf
