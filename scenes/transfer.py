"""File values and the linear radiance that pixels average: the transfer curve undone, colours multiplied by alpha."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.scenes.luminance import LUMINANCE

__all__ = ["CURVES", "LINEAR", "TRANSFERS", "Curve", "Transfer", "decode_srgb", "encode_srgb", "srgb_slope"]

TRANSFERS = ("auto", "srgb", "linear", "bt709", "gamma22", "gamma28")
# below this alpha, half a step of 8 bits, a colour is noise
MIN_ALPHA = 0.5 / 255


def decode_srgb(values: Tensor) -> Tensor:
    """Linear radiance of sRGB values (IEC 61966-2-1), continued beyond [0, 1].

    Examples
    --------
    >>> decode_srgb(torch.tensor([0.0, 0.5, 1.0]))
    tensor([0.0000, 0.2140, 1.0000])
    """
    return torch.where(values <= 0.04045, values / 12.92, ((values.clamp(min=0) + 0.055) / 1.055) ** 2.4)


def encode_srgb(radiance: Tensor) -> Tensor:
    """The inverse of :func:`decode_srgb`."""
    return torch.where(radiance <= 0.0031308, radiance * 12.92, 1.055 * radiance.clamp(min=0) ** (1 / 2.4) - 0.055)


def srgb_slope(radiance: Tensor) -> Tensor:
    """Change of sRGB values with linear radiance: 12.9 in the dark, 0.4 at white.

    Examples
    --------
    >>> srgb_slope(torch.tensor([-0.1, 0.001, 1.0]))
    tensor([12.9200, 12.9200,  0.4396])
    """
    return torch.where(radiance <= 0.0031308, 12.92, 1.055 / 2.4 * radiance.clamp(min=1e-4) ** (1 / 2.4 - 1))


@dataclass(frozen=True)
class Curve:
    """A transfer curve from [0, 1] to [0, 1], continued beyond, and the slope of its inverse.

    Parameters
    ----------
    decode, encode : callable
        File values to linear radiance, and back.
    slope : callable
        Change of file values with linear radiance, by radiance.
    """

    decode: Callable[[Tensor], Tensor]
    encode: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


def _bt709() -> Curve:
    """The curve of cameras for SDR television (ITU-R BT.709-6, item 1.2; BT.2020 has the same)."""

    def decode(values: Tensor) -> Tensor:
        return torch.where(values < 0.081, values / 4.5, ((values.clamp(min=0) + 0.099) / 1.099) ** (1 / 0.45))

    def encode(radiance: Tensor) -> Tensor:
        return torch.where(radiance < 0.018, radiance * 4.5, 1.099 * radiance.clamp(min=0) ** 0.45 - 0.099)

    def slope(radiance: Tensor) -> Tensor:
        return torch.where(radiance < 0.018, 4.5, 1.099 * 0.45 * radiance.clamp(min=1e-4) ** -0.55)

    return Curve(decode, encode, slope)


def _power(gamma: float) -> Curve:
    """``radiance = value ** gamma``, with a straight line below 1/255 where the power has no slope."""
    dark = 1 / 255
    light = dark**gamma
    steep = dark / light

    def decode(values: Tensor) -> Tensor:
        return torch.where(values < dark, values / steep, values.clamp(min=dark) ** gamma)

    def encode(radiance: Tensor) -> Tensor:
        return torch.where(radiance < light, radiance * steep, radiance.clamp(min=light) ** (1 / gamma))

    def slope(radiance: Tensor) -> Tensor:
        return torch.where(radiance < light, steep, radiance.clamp(min=light) ** (1 / gamma - 1) / gamma)

    return Curve(decode, encode, slope)


# what is not linear; gamma 2.2 and 2.8 are analogue television's (ITU-T H.273, codes 4 and 5)
CURVES = {
    "srgb": Curve(decode_srgb, encode_srgb, srgb_slope),
    "bt709": _bt709(),
    "gamma22": _power(2.2),
    "gamma28": _power(2.8),
}


@dataclass(frozen=True)
class Transfer:
    """How files of a kind hold linear radiance.

    Parameters
    ----------
    curve : {"srgb", "linear", "bt709", "gamma22", "gamma28"}
        The transfer curve of their colours; alpha has none.
    n_channels : {1, 2, 3, 4}
        Grey, grey with alpha, RGB, RGB with alpha.
    value_range : (float, float)
        File values of colours whose linear radiance is 0 and 1: those that the files use. Errors of file values are
        fractions of this range, so that nothing hangs on how much of their scale files use.

    Examples
    --------
    >>> transfer = Transfer("srgb", 4)
    >>> channels = transfer.channels(torch.tensor([[[[1.0, 0.5, 0.0, 0.5]]]]))
    >>> [round(float(channel), 3) for channel in channels]
    [0.5, 0.107, 0.0, 0.5]
    >>> transfer.image(torch.cat(channels)).round(3).tolist()
    [[[1.0, 0.5, 0.0, 0.5]]]
    >>> Transfer("linear", 1, (0.25, 0.75)).channels(torch.tensor([[[0.25, 0.5, 1.0]]]))[0].tolist()
    [[[0.0, 0.5, 1.5]]]
    """

    curve: str
    n_channels: int
    value_range: tuple[float, float] = (0.0, 1.0)

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.n_channels in (2, 4)

    def channels(self, images: Tensor) -> list[Tensor]:
        """Linear radiance [n, h, w] of each channel of images [n, h, w (, n_channels)], colours times alpha."""
        if self.n_channels == 1:
            return [self.decode(images)]
        parts = [part.contiguous() for part in images.unbind(-1)]
        if not self.has_alpha:
            return [self.decode(part) for part in parts]
        *colours, alpha = parts
        return [*(self.decode(part) * alpha for part in colours), alpha]

    def image(self, channels: Tensor) -> NDArray[np.float32]:
        """File values [h, w (, n_channels)] of linear radiance [n_channels, h, w]; what is transparent is black."""
        if self.has_alpha:
            alpha = channels[-1:].clamp(0, 1)
            colours = torch.where(alpha > MIN_ALPHA, channels[:-1] / alpha.clamp(min=MIN_ALPHA), 0.0)
            values = torch.cat([self._file_values(colours).clamp(0, 1), alpha])
        else:
            values = self._file_values(channels)
        return values[0].numpy() if len(values) == 1 else np.ascontiguousarray(values.permute(1, 2, 0).numpy())

    def grey(self, channels: list[Tensor] | Tensor) -> Tensor:
        """Luminance [..] of channels [..]; with alpha the mean of both, in which things of any colour stand out."""
        colours = channels[:-1] if self.has_alpha else channels
        if len(colours) == 1:
            grey = colours[0]
        else:
            grey = torch.zeros_like(colours[0])
            for weight, colour in zip(LUMINANCE, colours, strict=True):
                grey += weight * colour
        return (grey + channels[-1]) / 2 if self.has_alpha else grey

    def encode(self, radiance: Tensor) -> Tensor:
        """File values, as fractions of their range, of linear radiance that is not multiplied by alpha."""
        if self.curve not in CURVES:
            return radiance
        low, high = self.value_range
        return (self._file_values(radiance) - low) / (high - low)

    def decode(self, values: Tensor) -> Tensor:
        """Linear radiance of file values; 0 and 1 at the ends of their range."""
        dark, light = self._ends
        return (self._undone(values) - dark) / (light - dark)

    def slope(self, radiance: Tensor) -> Tensor | None:
        """Change of file values, as fractions of their range, with linear radiance; None where they are the same.

        An error of a file's value, noise or what the eye sees, is an error of radiance divided by it.
        """
        if self.curve not in CURVES:
            return None
        (low, high), (dark, light) = self.value_range, self._ends
        return CURVES[self.curve].slope(dark + (light - dark) * radiance) * ((light - dark) / (high - low))

    @property
    def _ends(self) -> tuple[float, float]:
        """What the curve makes of the ends of the range."""
        dark, light = self._undone(torch.tensor(self.value_range, dtype=torch.float64)).tolist()
        return dark, light

    def _undone(self, values: Tensor) -> Tensor:
        return CURVES[self.curve].decode(values) if self.curve in CURVES else values

    def _file_values(self, radiance: Tensor) -> Tensor:
        dark, light = self._ends
        values = dark + (light - dark) * radiance
        return CURVES[self.curve].encode(values) if self.curve in CURVES else values


# values that are averaged as files have them: grey, floats, alpha
LINEAR = Transfer("linear", 1)
