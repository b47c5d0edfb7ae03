"""Photos with poses as measurements: rays through their pixels, and the colours that were seen along them."""

from __future__ import annotations

import torch
from torch import Tensor

from nerfkit.scenes.backgrounds import Background
from nerfkit.scenes.cameras import CameraBatch
from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.measurements.photo_pixels import PhotoPixels, PixelBatch
from nerfkit.scenes.rays import Rays, rays_from_pixels

__all__ = ["PhotoRays"]


class PhotoRays:
    """Rays through random pixels of photos.

    Parameters
    ----------
    pixels : PhotoPixels
        The photos.
    cameras : CameraBatch
        One camera a photo.
    poses : Tensor, shape (n_photos, 4, 4)
        Camera to normalised space.
    background : Background
        What lies behind the scene; where it is random, each ray has its own colour.

    Notes
    -----
    Everything lies on one device. On a GPU nothing here waits for it.
    """

    def __init__(self, pixels: PhotoPixels, cameras: CameraBatch, poses: Tensor, background: Background) -> None:
        self.pixels, self.cameras, self.poses = pixels, cameras, poses
        self.is_random = background.is_random
        # made once: a copy to a GPU would be a wait
        self.bkgd_rgb = None if background.color is None else torch.tensor(tuple(background.color), device=poses.device)

    def draw(self, n: int, generator: torch.Generator) -> Measurements:
        """``n`` rays with a jitter each, colours [n, 3] before the background, and the photo of each."""
        batch = self.pixels.draw(n, generator)
        rays_o, rays_d = rays_from_pixels(self.cameras, self.poses, batch.photo_ids, batch.pixels)
        bkgd_rgb = _rand(generator, n, 3) if self.is_random else self.bkgd_rgb
        rays = Rays(rays_o, rays_d, bkgd_rgb, _rand(generator, n))
        return Measurements(rays, _composite(batch, bkgd_rgb), ids=batch.photo_ids)


def _rand(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator, device=generator.device)


def _composite(batch: PixelBatch, bkgd_rgb: Tensor | None) -> Tensor:
    """Colour [n, 3] that the pixels show before the background."""
    if batch.alphas is None:
        return batch.rgb
    if bkgd_rgb is None:
        return batch.rgb * batch.alphas
    return batch.rgb * batch.alphas + bkgd_rgb * (1 - batch.alphas)
