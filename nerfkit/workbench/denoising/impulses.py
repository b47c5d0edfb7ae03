"""Impulses replaced by what the values around them tell: a field trained to predict each known pixel without itself."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nerfkit.scenes.fields.networks import FullyConnected
from nerfkit.scenes.generators import restore_generator

__all__ = ["NeighbourConfig", "NeighbourField", "NeighbourFit", "fill_by_neighbours"]


@dataclass(frozen=True)
class NeighbourConfig:
    """Sizes of the field and of its fit."""

    # of the square of pixels that the network sees
    radius: int = 3
    n_layers: int = 2
    width: int = 64
    learning_rate: float = 3e-3
    # pixels in a step, and steps
    batch: int = 1024
    n_steps: int = 1000
    # of the known pixels, which judge when to stop
    held_out: float = 0.1
    # steps between two judgements
    judge_every: int = 50


def fill_by_neighbours(picture: NDArray[np.float32], is_known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """``picture`` [h, w, c] with values that are not known [h, w, c] replaced by a weighted mean of known ones.

    Weights fall with the distance; the window grows until it holds a known value.

    Examples
    --------
    >>> picture = np.tile(np.arange(5, dtype=np.float32), (5, 1))[..., None]
    >>> is_known = np.ones((5, 5, 1), bool)
    >>> is_known[2, 2] = False
    >>> float(fill_by_neighbours(picture, is_known)[2, 2, 0])
    2.0
    """
    from scipy.ndimage import gaussian_filter

    filled, missing = picture.copy(), ~is_known
    for sigma in (0.7, 1.5, 4.0, 16.0):
        if not missing.any():
            return filled
        sums, weights = (
            gaussian_filter(np.asarray(values, np.float64), (sigma, sigma, 0), truncate=3.0)
            for values in (np.where(is_known, picture, 0), is_known)
        )
        is_told = missing & (weights > 1e-2)
        filled[is_told] = (sums[is_told] / weights[is_told]).astype(np.float32)
        missing &= ~is_told
    filled[missing] = float(picture[is_known].mean()) if is_known.any() else 0.5
    return filled


class NeighbourField(nn.Module):
    """The value of a pixel from its surroundings alone, whatever it is itself.

    Parameters
    ----------
    config : NeighbourConfig
        Sizes.
    picture : ndarray, shape (h, w, c)
        Values, with those that are not known filled.
    is_known : ndarray of bool, shape (h, w, c)
        Which values are known.
    generator : torch.Generator
        Source of the initial weights.
    """

    def __init__(
        self, config: NeighbourConfig, picture: NDArray[np.float32], is_known: NDArray[np.bool_],
        generator: torch.Generator,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config = config
        self.height, self.width, self.n_channels = picture.shape
        radius, row = config.radius, self.width + 2 * config.radius
        side = range(-radius, radius + 1)
        places = sorted(itertools.product(side, side), key=lambda place: place[0] ** 2 + place[1] ** 2)[1:]
        dy, dx = torch.tensor(places).T
        views = [(sy * a, sx * b) for a, b in ((dy, dx), (dx, dy)) for sy in (1, -1) for sx in (1, -1)]
        self.offsets = torch.stack([a * row + b for a, b in views])  # [8, n_around]
        margins = ((radius, radius), (radius, radius), (0, 0))
        self.values = torch.from_numpy(np.pad(picture, margins, mode="reflect")).reshape(-1, self.n_channels)
        known = np.pad(is_known, margins, mode="reflect").astype(np.float32)
        self.known = torch.from_numpy(known).reshape(-1, self.n_channels)
        sizes = [2 * len(places) * self.n_channels, *[config.width] * config.n_layers, self.n_channels]
        self.network = FullyConnected(sizes, generator, last_gain=0.02)
        # the four nearest weigh most in the origin of a pixel's features
        self.near = (1.0 / (dy**2 + dx**2).float() ** 2)[:, None]

    def numbers(self, pixels: Tensor) -> Tensor:
        """Of pixels, counted row after row, in the picture with its margin."""
        radius = self.config.radius
        return (pixels // self.width + radius) * (self.width + 2 * radius) + pixels % self.width + radius

    def forward(self, pixels: Tensor, flip: int = 0) -> Tensor:
        """Values [n, c] of ``pixels`` [n], their surroundings seen in one of 8 views."""
        at = self.numbers(pixels)[:, None] + self.offsets[flip]
        values, known = self.values[at], self.known[at]
        weights = self.near * (known + 1e-3)
        origin = (weights * values).sum(1) / weights.sum(1)
        differences = (values - origin[:, None]) * known
        spread = differences.square().mean((1, 2), keepdim=True).sqrt() + 0.01
        features = torch.cat([(differences / spread).flatten(1), known.flatten(1)], 1)
        return origin + self.network(features) * spread[:, 0]

    @torch.no_grad()
    def render(self, pixels: Tensor) -> Tensor:
        """Values [n, c] of ``pixels``, the mean over all views."""
        parts = [torch.stack([self(part, flip) for flip in range(8)]).mean(0) for part in pixels.split(2**14)]
        return torch.cat(parts) if parts else torch.zeros(0, self.n_channels)


class NeighbourFit:
    """The fit of a :class:`NeighbourField` to known pixels; see :class:`nerfkit.fitting.Fittable`.

    Attributes
    ----------
    best_mse : float
        Least mean squared error of held-out known pixels so far.
    best_step : int
        The step after which it was seen.
    """

    def __init__(self, field: NeighbourField, is_known: NDArray[np.bool_], seed: int = 0) -> None:
        self.field, self.n_steps = field, field.config.n_steps
        self.generator = torch.Generator().manual_seed(seed)
        known = torch.from_numpy(np.flatnonzero(is_known.all(-1)))
        order = known[torch.randperm(len(known), generator=self.generator)]
        n_held_out = min(max(1, round(field.config.held_out * len(known))), max(len(known) - 1, 0))
        self.held_out, self.trained = order[:n_held_out], order[n_held_out:]
        self.best_mse, self.best_step = math.inf, 0
        self.best = {name: value.clone() for name, value in field.network.state_dict().items()}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All weights alike."""
        return [{"params": list(self.field.network.parameters()), "lr": self.field.config.learning_rate}]

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Absolute errors of a batch of known pixels: few pixels at edges would rule their squares."""
        drawn = torch.randint(len(self.trained), (self.field.config.batch,), generator=self.generator)
        pixels = self.trained[drawn]
        flip = int(torch.randint(8, (1,), generator=self.generator))
        errors = self.field(pixels, flip) - self.field.values[self.field.numbers(pixels)]
        return (errors.square() + 1e-4).sqrt().mean(), {}

    def after_step(self, step: int) -> None:
        """Judge from time to time."""
        if step % self.field.config.judge_every == 0:
            self._judge(step)

    def finish(self, step: int) -> None:
        """Leave the best weights in the field."""
        self._judge(step)
        self.field.network.load_state_dict(self.best)

    def _judge(self, step: int) -> None:
        mse = self.held_out_mse()
        if mse < self.best_mse:
            self.best_mse, self.best_step = mse, step
            self.best = {name: value.clone() for name, value in self.field.network.state_dict().items()}

    def filled_mse(self, picture: NDArray[np.float32], is_known: NDArray[np.bool_]) -> float:
        """Mean squared error of the held-out pixels filled by their neighbours' mean."""
        is_told = is_known.reshape(-1, picture.shape[2]).copy()
        is_told[self.held_out.numpy()] = False
        filled = fill_by_neighbours(picture, is_told.reshape(picture.shape))
        return float(np.square(filled - picture).reshape(is_told.shape)[self.held_out.numpy()].mean())

    @torch.no_grad()
    def held_out_mse(self) -> float:
        """Mean squared error of the held-out known pixels."""
        errors = self.field.render(self.held_out) - self.field.values[self.field.numbers(self.held_out)]
        return float(errors.square().mean())

    def validate(self) -> dict[str, float]:
        """The error of held-out pixels."""
        return {"held_out_mse": self.held_out_mse()}

    def state_dict(self) -> dict[str, Any]:
        """The weights, the best of them, and the generator."""
        return {
            "network": self.field.network.state_dict(), "best": self.best, "best_mse": self.best_mse,
            "best_step": self.best_step, "generator": self.generator.get_state(),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.field.network.load_state_dict(state["network"])
        self.best, self.best_mse, self.best_step = state["best"], state["best_mse"], state["best_step"]
        restore_generator(self.generator, state["generator"])
