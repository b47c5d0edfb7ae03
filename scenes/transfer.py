"""File values and the linear radiance that pixels average: the transfer curve undone, colours multiplied by alpha."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.scenes.luminance import LUMINANCE

__all__ = ["LINEAR", "TRANSFERS", "Transfer", "decode_srgb", "encode_srgb", "srgb_slope"]

TRANSFERS = ("auto", "srgb", "linear")
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
class Transfer:
    """How files of a kind hold linear radiance.

    Parameters
    ----------
    curve : {"srgb", "linear"}
        The transfer curve of their colours; alpha has none.
    n_channels : {1, 2, 3, 4}
        Grey, grey with alpha, RGB, RGB with alpha.

    Examples
    --------
    >>> transfer = Transfer("srgb", 4)
    >>> channels = transfer.channels(torch.tensor([[[[1.0, 0.5, 0.0, 0.5]]]]))
    >>> [round(float(channel), 3) for channel in channels]
    [0.5, 0.107, 0.0, 0.5]
    >>> transfer.image(torch.cat(channels)).round(3).tolist()
    [[[1.0, 0.5, 0.0, 0.5]]]
    """

    curve: str
    n_channels: int

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.n_channels in (2, 4)

    def channels(self, images: Tensor) -> list[Tensor]:
        """Linear radiance [n, h, w] of each channel of images [n, h, w (, n_channels)], colours times alpha."""
        if self.n_channels == 1:
            return [self._decode(images)]
        parts = [part.contiguous() for part in images.unbind(-1)]
        if not self.has_alpha:
            return [self._decode(part) for part in parts]
        *colours, alpha = parts
        return [*(self._decode(part) * alpha for part in colours), alpha]

    def image(self, channels: Tensor) -> NDArray[np.float32]:
        """File values [h, w (, n_channels)] of linear radiance [n_channels, h, w]; what is transparent is black."""
        if self.has_alpha:
            alpha = channels[-1:].clamp(0, 1)
            colours = torch.where(alpha > MIN_ALPHA, channels[:-1] / alpha.clamp(min=MIN_ALPHA), 0.0)
            values = torch.cat([self.encode(colours.clamp(0, 1)), alpha])
        else:
            values = self.encode(channels)
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

    def encode(self, values: Tensor) -> Tensor:
        """File values of linear radiance that is not multiplied by alpha."""
        return encode_srgb(values) if self.curve == "srgb" else values

    def slope(self, radiance: Tensor) -> Tensor | None:
        """Change of file values with linear radiance; None where they are the same.

        An error of a file's value, noise or what the eye sees, is an error of radiance divided by it.
        """
        return srgb_slope(radiance) if self.curve == "srgb" else None

    def _decode(self, values: Tensor) -> Tensor:
        return decode_srgb(values) if self.curve == "srgb" else values


# values that are averaged as files have them: grey, floats, alpha
LINEAR = Transfer("linear", 1)
