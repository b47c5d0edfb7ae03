"""A field of the position, what was measured around it, and guides, trained on one noisy picture by SURE.

Phi(x, noisy patch, guides) -> value. The loss of a pixel is its squared distance from the noisy value plus twice the
noise's variance times the derivative of the value to this pixel's own noise (Stein 1981): on average over the noise
that is the squared distance from the clean value, up to a constant. The derivative travels forward through the network.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nerfkit.scenes.generators import restore_generator

from .colours import opponent_colours
from .guides import Guides

__all__ = ["GuidedField", "GuidedFieldConfig", "GuidedFit", "TangentNetwork"]

# pixels that are rendered at once
CHUNK = 2**15


@dataclass(frozen=True)
class GuidedFieldConfig:
    """Sizes of the field and of its fit."""

    # of the square of noisy pixels that the network sees: its side is 2 radius + 1
    radius: int = 3
    # cosines of the position along each axis
    n_cosines: int = 4
    # hidden layers and their width
    n_layers: int = 2
    width: int = 32
    # Adam's peak rate
    learning_rate: float = 3e-3
    # pixels in a step, and steps, whatever the picture's size
    batch: int = 2048
    n_steps: int = 800
    # of the pixels, which judge when to stop
    held_out: float = 0.1
    # steps between two judgements
    judge_every: int = 100
    # decay of the average of the weights
    decay: float = 0.995


class TangentNetwork(nn.Module):
    """A fully connected SiLU network that carries a tangent of its inputs to its outputs.

    Examples
    --------
    >>> network = TangentNetwork([3, 8, 2], torch.Generator().manual_seed(0))
    >>> x, tangent = torch.rand(5, 3), torch.rand(5, 3)
    >>> _, slope = torch.func.jvp(lambda x: network(x)[0], (x,), (tangent,))
    >>> torch.allclose(network(x, tangent)[1], slope, atol=1e-5)
    True
    """

    def __init__(self, sizes: list[int], generator: torch.Generator, last_gain: float = 0.02) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
            gain = last_gain if layer == len(sizes) - 2 else 2.0
            self.weights.append(nn.Parameter(torch.randn(n_in, n_out, generator=generator) * math.sqrt(gain / n_in)))
            self.biases.append(nn.Parameter(torch.zeros(n_out)))

    def forward(self, x: Tensor, tangent: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Outputs [n, n_outputs] of ``x`` [n, n_inputs], and their derivative along ``tangent`` of the same shape."""
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.addmm(bias, x, weight)
            tangent = None if tangent is None else tangent @ weight
            if layer < last:
                gate = torch.sigmoid(x)
                if tangent is not None:
                    tangent = tangent * (gate * (1 + x * (1 - gate)))
                x = x * gate
        return x, tangent


