"""The image on a grid that agrees best with a linear observation: squared error plus total variation, in a range."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nerfkit.clock import working_seconds
from nerfkit.journal import Journal
from nerfkit.kernels.footprints import Footprints, residual
from nerfkit.kernels.lowres import Descent, NormalEquations, descend, filter_valid
from nerfkit.limits import Limit
from nerfkit.scenes.fields.grid import Grid
from nerfkit.scenes.filters import gaussian_filter
from nerfkit.scenes.observations.psf import Psf

__all__ = ["COLD_RATE", "WARM_RATE", "Prior", "busy_map", "solve"]

# Adam's rate for an image in [0, 1] from a rough start and from a near solution, and its fraction at the end
COLD_RATE, WARM_RATE, FINAL_FRACTION = 0.03, 0.02, 0.02
# fraction of a solution's steps at which the contrast has its whole weight
CONTRAST_FROM = 0.8
# steps at the least rate when the limit is over
SETTLING_STEPS = 8
# fraction of the way to an anchor that each step goes, at the full learning rate
PULL = 0.03
# standard deviation of what the slopes are smoothed by, in low-res pixels
BUSY_RADIUS = 0.5


@dataclass(frozen=True)
class Prior:
    """What is expected of the image.

    Parameters
    ----------
    tv_weight : float
        Regularisation weight lambda of the total variation against squared errors in units of ``sigma``.
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

    def within(self, low: float, high: float) -> Prior:
        """The same in another range."""
        return replace(self, bounds=(low, high))

    def on_finer(self, ratio: float) -> Prior:
        """The same for cells of 1/``ratio`` of the side.

        Sums of differences over an image grow with the ratio, sums over its cells with the square of it.
        """
        return replace(self, tv_weight=self.tv_weight / ratio, contrast=self.contrast / ratio)

    def plain(self) -> Prior:
        """Without what needs a good image to start from."""
        return replace(self, contrast=0.0, is_local=False)


def solve(
    equations: NormalEquations | Footprints, start: Tensor, psf: Psf, grid: Grid, prior: Prior, n_steps: int,
    *, learning_rate: float = WARM_RATE, tv_map: Tensor | None = None, anchor: Tensor | None = None,
    limit: Limit | None = None, seconds: float = math.inf,
) -> Tensor:  # fmt: skip
    """Minimise squared error / (2 sigma^2) + lambda TV from ``start`` [grid.shape] in ``n_steps`` of Adam.

    The learning rate falls along a cosine. The contrast grows from nothing: driven to an end too early, a value would
    stay there.

    Parameters
    ----------
    equations : NormalEquations or Footprints
        Of what was measured.
    psf : Psf
        What the image is filtered by before it is sampled.
    start : Tensor, shape grid.shape
        An image to start from, or None for the anchor.
    tv_map : Tensor, shape grid.shape, optional
        Local factor on lambda.
    anchor : Tensor, shape grid.shape, optional
        An image that each step goes back to a little.
    limit : Limit, optional
        Learns what a step takes, counted in cells. When it is over, the schedule's end follows at once.
    seconds : float
        Where the steps would take longer, the schedule is hastened so that it ends then.
    """
    journal = Journal() if limit is None or limit.journal is None else limit.journal
    about = {"start": start, "prior": repr(prior), "n_steps": n_steps, "rate": repr(learning_rate)}

    def compute() -> dict[str, Tensor]:
        descended = _descended(
            equations, start, psf, grid, prior, n_steps, learning_rate, tv_map, anchor, limit, seconds
        )  # fmt: skip
        return {"image": descended.image, "steps": torch.tensor(descended.n_steps)}

    found, worked = journal.recall(about, compute, is_whole=lambda: limit is None or not limit.is_over)
    if limit is not None:
        limit.record(int(found["steps"]) * start.numel(), worked)
    return found["image"].to(start.device)


def _descended(
    equations: NormalEquations | Footprints, start: Tensor, psf: Psf, grid: Grid, prior: Prior, n_steps: int,
    learning_rate: float, tv_map: Tensor | None, anchor: Tensor | None, limit: Limit | None, seconds: float,
) -> Descent:  # fmt: skip
    descent, taps = Descent(start), psf.taps(grid.cells).to(start.device)
    data_weight, at = 1 / prior.sigma**2, _Equations(equations, taps, start.shape)
    if prior.is_local:
        tv_map = busy_map(start, grid.cells) * (1 if tv_map is None else tv_map)
    began, done, over = working_seconds(), 0.0, 0
    while done < 1:
        factor = FINAL_FRACTION + (1 - FINAL_FRACTION) * 0.5 * (1 + math.cos(math.pi * done))
        descend(
            descent, at.at(descent.image), taps, learning_rate=learning_rate * factor, data_weight=data_weight,
            tv_weight=prior.tv_weight, bounds=prior.bounds, tv_map=tv_map,
            contrast=prior.contrast * prior.tv_weight * min(1.0, done / CONTRAST_FROM),
        )  # fmt: skip
        if anchor is not None:
            descent.image.lerp_(anchor, PULL * factor)
        done = descent.n_steps / n_steps
        if limit is not None and limit.is_over:
            # an image that was left in the middle of the descent would be restless
            over = over or descent.n_steps
            done = max(done, 1.0 if descent.n_steps >= over + SETTLING_STEPS else 1 - 1e-6)
        if math.isfinite(seconds):
            done = max(done, (working_seconds() - began) / max(seconds, 1e-6))
    return descent


class _Equations:
    """The normal equations at any image; of footprints those of the same gradient, with N = 0."""

    def __init__(self, equations: NormalEquations | Footprints, taps: Tensor, shape: torch.Size) -> None:
        self.equations, self.taps = equations, taps
        if isinstance(equations, Footprints):
            cut = taps.shape[-1] - 1
            self.nothing = torch.zeros(5, shape[0] - cut, shape[1] - cut, device=taps.device)

    def at(self, image: Tensor) -> NormalEquations:
        """At an image [h, w]."""
        if isinstance(self.equations, NormalEquations):
            return self.equations
        return NormalEquations(self.nothing, -residual(filter_valid(image, self.taps), self.equations))


def busy_map(image: Tensor, cells: int) -> Tensor:
    """Factor [h, w] on the total variation: 2 where the image is plain, 1 at its median slope, less where it is busy.

    Slopes are smoothed over ``BUSY_RADIUS`` low-res pixels of ``cells`` cells, so that an edge makes room for what lies
    around it.
    """
    slopes = torch.zeros_like(image)
    slopes[:-1] += image.diff(dim=0).abs()
    slopes[:, :-1] += image.diff(dim=1).abs()
    smooth = gaussian_filter(slopes, BUSY_RADIUS * cells)
    return 2 / (smooth / smooth.median().clamp(min=1e-6) + 1)
