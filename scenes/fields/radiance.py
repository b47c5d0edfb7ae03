"""What every radiance field can do, and how the logarithm of a density becomes one."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["RadianceField", "truncated_exp"]

# exp(15) = 3.3e6: opaque within any step we take, and far from overflow
MAX_LOG_DENSITY = 15.0


@runtime_checkable
class RadianceField(Protocol):
    """Coordinates of the unit cube and viewing directions in, density and colour out.

    To be trained it also has a buffer ``log_density_offset``, added to the logarithm of the density, which fitting
    moves to fill a scene that went empty, and is made from settings with ``width`` and ``initial_density``.
    """

    def density(self, xyzs: Tensor) -> Tensor:
        """Density [n_samples] in 1 / normalised unit at ``xyzs`` [n_samples, 3] in [0, 1]."""
        ...

    def __call__(self, xyzs: Tensor, viewdirs: Tensor, ray_indices: Tensor) -> tuple[Tensor, Tensor]:
        """Density [n_samples] and colour [n_samples, 3] in [0, 1].

        ``xyzs`` [n_samples, 3] lie in [0, 1]; ``viewdirs`` [n_rays, 3] are unit; ``ray_indices`` [n_samples] names
        the ray of each sample, so that what depends on the direction is computed once a ray.
        """
        ...

    def parameter_groups(self, learning_rate: float) -> list[dict]:
        """Groups for the optimiser, with the learning rates that suit this field."""
        ...


class _TruncatedExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        y = x.clamp(max=MAX_LOG_DENSITY).exp_()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, d_y: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        # not zero beyond the clamp: a density that overshot must be able to come back
        (y,) = ctx.saved_tensors
        return d_y * y


def truncated_exp(x: Tensor) -> Tensor:
    """``exp(min(x, 15))`` whose gradient goes on beyond the bound (first order only)."""
    return _TruncatedExp.apply(x)  # pyright: ignore[reportReturnType]
