"""An orthonormal change of colours, after which white noise is still white and the first channel is the brightest."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["opponent_colours"]


def opponent_colours(n_channels: int) -> Tensor:
    """Rows are the new channels [c, c]: brightness and two differences of RGB (Dabov et al. 2007), else the identity.

    Examples
    --------
    >>> rotation = opponent_colours(3)
    >>> torch.allclose(rotation @ rotation.T, torch.eye(3), atol=1e-6)
    True
    """
    if n_channels != 3:
        return torch.eye(n_channels)
    rows = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
    return torch.from_numpy(rows.astype(np.float32))
