"""Photos with poses as measurements: rays through their pixels, and the colours that were seen along them."""

from __future__ import annotations

import torch
from torch import Tensor

from nerfkit.scenes.backgrounds import Background
from nerfkit.scenes.cameras import CameraBatch
from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.measurements.photo_pixels import PhotoPixels, PixelBatch
from nerfkit.scenes.pose_corrections import PoseCorrections
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
    corrections : PoseCorrections, optional
        Of these poses; rays are differentiable in them while ``is_differentiable`` is set.

    Notes
    -----
    Everything lies on one device. On a GPU nothing here waits for it.
    """

    def __init__(
        self, pixels: PhotoPixels, cameras: CameraBatch, poses: Tensor, background: Background,
        corrections: PoseCorrections | None = None,
    ) -> None:  # fmt: skip
        self.pixels, self.cameras, self.poses, self.corrections = pixels, cameras, poses, corrections
        self.is_differentiable = corrections is not None
        # distance before which rays see nothing; a tensor that is filled anew, so that captured steps see it
        self.near: Tensor | None = None
        self.is_random = background.is_random
        # made once: a copy to a GPU would be a wait
        self.bkgd_rgb = None if background.color is None else torch.tensor(tuple(background.color), device=poses.device)

    def draw(self, n: int, generator: torch.Generator) -> Measurements:
        """``n`` rays with a jitter each, colours [n, 3] before the background, and the photo of each."""
        batch = self.pixels.draw(n, generator)
        rays_o, rays_d = self.through(batch.photo_ids, batch.pixels)
        bkgd_rgb = _rand(generator, n, 3) if self.is_random else self.bkgd_rgb
        rays = Rays(rays_o, rays_d, bkgd_rgb, _rand(generator, n), batch.photo_ids, self.near)
        return Measurements(rays, _composite(batch, bkgd_rgb), ids=batch.photo_ids)

    def through(self, photo_ids: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Origins and directions [n, 3] of rays through ``pixels`` [n, 2] of photos, their corrections applied."""
        if self.corrections is None:
            return rays_from_pixels(self.cameras, self.poses, photo_ids, pixels)
        with torch.set_grad_enabled(self.is_differentiable and torch.is_grad_enabled()):
            poses, log_focal = self.corrections.poses(), self.corrections.log_focal
            return rays_from_pixels(self.cameras, poses, photo_ids, pixels, log_focal=log_focal)


def _rand(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator, device=generator.device)


def _composite(batch: PixelBatch, bkgd_rgb: Tensor | None) -> Tensor:
    """Colour [n, 3] that the pixels show before the background."""
    if batch.alphas is None:
        return batch.rgb
    if bkgd_rgb is None:
        return batch.rgb * batch.alphas
    return batch.rgb * batch.alphas + bkgd_rgb * (1 - batch.alphas)