class GuidedField(nn.Module):
    """Values of pixels from what is around them; lengths of values are in standard deviations of the noise.

    Parameters
    ----------
    config : GuidedFieldConfig
        Sizes.
    picture : ndarray, shape (h, w, c)
        The noisy picture.
    guides : Guides
        Its estimates, at least one.
    std : float
        Standard deviation of the noise, in the unit of the picture.
    generator : torch.Generator
        Source of the initial weights.

    Notes
    -----
    Features of a pixel are differences from its origin, the mean of its guides. The value is the origin, plus weights
    of the guides' differences from it, plus a correction; the network gives weights and correction.
    """

    def __init__(
        self, config: GuidedFieldConfig, picture: NDArray[np.float32], guides: Guides, std: float,
        generator: torch.Generator,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config, self.scale = config, 2 * std
        self.height, self.width, self.n_channels = picture.shape
        self.names, self.n_guides = guides.names, len(guides.names)
        self.rotation = opponent_colours(self.n_channels)
        self.noisy = self._padded(picture[None], config.radius)
        self.guides = self._padded(guides.values, 0)  # [h w, n_guides, c]
        self.slopes = torch.from_numpy(guides.slopes).flatten(1, 2).transpose(0, 1).contiguous()
        self.mean = self.noisy.mean((0, 1))
        self.offsets = _flipped_offsets(config.radius, self.width + 2 * config.radius)
        n_inputs = (self.offsets.shape[1] + self.n_guides + 1) * self.n_channels + 2 * config.n_cosines
        n_outputs = (1 + self.n_guides) * self.n_channels
        self.network = TangentNetwork([n_inputs, *[config.width] * config.n_layers, n_outputs], generator)

    def _padded(self, images: NDArray[np.float32], margin: int) -> Tensor:
        """Pixels [n, n_images, c] of ``images`` [n_images, h, w, c], mirrored beyond the border, colours turned."""
        padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="reflect")
        flat = torch.from_numpy(np.ascontiguousarray(padded, np.float32)).flatten(1, 2)
        return (flat @ self.rotation.T).transpose(0, 1).contiguous()

    def forward(
        self, pixels: Tensor, direction: Tensor | None = None, flip: int = 0
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """Values of pixels in turned colours, and their derivative to the pixels' own noise.

        Parameters
        ----------
        pixels : Tensor, shape (n,)
            Numbers, row after row.
        direction : Tensor, shape (n, c), optional
            In which the noisy value of each pixel changes; None: no derivative.
        flip : int
            Of 8, in which the surroundings are seen.

        Returns
        -------
        values, slopes : Tensor, shape (n, c)
            Slopes are the derivative of the values along ``direction``.
        """
        rows, cols = pixels // self.width, pixels % self.width
        noisy = _take(self.noisy[:, 0], self._numbers(rows, cols)[:, None] + self.offsets[flip])  # [n, side^2, c]
        guides = self.guides[pixels]  # [n, n_guides, c]
        origin = guides.mean(1, keepdim=True)
        places = self._cosines(rows, cols)

        def features(noisy: Tensor, guides: Tensor, origin: Tensor, level: Tensor, places: Tensor) -> Tensor:
            around = torch.cat([noisy, guides], 1) - origin
            return torch.cat([around.flatten(1) / self.scale, 2 * level[:, 0], places], 1)

        x, tangent, d_guides = features(noisy, guides, origin, origin - self.mean, places), None, None
        if direction is not None:
            d_guides = self.slopes[pixels] * direction[:, None]
            d_noisy = torch.zeros_like(noisy)
            d_noisy[:, 0] = direction
            d_origin = d_guides.mean(1, keepdim=True)
            tangent = features(d_noisy, d_guides, d_origin, d_origin, torch.zeros_like(places))
        outputs, d_outputs = self.network(x, tangent)
        values = self._combined(outputs, guides)
        if d_outputs is None or d_guides is None:
            return values, None
        # the rule of products: outputs change, guides change
        return values, self._combined(d_outputs, guides) - guides.mean(1) + self._combined(outputs, d_guides, 0.0)

    def _combined(self, outputs: Tensor, guides: Tensor, correction: float = 1.0) -> Tensor:
        """The mean of guides [n, n_guides, c], their weighted differences from it, and a correction."""
        outputs = outputs.view(len(outputs), 1 + self.n_guides, self.n_channels)
        origin = guides.mean(1)
        weighted = (outputs[:, 1:] * (guides - origin[:, None])).sum(1)
        return origin + weighted + correction * self.scale * outputs[:, 0]

    def _numbers(self, rows: Tensor, cols: Tensor) -> Tensor:
        """Of pixels in the noisy picture, which has a margin."""
        margin = self.config.radius
        return (rows + margin) * (self.width + 2 * margin) + cols + margin

    def _cosines(self, rows: Tensor, cols: Tensor) -> Tensor:
        """Of the position, [n, 2 n_cosines]."""
        frequencies = torch.arange(1, self.config.n_cosines + 1) * math.pi
        places = torch.stack([(cols + 0.5) / self.width, (rows + 0.5) / self.height], 1)
        return (places[:, :, None] * frequencies).cos().flatten(1)

    @torch.no_grad()
    def render(self, n_flips: int = 8) -> NDArray[np.float32]:
        """The picture [h, w, c], the mean over flips of the surroundings."""
        parts = [
            torch.stack([self(pixels, flip=flip)[0] for flip in range(n_flips)]).mean(0)
            for pixels in torch.arange(self.height * self.width).split(CHUNK)
        ]
        values = torch.cat(parts) @ self.rotation
        return values.view(self.height, self.width, self.n_channels).numpy()


def _take(image: Tensor, numbers: Tensor) -> Tensor:
    """Pixels ``numbers`` [n, m] of ``image`` [n_pixels, c] -> [n, m, c]."""
    return image.index_select(0, numbers.reshape(-1)).view(*numbers.shape, image.shape[1])


def _flipped_offsets(radius: int, row: int) -> Tensor:
    """Numbers [8, (2 radius + 1)^2] of a square's pixels from its centre, the centre first, in each of 8 views."""
    side = range(-radius, radius + 1)
    places = sorted(itertools.product(side, side), key=lambda place: place[0] ** 2 + place[1] ** 2)
    dy, dx = torch.tensor(places).T
    views = [(sy * a, sx * b) for a, b in ((dy, dx), (dx, dy)) for sy in (1, -1) for sx in (1, -1)]
    return torch.stack([a * row + b for a, b in views])


@contextmanager
def _weights(network: nn.Module, values: list[Tensor]) -> Iterator[None]:
    """Have other weights for a while."""
    own = [parameter.data for parameter in network.parameters()]
    for parameter, value in zip(network.parameters(), values, strict=True):
        parameter.data = value
    try:
        yield
    finally:
        for parameter, value in zip(network.parameters(), own, strict=True):
            parameter.data = value


class GuidedFit:
    """The fit of a :class:`GuidedField` by SURE; see :class:`nerfkit.fitting.Fittable`.

    Parameters
    ----------
    field : GuidedField
        What is trained, in place.
    std : float
        Standard deviation of the noise.
    seed : int
        Of what is drawn and held out.

    Attributes
    ----------
    best_mse : float
        Least SURE of the held-out pixels so far: the mean squared error as far as the noisy picture tells.
    best_step : int
        The step after which it was seen.
    """

    def __init__(self, field: GuidedField, std: float, seed: int = 0) -> None:
        self.field, self.std = field, std
        self.generator = torch.Generator().manual_seed(seed)
        n_pixels = field.height * field.width
        order = torch.randperm(n_pixels, generator=self.generator)
        n_held_out = min(max(1, round(field.config.held_out * n_pixels)), n_pixels - 1)
        self.held_out, self.trained = order[:n_held_out].sort().values, order[n_held_out:].sort().values
        self.average = [parameter.detach().clone() for parameter in field.network.parameters()]
        self.best = [parameter.clone() for parameter in self.average]
        self.best_mse, self.best_step = math.inf, 0

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All weights alike."""
        return [{"params": list(self.field.network.parameters()), "lr": self.field.config.learning_rate}]

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """SURE of a batch, in variances of the noise, without its constant."""
        shape = (self.field.config.batch,)
        drawn = torch.randint(len(self.trained), shape, generator=self.generator)
        pixels = self.trained[drawn]
        direction = torch.randint(2, (*shape, self.field.n_channels), generator=self.generator) * 2.0 - 1
        flip = int(torch.randint(8, (1,), generator=self.generator))
        values, slopes = self.field(pixels, direction, flip)
        distance = (values - self.noisy_at(pixels)).square() / self.std**2
        return (distance + 2 * direction * slopes).mean(), {}

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Average the weights, and judge them from time to time."""
        decay = min(self.field.config.decay, 1 - 1 / (step + 1))
        for average, parameter in zip(self.average, self.field.network.parameters(), strict=True):
            average.lerp_(parameter, 1 - decay)
        if step % self.field.config.judge_every == 0:
            self._judge(step)

    def validate(self) -> dict[str, float]:
        """SURE of the held-out pixels by the averaged weights, as a PSNR."""
        return {"sure_psnr": -10 * math.log10(max(self.judged_mse(), 1e-12))}

    @torch.no_grad()
    def judged_mse(self) -> float:
        """SURE of the held-out pixels by the averaged weights."""
        with _weights(self.field.network, self.average):
            distance = slopes = 0.0
            for channel in range(self.field.n_channels):
                direction = torch.zeros(len(self.held_out), self.field.n_channels)
                direction[:, channel] = 1
                values, slope = self.field(self.held_out, direction)
                assert slope is not None
                distance = float((values - self.noisy_at(self.held_out)).square().mean())
                slopes += float(slope[:, channel].mean()) / self.field.n_channels
        return distance + 2 * self.std**2 * slopes - self.std**2

    @torch.no_grad()
    def guides_mse(self) -> dict[str, float]:
        """SURE of the held-out pixels by each guide alone."""
        noisy, slopes = self.noisy_at(self.held_out), self.field.slopes[self.held_out]
        distances = (self.field.guides[self.held_out] - noisy[:, None]).square()
        mses = (distances + 2 * self.std**2 * slopes).mean((0, 2)) - self.std**2
        return dict(zip(self.field.names, mses.tolist(), strict=True))

    def finish(self, step: int) -> None:
        """Leave the best weights in the field."""
        self._judge(step)
        with torch.no_grad():
            for parameter, best in zip(self.field.network.parameters(), self.best, strict=True):
                parameter.copy_(best)

    def noisy_at(self, pixels: Tensor) -> Tensor:
        """Noisy values [n, c] in turned colours."""
        return self.field.noisy[self.field._numbers(pixels // self.field.width, pixels % self.field.width), 0]

    def _judge(self, step: int) -> None:
        mse = self.judged_mse()
        if mse < self.best_mse:
            self.best_mse, self.best_step = mse, step
            self.best = [average.clone() for average in self.average]

    def state_dict(self) -> dict[str, Any]:
        """The weights, their average, the best of them, and the generator."""
        return {
            "network": self.field.network.state_dict(), "average": self.average, "best": self.best,
            "best_mse": self.best_mse, "best_step": self.best_step, "generator": self.generator.get_state(),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.field.network.load_state_dict(state["network"])
        self.average, self.best = list(state["average"]), list(state["best"])
        self.best_mse, self.best_step = state["best_mse"], state["best_step"]
        restore_generator(self.generator, state["generator"])
