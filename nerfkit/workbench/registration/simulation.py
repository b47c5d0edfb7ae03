"""A fixed image made from a moving one by a known warp, as measurements whose registration has a truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

__all__ = ["KINDS", "known_warp", "simulate_fixed"]

KINDS = ("plain", "bright", "modal", "large")
# a warp varies over this fraction of the longest side; the one of a large motion over more
REACH, LARGE_REACH = 40 / 512, 60 / 512
# shift (x, y, z) of the large motion, as a fraction of the longest side
LARGE_SHIFT = (-20 / 512, 15 / 512, 10 / 512)
# noise of both images where values are changed, of the range
NOISE = 0.03
# standard deviation of the shading of a changed brightness, of the range
SHADING = 0.003


def known_warp(shape: tuple[int, ...], amplitude: float, kind: str, seed: int) -> NDArray[np.float64]:
    """A smooth random displacement [(d,) h, w, n_dims] (x, y(, z)), ``amplitude`` pixels at most, plus a shift."""
    rng, longest, n_dims = np.random.default_rng(seed), max(shape), len(shape)
    sigma = longest * (LARGE_REACH if kind == "large" else REACH)
    # drawn along y first, as arrays have their axes
    parts = np.stack([gaussian_filter(rng.normal(size=shape), sigma, mode="reflect") for _ in range(n_dims)])
    parts *= amplitude / np.sqrt((parts**2).sum(0)).max()
    moves = np.moveaxis(parts[::-1], 0, -1)
    return moves + longest * np.array(LARGE_SHIFT[:n_dims]) if kind == "large" else moves


def simulate_fixed(
    moving: NDArray[np.float32], moves: NDArray[np.float64], kind: str, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The fixed and the moving image, values of ``moving`` [(d,) h, w] being in [0, 1].

    ``bright``: gamma, gain, shading and noise; ``modal``: a sine of the value, as another instrument, and noise.
    """
    rng = np.random.default_rng(seed + 1)
    grid = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in moving.shape), indexing="ij")
    looks = [axis + moves[..., moving.ndim - 1 - place] for place, axis in enumerate(grid)]
    fixed = map_coordinates(moving.astype(np.float64), looks, order=3, mode="reflect")
    seen = moving.astype(np.float64)
    if kind in ("bright", "modal"):
        fixed, seen = (image + rng.normal(size=image.shape) * NOISE for image in (fixed, seen))
    if kind == "bright":
        shading = gaussian_filter(rng.normal(size=fixed.shape), max(fixed.shape) * 80 / 512)
        fixed = 0.25 + 0.5 * np.clip(fixed, 0, 1) ** 1.5 + SHADING * shading / max(float(shading.std()), 1e-12)
    if kind == "modal":
        fixed = np.sin(np.clip(fixed, 0, 1) * 5.0)
    return fixed.astype(np.float32), seen.astype(np.float32)
