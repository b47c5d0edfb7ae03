"""Distances that are known at some pixels of photos, as measurements along their rays."""

from __future__ import annotations

import torch
from torch import Tensor

from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.measurements.photo_rays import PhotoRays
from nerfkit.scenes.rays import Rays

__all__ = ["MARGIN", "PhotoDistances"]

# fraction of a known distance by which its ray goes on, so that nothing farther makes up for what hangs before it
MARGIN = 0.05


class PhotoDistances:
    """Rays through pixels whose distance is known.

    Parameters
    ----------
    rays : PhotoRays
        The photos, whose poses and cameras these rays have.
    photo_ids : Tensor of int64, shape (n,)
        Photo of each pixel.
    pixels : Tensor, shape (n, 2)
        Column and row, centres at +0.5.
    distances : Tensor, shape (n,)
        Along the ray, in the unit of the poses, above 0.
    """

    def __init__(self, rays: PhotoRays, photo_ids: Tensor, pixels: Tensor, distances: Tensor) -> None:
        self.rays = rays
        self.columns = Measurements(where=(photo_ids, pixels), values=distances[:, None])

    def __len__(self) -> int:
        return len(self.columns)

    def draw(self, n: int, generator: torch.Generator) -> Measurements:
        """``n`` rays with a jitter each, which end shortly behind what they meet, and their distances [n, 1]."""
        batch = self.columns.draw(n, generator)
        photo_ids, pixels = batch.where
        rays_o, rays_d = self.rays.through(photo_ids, pixels)
        jitter = torch.rand(n, generator=generator, device=generator.device)
        far = batch.values[:, 0] * (1 + MARGIN)
        return Measurements(Rays(rays_o, rays_d, None, jitter, photo_ids, far=far), batch.values)
