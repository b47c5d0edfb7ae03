"""The mesh: what a picture repeats with the period of the frames' pixels.

A prior that is too weak for shifts that leave gaps, or for motions that are wrong, draws the pixels of the frames into
the picture. The lines follow the scene's edges, with either sign, so the mean over them is nothing; how steep the
picture is, however, repeats with the pixels. Steepness is the slope's length; frequencies are cycles per low-res pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["MOST_MESH", "mesh"]

# mesh from which on a picture is not written as it is: the solved images of the made and the real sequences of
# docs/decisions/0027 have 0.1 to 1.8, that of frames which do not shift 8.2
MOST_MESH = 4.0
# distances from a frequency of the lattice within which a scene has power of its own; the nearer one also lies beyond
# what a window of so many low-res pixels spreads a line over, in bins
RING, SPREAD = (0.06, 0.3), 2.5
# peak at every second pixel, above all round it, from which on it is the scene that repeats: its harmonics are no mesh
OWN_PERIOD = 3.0
# low-res pixels along a side below which there are too few periods, and cells of the middle that is looked at, at most
LEAST_SIDE, MAX_SIDE = 16, 1024


def mesh(image: Tensor, cells: int) -> float:
    """Power of a picture's steepness at the frequencies of the sampling lattice, over the highest power round them.

    Below 1 the lattice does not stand out. Details of the scene that repeat at another period are peaks round the
    lattice, those at twice its period are told by the picture itself: neither counts.

    Parameters
    ----------
    image : Tensor, shape (h * cells, w * cells)
        Grey, of the reference frame of h x w low-res pixels.
    cells : int
        Cells along a low-res pixel, 2 or more.

    Examples
    --------
    >>> lines = torch.arange(128) % 4 == 0
    >>> scene = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)).repeat_interleave(4, 0)
    >>> scene = scene.repeat_interleave(4, 1)
    >>> mesh(scene, 4) > MOST_MESH, mesh(torch.rand(128, 128, generator=torch.Generator().manual_seed(0)), 4) < 1
    (True, True)
    """
    part = _middle(image.double().cpu(), cells)
    if cells < 2 or min(part.shape) < LEAST_SIDE * cells:
        return 0.0
    if _rise(part, cells, [(0, 0.5), (0.5, 0)]) > OWN_PERIOD:
        return 0.0
    most = max(1, math.ceil(cells / 2) - 1)
    lattice = [(a, b) for a in range(most + 1) for b in range(-most, most + 1) if (a, b) > (0, 0)]
    return _rise(_steepness(part), cells, lattice)


def _middle(image: Tensor, cells: int) -> Tensor:
    """At most ``MAX_SIDE`` cells a side, whole low-res pixels from whole low-res pixels on."""
    for axis, side in enumerate(image.shape):
        kept = min(side, MAX_SIDE) // cells * cells
        image = image.narrow(axis, (side - kept) // 2 // cells * cells, kept)
    return image


def _steepness(image: Tensor) -> Tensor:
    """Length of the slope at each cell."""
    down = torch.diff(image, dim=0, append=image[-1:])
    across = torch.diff(image, dim=1, append=image[:, -1:])
    return torch.hypot(down, across)


def _rise(values: Tensor, cells: int, frequencies: Sequence[tuple[float, float]]) -> float:
    """Peak power at some frequencies (down, across) over the peak of the rings round them, both summed."""
    height, width = values.shape
    window = torch.outer(*(torch.hann_window(side, periodic=False, dtype=torch.float64) for side in values.shape))
    power = torch.fft.fft2((values - values.mean()) * window).abs().square()
    down, across = (torch.fft.fftfreq(side, dtype=torch.float64).abs() * cells for side in values.shape)
    # a bin in cycles per low-res pixel
    bins = cells / height, cells / width
    inner = max(RING[0], SPREAD * max(bins))
    peaks = rings = 0.0
    for a, b in frequencies:
        off_down, off_across = (down - abs(a)).abs()[:, None], (across - abs(b)).abs()
        is_at = (off_down < 1.01 * bins[0]) & (off_across < 1.01 * bins[1])
        apart = torch.hypot(off_down, off_across.expand(height, width))
        is_round = (apart > inner) & (apart < max(RING[1], 2 * inner))
        peaks, rings = peaks + float(power[is_at].max()), rings + float(power[is_round].max())
    return peaks / rings if rings > 0 else 0.0
