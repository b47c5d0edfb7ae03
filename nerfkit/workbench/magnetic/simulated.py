"""K-space of a picture: a smooth phase, coils round it, lines denser in the middle or spokes, and noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.kspace_data import KspaceData
from nerfkit.scenes.observations.kspace import CartesianKspace, RadialKspace

__all__ = ["peak_of", "simulate_kspace"]

# part of the picture's values below the one that counts as its peak
PEAK = 0.998
# standard deviation of the phase, radians: of the picture, of a coil
PHASE, COIL_PHASE = 0.9, 0.5
# distance of coils from the middle, of half the picture's sides, and how far they see
COIL_DISTANCE, COIL_REACH = 1.1, 1.6


def peak_of(magnitude: NDArray) -> float:
    """What counts as the greatest value: the 99.8th percentile, as a few bright pixels may lie beyond."""
    return float(np.quantile(magnitude, PEAK)) or 1.0


def simulate_kspace(picture: NDArray, keys: dict[str, Any], seed: int) -> KspaceData:
    """What a scanner would measure.

    Parameters
    ----------
    picture : ndarray, shape (h, w)
        Magnitude.
    keys : dict
        ``acceleration``, lines that there are over lines that are measured; ``coils``; ``noise``, deviation of a real
        part over the picture's peak; ``radial``, spokes, 0: lines.
    seed : int
        Of phase, lines and noise.
    """
    _check(keys)
    rng = np.random.default_rng(seed)
    shape = (picture.shape[0], picture.shape[1])
    complex_picture = torch.from_numpy((picture * np.exp(1j * _smooth(shape, rng, PHASE, 3))).astype(np.complex64))
    coils = _coils(shape, keys["coils"], rng)
    sensitivities = torch.from_numpy(coils)
    noise = keys["noise"] * peak_of(picture)
    if keys["radial"]:
        trajectory = _spokes(keys["radial"], max(shape))
        values = RadialKspace(sensitivities, torch.from_numpy(trajectory)).product(complex_picture).numpy()
        return KspaceData(_noisy(values, noise, rng), shape, None, trajectory, coils)
    mask = np.repeat(_lines(shape[0], keys["acceleration"], rng)[:, None], shape[1], 1)
    values = _noisy(CartesianKspace(sensitivities).apply(complex_picture).numpy(), noise, rng)
    return KspaceData(np.where(mask, values, 0).astype(np.complex64), shape, mask, None, coils)


def _check(keys: dict[str, Any]) -> None:
    limits = {"acceleration": (1, 64), "coils": (1, 64), "noise": (0, 10), "radial": (0, 10000)}
    for name, (least, most) in limits.items():
        if not least <= keys[name] <= most:
            raise NerfkitError(
                f"{name} must be {least} to {most}; got {keys[name]}", where="--simulate", fix=f"correct {name}"
            )


def _noisy(values: NDArray, noise: float, rng: np.random.Generator) -> NDArray[np.complex64]:
    added = rng.standard_normal(values.shape) + 1j * rng.standard_normal(values.shape)
    return (values + noise * added).astype(np.complex64)


def _smooth(shape: tuple[int, int], rng: np.random.Generator, deviation: float, order: int) -> NDArray:
    """A few cosines of random phase [h, w], of that standard deviation."""
    y, x = (np.linspace(-1, 1, n) for n in shape)
    total = np.zeros(shape)
    for i in range(order + 1):
        for j in range(order + 1 - i):
            along_x, along_y = (np.cos(np.pi * n * at / 2 + rng.uniform(0, 6)) for n, at in ((i, x), (j, y)))
            total += rng.standard_normal() * np.outer(along_y, along_x) / (1 + i + j)
    return total * deviation / max(float(total.std()), 1e-6)


def _coils(shape: tuple[int, int], n: int, rng: np.random.Generator) -> NDArray[np.complex64]:
    """Sensitivities [n, h, w] of coils on a ring, squares summing to 1; one coil sees all alike."""
    if n == 1:
        return np.ones((1, *shape), np.complex64)
    y, x = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    coils = []
    for angle in 2 * np.pi * np.arange(n) / n:
        apart = (x - COIL_DISTANCE * np.cos(angle)) ** 2 + (y - COIL_DISTANCE * np.sin(angle)) ** 2
        coils.append(np.exp(-apart / COIL_REACH) * np.exp(1j * (_smooth(shape, rng, COIL_PHASE, 2) + angle)))
    found = np.stack(coils)
    return (found / np.sqrt((np.abs(found) ** 2).sum(0))).astype(np.complex64)


def _lines(n: int, acceleration: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which of n lines are measured: the middle all over, others the rarer the further out."""
    is_fast = acceleration > 4
    n_middle = max(3, round(n * (0.05 if is_fast else 0.08)))
    first = n // 2 - n_middle // 2
    lines = np.zeros(n, bool)
    lines[first : first + n_middle] = True
    chance = (1 - np.abs(np.arange(n) - n // 2) / (n / 2)).clip(0) ** (3 if is_fast else 2) + 0.02
    chance[lines] = 0
    n_more = max(0, min(n // acceleration, n) - n_middle)
    lines[rng.choice(n, min(n_more, n - n_middle), replace=False, p=chance / chance.sum())] = True
    return lines


def _spokes(n_spokes: int, n: int) -> NDArray[np.float32]:
    """Spokes of n samples, turned by the golden angle (Winkelmann 2007, doi 10.1109/TMI.2006.885337)."""
    angles = np.arange(n_spokes) * np.pi * (np.sqrt(5) - 1) / 2
    along = (np.arange(n) - n / 2) / n
    points = along[None, :, None] * np.stack([np.cos(angles), np.sin(angles)], -1)[:, None]
    return points.reshape(-1, 2).astype(np.float32)
