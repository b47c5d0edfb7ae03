"""The image on a grid that agrees best with the frames: squared error plus total variation, within a range."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from nerfkit.kernels.lowres import Descent, NormalEquations, descend
from nerfkit.scenes.observations.lowres_frames import Grid, Psf

__all__ = ["Deadline", "Prior", "busy_map", "solve"]

# Adam's rate for an image in [0, 1] from a rough start and from a near solution, and its share at the end
COLD_RATE, WARM_RATE, FINAL_SHARE = 0.03, 0.02, 0.02
# share of a solution's steps at which the contrast has its whole weight
CONTRAST_FROM = 0.8
# share of the way to an anchor that each step goes, at the full learning rate
PULL = 0.03
# standard deviation of what the slopes are smoothed by, in low-res pixels
BUSY_RADIUS = 0.5


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
    contrast : float
        How strongly values are driven to the ends of the range, as a multiple of ``tv_weight``; for scenes of two
        values.
    is_local : bool
        Whether the total variation weighs less where the image that a solution starts from is busy.
    """

    tv_weight: float
    sigma: float
    bounds: tuple[float, float] | None = None
    contrast: float = 0.0
    is_local: bool = False

    def scaled(self, factor: float) -> Prior:
        """The same with ``factor`` times the weight."""
        return replace(self, tv_weight=self.tv_weight * factor)

    def on_finer(self, ratio: float) -> Prior:
        """The same for cells of 1/``ratio`` of the side.

        Sums of differences over an image grow with the ratio, sums over its cells with the square of it.
        """
        return replace(self, tv_weight=self.tv_weight / ratio, contrast=self.contrast / ratio)

    def plain(self) -> Prior:
        """Without what needs a good image to start from."""
        return replace(self, contrast=0.0, is_local=False)


def solve(
    equations: NormalEquations, start: Tensor, psf: Psf, grid: Grid, prior: Prior, n_steps: int,
    *, learning_rate: float = WARM_RATE, deadline: Deadline | None = None, tv_map: Tensor | None = None,
    anchor: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Minimise squared error / (2 sigma^2) + lambda TV from ``start`` [grid.shape] in ``n_steps`` of Adam.

    ``tv_map`` [grid.shape] is a local factor on lambda, ``anchor`` [grid.shape] an image that each step goes back to a
    little. The learning rate falls along a cosine; a deadline that comes nearer than the steps need hastens it. The
    contrast grows from nothing: driven to an end too early, a value would stay there.
    """
    descent, taps = Descent(start), psf.taps(grid.cells).to(start.device)
    data_weight = 1 / prior.sigma**2
    if prior.is_local:
        tv_map = busy_map(start, grid.cells) * (1 if tv_map is None else tv_map)
    started, share = time.monotonic(), 0.0
    while share < 1:
        factor = FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * share))
        descend(
            descent, equations, taps, learning_rate=learning_rate * factor, data_weight=data_weight,
            tv_weight=prior.tv_weight, bounds=prior.bounds, tv_map=tv_map,
            contrast=prior.contrast * prior.tv_weight * min(1.0, share / CONTRAST_FROM),
        )  # fmt: skip
        if anchor is not None:
            descent.image.lerp_(anchor, PULL * factor)
        share = descent.n_steps / n_steps
        if deadline is not None:
            share = max(share, (time.monotonic() - started) / max(deadline.at - started, 1e-6))
    return descent.image


def busy_map(image: Tensor, cells: int) -> Tensor:
    """Factor [h, w] on the total variation: 2 where the image is plain, 1 at its median slope, less where it is busy.

    Slopes are smoothed over ``BUSY_RADIUS`` low-res pixels of ``cells`` cells, so that an edge makes room for what lies
    around it.
    """
    slopes = torch.zeros_like(image)
    slopes[:-1] += image.diff(dim=0).abs()
    slopes[:, :-1] += image.diff(dim=1).abs()
    reach = max(1, round(3 * BUSY_RADIUS * cells))
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=image.device) / (BUSY_RADIUS * cells)).square())
    taps = (taps / taps.sum()).view(1, 1, -1, 1)
    smooth = conv2d(pad(slopes[None, None], (reach,) * 4, mode="replicate"), taps)
    smooth = conv2d(smooth, taps.transpose(2, 3))[0, 0]
    return 2 / (smooth / smooth.median().clamp(min=1e-6) + 1)
