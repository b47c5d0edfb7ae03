"""What changes slowly over a picture: its phase, and sensitivities of coils; few control values, cubics between them.

Both are kept as complex control values of which only a part matters: of a phase the direction, of coils their ratios.
Where the picture is dark nothing holds them, and nothing needs to.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

__all__ = ["control_values", "directions", "smooth_coils"]

# control values along the longer side, at least so many along the other
CONTROLS, LEAST_CONTROLS = 8, 4
# added to squares, where values are of about 1
TINY = 1e-8


def control_values(pictures: Tensor) -> Tensor:
    """Means [n, k, l] of complex pictures [n, h, w] over as many cells: where they are large they count for more."""
    shape = pictures.shape[-2:]
    counts = [max(LEAST_CONTROLS, round(CONTROLS * n / max(shape))) for n in shape]
    parts = torch.cat([pictures.real, pictures.imag])
    return torch.complex(*interpolate(parts[None], counts, mode="area")[0].chunk(2))


def _between(controls: Tensor, shape: tuple[int, int]) -> Tensor:
    parts = torch.cat([controls.real, controls.imag])
    return torch.complex(*interpolate(parts[None], shape, mode="bicubic", align_corners=False)[0].chunk(2))


def directions(controls: Tensor, shape: tuple[int, int]) -> Tensor:
    """exp(i phase) [n, h, w] of control values [n, k, l]; differentiable."""
    return torch.sgn(_between(controls, shape))


def smooth_coils(controls: Tensor, shape: tuple[int, int]) -> Tensor:
    """Sensitivities [n, h, w] whose squares sum to 1, of control values [n, k, l]; differentiable."""
    smooth = _between(controls, shape)
    return smooth / (smooth.abs().square().sum(0) + TINY).sqrt()
