"""Filtered back projection of parallel rays and of a fan (Kak and Slaney 1988, sections 3.3 and 3.4.2)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nerfkit.workbench.tomography.scan import Scan

__all__ = ["WINDOWS", "filtered_back_projection", "ramp", "ramp_filter", "ramp_filtered"]

# what the ramp is multiplied with, a function of the frequency as a fraction of the highest
WINDOWS: dict[str, Callable[[Tensor], Tensor]] = {
    "ramp": torch.ones_like,
    "shepp-logan": lambda f: torch.sinc(f / 2),
    "cosine": lambda f: torch.cos(math.pi / 2 * f),
    "hamming": lambda f: 0.54 + 0.46 * torch.cos(math.pi * f),
    "hann": lambda f: 0.5 + 0.5 * torch.cos(math.pi * f),
}


def ramp(values: Tensor) -> Tensor:
    """Values [..., n_bins] with each frequency along the last axis times its size, in cycles a bin."""
    n = values.shape[-1]
    spectrum = torch.fft.rfft(values, 2 * n)
    return torch.fft.irfft(spectrum * torch.fft.rfftfreq(2 * n, device=values.device), 2 * n)[..., :n]


def ramp_filter(n: int, window: str, highest: float = 1.0) -> Tensor:
    """Response [n + 1] of the band-limited ramp, sampled in space so that its mean is right (eq. 3.61).

    ``highest`` is where the window ends, as a fraction of the highest frequency of the bins.
    """
    at = torch.fft.fftfreq(2 * n, 1 / (2 * n)).round()
    kernel = torch.where(at % 2 == 0, 0.0, -1 / (math.pi * at).square().clamp(min=1e-12))
    kernel[0] = 0.25
    response = torch.fft.rfft(kernel).real
    frequencies = torch.linspace(0, 1, n + 1) / highest
    return response * WINDOWS[window](frequencies.clamp(max=1)) * (frequencies <= 1)


def ramp_filtered(values: Tensor, spacing: float, pixel: float, window: str) -> Tensor:
    """Values [..., n_bins], ``spacing`` mm apart at the axis, filtered by the ramp for pixels of ``pixel`` mm."""
    n = values.shape[-1]
    # nothing finer than the pixels, where bins are
    spectrum = torch.fft.rfft(values, 2 * n) * ramp_filter(n, window, min(1.0, spacing / pixel))
    return torch.fft.irfft(spectrum, 2 * n)[..., :n] / spacing


def filtered_back_projection(scan: Scan, window: str = "ramp") -> Tensor:
    """The picture [side, side], all views together taken for half a turn, in which each ray comes once."""
    geometry, n = scan.geometry, scan.geometry.n_bins
    at = (torch.arange(n) - geometry.center) * geometry.bin_spacing / geometry.magnification
    values = scan.sinogram.cpu()
    if geometry.kind == "fan":
        source = geometry.source_distance
        values = values * source / (source**2 + at.square()).sqrt()
    filtered = ramp_filtered(values, geometry.bin_spacing / geometry.magnification, scan.pixel, window)
    return _back_project(scan, filtered) * math.pi / len(geometry.angles)


def _back_project(scan: Scan, filtered: Tensor) -> Tensor:
    """Sums over the views of what each bin saw, by linear interpolation."""
    geometry, side, pixel = scan.geometry, scan.side, scan.pixel
    axis = (torch.arange(side) - (side - 1) / 2) * pixel
    x, y = axis[None, :], -axis[:, None]
    picture = torch.zeros(side, side)
    for row, angle in zip(filtered, geometry.radians, strict=True):
        cos, sin = math.cos(angle), math.sin(angle)
        along, factor = x * cos + y * sin, 1.0
        if geometry.kind == "fan":
            nearness = geometry.source_distance / (geometry.source_distance + x * sin - y * cos)
            along, factor = along * nearness, nearness.square()
        bins = along * geometry.magnification / geometry.bin_spacing + geometry.center
        low = bins.floor().clamp(0, geometry.n_bins - 2)
        part = (bins - low).clamp(0, 1)
        first = low.long()
        inside = (bins > -1) & (bins < geometry.n_bins)
        picture += torch.where(inside, torch.lerp(row[first], row[first + 1], part), 0.0) * factor
    return picture
