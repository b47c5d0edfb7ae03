"""What the centre of k-space tells before any picture is made: sensitivities, phase, and the noise from rim and air."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.kspace_data import KspaceData
from nerfkit.scenes.observations.kspace import RadialKspace, centred_ifft

__all__ = ["centre_pictures", "noise_of", "sampling_weights", "sensitivities_of"]

# least half-width of the centre along an axis that is sampled all over, samples; the widest that is used
LEAST_HALF, MOST_HALF = 1, 12
# fraction of the samples, the outermost, that hold noise alone
RIM = 0.05
# quantile of their magnitudes that is compared with noise: a low one, as some hold structure too
QUANTILE = 0.2
# that quantile of complex noise whose parts have deviation 1 (Rayleigh's distribution)
RAYLEIGH = math.sqrt(-2 * math.log(1 - QUANTILE))
# width of a strip of air, of the picture's
STRIP = 0.05
# least noise beside the root mean square of the values: a solution for less takes ever more steps
LEAST_NOISE = 1e-5
# cycles over the picture at which the centre of a trajectory has faded to exp(-1/2)
FADING = 12.0


def noise_of(data: KspaceData) -> float:
    """Standard deviation of a real part of the noise: the lesser of what two places show that should hold little else.

    One is the rim of k-space, by magnitudes of the outermost samples. The other is the air beside what is in the
    picture: a line that was read all over is transformed along itself, to columns that no missing line blurs.
    """
    if data.trajectory is not None:
        radius, values = np.hypot(*data.trajectory.T), data.values
    else:
        assert data.mask is not None
        height, width = data.shape
        y, x = np.mgrid[:height, :width]
        radius = np.hypot((y - height // 2) / height, (x - width // 2) / width)[data.mask]
        values = data.values[:, data.mask]
    rim = values[:, radius >= np.quantile(radius, 1 - RIM)]
    found = float(np.quantile(np.abs(rim), QUANTILE)) / RAYLEIGH
    least = LEAST_NOISE * float(np.sqrt(np.mean(np.abs(values) ** 2)))
    return max(min(found, _noise_in_air(data)), least)


def _noise_in_air(data: KspaceData) -> float:
    """By the quietest strip of columns (or of rows) that whole lines show; infinite where no line is whole."""
    if data.mask is None:
        return math.inf
    found = math.inf
    for axis, is_whole in ((-1, data.mask.all(1)), (-2, data.mask.all(0))):
        if not is_whole.any():
            continue
        lines = np.compress(is_whole, data.values, axis=-1 if axis == -2 else -2)
        energy = np.square(np.abs(np.fft.ifft(lines, axis=axis, norm="ortho"))).mean(axis=(0, -1 if axis == -2 else -2))
        # strips of several columns: the least of many single ones would be well below the noise
        n = max(1, round(STRIP * len(energy)))
        strips = np.convolve(np.concatenate([energy, energy[: n - 1]]), np.full(n, 1 / n), "valid")
        found = min(found, math.sqrt(strips.min() / 2))
    return found


def sampling_weights(data: KspaceData) -> NDArray[np.float32]:
    """Weight of each measured value, at most 1: 1 on the grid; of a trajectory the distance from the middle, by which
    spokes that are dense there count alike everywhere.
    """
    if data.trajectory is None:
        assert data.mask is not None
        return np.broadcast_to(data.mask, data.values.shape).astype(np.float32)
    radius = np.hypot(*data.trajectory.T)
    found = np.maximum(radius, 0.25 / max(data.shape)) / radius.max()
    return np.broadcast_to(found, data.values.shape).astype(np.float32)


def centre_pictures(data: KspaceData) -> Tensor:
    """Blurred complex pictures [n_coils, h, w] of the centre alone.

    Raises
    ------
    NerfkitError
        The centre was not measured all over.
    """
    if data.trajectory is not None:
        radius = np.hypot(*data.trajectory.T)
        fading = torch.from_numpy(radius * np.exp(-((radius * max(data.shape) / FADING) ** 2) / 2)).float()
        ones = torch.ones(data.n_coils, *data.shape, dtype=torch.complex64)
        return RadialKspace(ones, torch.from_numpy(data.trajectory)).spread(torch.from_numpy(data.values) * fading)
    return centred_ifft(torch.from_numpy(data.values) * torch.from_numpy(_window(data)))


def _window(data: KspaceData) -> NDArray[np.float32]:
    """A Hann window over the part round the middle that is sampled all over."""
    assert data.mask is not None
    mask, middle = data.mask, [n // 2 for n in data.shape]
    half = [0, 0]
    for axis in (0, 1, 0, 1):
        # in turn: each axis grows along what the other one has
        for reach in range(half[axis], min(MOST_HALF, middle[axis] - 1) + 1):
            half[axis] = reach
            trial = [LEAST_HALF if n == 0 else n for n in half]
            parts = tuple(slice(m - n, m + n + 1) for m, n in zip(middle, trial, strict=True))
            if not mask[parts].all():
                half[axis] = reach - 1
                break
    if min(half) < LEAST_HALF:
        raise NerfkitError(
            "the middle of k-space was not measured all over: neither phase nor coils can be estimated",
            fix=f"measure the {2 * LEAST_HALF + 1} lines round the zero frequency at least",
        )
    window = np.zeros(data.shape, np.float32)
    hann = [np.hanning(2 * n + 3)[1:-1] for n in half]
    window[tuple(slice(m - n, m + n + 1) for m, n in zip(middle, half, strict=True))] = np.outer(*hann)
    return window


def sensitivities_of(pictures: Tensor) -> Tensor:
    """Sensitivities [n_coils, h, w] from blurred pictures of the coils: their ratios, squares summing to 1.

    They hold the picture's phase too. One coil has sensitivity 1 everywhere.
    """
    if len(pictures) == 1:
        return torch.ones_like(pictures)
    total = pictures.abs().square().sum(0)
    return pictures / (total + 1e-6 * total.max()).sqrt()
