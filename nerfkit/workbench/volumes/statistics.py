"""What slices say of themselves: their noise, and the value below which there is nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["background_of", "noise_of"]

# standard deviations about the background within which its voxels are, and the fraction of all that must be there
NEAR, COMMON = 3.0, 0.1
# quantile at which it is looked for
LOW = 0.02
# side of the blocks that noise is looked for in, pixels, and the quantile of them that is taken for noise alone
BLOCK, QUIET = 12, 0.15


def noise_of(stacks: Sequence[NDArray[np.float32]]) -> float:
    """Standard deviation of white noise within slices: of mixed differences in the blocks that have least else."""
    found = []
    for values in stacks:
        corner = values[:, 1:, 1:] - values[:, 1:, :-1] - values[:, :-1, 1:] + values[:, :-1, :-1]
        depth, height, width = corner.shape
        rows, columns = min(BLOCK, height), min(BLOCK, width)
        cut = corner[:, : height // rows * rows, : width // columns * columns]
        blocks = np.square(cut.reshape(depth, -1, rows, cut.shape[2] // columns, columns)).mean((2, 4))
        # a background that was set to one value has no noise
        told = blocks[blocks > 0]
        found.append(float(np.sqrt(np.quantile(told, QUIET))) / 2 if told.size else 0.0)
    return float(np.median(found))


def background_of(stacks: Sequence[NDArray[np.float32]], noise: float) -> float | None:
    """The value about which the lowest voxels lie, air or nothing, where a tenth of all do; None: there is none."""
    values = np.concatenate([stack.ravel()[:: max(1, stack.size // 2**20)] for stack in stacks])
    low = float(np.quantile(values, LOW))
    reach = max(NEAR * noise, 1e-6)
    # noise puts the quantile below what it spreads about
    near = values[values <= low + 2 * reach]
    level = float(np.median(near))
    return level if np.mean(np.abs(values - level) <= reach) >= COMMON else None
