"""Two small NeRFs in plain torch, trained as public code trains them: what nerfkit's figures on a CPU stand beside.

``tiny_nerf`` is the "very tiny NeRF" of krrish94/nerf-pytorch (tiny_nerf.py): three linear layers of width 128, 32
samples, the six octaves that are its network's default. ``dense_nerf`` is the coarse network of yenchenlin/nerf-pytorch
(run_nerf.py) at half its width, 64 samples. Both are written anew after NeRF (arXiv:2003.08934). Directions have length
1 along the optical axis, bounds are in the world's units, and behind the scene it is black.

Where they are kinder to the baseline than the public scripts: a step of tiny_nerf draws 1024 rays of one photo instead
of all its pixels, which gives ten times the steps at 100x100; a view is rendered with samples in the middle of their
intervals; dense_nerf has a quarter of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nerfkit.scenes.cameras import Camera, pixels_to_directions

__all__ = ["BASELINES", "BaselineConfig", "BaselineFit", "BaselineNerf", "Photo", "composite", "encode", "photo_rays"]

# length [world units] of the last interval of a ray: what is left of the light ends in it (run_nerf.py, raw2outputs)
LAST_DELTA = 1e10
# rays rendered together; 2**10 * 64 samples of 128 features are 32 MB
RAYS_A_TILE = 2**10


@dataclass(frozen=True)
class BaselineConfig:
    """Sizes and settings of a baseline."""

    # hidden layers of ReLU, all of one width
    n_layers: int
    # width of the hidden layers
    width: int
    # octaves of the encoding of positions
    n_octaves: int
    # octaves of the encoding of the viewing direction; None: colour does not depend on it
    n_view_octaves: int | None
    # stratified samples along a ray
    n_samples: int
    # learning rate of Adam
    learning_rate: float
    # steps at the start that draw from the central half of a photo only
    n_crop_steps: int = 0
    # rays of a step, all of one photo
    n_rays: int = 1024
    # bounds of the samples along a ray, world units
    near: float = 2.0
    far: float = 6.0


BASELINES = {
    # after 25 s of one thread 17.7 dB on tiny_lego100; with 64 samples 14.4, and with a third hidden layer 8.6, black
    "tiny_nerf": BaselineConfig(
        n_layers=2, width=128, n_octaves=6, n_view_octaves=None, n_samples=32, learning_rate=5e-3
    ),
    # 500 steps of cropped photos: configs/lego.txt
    "dense_nerf": BaselineConfig(
        n_layers=8, width=128, n_octaves=10, n_view_octaves=4, n_samples=64, learning_rate=5e-4, n_crop_steps=500
    ),
}


def encode(x: Tensor, n_octaves: int) -> Tensor:
    """NeRF's encoding (eq. 4) as public code has it: x, then sin and cos of 2^l x, without pi.

    Parameters
    ----------
    x : Tensor, shape (..., d)
        Positions or directions.
    n_octaves : int
        Number of octaves l = 0, 1, ...

    Returns
    -------
    Tensor, shape (..., d + 2 * d * n_octaves)

    Examples
    --------
    >>> encode(torch.zeros(1, 3), 6).shape
    torch.Size([1, 39])
    """
    parts = [x]
    for octave in range(n_octaves):
        parts += [torch.sin(2.0**octave * x), torch.cos(2.0**octave * x)]
    return torch.cat(parts, dim=-1)


class BaselineNerf(nn.Module):
    """NeRF's network (figure 7): a skip into the fifth layer where there are as many, the direction before the colour.

    Parameters
    ----------
    config : BaselineConfig
        Sizes.
    """

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__()
        self.config = config
        n_in, width = 3 + 6 * config.n_octaves, config.width
        # the input joins again after the fifth layer (run_nerf_helpers.py, skips=[4])
        self.skips = {4} if config.n_layers > 5 else set()
        widths = [n_in] + [width + n_in * (i in self.skips) for i in range(config.n_layers - 1)]
        self.layers = nn.ModuleList(nn.Linear(n, width) for n in widths)
        if config.n_view_octaves is None:
            self.output = nn.Linear(width, 4)
        else:
            self.density = nn.Linear(width, 1)
            self.features = nn.Linear(width, width)
            self.view_layer = nn.Linear(width + 3 + 6 * config.n_view_octaves, width // 2)
            self.color = nn.Linear(width // 2, 3)

    def forward(self, xyzs: Tensor, viewdirs: Tensor) -> tuple[Tensor, Tensor]:
        """Density [n_rays, n_samples] per world unit and colour [n_rays, n_samples, 3] in [0, 1].

        Parameters
        ----------
        xyzs : Tensor, shape (n_rays, n_samples, 3)
            Positions in the world.
        viewdirs : Tensor, shape (n_rays, 3)
            Unit directions.
        """
        encoded = encode(xyzs, self.config.n_octaves)
        h = encoded
        for i, layer in enumerate(self.layers):
            h = torch.relu(layer(h))
            if i in self.skips:
                h = torch.cat([encoded, h], dim=-1)
        if self.config.n_view_octaves is None:
            raw = self.output(h)
            return torch.relu(raw[..., 3]), torch.sigmoid(raw[..., :3])
        views = encode(viewdirs, self.config.n_view_octaves)[:, None].expand(-1, h.shape[1], -1)
        colors = torch.relu(self.view_layer(torch.cat([self.features(h), views], dim=-1)))
        return torch.relu(self.density(h)[..., 0]), torch.sigmoid(self.color(colors))


def composite(sigmas: Tensor, rgbs: Tensor, ts: Tensor) -> Tensor:
    """Colour of rays [n_rays, 3] before black (NeRF, eq. 3).

    Parameters
    ----------
    sigmas, ts : Tensor, shape (n_rays, n_samples)
        Density and where it was sampled, increasing.
    rgbs : Tensor, shape (n_rays, n_samples, 3)
        Colour.
    """
    deltas = torch.cat([ts[:, 1:] - ts[:, :-1], torch.full_like(ts[:, :1], LAST_DELTA)], dim=-1)
    alphas = 1 - torch.exp(-sigmas * deltas)
    passed = torch.cumprod(1 - alphas + 1e-10, dim=-1)
    trans = torch.cat([torch.ones_like(passed[:, :1]), passed[:, :-1]], dim=-1)
    return ((trans * alphas)[..., None] * rgbs).sum(dim=1)


class Photo(NamedTuple):
    """A photo as rays, row by row."""

    # origins [h * w, 3] in the world
    rays_o: Tensor
    # directions [h * w, 3], of length 1 along the optical axis
    rays_d: Tensor
    # colour [h * w, 3] in [0, 1]
    rgb: Tensor
    # height and width in pixels
    size: tuple[int, int]


def photo_rays(camera: Camera, c2w: np.ndarray, rgb: Tensor) -> Photo:
    """The rays and colours of a photo.

    Parameters
    ----------
    camera : Camera
        Size and intrinsics.
    c2w : ndarray, shape (4, 4)
        Pose, OpenGL axes.
    rgb : Tensor, shape (h, w, 3)
        The photo in [0, 1].
    """
    rows, columns = np.indices((camera.height, camera.width)) + 0.5
    directions = pixels_to_directions(camera, np.stack([columns.ravel(), rows.ravel()], axis=-1))
    directions = directions / -directions[:, 2:]
    rays_d = torch.from_numpy(directions @ c2w[:3, :3].T).float()
    rays_o = torch.from_numpy(c2w[:3, 3]).float().expand_as(rays_d)
    return Photo(rays_o, rays_d, rgb.reshape(-1, 3), (camera.height, camera.width))


class BaselineFit:
    """A baseline being trained: the network, Adam and the photos.

    Parameters
    ----------
    config : BaselineConfig
        Sizes and settings.
    photos : list of Photo
        What is fitted.
    seed : int
        Of the weights and all draws.
    """

    def __init__(self, config: BaselineConfig, photos: list[Photo], seed: int) -> None:
        self.config, self.photos, self.n_steps = config, photos, 0
        self.generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            # layers start from the global generator, with torch's own rule, as in the public code
            torch.manual_seed(seed)
            self.model = BaselineNerf(config)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate)

    def step(self) -> float:
        """One step of Adam on rays of one photo; returns the loss, a mean squared error."""
        photo, pixels = self._draw()
        predicted = self._render(photo.rays_o[pixels], photo.rays_d[pixels], self.generator)
        loss = nn.functional.mse_loss(predicted, photo.rgb[pixels])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.n_steps += 1
        return float(loss.detach())

    @torch.no_grad()
    def render(self, photo: Photo) -> Tensor:
        """The view [h, w, 3] of a photo's rays."""
        tiles = zip(photo.rays_o.split(RAYS_A_TILE), photo.rays_d.split(RAYS_A_TILE), strict=True)
        rgb = torch.cat([self._render(rays_o, rays_d, None) for rays_o, rays_d in tiles])
        return rgb.clamp(0, 1).reshape(*photo.size, 3)

    def _draw(self) -> tuple[Photo, Tensor]:
        """A photo, and pixels of it; at first only of its central half (run_nerf.py, precrop_frac)."""
        photo = self.photos[int(torch.randint(len(self.photos), (), generator=self.generator))]
        height, width = photo.size
        share = 0.5 if self.n_steps < self.config.n_crop_steps else 1.0
        n_rows, n_columns = max(1, int(height * share)), max(1, int(width * share))
        # run_nerf.py draws without replacement; among thousands of pixels a few drawn twice make no difference
        rows = torch.randint(n_rows, (self.config.n_rays,), generator=self.generator) + (height - n_rows) // 2
        columns = torch.randint(n_columns, (self.config.n_rays,), generator=self.generator) + (width - n_columns) // 2
        return photo, rows * width + columns

    def _render(self, rays_o: Tensor, rays_d: Tensor, generator: torch.Generator | None) -> Tensor:
        """Colour [n, 3] of rays; samples are in the middle of their intervals without a generator (NeRF, eq. 2)."""
        n, near, far = self.config.n_samples, self.config.near, self.config.far
        shape = (len(rays_o), n)
        inside = torch.full(shape, 0.5) if generator is None else torch.rand(shape, generator=generator)
        ts = near + (far - near) / n * (torch.arange(n) + inside)  # [n_rays, n_samples]
        xyzs = rays_o[:, None] + ts[..., None] * rays_d[:, None]
        sigmas, rgbs = self.model(xyzs, nn.functional.normalize(rays_d, dim=-1))
        return composite(sigmas, rgbs, ts)
