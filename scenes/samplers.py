"""Where along a ray the field is asked: by an occupancy grid, or at regular stratified intervals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from nerfkit.kernels.march import Samples, march
from nerfkit.kernels.resample import resample
from nerfkit.scenes.bounds import SceneBounds
from nerfkit.scenes.contraction import to_unit_cube
from nerfkit.scenes.fields.radiance import RadianceField
from nerfkit.scenes.generators import generator_on, restore_generator
from nerfkit.scenes.occupancy import OccupancyGrid
from nerfkit.scenes.sampling_configs import OccupancySamplingConfig, StratifiedSamplingConfig

__all__ = ["OccupancySampler", "StratifiedSampler", "clip_rays"]

# more than a ray can have: unless a caller asks for less, none is cut off before its end
ALL_SAMPLES = 2**20


def clip_rays(
    rays_o: Tensor, rays_d: Tensor, bounds: SceneBounds, limits: Sequence[Tensor | None] = (None, None)
) -> tuple[Tensor, Tensor]:
    """Distances [n_rays] at which rays enter and leave the scene; near > far where they miss it.

    Parameters
    ----------
    rays_o, rays_d : Tensor, shape (n_rays, 3)
        Origins in normalised units and unit directions.
    bounds : SceneBounds
        Box and range of the scene.
    limits : (near, far)
        Where rays begin at the earliest and end at the latest, each [n_rays] or one for all; None: there is none.
    """
    near, far = _clip(rays_o, rays_d, bounds)
    if limits[0] is not None:
        near = torch.maximum(near, limits[0])
    return near, far if limits[1] is None else torch.minimum(far, limits[1])


def _clip(rays_o: Tensor, rays_d: Tensor, bounds: SceneBounds) -> tuple[Tensor, Tensor]:
    if bounds.contract:
        return torch.full_like(rays_o[:, 0], bounds.near), torch.full_like(rays_o[:, 0], bounds.far)
    low, high = _corners(bounds.aabb, rays_o.dtype, rays_o.device)
    # a direction of exactly zero would give 0 / 0 where the origin lies on a face
    inverse = 1 / torch.where(rays_d.abs() < 1e-12, torch.full_like(rays_d, 1e-12), rays_d)
    a, b = (low - rays_o) * inverse, (high - rays_o) * inverse
    near = torch.minimum(a, b).amax(-1).clamp(min=bounds.near)
    return near, torch.maximum(a, b).amin(-1).clamp(max=bounds.far)


@lru_cache(maxsize=16)
def _corners(aabb: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    # kept, because to copy six numbers to a GPU is to wait for it
    return torch.tensor(aabb, dtype=dtype, device=device).view(2, 3)


class OccupancySampler(nn.Module):
    """Samples at regular steps, kept where the occupancy grid has a bit.

    Parameters
    ----------
    bounds : SceneBounds
        The scene's box, and whether space is contracted.
    config : OccupancySamplingConfig
        Sizes.
    seed : int
        Seed of the grid's generator.
    """

    Config = OccupancySamplingConfig

    def __init__(self, bounds: SceneBounds, config: OccupancySamplingConfig, seed: int) -> None:
        super().__init__()
        self.bounds, self.config = bounds, config
        self.grid = OccupancyGrid(config.unbounded_resolution if bounds.contract else config.resolution, seed=seed)
        self.step = 2 * 3**0.5 / config.n_steps
        self.cone_angle = config.cone_angle if bounds.contract else 0.0

    def sample(
        self, field: RadianceField, rays_o: Tensor, rays_d: Tensor, *, jitter: Tensor | None,
        max_samples: int = ALL_SAMPLES, near: Tensor | None = None, limits: Sequence[Tensor | None] = (None, None),
    ) -> Samples:  # fmt: skip
        """Samples of rays [n_rays, 3]; ``jitter`` [n_rays] in [0, 1) shifts them by a share of a step.

        ``near`` continues rays that an earlier call left at its ``t_next``, which is infinite for a ray that is done.
        """
        start, far = clip_rays(rays_o, rays_d, self.bounds, limits)
        samples = march(
            rays_o, rays_d, start if near is None else near, far, self.grid.bits, self.grid.resolution,
            step=self.step, cone_angle=self.cone_angle, contract=self.bounds.contract, jitter=jitter,
            max_samples=max_samples,
        )  # fmt: skip
        return samples._replace(t_next=torch.where(samples.t_next < far, samples.t_next, torch.inf))

    def after_step(self, field: RadianceField, step: int) -> None:
        """Refresh the grid, every ``update_every`` training steps."""
        if step % self.config.update_every == 0:
            self.grid.update(field.density, self.step)

    def reset(self) -> None:
        """Forget what was found empty."""
        self.grid.reset()


class StratifiedSampler(nn.Module):
    """A sample in each of a number of regular intervals, and optionally more where they found weight.

    In an unbounded scene the intervals are regular in distance up to 1 and in its inverse beyond (mip-NeRF 360,
    arXiv:2111.12077, section 4).
    """

    Config = StratifiedSamplingConfig

    def __init__(self, bounds: SceneBounds, config: StratifiedSamplingConfig, seed: int) -> None:
        super().__init__()
        self.bounds, self.config = bounds, config
        self.generator = torch.Generator().manual_seed(seed)
        # goes where the module is moved to
        self._place: Tensor
        self.register_buffer("_place", torch.empty(0), persistent=False)

    def sample(
        self, field: RadianceField, rays_o: Tensor, rays_d: Tensor, *, jitter: Tensor | None,
        max_samples: int = ALL_SAMPLES, near: Tensor | None = None, limits: Sequence[Tensor | None] = (None, None),
    ) -> Samples:  # fmt: skip
        """Samples of rays [n_rays, 3]; with ``jitter`` each lies at random in its interval, else in its middle."""
        start, far = clip_rays(rays_o, rays_d, self.bounds, limits)
        hit = torch.nonzero(far > start).squeeze(-1)
        edges = self._edges(start[hit], far[hit], is_random=jitter is not None)
        if self.config.n_importance:
            edges = self._refine(field, rays_o[hit], rays_d[hit], edges, is_random=jitter is not None)
        return self._pack(rays_o, rays_d, hit, edges, far)

    def after_step(self, field: RadianceField, step: int) -> None:
        """Nothing: regular intervals learn nothing."""

    def reset(self) -> None:
        """Nothing: regular intervals remember nothing."""

    def _edges(self, near: Tensor, far: Tensor, *, is_random: bool) -> Tensor:
        n_samples = self.config.n_samples
        s = torch.linspace(0, 1, n_samples + 1, device=near.device).expand(len(near), -1)
        if is_random:
            # inner edges move within half an interval: every sample stays in order and none overlap
            shift = self._rand(len(near), n_samples - 1, near) - 0.5
            s = torch.cat([s[:, :1], s[:, 1:-1] + shift / n_samples, s[:, -1:]], dim=-1)
        if not self.bounds.contract:
            return near[:, None] + (far - near)[:, None] * s
        # s in [0, 1/2]: distance 0 to 1; beyond: inverse distance 1 to 0
        far_s = 1 - 0.5 / far[:, None]
        near_s = 0.5 * near[:, None]
        s = near_s + (far_s - near_s) * s
        return torch.where(s < 0.5, 2 * s, 0.5 / (1 - s).clamp(min=1e-6))

    @torch.no_grad()
    def _refine(
        self, field: RadianceField, rays_o: Tensor, rays_d: Tensor, edges: Tensor, *, is_random: bool
    ) -> Tensor:
        """Edges of the first pass merged with ``n_importance`` more, drawn from its weights (NeRF, section 5.2)."""
        n_rays, n_samples = edges.shape[0], edges.shape[1] - 1
        mids = (edges[:, 1:] + edges[:, :-1]) / 2
        xyzs = to_unit_cube((rays_o[:, None] + mids[..., None] * rays_d[:, None]).reshape(-1, 3), self.bounds.contract)
        tau = field.density(xyzs).reshape(n_rays, n_samples) * (edges[:, 1:] - edges[:, :-1])
        weights = torch.exp(tau - tau.cumsum(-1)) * -torch.expm1(-tau)
        n_new = self.config.n_importance
        jitter = self._rand(n_rays, n_new, edges) if is_random else None
        new = resample(edges[:, :-1], edges[:, 1:], weights, n_new, jitter=jitter, padding=1e-3 / n_samples)
        return torch.cat([edges, new.ts], dim=-1).sort(dim=-1).values

    def source(self) -> torch.Generator:
        """The sampler's own generator, where the sampler is."""
        self.generator = generator_on(self.generator, self._place.device)
        return self.generator

    def _rand(self, n: int, m: int, like: Tensor) -> Tensor:
        generator = self.source()
        return torch.rand(n, m, generator=generator, device=generator.device).to(like)

    def _pack(self, rays_o: Tensor, rays_d: Tensor, hit: Tensor, edges: Tensor, far: Tensor) -> Samples:
        n_samples = edges.shape[1] - 1
        t_starts, t_ends = edges[:, :-1].reshape(-1), edges[:, 1:].reshape(-1)
        ray_indices = hit.repeat_interleave(n_samples)
        mids = (t_starts + t_ends)[:, None] / 2
        xyzs = to_unit_cube(rays_o[ray_indices] + mids * rays_d[ray_indices], self.bounds.contract)
        counts = torch.zeros(len(rays_o), dtype=torch.int64, device=rays_o.device)
        counts[hit] = n_samples
        packed_info = torch.stack([counts.cumsum(0) - counts, counts], dim=-1)
        return Samples(ray_indices, t_starts, t_ends, xyzs, packed_info, torch.full_like(far, torch.inf))

    def get_extra_state(self) -> dict:
        """The generator: with it a resumed run draws what the first would have drawn."""
        return {"generator": self.generator.get_state()}

    def set_extra_state(self, state: dict) -> None:
        """The inverse of :meth:`get_extra_state`."""
        restore_generator(self.source(), state["generator"])
