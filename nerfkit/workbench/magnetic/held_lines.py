"""What is held out of k-space: runs of neighbouring samples, away from the middle.

A run leaves a hole as wide as the gap between lines, so that what fills it well fills those too. Of whole lines a few
would be held out, and the one that is nearest to the middle would decide.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nerfkit.scenes.kspace_data import KspaceData

__all__ = ["best_share", "held_out", "relative_error"]

# fraction of the samples that is held out, and of the half-width round the middle where none is
FRACTION, MIDDLE = 0.06, 0.15
# samples of a line or spoke that are held out together
RUN = 8


def held_out(data: KspaceData, seed: int) -> Tensor:
    """1 where values are held out, else 0, of the values' shape."""
    rng = np.random.default_rng(seed)
    if data.trajectory is not None:
        radius = np.hypot(*data.trajectory.T)
    else:
        y, x = (np.abs(np.arange(n) - n // 2) / n for n in data.shape)
        radius = np.hypot(y[:, None], x).ravel()
    n_runs = -(-len(radius) // RUN)
    chosen = np.repeat(rng.random(n_runs) < FRACTION, RUN)[: len(radius)] & (radius > MIDDLE / 2)
    if data.mask is not None:
        chosen = chosen.reshape(data.shape) & data.mask
    return torch.from_numpy(np.broadcast_to(chosen, data.values.shape).astype(np.float32))


def relative_error(predicted: Tensor, values: Tensor, is_held: Tensor) -> float | None:
    """Root mean square error of the values held out over their own size; None where none is."""
    size = float((is_held * values).abs().square().sum())
    return None if size == 0 else (float((is_held * (predicted - values)).abs().square().sum()) / size) ** 0.5


def best_share(first: Tensor, second: Tensor, values: Tensor, is_held: Tensor) -> float:
    """Share of ``second`` in the mean with ``first`` that predicts held-out values best, in [0, 1]; 0 where none is."""
    apart = is_held * (second - first)
    size = float(apart.abs().square().sum())
    return 0.0 if size == 0 else min(1.0, max(0.0, float((apart.conj() * (values - first)).real.sum()) / size))
