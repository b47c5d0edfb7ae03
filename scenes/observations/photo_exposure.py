"""Photos of changing exposure: what a ray sees, times the gain and plus the offset of its photo, channel by channel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nerfkit.scenes.fields.radiance import RadianceField
from nerfkit.scenes.observations.exposure import MIN_GAIN, Exposure
from nerfkit.scenes.observations.volume_rendering import Rendered, VolumeRendering
from nerfkit.scenes.rays import Rays

__all__ = ["ExposedRendering", "PhotoExposure", "align_exposure"]

# of values in [0, 1]
MIDDLE_GREY = 0.5


class PhotoExposure(nn.Module):
    """measured = gain * scene + offset, with a gain and an offset for each photo and channel (RGB).

    Over the photos gains have the mean 1 and offsets the mean 0, by construction: they say how photos differ, and a new
    view has neither.

    Parameters
    ----------
    n_photos : int
        How many.

    Examples
    --------
    >>> exposure = PhotoExposure(2)
    >>> exposure.gain_changes.data[0] = 0.5
    >>> exposure.gains()[:, 0].tolist(), round(exposure.difference(), 3)
    ([1.25, 0.75], 0.25)
    """

    def __init__(self, n_photos: int) -> None:
        super().__init__()
        # without their mean, they are what is added to a gain of 1 and an offset of 0
        self.gain_changes = nn.Parameter(torch.zeros(n_photos, 3))
        self.offset_changes = nn.Parameter(torch.zeros(n_photos, 3))

    def gains(self) -> Tensor:
        """Gain of each photo and channel [n_photos, 3]."""
        return (1 + self.gain_changes - self.gain_changes.mean(0)).clamp(min=MIN_GAIN)

    def offsets(self) -> Tensor:
        """Offset of each photo and channel [n_photos, 3], in the unit of the values."""
        return self.offset_changes - self.offset_changes.mean(0)

    def deviations(self) -> Tensor:
        """Mean square of what gains and offsets differ from none; a prior holds photos that tell nothing."""
        return (self.gains() - 1).square().mean() + self.offsets().square().mean()

    def difference(self) -> float:
        """By how much photos differ in the brightness of a middle grey, relative to it (rms over the photos)."""
        return float((self.gains() + self.offsets() / MIDDLE_GREY).detach().mean(-1).std(correction=0))

    def expose(self, seen: Rendered, photo_ids: Tensor, bkgd_rgb: Tensor | None) -> Tensor:
        """Colours [n_rays, 3] as the photos ``photo_ids`` [n_rays] show them.

        A background colour is no part of the scene that was exposed: it stays.
        """
        gains, offsets = self.gains()[photo_ids], self.offsets()[photo_ids]
        if bkgd_rgb is None:
            return gains * seen.rgb + offsets
        behind = (1 - seen.opacities) * bkgd_rgb
        return gains * (seen.rgb - behind) + offsets * seen.opacities + behind


class ExposedRendering:
    """Volume rendering as photos show it.

    Parameters
    ----------
    rendering : VolumeRendering
        What the scene shows.
    exposure : PhotoExposure
        Of the photos that ``Rays.photo_ids`` counts.
    """

    def __init__(self, rendering: VolumeRendering, exposure: PhotoExposure) -> None:
        self.rendering, self.exposure = rendering, exposure

    def predict(self, field: RadianceField, where: Rays, **options: Any) -> Rendered:
        """As :meth:`VolumeRendering.predict`, exposed."""
        assert where.photo_ids is not None
        seen = self.rendering.predict(field, where, **options)
        return seen._replace(rgb=self.exposure.expose(seen, where.photo_ids, where.bkgd_rgb))


def align_exposure(rendered: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    """A rendering in the exposure of its photo, which is fitted channel by channel to the pixels that are ``counted``.

    Parameters
    ----------
    rendered, truth : Tensor, shape (h, w, 3)
        In [0, 1].
    counted : bool Tensor, shape (h, w)
        Pixels to fit to; those that are scored must not be among them.

    Examples
    --------
    >>> rendered, left = torch.rand(4, 4, 3), torch.tensor([True, True, False, False]).expand(4, 4)
    >>> bool(torch.allclose(align_exposure(rendered, 0.5 * rendered + 0.2, left), 0.5 * rendered + 0.2, atol=1e-5))
    True
    """
    channels, measured = rendered.movedim(-1, 0), truth.movedim(-1, 0)
    exposure = Exposure.fit(measured, channels, counted.expand(3, -1, -1))
    return exposure.expose(channels).movedim(0, -1).clamp(0, 1)
