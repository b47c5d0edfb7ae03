"""Rays of pixels: from a photo's pose and camera to origins and unit directions in the world."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nerfkit.scenes.cameras import CameraBatch

__all__ = ["Rays", "rays_from_pixels"]


class Rays(NamedTuple):
    """Where a camera looks, and what it would see behind the scene."""

    # origins [n_rays, 3] and unit directions [n_rays, 3]
    rays_o: Tensor
    rays_d: Tensor
    # colour behind the scene [3] or [n_rays, 3]; None: black
    bkgd_rgb: Tensor | None = None
    # shift [n_rays] of the samples in steps, [0, 1); None: none
    jitter: Tensor | None = None
    # photo that each ray is of [n_rays], int64; None: of none
    photo_ids: Tensor | None = None
    # distances, [n_rays] or one for all, before and beyond which a ray sees nothing; None: the scene's own
    near: Tensor | None = None
    far: Tensor | None = None

    def take(self, rows: Tensor | slice) -> Rays:
        """The rays ``rows``; what is one for all stays."""
        # a colour for all has one dimension, a distance for all none
        dimensions = (1, 1, 2, 1, 1, 1, 1)
        columns = zip(self, dimensions, strict=True)
        return Rays(*(x if x is None or x.ndim < least else x[rows] for x, least in columns))  # pyright: ignore


def rays_from_pixels(
    cameras: CameraBatch, c2w: Tensor, photo_ids: Tensor, pixels: Tensor, *, log_focal: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Rays, in world coordinates, through pixels of several photos.

    Parameters
    ----------
    cameras : CameraBatch
        One camera per photo.
    c2w : Tensor, shape (n_photos, 4, 4) or (n_photos, 3, 4)
        Camera-to-world matrices, OpenGL camera frame, rigid.
    photo_ids : Tensor of int64, shape (n,)
        Photo of each pixel.
    pixels : Tensor, shape (n, 2)
        Column and row in pixels of that photo, centres at +0.5.
    log_focal : Tensor of one number, optional
        Logarithm of a factor of all focal lengths.

    Returns
    -------
    rays_o : Tensor, shape (n, 3)
        Camera centres, in units of the world.
    rays_d : Tensor, shape (n, 3)
        Unit directions.

    Notes
    -----
    Differentiable in ``c2w``, and in ``log_focal`` as for a lens without distortion. Dtype of ``c2w``.

    Examples
    --------
    >>> from nerfkit.scenes.cameras import Camera
    >>> cameras = CameraBatch([Camera(4, 4, 2.0, 2.0, 2.0, 2.0)])
    >>> rays_from_pixels(cameras, torch.eye(4)[None], torch.tensor([0]), torch.tensor([[4.0, 2.0]]))[1]
    tensor([[ 0.7071,  0.0000, -0.7071]])
    """
    if log_focal is not None:
        # a longer focal length sees what was nearer to the principal point
        centres = cameras.centres(photo_ids)
        pixels = centres + (pixels - centres) * torch.exp(-log_focal.detach())
    directions = cameras.directions(photo_ids, pixels).to(c2w.dtype)  # [n, 3] camera frame
    if log_focal is not None:
        # one, whose gradient is that of the directions' two other components
        factor = torch.exp(log_focal.detach() - log_focal)
        directions = torch.cat([directions[:, :2] * factor, directions[:, 2:]], dim=-1)
    poses = c2w[photo_ids, :3]  # [n, 3, 4]
    rays_d = (poses[..., :3] * directions[:, None, :]).sum(-1)
    return poses[..., 3], torch.nn.functional.normalize(rays_d, dim=-1)
