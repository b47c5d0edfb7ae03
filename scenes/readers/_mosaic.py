"""Whether grey frames are the raw ones of a colour camera: a mosaic of filters, two by two, not yet debayered."""

from __future__ import annotations

import numpy as np

__all__ = ["has_mosaic"]

# frames that are looked at, and the side of their middle part
N_LOOKED_AT, SIDE = 16, 512
# side of the tiles within which the mosaic's strength is taken to be the same: whole periods of both patterns
TILE = 16
# cycles a pixel of the mosaic's pattern, and of the one that it is compared with: nearly as fine, so that noise and
# texture are in it as well, or more
MOSAIC, OTHER = 1 / 2, 3 / 8
# how strong it must be against the other pattern, and against the contrast: a fine mosaic of colours has 4 and 0.4,
# stripes of a test chart as fine as two pixels 1.2 and 0.2
MIN_RATIO, MIN_CONTRAST = 2.5, 0.05
# rms of the pattern along one axis against the other's: two of the four pixels are green, which makes them alike
MIN_ALIKE = 0.5


def has_mosaic(grey: np.ndarray) -> bool:
    """Whether neighbouring pixels of grey frames [n, h, w] differ as those of a colour mosaic do.

    In a mosaic every other pixel along each row and each column lies under another colour, at the same places in all
    frames, so its pattern stays in their mean while the scene's texture, which moves, is averaged away. Rows alone, or
    columns alone, that differ are those of interlaced video, or of a sensor that reads them by two amplifiers.

    Examples
    --------
    >>> frames = np.random.default_rng(0).normal(0.5, 0.01, (9, 64, 64))
    >>> has_mosaic(frames)
    False
    >>> frames[:, ::2, ::2] += 0.1
    >>> has_mosaic(frames)
    True
    """
    mean = _middle_of_mean(grey)
    if min(mean.shape) < 2 * TILE:
        return False
    checks, along_y, along_x = _strengths(mean, MOSAIC)
    pattern, other = np.linalg.norm((checks, along_y, along_x)), np.linalg.norm(_strengths(mean, OTHER))
    is_two_by_two = checks > max(along_y, along_x) or min(along_y, along_x) > MIN_ALIKE * max(along_y, along_x)
    return bool(is_two_by_two and pattern > MIN_RATIO * other and pattern > MIN_CONTRAST * mean.std())


def _middle_of_mean(grey: np.ndarray) -> np.ndarray:
    """The mean of a few frames, of a part whose sides are whole numbers of tiles."""
    chosen = np.linspace(0, len(grey) - 1, min(len(grey), N_LOOKED_AT)).round().astype(int)
    sides = [min(side, SIDE) // TILE * TILE for side in grey.shape[1:]]
    top, left = ((n - side) // 2 for n, side in zip(grey.shape[1:], sides, strict=True))
    parts = [grey[i, top : top + sides[0], left : left + sides[1]] for i in chosen]
    return np.stack(parts).mean(0, dtype=np.float64)


def _strengths(picture: np.ndarray, frequency: float) -> list[float]:
    """Root mean square over tiles of the amplitude of a pattern of a frequency along both axes, along y, along x."""
    return [_strength(picture, *along) for along in ((frequency, frequency), (frequency, 0.0), (0.0, frequency))]


def _strength(picture: np.ndarray, along_y: float, along_x: float) -> float:
    for axis, frequency in enumerate((along_y, along_x)):
        picture = _demodulated(picture, axis, frequency)
    height, width = picture.shape
    tiles = picture.reshape(height // TILE, TILE, width // TILE, TILE).mean((1, 3))
    return float(np.sqrt(np.mean(np.abs(tiles) ** 2)))


def _demodulated(picture: np.ndarray, axis: int, frequency: float) -> np.ndarray:
    """A picture in which a frequency along an axis has become constant, and what is far from it is damped."""
    neighbours = (np.roll(picture, 1, axis) + np.roll(picture, -1, axis)) / 4
    passed = picture / 2 + (neighbours if frequency == 0 else -neighbours)
    # of a pattern of this frequency the filter [-1, 2, -1] / 4 keeps so much
    kept = 1.0 if frequency == 0 else (1 - np.cos(2 * np.pi * frequency)) / 2
    wave = np.exp(-2j * np.pi * frequency * np.arange(picture.shape[axis])) / kept
    return passed * np.expand_dims(wave, 1 - axis)
