"""What the frames can give before they are fused: how fine a detail they measure, and the gain over bicubic.

Shifted frames see each frequency f of a low-res pixel together with its aliases f + k, k whole. With the PSF's
transfer function H, a frame at the shift d measures

    y(f) = sum_k H(f + k) exp(2 pi i (f + k) . d) X(f + k) + noise.

With noise of standard deviation sigma and a scene of power P, the errors of the best linear estimate of the X(f + k)
are the diagonal C of (A^H A / sigma^2 + diag(1 / P))^-1 (Wiener). Detail is what lies beyond the half cycle a low-res
pixel that one frame can hold; the share of its power that is not left in C is measured, and the sum of 1 - C / P
counts the independent values for each low-res pixel, of which an image of scale s holds s^2. Frequencies are cycles
per low-res pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.scenes.observations.psf import Psf

from .diagnosis import power_spectrum
from .priors import NOISE_STEPS, START
from .trials import MIN_SIGMA, Trials

__all__ = ["ENOUGH", "SAID_OF_ONE_FRAME", "Expectation", "expect", "expect_at", "places", "scene_power"]

SAID_OF_ONE_FRAME = (
    "one frame: it is sharpened and enlarged; detail finer than its pixels is not in it and is not recovered"
)
# a scale is said to be too large when the frames measure less than this share of its detail's power
ENOUGH = 0.45
# whatever the scene: fewer values than this for a pixel of the output are too few
MIN_VALUES = 0.2
# frequencies that a solution shows as they are, and the exponent by which a scene's power falls at most beyond them
SHOWN, STEEPEST = (0.35, 0.5), 2.5
# frequencies of a low-res pixel that are looked at, along an axis
N_FREQUENCIES = 6
# cells along a low-res pixel that a PSF is sampled on for its transfer function
CELLS = 16
# parameter of torch's bicubic interpolation
CUBIC = -0.75
# cells of the middle of an image along a side, at most, that its power is taken from
MAX_SIDE = 1024
# side in low-res pixels, and cells along one, of the image that is expected from before frames are fused
FIRST_SIDE, FIRST_CELLS = 64, 4
# least power that a scene is taken to have
TINY = 1e-9
# frames for each pixel of the output, with shifts that are all that one could want, for what any frames can measure
MANY = 16
# a better spread of the shifts is what is missing where it would measure this much more, and enough
BETTER_SPREAD = 1.25
# most cycles per low-res pixel that one frame can hold, along an axis
ONE_FRAME = 0.5

Power = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Expectation:
    """What a linear method can be expected to give."""

    # output pixels along a low-res pixel that were asked for, and of an image of as many values as are measured
    scale: float
    supported_scale: float
    # share of the power of the detail that one frame cannot hold
    measured_share: float
    # decibels by which the best linear estimate is nearer to the truth than one frame enlarged by cubics
    gain_db: float
    n_frames: int
    # what is missing: "blur" (of the PSF, and noise), "shifts" or "frames"; "" when nothing is
    limit: str

    @property
    def frames_per_pixel(self) -> float:
        """Low-res pixels for each pixel of the output."""
        return self.n_frames / self.scale**2

    def as_dict(self) -> dict[str, float | str]:
        """For JSON."""
        return {
            "gain_db": round(self.gain_db, 2),
            "measured_share": round(self.measured_share, 3),
            "frames_per_pixel": round(self.frames_per_pixel, 3),
            "limit": self.limit,
        }

    def sentence(self) -> str:
        """For a person, in a line."""
        return (
            f"{_counted(self.n_frames)} ({self.frames_per_pixel:.2g} values for a pixel of the output) "
            f"{_verb(self.n_frames)} {self.measured_share:.0%} of the detail that is finer than a frame's pixels; "
            f"expected gain over bicubic: about {self.gain_db:.1f} dB, more where edges are sharp and values few"
        )

    def warning(self) -> str:
        """What is missing for the scale and what to do; empty when nothing is."""
        return f"{self.shortfall()}; {self.remedy()}" if self.limit else ""

    def shortfall(self) -> str:
        """What is missing for the scale, where something is."""
        why = {
            "blur": "PSF and noise hide it, from however many frames",
            "shifts": "their sub-pixel positions leave gaps",
            "frames": "they are too few",
        }[self.limit]
        return (
            f"{_counted(self.n_frames)} {_verb(self.n_frames)} {self.measured_share:.0%} of the detail at "
            f"{self.scale:.3g}x, the rest is what the prior makes of it: {why}"
        )

    def remedy(self) -> str:
        """What to do where something is missing."""
        smaller = f"give --scale {max(1.5, round(2 * self.supported_scale) / 2):g}"
        return smaller if self.limit == "blur" else f"add frames with other shifts, or {smaller}"


def _counted(n: int) -> str:
    return f"{n} frame{'s' * (n > 1)}"


def _verb(n: int) -> str:
    return "measures" if n == 1 else "measure"


def expect(shifts: Sequence[NDArray[np.float64]], psf: Psf, scale: float, sigma: float, power: Power) -> Expectation:
    """What frames can give.

    Parameters
    ----------
    shifts : sequence of ndarray, shape (n_frames, 2)
        (dx, dy) of the used frames in low-res pixels, at one or more places of the frame.
    psf : Psf
        Of a pixel.
    scale : float
        Output pixels along a low-res pixel.
    sigma : float
        Standard deviation of a low-res pixel's error.
    power : (ndarray, ndarray)
        Frequencies, and the scene's power there, of :func:`scene_power`.
    """
    n_frames = len(shifts[0])
    spectrum = _Spectrum(psf, scale, sigma, power)
    left = np.mean([spectrum.errors(part) for part in shifts], axis=0)
    share = spectrum.measured_share(left)
    limit = ""
    if share < ENOUGH or n_frames < MIN_VALUES * scale**2:
        is_blurred = spectrum.measured_share(spectrum.errors_of_many(MANY * scale**2)) < ENOUGH
        spread_out = spectrum.measured_share(spectrum.errors(_even_shifts(n_frames)))
        limit = "blur" if is_blurred else "shifts" if spread_out > max(ENOUGH, BETTER_SPREAD * share) else "frames"
    gain = 10 * math.log10(spectrum.bicubic_error / spectrum.total(left))
    return Expectation(scale, spectrum.supported_scale(left), share, gain, n_frames, limit)


def expect_at(scales: Sequence[float], stack: FrameStack, view: LowresView, noise: float) -> list[Expectation]:
    """The same for each of some scales before anything was searched for: by a coarse image of the frames' middle.

    Parameters
    ----------
    scales : sequence of float
        Output pixels along a low-res pixel.
    stack, view : FrameStack, LowresView
        Grey frames, two or more, and where they look.
    noise : float
        A bound of the noise's standard deviation. What an image leaves unexplained is another, and the lower counts.
    """
    width, height = (min(side, FIRST_SIDE) for side in view.size)
    left, top = ((side - part) // 2 for side, part in zip(view.size, (width, height), strict=True))
    window = (top, left, height, width)
    stack, view = stack.window(*window), view.window(*window)
    trials = Trials(stack, view, view.grid(FIRST_CELLS), 0)
    first = trials.first(START).image
    found = trials.solve(replace(START, sigma=trials.sigma(first)), first, NOISE_STEPS)
    sigma = max(min(noise, trials.sigma(found.image)), MIN_SIGMA)
    power = scene_power(trials.grid.crop(found.image).numpy(), FIRST_CELLS)
    shifts = places(view, np.ones(len(view), dtype=bool))
    return [expect(shifts, view.psf, scale, sigma, power) for scale in scales]


def places(view: LowresView, used: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Shifts [n_used, 2] of the used frames at a few places of the frame, for :func:`expect`.

    A frame that is turned or stretched is shifted otherwise all over; plain shifts are the same everywhere.
    """
    motion = view.motion[torch.from_numpy(used)]
    if motion.model == "shift":
        return [motion.shifts.numpy()]
    at = torch.tensor([[1 / 2, 1 / 2], [1 / 4, 1 / 4], [2 / 3, 3 / 4]], dtype=torch.float64)
    points = at * torch.tensor(view.size)
    return list((motion.seen(points) - points).transpose(0, 1).numpy())


