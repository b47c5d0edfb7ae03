"""The depth at which half of a ray's transmittance is gone: closed forms, and passes that go on where one ended."""

import math

import pytest
import torch

from nerfkit.scenes.bounds import SceneBounds
from nerfkit.scenes.observations.median_depth import median_depths
from nerfkit.scenes.samplers import OccupancySampler, StratifiedSampler
from nerfkit.scenes.sampling_configs import OccupancySamplingConfig, StratifiedSamplingConfig

BOUNDS = SceneBounds((0.0, 0.0, 0.0), 1.0, False, (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0), 0.05, 1e6)
SAMPLERS = {
    "marched": lambda: OccupancySampler(BOUNDS, OccupancySamplingConfig(n_steps=512), 0),
    "stratified": lambda: StratifiedSampler(BOUNDS, StratifiedSamplingConfig(n_samples=256), 0),
}
# half a step of the marching lattice, whose first sample begins there
HALF_STEP = math.sqrt(3) / 512


class Slabs:
    """Density along x: what ``density_of`` says of x in [-1, 1]."""

    def __init__(self, density_of):
        self.density_of = density_of

    def density(self, xyzs):
        return self.density_of(2 * xyzs[:, 0] - 1)


def rays(n=3):
    origins = torch.tensor([[-3.0, 0.1, 0.2]]).repeat(n, 1) + torch.linspace(0, 0.3, n)[:, None] * torch.tensor(
        [0, 1, 1]
    )
    return origins, torch.tensor([[1.0, 0.0, 0.0]]).repeat(n, 1)


def depths_of(sampler, density_of):
    return median_depths(Slabs(density_of), SAMPLERS[sampler](), *rays())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("sigma", [0.5, 3.0, 200.0])
def test_uniform_density(sampler, sigma):
    found = depths_of(sampler, lambda x: torch.full_like(x, sigma))
    torch.testing.assert_close(found, torch.full((3,), 2 + math.log(2) / sigma), rtol=0, atol=1.1 * HALF_STEP)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_wall_behind_a_pane_that_lets_more_than_half_through(sampler):
    # optical depth 0.4 of the pane, whose mean depth with the wall lies in the air between them
    found = depths_of(sampler, lambda x: torch.where(x > 0.5, 1e4, torch.where((x > -0.5) & (x < -0.4), 4.0, 0.0)))
    torch.testing.assert_close(found, torch.full((3,), 3.5), rtol=0, atol=0.01)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_ray_that_keeps_more_than_half_has_no_surface(sampler):
    assert torch.isinf(depths_of(sampler, lambda x: torch.full_like(x, 0.3))).all()


def test_rays_that_miss_the_scene():
    origins, directions = rays()
    found = median_depths(Slabs(torch.ones_like), SAMPLERS["marched"](), origins, -directions)  # pyright: ignore[reportArgumentType]
    assert torch.isinf(found).all()
