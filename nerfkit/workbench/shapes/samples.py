"""Where a shape's distances are asked for, and what a field is to say there."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nerfkit.workbench.shapes.frame import BOX

__all__ = ["NEAR", "TRUNCATION", "Distances", "sample_points", "truncated", "untruncated"]

Floats = NDArray[np.float64]
# distance from which on a field need not know more than the sign, frame units
TRUNCATION = 0.05
# standard deviations of samples near the surface, frame units, half of them each; and the fraction anywhere in the box
NEAR, ANYWHERE = (0.004, 0.02), 1 / 6


class Distances(Protocol):
    """What knows the distance to a surface: of a mesh or of points."""

    def signed(self, points: Floats) -> Floats:
        """Distance [n] of ``points`` [n, 3], negative within."""
        ...

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Points [n, 3] on the surface."""
        ...


def truncated(distances: NDArray, truncation: float = TRUNCATION) -> NDArray:
    """t tanh(d / t): the distance near the surface, its sign far away."""
    return truncation * np.tanh(distances / truncation)


def untruncated(values: NDArray, truncation: float = TRUNCATION) -> NDArray:
    """The inverse of :func:`truncated`; up to 2.6 truncations, beyond which nothing is known."""
    return truncation * np.arctanh(np.clip(values / truncation, -0.99, 0.99))


def sample_points(distances: Distances, n: int, rng: np.random.Generator) -> Floats:
    """``n`` points [n, 3], most of them near the surface, some anywhere in the box."""
    n_anywhere = round(n * ANYWHERE)
    on = distances.sample(n - n_anywhere, rng)
    deviations = np.repeat(NEAR, np.diff(np.linspace(0, len(on), len(NEAR) + 1).astype(int)))
    near = on + deviations[:, None] * rng.standard_normal(on.shape)
    return np.concatenate([near.clip(-BOX, BOX), rng.uniform(-BOX, BOX, (n_anywhere, 3))])
