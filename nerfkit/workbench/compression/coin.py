"""COIN (arXiv:2103.03123) to compare with: a SIREN overfitted to the picture, whose weights in 16 bits are the file."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.fitting import Budget, FitSchedule, fit
from nerfkit.problem import Problem, Term
from nerfkit.scenes.fields.coordinate import CoordinateField
from nerfkit.scenes.fields.encodings import make_encoding
from nerfkit.scenes.fields.networks import FullyConnected
from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.observations.points import PointValues

from .baselines import Point
from .codec import psnr_of

__all__ = ["coin"]

# width, height, channels and width of the network, two bytes each
_HEAD_BYTES = 8
_N_HIDDEN = 3
# largest chunk of pixels that is evaluated at once
_CHUNK = 1 << 16


def _n_bytes(width: int, n_channels: int) -> int:
    n_params = 3 * width + (_N_HIDDEN - 1) * (width + 1) * width + (width + 1) * n_channels
    return _HEAD_BYTES + 2 * n_params


def coin(
    pixels: NDArray[np.uint8], n_bytes: int, *, steps: int = 1000, seed: int = 0, scale: float = 30.0,
    learning_rate: float = 3e-3, n: int = 2**14,
) -> Point:  # fmt: skip
    """The file of a SIREN of three hidden layers, the widest that ``n_bytes`` bear; not entropy coded, as in the paper.

    Parameters
    ----------
    pixels : ndarray, shape (h, w) or (h, w, c)
        uint8.
    n_bytes : int
        Of the file, at most.
    steps, seed, learning_rate : int, int, float
        Of Adam.
    scale : float
        Of the sines, for coordinates of 0 to 1.
    n : int
        Pixels in a step.
    """
    stacked = np.atleast_3d(pixels)
    h, w, n_channels = stacked.shape
    width = next((k - 1 for k in range(2, 4096) if _n_bytes(k, n_channels) > n_bytes), 4095)
    generator = torch.Generator().manual_seed(seed)
    network = FullyConnected([2, *[width] * _N_HIDDEN, n_channels], generator, activation="sine", scale=scale)
    field = CoordinateField(make_encoding("identity", 2, generator, {}), network, [(0, w), (0, h)])
    y, x = np.mgrid[:h, :w].reshape(2, -1) + 0.5
    where = torch.from_numpy(np.stack([x, y], axis=-1)).float()
    values = torch.from_numpy(stacked.reshape(-1, n_channels).astype(np.float32) / 127.5 - 1)
    term = Term(PointValues(), Measurements(where=where, values=values), n=n)
    fit(Problem(field, [term], learning_rate=learning_rate, seed=seed), Budget(steps=steps), schedule=FitSchedule())
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.copy_(parameter.half())
        said = torch.cat([field(part) for part in where.split(_CHUNK)]).numpy()
    decoded = np.clip(np.round((said + 1) * 127.5), 0, 255).astype(np.uint8).reshape(pixels.shape)
    return Point(_n_bytes(width, n_channels), psnr_of(decoded, pixels), steps)
