"""How a picture's code is found: coefficients of least distortion and rate, and the two networks that go with them.

The loss is D + price * R: squared error in units of the quantisation step, and bits. Its parts are minimised in turn.
The networks descend, at each step on a batch of coefficients and one of pixels. Every ``round_every`` steps all
coefficients are chosen anew for the networks as they are: the wavelets are nearly orthonormal and the correction is
small, so the coefficients of the error that is left tell where each one should be (a step of Newton's method), and the
whole number of least squared distance + price * bits is found exactly, for each by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.generators import restore_generator

from . import context, synthesis
from .context import N_FEATURES
from .networks import FINEST, SHIFTS, IntegerNetwork, SmallNetwork
from .range_coder import LOGITS
from .synthesis import MATRIX_BITS, PLANE_BITS
from .wavelets import analyse

__all__ = ["CodecSettings", "PictureCode", "network_sizes", "number_of_levels", "principal_axes"]

# the largest number of times that a picture is halved; hidden widths that a file can tell of
MOST_LEVELS = 5
NARROWEST, WIDEST = 4, 64
# the quantisation step in grey levels
SMALLEST_STEP, LARGEST_STEP = 0.25, 1000.0
# bits that a weight takes, nearly, and bytes of what else a file has beside coefficients
_BITS_A_WEIGHT, _OTHER_BYTES = 5, 40


@dataclass(frozen=True)
class CodecSettings:
    """How a picture is encoded."""

    # hidden widths of the context network and of the correction, 4 to 64
    widths: tuple[int, int]
    # squared error, in squared quantisation steps, that a bit is worth
    price: float = 0.09
    # steps between two choices of all coefficients
    round_every: int = 20
    # coefficients and pixels that the networks see in a step
    n: int = 2**14
    # Adam's peak rates of the two networks
    context_rate: float = 1e-2
    correction_rate: float = 1e-2
    # fraction of the steps in which the quantisation step is moved towards the rate that is asked for
    settled_at: float = 0.6
    # fraction from which on the networks learn with weights that are rounded to 2**-shift, and the two shifts
    rounded_from: float = 0.7
    shifts: tuple[int, int] = (3, 4)
    # fraction up to which nothing is chosen then: coefficients would make up for a correction that was just rounded
    chosen_again_from: float = 0.85

    def __post_init__(self) -> None:
        if not all(NARROWEST <= width <= WIDEST for width in self.widths):
            raise NerfkitError(f"widths are {NARROWEST} to {WIDEST}; got {self.widths}", fix="leave the settings out")
        if not self.price > 0:
            raise NerfkitError(f"a price is above 0; got {self.price}", fix="leave it out: 0.09 is usual")
        if self.round_every < 1 or self.n < 1:
            raise NerfkitError(f"round_every and n are 1 or more; got {self.round_every} and {self.n}")
        if not all(shift in SHIFTS for shift in self.shifts):
            raise NerfkitError(f"shifts are {SHIFTS[0]} to {SHIFTS[-1]}; got {self.shifts}")


def number_of_levels(height: int, width: int) -> int:
    """How often the wavelets halve a picture."""
    return min(MOST_LEVELS, int(math.log2(min(height, width))))


def network_sizes(n_channels: int, widths: Sequence[int]) -> tuple[list[int], list[int]]:
    """Sizes of the layers of the context network and of the correction."""
    n_seen = synthesis.n_differences(n_channels)
    return [N_FEATURES, widths[0], widths[0], 2], [n_seen, widths[1], widths[1], n_channels]


def principal_axes(pixels: NDArray[np.float64]) -> NDArray[np.int64]:
    """Directions in which colours [n, c] vary, as columns [c, c] in 2**-7, that of most variance first."""
    _, axes = np.linalg.eigh(pixels.T @ pixels)
    axes = axes[:, ::-1] * np.where(axes.sum(axis=0)[::-1] < 0, -1.0, 1.0)
    return np.round(axes * 2**MATRIX_BITS).astype(np.int64)


def _bits(logits: Tensor, values: Tensor) -> Tensor:
    """Bits of values [n], differentiable in logits [n, 2]; see :func:`nerfkit.workbench.compression.range_coder`."""
    logits = logits.clamp(LOGITS[0], LOGITS[-1])
    zero, last, sizes = logits[:, 0], logits[:, 1], values.abs()
    others = softplus(zero) + math.log(2) + (sizes - 1) * softplus(last) + softplus(-last)
    return torch.where(sizes == 0, softplus(-zero), others) / math.log(2)


class PictureCode:
    """A picture's code in the making: what :func:`nerfkit.fitting.fit` works on.

    Parameters
    ----------
    pixels : ndarray, shape (h, w, c)
        uint8.
    rate : float
        Bits per pixel that the file is to have.
    n_steps : int
        Steps that are planned.
    seed : int
        Of the networks and of what they see.
    settings : CodecSettings
        The rest.
    """

    def __init__(
        self, pixels: NDArray[np.uint8], rate: float, n_steps: int, seed: int, settings: CodecSettings
    ) -> None:  # fmt: skip
        self.settings, self.n_steps = settings, n_steps
        # of the schedule that is behind: more than the steps say where seconds hasten it
        self.fraction = 0.0
        self.height, self.width, n_channels = pixels.shape
        self.n_levels = number_of_levels(self.height, self.width)
        self.generator = torch.Generator().manual_seed(seed)
        sizes = network_sizes(n_channels, settings.widths)
        self.context = SmallNetwork(sizes[0], self.generator, last=0.1)
        self.correction = SmallNetwork(sizes[1], self.generator, last=0.0)
        n_weights = sum(p.numel() for network in (self.context, self.correction) for p in network.parameters())
        # at least half of it for coefficients
        n_bits = rate * self.height * self.width
        self.n_bits = max(n_bits - _BITS_A_WEIGHT * n_weights - 8 * _OTHER_BYTES, n_bits / 2)

        flat = pixels.reshape(-1, n_channels).astype(np.float64)
        self.means = np.round(flat.mean(axis=0)).astype(np.int64)
        self.matrix = principal_axes(flat - self.means)
        inverse = np.linalg.inv(self.matrix / 2**MATRIX_BITS)
        self.wanted = (inverse @ (flat - self.means).T).reshape(n_channels, self.height, self.width)
        self.bands = context.bands(n_channels, self.height, self.width, self.n_levels)
        # coefficients as they are, then, in units of the step, as they should be
        coefficients = analyse(self.wanted, self.n_levels)
        self.step = self._first_step(coefficients)
        self._targets = coefficients / self._unit()
        # zeros are cheaper than what is small is worth: the usual dead zone
        self.coefficients = (np.sign(self._targets) * np.floor(np.abs(self._targets) + 0.35)).astype(np.int32)
        self._choose_bands()
        self._observe()
        self.figures: dict[str, float] = {}

    def _unit(self) -> float:
        """The quantisation step in grey levels."""
        return self.step / 2**PLANE_BITS

    @staticmethod
    def _whole_step(unit: float) -> int:
        return round(min(max(unit, SMALLEST_STEP), LARGEST_STEP) * 2**PLANE_BITS)

    def _first_step(self, coefficients: NDArray[np.float64]) -> int:
        """A step that gives about the rate: a coefficient beyond the dead zone takes some 5 bits, with the zeros."""
        sizes = np.abs(coefficients).ravel()
        low, high = math.log(SMALLEST_STEP), math.log(LARGEST_STEP)
        for _ in range(20):
            middle = (low + high) / 2
            large = sizes[sizes > 0.65 * math.exp(middle)] / math.exp(middle)
            n_bits = float((5 + 1.5 * np.log2(large)).sum())
            low, high = (middle, high) if n_bits > self.n_bits else (low, middle)
        return self._whole_step(math.exp(high))

    def _choose_bands(self) -> None:
        """Leave out bands of details in which hardly anything is larger than the step."""
        for band in self.bands:
            channel, _, direction, _, i, j, h, w = band[:8]
            large = np.abs(self._targets[channel, i : i + h, j : j + w]) > 1
            band[3] = int(direction == 0 or large.sum() > 2e-4 * large.size)
        kept = np.zeros(self.coefficients.shape, bool)
        for c, _, _, is_coded, i, j, h, w in self.bands[:, :8]:
            kept[c, i : i + h, j : j + w] = is_coded
        self.coefficients[~kept] = 0

    def _observe(self) -> None:
        """What the networks see and should say of the coefficients as they are."""
        self.coded = self.coefficients.copy()
        h, w = self.bands[0, 6:8]
        context.from_means(self.coded, int(h), int(w))
        self.features = context.features_of(self.coded, self.bands)
        self.values = context.values_of(self.coded, self.bands)
        self.planes = synthesis.planes_of(self.coefficients, self.step, self.n_levels)
        left = (self.wanted - self.planes / 2**PLANE_BITS) / self._unit()
        self._left = torch.from_numpy(left.reshape(len(left), -1).T.astype(np.float32))
        self._features, self._values = torch.from_numpy(self.features), torch.from_numpy(self.values)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The two networks."""
        rates = self.settings.context_rate, self.settings.correction_rate
        networks = self.context, self.correction
        return [{"params": list(n.parameters()), "lr": rate} for n, rate in zip(networks, rates, strict=True)]

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Bits of a coefficient plus the squared error, in squared steps, of a pixel."""
        rows = torch.randint(len(self._values), (min(self.settings.n, len(self._values)),), generator=self.generator)
        seen = self._features[rows].float() / 2**context.FEATURE_BITS
        bits = _bits(self.context(seen), self._values[rows].float()).mean()
        n_pixels = self.height * self.width
        pixels = torch.randint(n_pixels, (min(self.settings.n, n_pixels),), generator=self.generator)
        differences = torch.from_numpy(synthesis.differences(self.planes, pixels.numpy(), self.step))
        errors = self.correction(differences.float() / 2**synthesis.FEATURE_BITS) - self._left[pixels]
        return bits + errors.square().mean(), self.figures

    def after_step(self, step: int) -> None:
        """Every so often, choose all coefficients; from some step on, round the weights."""
        fraction = max(self.fraction, step / self.n_steps)
        if fraction >= self.settings.rounded_from:
            self.context.shift, self.correction.shift = self.settings.shifts
        is_adapting = self.settings.rounded_from <= fraction < self.settings.chosen_again_from
        if step % self.settings.round_every == 0 and not is_adapting:
            self._choose(is_settled=fraction >= self.settings.settled_at)

    def _choose(self, *, is_settled: bool) -> None:
        network = self._as_it_acts(self.context)
        places = context.places_of(self.features, network)
        n_bits = float(context.code_lengths(self.values, places).sum())
        corrected = synthesis.correct(self.planes, self._as_it_acts(self.correction), self.step)
        error = self.wanted - corrected / 2**PLANE_BITS
        self.figures = {"bits": n_bits, "psnr": _psnr_of_planes(error)}
        self._targets = self.coefficients + analyse(error, self.n_levels) / self._unit()
        if not is_settled:
            before = self._unit()
            # of nets that are half trained, a rate is not yet what it will be
            factor = min(max((n_bits / self.n_bits) ** 0.7, 0.8), 1.25)
            self.step = self._whole_step(before * factor)
            self._targets *= before / self._unit()
            self._choose_bands()
            places = context.places_of(context.features_of(self.coded, self.bands), network)
        targets = context.values_of(self._targets, self.bands)
        is_mean = np.zeros(self.coefficients.shape, bool)
        is_mean[:, : self.bands[0, 6], : self.bands[0, 7]] = True
        chosen = context.choose(targets, places, context.values_of(is_mean, self.bands), self.settings.price)
        context.fill(self.coefficients, self.bands, chosen)
        self._observe()

    @staticmethod
    def _as_it_acts(network: SmallNetwork) -> IntegerNetwork:
        return network.rounded(FINEST if network.shift is None else network.shift)

    def validate(self) -> dict[str, float]:
        """The figures of the last choice."""
        return self.figures

    def state_dict(self) -> dict[str, Any]:
        """Networks, generator, quantisation step, coefficients and which bands are coded."""
        return {
            "context": self.context.state_dict(), "correction": self.correction.state_dict(),
            "generator": self.generator.get_state(), "step": self.step,
            "coefficients": torch.from_numpy(self.coefficients), "bands": torch.from_numpy(self.bands),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.context.load_state_dict(state["context"])
        self.correction.load_state_dict(state["correction"])
        restore_generator(self.generator, state["generator"])
        self.step = int(state["step"])
        self.coefficients = state["coefficients"].cpu().numpy().copy()
        self.bands = state["bands"].cpu().numpy().copy()
        self._observe()


def _psnr_of_planes(error: NDArray[np.float64]) -> float:
    """PSNR of errors in grey levels; the axes of the colours are nearly orthonormal, so it is nearly the pixels'."""
    mse = float(np.mean(np.square(error)))
    return math.inf if mse == 0 else 10 * math.log10(255**2 / mse)
