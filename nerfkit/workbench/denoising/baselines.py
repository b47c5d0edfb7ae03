"""Classical denoisers to compare with. Parameters are chosen on the clean picture (oracle), which flatters them.

Each entry says how its parameter was chosen. BM3D is given the true level instead.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.metrics import psnr

from .guides import ESTIMATES
from .noise import Noise

__all__ = ["Baseline", "bm3d_missing", "measure_baselines"]

# sides of the median's window
MEDIAN_SIDES = (3, 5)
# what stands for the level where noise has none, as a standard deviation of the range
IMPULSE_STDS = (0.02, 0.1, 0.3)


@dataclass(frozen=True)
class Baseline:
    """A classical method's best."""

    psnr: float
    # parameters, and how they were chosen
    chosen: dict[str, Any]
    picture: NDArray[np.float32]


def bm3d_missing() -> str:
    """Why BM3D is not among the baselines, in a line with the next step; empty where it is."""
    if importlib.util.find_spec("bm3d") is not None:
        return ""
    return "BM3D is not measured: the package bm3d is not installed (not for commercial use); pip install bm3d"


def measure_baselines(
    noisy: NDArray[np.float32], clean: NDArray[np.float32], noise: Noise, *, with_bm3d: bool = True
) -> dict[str, Baseline]:
    """The best that total variation, non-local means, for impulses a median, and BM3D make of ``noisy`` [h, w, c].

    Parameters
    ----------
    noisy, clean : ndarray, shape (h, w, c)
        The picture with and without its noise; the latter chooses the parameters.
    noise : Noise
        As it was made.
    with_bm3d : bool
        Whether to run it where it is installed; it has no part in impulses.
    """
    found: dict[str, Baseline] = {}

    def offer(name: str, picture: NDArray[Any], chosen: dict[str, Any], by: str = "oracle: best on the clean picture"):
        picture = np.clip(np.asarray(picture, np.float32).reshape(clean.shape), 0, 1)
        score = psnr(torch.from_numpy(picture), torch.from_numpy(clean))
        if name not in found or score > found[name].psnr:
            found[name] = Baseline(score, {**chosen, "by": by}, picture)

    for name in ("total variation", "non-local means"):
        for choice in ESTIMATES[name].choices:
            for std in _stds(noisy, noise):
                offer(name, ESTIMATES[name].make(**choice)(noisy, std), {**choice, "std": std})
    if noise.kind == "impulse":
        from scipy.ndimage import median_filter

        for side in MEDIAN_SIDES:
            offer("median", median_filter(noisy, (side, side, 1), mode="mirror"), {"side": side})
    elif with_bm3d and not bm3d_missing():
        from bm3d import bm3d, bm3d_rgb  # pyright: ignore[reportMissingImports]  # optional

        if noise.kind == "poisson":
            from .noise import stabilise, unstabilise

            values, std = stabilise(noisy, noise.level), 1.0
        else:
            values, std = noisy.astype(np.float64), noise.level
        is_rgb = noisy.shape[2] == 3
        result = bm3d_rgb(values, std) if is_rgb else bm3d(values[..., 0], std)
        result = np.asarray(result).reshape(clean.shape)
        if noise.kind == "poisson":
            result = unstabilise(result, noise.level)
        offer("BM3D", result, {}, "none: given the true level of the noise")
    return found


def _stds(noisy: NDArray[np.float32], noise: Noise) -> tuple[float, ...]:
    """What a denoiser for normal noise is to assume."""
    if noise.kind == "gaussian":
        return (noise.level,)
    if noise.kind == "poisson":
        # of a pixel of mean brightness, and of brighter and darker ones
        mean = float(noisy.mean())
        return tuple(float(np.sqrt(noise.level * mean * factor)) for factor in (0.5, 1.0, 2.0))
    return IMPULSE_STDS
