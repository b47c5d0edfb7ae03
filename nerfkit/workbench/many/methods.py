"""Both methods learned, chosen between on instances of their own, and measured on new ones beside what knows nothing
of networks, or nothing of instances.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.workbench.job import Job
from nerfkit.workbench.many.adaptation import learnt_steps
from nerfkit.workbench.many.components import principal_components
from nerfkit.workbench.many.instances import Instances, Split
from nerfkit.workbench.many.learned import Learned, make_start
from nerfkit.workbench.many.learning import N_STEPS, Learning
from nerfkit.workbench.many.measuring import (
    STEPS,
    Found,
    best_unseen,
    fresh_after_steps,
    mean_overlap,
    mean_psnr,
    start_after_steps,
    unseen_after_steps,
)  # fmt: skip
from nerfkit.workbench.many.networks import Networks, Shape, lattice_points
from nerfkit.workbench.many.shapes import shaded_lattice
from nerfkit.workbench.many.starts import Start

__all__ = ["Given", "Measured", "choose", "learn", "measure"]

# Adam's rates that a fresh network may take
FRESH_RATES = (3e-4, 1e-3, 3e-3)
# fraction of the pixels that are seen where the others are to be predicted
SEEN = 0.5


@dataclass(frozen=True)
class Given:
    """Instances as the networks have them.

    Parameters
    ----------
    points : Tensor, shape (n_points, d)
        Pixels, or cells of the lattice, in [-1, 1].
    learned, choosing, new : Tensor, shape (n, n_points, c)
        Values in [-1, 1] of the instances that are learned from, that choose, and that are new.
    seen : Tensor of bool, shape (n_points,)
        Half of the points, by the seed.
    shape : Shape
        Of the networks.
    lattice : (int, int) or (int, int, int)
        Rows and columns of pixels, or the shapes' cells along z, y and x.
    bounds : (float, float)
        What -1 and 1 stand for.
    n_latents, seed : int
        As the settings have them.
    """

    points: Tensor
    learned: Tensor
    choosing: Tensor
    new: Tensor
    seen: Tensor
    shape: Shape
    lattice: tuple[int, ...]
    bounds: tuple[float, float]
    n_latents: int
    seed: int

    @classmethod
    def of(cls, data: Instances, parts: Split, config: Any, device: torch.device) -> Given:
        """From what was read."""
        n, *lattice, n_channels = data.values.shape
        low, high = data.bounds
        values = torch.from_numpy((data.values - low) / (high - low) * 2 - 1).reshape(n, -1, n_channels).to(device)
        generator = torch.Generator().manual_seed(config.seed)
        n_points = math.prod(lattice)
        seen = torch.rand(n_points, generator=generator).argsort() < round(SEEN * n_points)
        learned, choosing, new = (values[part] for part in (parts.learned, parts.choosing, parts.new))
        return cls(
            lattice_points(lattice).to(device), learned, choosing, new, seen.to(device),
            Shape(n_channels, config.width, config.n_layers, config.scale, len(lattice)), tuple(lattice),
            data.bounds, config.n_latents, config.seed,
        )  # fmt: skip

    @property
    def channel_bounds(self) -> list[list[float]]:
        """Least and greatest value of each channel."""
        return [list(self.bounds)] * self.shape.n_outputs

    @property
    def is_shapes(self) -> bool:
        """Whether instances are distances to surfaces, and not pictures."""
        return len(self.lattice) == 3

    def as_picture(self, values: Tensor) -> NDArray:
        """Values [n_points, c] as a picture [h, w, c] in [0, 1]; of a shape a shaded view."""
        if self.is_shapes:
            return shaded_lattice(values.view(self.lattice).cpu().numpy())
        return ((values + 1) / 2).view(*self.lattice, -1).double().cpu().numpy().clip(0, 1)

    def at_steps(self, found: Found) -> dict[str, float]:
        """PSNR of the new instances after steps; of shapes their overlap, too."""
        figures = {f"psnr_{step}": round(mean_psnr(found.values[step], self.new), 3) for step in STEPS}
        if self.is_shapes:
            figures |= {f"iou_{step}": round(mean_overlap(found.values[step], self.new), 4) for step in STEPS}
        return figures


@dataclass
class Measured:
    """Figures of the new instances, and what they were taken of.

    Parameters
    ----------
    figures, baselines : dict
        As ``--json`` prints them.
    whole : Found
        The new instances from the start.
    networks : Networks
        After its learnt steps.
    fresh : Found, optional
        From nothing.
    components : Tensor, optional
        The same instances by as many principal components as a latent has numbers, or as there are.
    n_components : int
        How many these are.
    """

    figures: dict[str, Any]
    baselines: dict[str, dict[str, Any]]
    whole: Found
    networks: Networks
    fresh: Found | None = None
    components: Tensor | None = None
    n_components: int = 0


def learn(job: Job, given: Given, method: str, n_left: int) -> Learned:
    """A start for whole instances and one for those seen in part; ``n_left`` methods share the time that is left."""

    def learned(name: str, fraction: float) -> Start:
        start = make_start(method, given.shape, given.n_latents, given.seed).to(job.device)
        job.say(f"learning a start by {method} for instances that are seen {'whole' if name == 'whole' else 'in part'}")
        problem = Learning(start, given.points, given.learned, is_whole=name == "whole", seed=given.seed)
        job.fit(f"{method}_{name}", problem, job.config.steps, fraction=fraction)
        return start

    # the last part of the time is for measuring
    whole, part = learned("whole", 1 / (2 * n_left + 1)), learned("part", 1 / (2 * n_left))
    return Learned(whole, part, whole.going_on[0], given.lattice[::-1], given.bounds)


def choose(given: Given, learned: dict[str, Learned], check: Callable[[], None]) -> dict[str, Any]:
    """The method that is best after the learnt steps, and Adam's rates, all by the instances that choose."""

    def mean(found: Found) -> float:
        return sum(mean_psnr(values, given.choosing) for values in found.values.values()) / len(found.values)

    rates, judged = {}, {}
    for method, start in learned.items():
        tried = {}
        for rate in start.whole.going_on:
            check()
            tried[rate] = start_after_steps(start.whole, given.points, given.choosing, rate)
        rates[method] = max(tried, key=lambda rate: mean(tried[rate]))
        judged[f"{method}_psnr_{N_STEPS}"] = round(mean_psnr(tried[rates[method]].values[N_STEPS], given.choosing), 3)
    fresh = {}
    for rate in FRESH_RATES:
        check()
        fresh[rate] = mean(fresh_after_steps(given.shape, given.points, given.choosing, rate, given.seed))
    best = max(learned, key=lambda method: judged[f"{method}_psnr_{N_STEPS}"])
    return {"method": best, "rates": rates, "fresh_rate": max(fresh, key=lambda rate: fresh[rate]), "judged": judged}