def scene_power(image: NDArray[np.floating], scale: float) -> Power:
    """The power that an image [h, w] of ``scale`` cells a low-res pixel has at each frequency, whatever its direction.

    The solution's own stands for the scene's, but a prior makes what few frames tell too smooth: beyond what one frame
    holds, it is taken to fall no faster than that of photographs and text does.
    """
    top, left = (max(0, (side - MAX_SIDE) // 2) for side in image.shape)
    frequencies, power = power_spectrum(image[top : top + MAX_SIDE, left : left + MAX_SIDE], scale)
    # of pixels a low-res pixel is scale^2; the power is that of a low-res pixel's area
    return _with_a_tail(np.array(frequencies), np.maximum(np.array(power) / scale**2, TINY))


def _with_a_tail(frequencies: NDArray[np.float64], power: NDArray[np.float64]) -> Power:
    is_shown = (frequencies > SHOWN[0]) & (frequencies < SHOWN[1])
    if not is_shown.any():
        return frequencies, power
    level, at = np.exp(np.log(power[is_shown]).mean()), sum(SHOWN) / 2
    tail = level * (at / np.maximum(frequencies, at)) ** STEEPEST
    return frequencies, np.where(frequencies > SHOWN[1], np.maximum(power, tail), power)


class _Spectrum:
    """Aliases of some frequencies: what the PSF passes, the scene's power, and what an output pixel needs."""

    def __init__(self, psf: Psf, scale: float, sigma: float, power: Power) -> None:
        self.sigma = sigma
        n_aliases = math.ceil(scale - 1e-9)
        axis = (np.arange(N_FREQUENCIES) + 0.5) / N_FREQUENCIES - 0.5
        first = np.ceil(-n_aliases / 2 - axis)
        # [n_frequencies, n_aliases] along an axis, all within the band of the output
        along = axis[:, None] + first[:, None] + np.arange(n_aliases)
        passed = _transfer(psf, along.ravel(), along.ravel())
        fy, fx = np.meshgrid(along.ravel(), along.ravel(), indexing="ij")

        def aliases(values: NDArray) -> NDArray:
            """[n_frequencies^2, n_aliases^2] of what is laid out by row and by column."""
            parts = values.reshape(*along.shape, *along.shape).transpose(0, 2, 1, 3)
            return parts.reshape(N_FREQUENCIES**2, n_aliases**2)

        # frequencies come in pairs of opposite sign that tell the same
        kept = slice(N_FREQUENCIES**2 // 2)
        self.fx, self.fy, self.passed = (aliases(part)[kept] for part in (fx, fy, passed))
        self.power = np.interp(np.hypot(self.fx, self.fy), *power)
        is_wanted = (np.abs(self.fx) < scale / 2) & (np.abs(self.fy) < scale / 2)
        # an output pixel is a mean over its square
        self.wanted = is_wanted * (np.sinc(self.fx / scale) * np.sinc(self.fy / scale)) ** 2
        self.bicubic_error = self._bicubic_error(scale)

    def errors(self, shifts: NDArray[np.float64]) -> NDArray[np.floating]:
        """Power [n_frequencies, n_aliases] that the best linear estimate from frames at ``shifts`` is off by."""
        phases = self.fx[:, None] * shifts[:, :1] + self.fy[:, None] * shifts[:, 1:]
        seen = self.passed[:, None] * np.exp(2j * np.pi * phases)  # [n_frequencies, n_frames, n_aliases]
        normal = seen.conj().transpose(0, 2, 1) @ seen / self.sigma**2
        index = np.arange(normal.shape[1])
        normal[:, index, index] += 1 / self.power
        return np.real(np.linalg.inv(normal)[:, index, index])

    def errors_of_many(self, n_frames: float) -> NDArray[np.floating]:
        """The same for so many frames whose shifts tell all aliases apart."""
        return 1 / (n_frames * np.abs(self.passed) ** 2 / self.sigma**2 + 1 / self.power)

    def total(self, power: NDArray[np.floating]) -> float:
        """Mean square that output pixels have of a power, for each low-res pixel."""
        return float((self.wanted * power).sum(1).mean())

    def measured_share(self, left: NDArray[np.floating]) -> float:
        """Share of the detail's power that is not left over."""
        is_detail = np.maximum(np.abs(self.fx), np.abs(self.fy)) > ONE_FRAME
        return 1 - self.total(left * is_detail) / self.total(self.power * is_detail)

    def supported_scale(self, left: NDArray[np.floating]) -> float:
        """Scale of an image that has as many values as are measured."""
        return math.sqrt(((1 - left / self.power) * (self.wanted > 0)).sum(1).mean())

    def _bicubic_error(self, scale: float) -> float:
        """Squared error of one frame interpolated by cubics: what is lost, what is folded back, and the noise."""
        kept = _cubic_transfer(self.fx) * _cubic_transfer(self.fy)
        target = np.sinc(self.fx / scale) * np.sinc(self.fy / scale)
        seen = np.abs(self.passed) ** 2 * self.power
        folded = seen.sum(1, keepdims=True) - seen + self.sigma**2
        lost = np.abs(target - kept * self.passed) ** 2 * self.power
        return float(((lost + kept**2 * folded) * (self.wanted > 0)).sum(1).mean())


def _transfer(psf: Psf, fx: NDArray[np.float64], fy: NDArray[np.float64]) -> NDArray:
    """What the PSF passes of waves [len(fy), len(fx)]."""
    weights = psf.weights(CELLS).double().numpy()
    at = (np.arange(len(weights)) - (len(weights) - 1) / 2) / CELLS
    across, down = (np.exp(2j * np.pi * f[:, None] * at) * np.sinc(f / CELLS)[:, None] for f in (fx, fy))
    return down @ weights @ across.T


def _cubic_transfer(f: NDArray[np.float64]) -> NDArray[np.float64]:
    """What interpolation by cubics passes of a wave along an axis (Keys 1981)."""
    x = (np.arange(128) + 0.5) / 64
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x**2 + 1
    far = CUBIC * (((x - 5) * x + 8) * x - 4)
    return np.cos(2 * np.pi * f[..., None] * x) @ np.where(x < 1, near, far) / 32


def _even_shifts(n: int) -> NDArray[np.float64]:
    """Shifts [n, 2] that cover a low-res pixel evenly (the R2 sequence of Roberts 2018)."""
    steps = np.array([0.7548776662466927, 0.5698402909980532])
    return np.mod(0.5 + np.arange(n)[:, None] * steps, 1.0)
