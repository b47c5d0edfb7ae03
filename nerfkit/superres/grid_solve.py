"""The image on a grid that agrees best with the frames: squared error plus total variation, within a range."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from torch import Tensor

from nerfkit.kernels.lowres import Descent, NormalEquations, descend
from nerfkit.scenes.observations.lowres_frames import Grid, Psf

__all__ = ["Deadline", "Prior", "solve"]

# Adam's rate for an image in [0, 1] from a rough start and from a near solution, and its share at the end
COLD_RATE, WARM_RATE, FINAL_SHARE = 0.03, 0.02, 0.02


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock by which a part of the work should be done."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """``seconds`` from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds until then; negative when it has passed."""
        return self.at - time.monotonic()

    def share(self, part: float) -> Deadline:
        """The moment at which ``part`` of what is left is used up."""
        return Deadline(time.monotonic() + max(self.left, 0.0) * part)


@dataclass(frozen=True)
class Prior:
    """What is expected of the image.

    Parameters
    ----------
    tv_weight : float
        Weight lambda of the total variation against squared errors in units of ``sigma``.
    sigma : float
        Standard deviation of a low-res pixel's error.
    bounds : (float, float), optional
        Least and greatest value.
    """

    tv_weight: float
    sigma: float
    bounds: tuple[float, float] | None = None

    def scaled(self, factor: float) -> Prior:
        """The same with ``factor`` times the weight."""
        return replace(self, tv_weight=self.tv_weight * factor)


def solve(
    equations: NormalEquations, start: Tensor, psf: Psf, grid: Grid, prior: Prior, n_steps: int,
    *, learning_rate: float = WARM_RATE, deadline: Deadline | None = None,
) -> Tensor:  # fmt: skip
    """Minimise squared error / (2 sigma^2) + lambda TV from ``start`` [grid.shape] in ``n_steps`` of Adam.

    The learning rate falls along a cosine; a deadline that comes nearer than the steps need hastens it.
    """
    descent, taps = Descent(start), psf.taps(grid.cells).to(start.device)
    data_weight = 1 / prior.sigma**2
    started, share = time.monotonic(), 0.0
    while share < 1:
        factor = FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * share))
        descend(
            descent, equations, taps, learning_rate=learning_rate * factor, data_weight=data_weight,
            tv_weight=prior.tv_weight, bounds=prior.bounds,
        )  # fmt: skip
        share = descent.n_steps / n_steps
        if deadline is not None:
            share = max(share, (time.monotonic() - started) / max(deadline.at - started, 1e-6))
    return descent.image
