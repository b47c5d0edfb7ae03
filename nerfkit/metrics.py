"""Figures of merit, PSNR and SSIM, and the log that figures are written to."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.files import explain_os_error, write_atomically
from nerfkit.scenes.errors import NerfkitError

__all__ = ["SSIM_WINDOW", "MetricsLog", "psnr", "ssim"]

# Wang et al. 2004: a Gaussian window of 11 pixels
SSIM_SIGMA, SSIM_WINDOW = 1.5, 11


def psnr(image: Tensor, truth: Tensor, mask: NDArray[np.bool_] | None = None) -> float:
    """Peak signal-to-noise ratio in dB for values in [0, 1]; infinite for equal images.

    With a ``mask`` [h, w] over the pixels where it is true; NaN where it is nowhere.

    Examples
    --------
    >>> import torch
    >>> round(psnr(torch.zeros(2, 2, 3), torch.full((2, 2, 3), 0.1)), 6)
    20.0
    """
    errors = (image.double() - truth.double()).square()
    mse = float((errors if mask is None else errors[torch.from_numpy(mask)]).mean())
    return math.inf if mse == 0 else -10 * math.log10(mse)


def ssim(image: Tensor, truth: Tensor, mask: NDArray[np.bool_] | None = None) -> float:
    """Structural similarity (Wang et al. 2004), Gaussian window of sigma 1.5, mean over pixels and channels.

    Parameters
    ----------
    image, truth : Tensor, shape (h, w, c)
        Values in [0, 1] on any device, at least 11 pixels a side. The border of 5 pixels is left out.
    mask : bool ndarray, shape (h, w), optional
        The mean is over pixels where it is true, NaN without any; elsewhere the images are taken for equal.
    """
    if min(image.shape[:2]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs images of at least 11 x 11 pixels; got {image.shape[1]} x {image.shape[0]}")
    # imported here: half a second that only evaluations need
    from skimage.metrics import structural_similarity

    a, b = (x.detach().cpu().double().numpy() for x in (image, truth))
    options = {"gaussian_weights": True, "sigma": SSIM_SIGMA, "use_sample_covariance": False}
    if mask is None:
        return float(np.asarray(structural_similarity(a, b, data_range=1, channel_axis=-1, **options)))
    a[~mask] = b[~mask]
    everywhere = np.asarray(structural_similarity(a, b, data_range=1, channel_axis=-1, full=True, **options)[1])
    edge = SSIM_WINDOW // 2
    counted = mask[edge:-edge, edge:-edge]
    return float(everywhere[edge:-edge, edge:-edge][counted].mean()) if counted.any() else math.nan


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
            # a run of somebody else's may hold a link to any file, which would be appended to
            if path.is_symlink():
                raise NerfkitError("is a link to another file", where=path, fix="remove the link")
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
