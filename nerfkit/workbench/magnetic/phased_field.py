"""A complex picture as two fields: a magnitude of fine detail, and a phase that is smooth."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from nerfkit.scenes.fields.named import make_named_field
from nerfkit.scenes.fields.positive import Positive
from nerfkit.scenes.observations.instrument import Measured, WholePicture
from nerfkit.scenes.observations.kspace import Kspace

__all__ = ["PhasedField", "PhasedPicture", "magnitude_field"]

# control values of the phase along the longer side, at least so many along the other
CONTROLS, LEAST_CONTROLS = 8, 4
# rate of the phase beside that of the magnitude
PHASE_RATE = 0.3
# where the magnitude begins, of the picture's scale: from 0 a hash table learns slowly
START = 0.2
HASH = {
    "is_spread": True, "n_layers": 1, "n_levels": 12, "base_resolution": 8, "log2_table_size": 17, "width": 64,
}  # fmt: skip
MOST_PARAMETERS = 2**22


def magnitude_field(shape: tuple[int, int], seed: int) -> Positive:
    """A hash grid over [0, w] x [0, h], of values above 0 of about 1."""
    height, width = shape
    options = HASH | {"max_resolution": max(shape)}
    box = [(0.0, float(width)), (0.0, float(height))]
    field: Any = make_named_field("hash", box, 1, MOST_PARAMETERS, torch.Generator().manual_seed(seed), **options)
    with torch.no_grad():
        field.network.biases[-1].fill_(START)
    return Positive(field, 0.0, 1.0)


class PhasedField(nn.Module):
    """Magnitude of a field, phase of a few control values with cubics between them.

    Parameters
    ----------
    magnitude : Field
        Of the plane in pixels, one value above 0.
    start : Tensor, shape (h, w)
        Complex; the control values begin at means of it, so that where it is large its phase counts.
    """

    def __init__(self, magnitude: Any, start: Tensor) -> None:
        super().__init__()
        self.magnitude, self.shape = magnitude, tuple(start.shape)
        n_controls = [max(LEAST_CONTROLS, round(CONTROLS * n / max(self.shape))) for n in self.shape]
        parts = torch.stack([start.real, start.imag])
        self.controls = nn.Parameter(interpolate(parts[None], n_controls, mode="area")[0])

    def phasor(self) -> Tensor:
        """exp(i phase) [h, w]."""
        real, imaginary = interpolate(self.controls[None], self.shape, mode="bicubic", align_corners=False)[0]
        return torch.complex(real, imaginary) / (real.square() + imaginary.square() + 1e-8).sqrt()

    def forward(self, coords: Tensor) -> Tensor:
        """Magnitudes [..., 1] at ``coords`` [..., 2]."""
        return self.magnitude(coords)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """The magnitude's, and the phase at a rate of its own."""
        phase = {"params": [self.controls], "lr": PHASE_RATE * learning_rate}
        return [*self.magnitude.parameter_groups(learning_rate), phase]


class PhasedPicture(WholePicture):
    """A :class:`PhasedField` seen by coils; its magnitude is the picture whose variation counts."""

    def __init__(self, kspace: Kspace) -> None:
        super().__init__(kspace, lambda values: values)

    def predict(self, field: Any, where: Tensor) -> Measured:
        """Coefficients, and the magnitude [h, w]."""
        magnitude = field(where).view(field.shape)
        return Measured(self.instrument.apply(magnitude * field.phasor()), magnitude)
