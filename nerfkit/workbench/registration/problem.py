"""What :func:`nerfkit.fitting.fit` works on at one level of a registration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nerfkit.scenes.observations.warps import Warp

from .images import Level, Pair
from .similarities import Similarity, make_similarity
from .transform import Pixels, Transform, jacobian_determinant

__all__ = ["LevelProblem", "bending"]

# what a determinant of the Jacobian below FOLDING costs: the map must stay well away from folds
FOLDING, FOLDING_WEIGHT = 0.2, 5.0
# pixels of the level from one point to the next where bending and folding are looked at, of a finest spacing
POINTS_OF_SPACING = 4


def bending(moves: Tensor, steps: list[float], length: float) -> Tensor:
    """Mean of the squared second derivatives of a displacement [d, .., n_y, n_x], each times ``length``, all summed.

    Parameters
    ----------
    moves : Tensor
        The displacement at points ``steps`` apart along x, y(, z), all in one unit with ``length``.

    Notes
    -----
    A number without a unit: by how much the slope changes over ``length``. Affine maps have none.
    """
    d = len(steps)
    total = moves.new_zeros(())
    for first in range(d):
        for second in range(first, d):
            axes = [moves.ndim - 1 - first, moves.ndim - 1 - second]
            if min(moves.shape[axis] for axis in axes) < (3 if first == second else 2):
                continue
            change = moves.diff(dim=axes[0]).diff(dim=axes[1]) * (length / (steps[first] * steps[second]))
            total = total + (1 if first == second else 2) * change.square().mean()
    return total


@dataclass(frozen=True)
class Weights:
    """Weights of what keeps a displacement smooth."""

    bending: float = 0.0
    folding: float = FOLDING_WEIGHT


class LevelProblem:
    """A transform against the two images of a level; see :class:`nerfkit.fitting.Fittable`.

    Parameters
    ----------
    transform : Transform
        What is changed: its displacement, or where it has none its linear part.
    pair, level : Pair, Level
        The images.
    similarity : str
        One of ``SIMILARITIES``.
    noise : (float, float)
        Standard deviations of the noise of the fixed and of the moving image at full size.
    weights : Weights
        Of bending and folding.
    known : Tensor, shape (d, h, w) or (h, w), optional
        Weights of the fixed image's pixels; None: all are 1.
    learning_rate : float
        In the unit of the common space.
    spacing : float
        Finest pixels between points where bending and folding are looked at.
    """

    def __init__(
        self, transform: Transform, pair: Pair, level: Level, similarity: str, noise: tuple[float, float], *,
        weights: Weights | None = None, known: Tensor | None = None, learning_rate: float = 0.1, spacing: float = 4.0,
    ) -> None:  # fmt: skip
        self.transform, self.pair, self.level = transform, pair, level
        self.weights, self.known, self.learning_rate = weights or Weights(), known, learning_rate
        self.warp = Warp(level.moving, is_cubic=level.factor == 1)
        # averaging over a pixel of the level takes noise away with the blur
        left = [value / (1 + level.factor) for value in noise]
        self.similarity: Similarity = make_similarity(similarity, level.fixed, (left[0], left[1]), known)
        self.pixels = transform.pixels(level.axes)
        self.points = transform.pixels(self._points(max(spacing, level.factor)))

    def _points(self, spacing: float) -> list[Tensor]:
        relative = self.pair.fixed.spacing / self.pair.fixed.spacing.min()
        return [
            torch.linspace(0, side - 1, max(2, round(side * float(ratio) / spacing)) if side > 1 else 1)
            for side, ratio in zip(self.pair.fixed.size, relative, strict=True)
        ]

    def warped(self) -> tuple[Tensor, Tensor]:
        """The moving image as the transform shows it [(d,) h, w], and weights of the pixels that are inside."""
        found = self.warp.predict(lambda pixels: self.transform.places(pixels, self.level.to_moving), self.pixels)
        return found.values[0], found.is_inside.to(found.values)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Unlikeness, bending and folding."""
        warped, weights = self.warped()
        total = self.similarity.loss(warped, weights if self.known is None else weights * self.known)
        if self.transform.displacement is not None:
            total = total + self._smoothness()
        return total, {}

    def _smoothness(self) -> Tensor:
        moves = self.transform.moves(self.points)
        steps = [
            float(at[1] - at[0]) * step if len(at) > 1 else 1.0
            for at, step in zip(self.points.axes, self.transform.spacing, strict=True)
        ]
        cost = self.weights.bending * bending(moves, steps, self.pair.length)
        return cost + self.weights.folding * torch.relu(FOLDING - self.determinants(self.points)).mean()

    def determinants(self, pixels: Pixels) -> Tensor:
        """det J of the map in the common space, between pixels."""
        into_fixed = torch.linalg.inv(self.transform.to_space).numpy()
        places = self.transform.places(pixels, into_fixed)
        return jacobian_determinant(places, [float(at[1] - at[0]) if len(at) > 1 else 1.0 for at in pixels.axes])

    def errors(self, learned: Tensor, judged: Tensor) -> tuple[Tensor, Tensor]:
        """Unlikeness at the pixels ``judged``, and their weights; ``learned`` ones tell how values relate."""
        with torch.no_grad():
            warped, weights = self.warped()
            judged = weights * judged
            return self.similarity.errors(warped, weights * learned, judged), judged

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Of the displacement, or else of the linear part."""
        part = self.transform.linear if self.transform.displacement is None else self.transform.displacement
        return part.parameter_groups(self.learning_rate)

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""

    def validate(self) -> dict[str, float]:
        """Nothing: choices hold out pixels."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The transform: nothing is drawn."""
        return {"transform": self.transform.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.transform.load_state_dict(state["transform"])