def measure(given: Given, start: Learned, fresh_rate: float | None, check: Callable[[], None]) -> Measured:
    """PSNR of the new instances after steps, and of pixels that were not seen; the baselines where a rate is given."""
    check()
    new, seen, points = given.new, given.seen, given.points
    whole = start_after_steps(start.whole, points, new, start.rate)
    networks = start.whole.networks(learnt_steps(start.whole, points, new, N_STEPS))
    unseen = unseen_after_steps(start.part, points, new, seen)
    half_range = (given.bounds[1] - given.bounds[0]) / 2
    rms = math.sqrt(float((unseen - new[:, ~seen]).double().square().mean()))
    figures = given.at_steps(whole) | {
        "unseen": round(mean_psnr(unseen, new[:, ~seen]), 3), "holdout": float(f"{rms * half_range:.6g}")
    }  # fmt: skip
    found = Measured(figures, {}, whole, networks)
    if fresh_rate is None:
        return found
    check()
    found.fresh = fresh_after_steps(given.shape, points, new, fresh_rate, given.seed)
    psnr, how = best_unseen(given.shape, points, new, seen, FRESH_RATES, given.seed)
    found.baselines["fresh"] = given.at_steps(found.fresh) | {
        "unseen": round(psnr, 3), "how": f"Adam at {fresh_rate:g} by the instances that choose; unseen pixels: {how}",
    }  # fmt: skip
    flat, seen_values = new.flatten(1).double(), seen.repeat_interleave(new.shape[2])
    for name, n in (("pca", given.n_latents), ("pca, all components", len(given.learned))):
        components = principal_components(given.learned.flatten(1), n)
        nearest = components.project(flat).view_as(new)
        expected = components.predict(flat, seen_values).view_as(new)[:, ~seen]
        found.baselines[name] = {
            "psnr": round(mean_psnr(nearest, new), 3), "unseen": round(mean_psnr(expected, new[:, ~seen]), 3),
            "how": f"{len(components.directions)} components of the same instances; no steps",
        }  # fmt: skip
        if given.is_shapes:
            found.baselines[name]["iou"] = round(mean_overlap(nearest, new), 4)
        if found.components is None:
            found.components, found.n_components = nearest, len(components.directions)
    return found
