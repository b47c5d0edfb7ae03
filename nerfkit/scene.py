"""A radiance field with all that is needed to look at it: bounds, sampler, background."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from nerfkit.presets import TrainConfig
from nerfkit.scenes.backgrounds import Background
from nerfkit.scenes.bounds import SceneBounds
from nerfkit.scenes.cameras import Camera, CameraBatch
from nerfkit.scenes.fields import field_class
from nerfkit.scenes.observations.median_depth import median_depths
from nerfkit.scenes.observations.volume_rendering import VolumeRendering
from nerfkit.scenes.rays import Rays, rays_from_pixels
from nerfkit.scenes.sampling_configs import sampler_class

__all__ = ["FAINT_FRACTION", "RadianceScene", "View"]

# rays rendered together: their samples fit the cache of a CPU, and a small part of any GPU's memory
RAYS_A_TILE = {"cpu": 2**14, "cuda": 2**17}
# fraction of the least weight in a training step down to which pictures, and some steps, take samples
FAINT_FRACTION = 0.1


@dataclass(frozen=True)
class View:
    """A rendered picture."""

    # colour [h, w, 3] in [0, 1]
    rgb: Tensor
    # expected distance from the camera [h, w] in world units; of the surface, where there is one
    depths: Tensor
    # opacity [h, w] in [0, 1]
    opacities: Tensor


@lru_cache(maxsize=16)
def _color(color: tuple[float, ...], device: torch.device) -> Tensor:
    # kept, because to copy three numbers to a GPU is to wait for it
    return torch.tensor(color, device=device)


class RadianceScene(nn.Module):
    """A field, where it is asked, and what lies behind it.

    Parameters
    ----------
    config : TrainConfig
        Method and sizes.
    bounds : SceneBounds
        Where the scene is in the world.
    background : Background
        What lies behind it.
    """

    def __init__(self, config: TrainConfig, bounds: SceneBounds, background: Background) -> None:
        super().__init__()
        self.config, self.bounds, self.background = config, bounds, background
        generator = torch.Generator().manual_seed(config.seed)
        self.field = field_class(config.field.kind)(config.field, generator)
        self.sampler = sampler_class(config.sampling.kind)(bounds, config.sampling, config.seed + 1)
        self.observation = VolumeRendering(self.sampler, min_weight=config.min_weight * FAINT_FRACTION)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.field.parameters()).device

    @property
    def is_aligned(self) -> bool:
        """Whether photos are compared with views in their own exposure or from corrected poses."""
        return self.config.exposure == "each" or self.config.refine_poses

    def background_rgb(self) -> Tensor | None:
        """The colour of evaluation [3], or None."""
        return None if self.background.color is None else _color(tuple(self.background.color), self.device)

    @torch.no_grad()
    def render(self, camera: Camera, c2w: np.ndarray) -> View:
        """The view of a camera.

        Parameters
        ----------
        camera : Camera
            Size and intrinsics.
        c2w : ndarray, shape (4, 4)
            Pose in the world, OpenGL axes.
        """
        background = self.background_rgb()
        parts = []
        for rays_o, rays_d in self._tiles(camera, c2w):
            parts.append(self.observation.render(self.field, Rays(rays_o, rays_d, background))[:3])
        rgb, depths, opacities = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
        shape = (camera.height, camera.width)
        distance = depths / opacities.clamp(min=1e-6) * self.bounds.scale
        return View(rgb.clamp_(0, 1).reshape(*shape, 3), distance.reshape(shape), opacities.reshape(shape))

    def surface_depths(self, camera: Camera, c2w: np.ndarray) -> Tensor:
        """Distance [h, w] from the camera to the surface that it shows, world units; infinite where it shows none.

        The surface is where a ray has lost half of its transmittance
        (:func:`nerfkit.scenes.observations.median_depth.median_depths`); parameters as those of :meth:`render`.
        """
        tiles = [median_depths(self.field, self.sampler, *rays).cpu() for rays in self._tiles(camera, c2w)]
        return torch.cat(tiles).reshape(camera.height, camera.width) * self.bounds.scale

    def _tiles(self, camera: Camera, c2w: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
        """Origins and directions [n, 3], normalised, of the rays of all pixels in reading order, some at a time."""
        device = self.device
        batch = CameraBatch([camera]).to(device)
        pose = torch.from_numpy(self.bounds.normalise(c2w[None])).to(device, torch.float32)
        n_pixels = camera.width * camera.height
        for indices in torch.arange(n_pixels, device=device).split(RAYS_A_TILE.get(device.type, 2**14)):
            pixels = torch.stack([indices % camera.width, indices // camera.width], -1).to(torch.float32) + 0.5
            yield rays_from_pixels(batch, pose, torch.zeros_like(indices), pixels)
