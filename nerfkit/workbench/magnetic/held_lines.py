"""What is held out of k-space: whole lines, or whole runs of samples, away from the middle."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nerfkit.scenes.kspace_data import KspaceData

__all__ = ["held_out", "relative_error"]

# fraction of the lines that is held out, and of the half-width round the middle that is not
FRACTION, MIDDLE = 0.06, 0.15
# samples of a trajectory that are held out together
RUN = 8


def held_out(data: KspaceData, seed: int) -> Tensor:
    """1 where values are held out, else 0, of the values' shape."""
    rng = np.random.default_rng(seed)
    if data.trajectory is not None:
        n_runs = -(-len(data.trajectory) // RUN)
        chosen = np.repeat(rng.random(n_runs) < FRACTION, RUN)[: len(data.trajectory)]
        chosen &= np.hypot(*data.trajectory.T) > MIDDLE / 2
    else:
        assert data.mask is not None
        height = data.shape[0]
        outer = data.mask.any(1) & (np.abs(np.arange(height) - height // 2) > MIDDLE * height / 2)
        lines = np.flatnonzero(outer)
        some = rng.choice(lines, min(len(lines), max(2, round(FRACTION * data.mask.any(1).sum()))), replace=False)
        chosen = np.zeros(data.shape, bool)
        chosen[some] = data.mask[some]
    return torch.from_numpy(np.broadcast_to(chosen, data.values.shape).astype(np.float32))


def relative_error(predicted: Tensor, values: Tensor, is_held: Tensor) -> float | None:
    """Root mean square error of the values held out over their own size; None where none is."""
    size = float((is_held * values).abs().square().sum())
    return None if size == 0 else (float((is_held * (predicted - values)).abs().square().sum()) / size) ** 0.5
