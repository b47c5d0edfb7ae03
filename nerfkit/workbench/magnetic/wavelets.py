"""Pictures from k-space that are sparse in wavelets: compressed sensing as it began (Lustig et al. 2007)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nerfkit.scenes.extras import import_extra

from .classical import KspaceProblem, start_of

__all__ = ["sparse_in_wavelets"]

# Daubechies' wavelets with two vanishing moments, and steps of the accelerated descent
WAVELET, STEPS = "db2", 100
# steps of the power iteration that bounds the instrument's norm, and what it may be short of it
POWER_STEPS, MARGIN = 12, 1.05
# levels at most, and the least side that is split once more
MAX_LEVELS, LEAST_SIDE = 4, 16


def sparse_in_wavelets(problem: KspaceProblem, thresholds: Tensor) -> Tensor:
    """Complex pictures [n, h, w] with the problem's phase, for each of ``thresholds`` [n] on its coefficients.

    The sum of squared misfits, weighted by the sampling, plus the threshold times the sum of the details' absolute
    values (FISTA: Beck and Teboulle 2009); at every step the wavelets lie on another shift of the pixels, as a fixed
    lattice shows (Figueiredo and Nowak 2003).

    Raises
    ------
    MissingCapabilityError
        PyWavelets is not installed.
    """
    import_extra("pywt", "mri", "wavelets")
    bound = _squared_norm(problem)
    found = [_descend(problem, float(threshold), bound) for threshold in thresholds]
    return torch.stack(found) * problem.phasor


def _descend(problem: KspaceProblem, threshold: float, bound: float) -> Tensor:
    instrument, rng = problem.phased, np.random.default_rng(0)
    picture = ahead = start_of(problem)
    momentum = 1.0
    for _ in range(STEPS):
        misfit = problem.sampling * (problem.values - instrument.product(ahead))
        stepped = ahead + instrument.adjoint(misfit) / bound
        down, right = rng.integers(0, 2**MAX_LEVELS, 2).tolist()
        before, picture = picture, _shrunk(stepped, threshold / bound, (down, right)).clamp(min=0)
        faster = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = picture + (momentum - 1) / faster * (picture - before)
        momentum = faster
    return picture


def _shrunk(picture: Tensor, threshold: float, shift: tuple[int, int]) -> Tensor:
    """The picture with its details made smaller by the threshold."""
    import pywt

    moved = np.roll(picture.cpu().numpy(), shift, (0, 1))
    # an even size at every level, so that the transform is orthonormal
    side = 2**MAX_LEVELS
    padded = np.pad(moved, [(0, -n % side) for n in moved.shape], mode="symmetric")
    levels = max(1, min(MAX_LEVELS, int(np.log2(min(padded.shape) / LEAST_SIDE))))
    coarse, *details = pywt.wavedec2(padded, WAVELET, "periodization", levels)
    kept = [coarse, *(tuple(pywt.threshold(band, threshold, "soft") for band in level) for level in details)]
    back = pywt.waverec2(kept, WAVELET, "periodization")[: moved.shape[0], : moved.shape[1]]
    return torch.from_numpy(np.roll(back, (-shift[0], -shift[1]), (0, 1)).astype(np.float32)).to(picture)


def _squared_norm(problem: KspaceProblem) -> float:
    instrument = problem.phased
    picture, norm = torch.ones(problem.shape, device=problem.values.device), 1.0
    for _ in range(POWER_STEPS):
        picture = instrument.adjoint(problem.sampling * instrument.product(picture))
        norm = float(torch.linalg.vector_norm(picture)) or 1.0
        picture = picture / norm
    return norm * MARGIN
