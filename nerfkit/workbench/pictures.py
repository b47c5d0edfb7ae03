"""Pictures and curves that reports of the workbench show: errors, derivatives, spectra."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.report.blocks import Chart, Series
from nerfkit.scenes.observations.derivatives import jet
from nerfkit.workbench.outcome import Shown
from nerfkit.workbench.regression import pixel_centres

__all__ = ["derivative_pictures", "error_map", "spectrum", "spectrum_chart"]

# an error of this fraction of the range shows as white
WHITE_ERROR = 0.1
# points whose derivatives are computed at once, which bounds the memory
CHUNK = 2**13
# fraction of the pixels of a picture of derivatives that are cut to black or white
CLIPPED = 0.01


def error_map(image: NDArray, truth: NDArray, span: tuple[float, float]) -> NDArray:
    """Mean absolute error over the channels [h, w], a tenth of the range white."""
    return np.abs(image - truth).mean(-1) / (span[1] - span[0]) / WHITE_ERROR


def derivative_pictures(field: Any, size: tuple[int, int]) -> list[Shown]:
    """Length of the gradient and the Laplacian of a field's mean over its channels, at the pixels of its extent."""
    width, height = size
    device = next(field.parameters()).device
    slopes, laplacians = [], []
    with torch.no_grad():
        for part in pixel_centres(height, width).split(CHUNK):
            found = jet(field, part.to(device), "laplacian")
            assert found.gradient is not None
            slopes.append(found.gradient.mean(1).norm(dim=-1).cpu())
            laplacians.append(found.laplacian.mean(1).cpu())
    slope = torch.cat(slopes).view(height, width).numpy()
    laplacian = torch.cat(laplacians).view(height, width).numpy()
    top = float(np.quantile(slope, 1 - CLIPPED)) or 1.0
    shown = [Shown("gradient", slope / top, f"length of the gradient; white is {top:.3g} a pixel")]
    reach = float(np.quantile(np.abs(laplacian), 1 - CLIPPED))
    if reach > 0:
        caption = f"Laplacian; black to white is -{reach:.3g} to {reach:.3g} a pixel squared"
        shown.append(Shown("laplacian", 0.5 + 0.5 * laplacian / reach, caption))
    return shown


def spectrum(picture: NDArray) -> tuple[list[float], list[float]]:
    """Frequencies in cycles a pixel, and the mean power on rings of them, of a picture [h, w, c] (Hann window)."""
    grey = np.asarray(picture, np.float64).mean(-1)
    height, width = grey.shape
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2 / np.square(window).sum()
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    n_rings = max(2, min(64, min(height, width) // 2))
    ring = np.minimum((radius / 0.5 * n_rings).astype(int), n_rings)
    counts = np.bincount(ring.ravel(), minlength=n_rings + 1)[:n_rings]
    sums = np.bincount(ring.ravel(), power.ravel(), minlength=n_rings + 1)[:n_rings]
    kept = (counts > 0) & (sums > 0)
    frequencies = (np.arange(n_rings) + 0.5) / n_rings * 0.5
    return frequencies[kept].round(5).tolist(), [float(f"{p:.5g}") for p in (sums[kept] / counts[kept])]


def spectrum_chart(pictures: dict[str, NDArray]) -> Chart:
    """Power spectra of pictures, one curve each."""
    curves = [Series(name, *spectrum(picture)) for name, picture in pictures.items()]
    is_log = all(math.isfinite(value) for curve in curves for value in curve.y)
    return Chart("Power at each frequency", curves, "cycles a pixel", "", is_log=is_log)
