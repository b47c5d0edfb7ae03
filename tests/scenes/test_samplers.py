"""Samplers: where rays meet the box, regular steps in occupied cells, stratified intervals and importance."""

import dataclasses
import math

import pytest
import torch
from support import DEVICE

from nerfkit.scenes.bounds import SceneBounds
from nerfkit.scenes.contraction import to_unit_cube
from nerfkit.scenes.samplers import OccupancySampler, StratifiedSampler, clip_rays
from nerfkit.scenes.sampling_configs import OccupancySamplingConfig, StratifiedSamplingConfig

CUBE = SceneBounds((0.0, 0.0, 0.0), 1.0, False, (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0), 0.05, math.inf)
FLAT = dataclasses.replace(CUBE, aabb=(-1.0, -0.5, -0.25, 1.0, 0.5, 0.25))
EVERYWHERE = dataclasses.replace(CUBE, contract=True, near=0.02, far=256.0)
MARCHED = OccupancySamplingConfig(resolution=16, unbounded_resolution=16, n_steps=64)
SAMPLERS = {
    "occupancy": lambda bounds: OccupancySampler(bounds, MARCHED, 0).to(DEVICE),
    "stratified": lambda bounds: StratifiedSampler(bounds, StratifiedSamplingConfig(), 0).to(DEVICE),
    "importance": lambda bounds: StratifiedSampler(bounds, StratifiedSamplingConfig(32, 16), 0).to(DEVICE),
}


class Slab:
    """Opaque between two planes x = low and x = high of the unit cube, empty elsewhere."""

    def __init__(self, low=0.0, high=1.0, density=100.0):
        self.low, self.high, self.value = low, high, density

    def density(self, xyzs):
        return self.value * ((xyzs[:, 0] > self.low) & (xyzs[:, 0] < self.high)).to(xyzs.dtype)

    def __call__(self, xyzs, viewdirs, ray_indices):
        return self.density(xyzs), torch.ones_like(xyzs)

    def parameter_groups(self, learning_rate):
        return []


def rays(*pairs):
    rays_o = torch.tensor([o for o, _ in pairs], dtype=torch.float32, device=DEVICE)
    rays_d = torch.tensor([d for _, d in pairs], dtype=torch.float32, device=DEVICE)
    return rays_o.reshape(-1, 3), torch.nn.functional.normalize(rays_d.reshape(-1, 3), dim=-1)


def random_rays(n, seed=0):
    """Rays from a sphere of radius 3 towards the box, a few of which miss it."""
    generator = torch.Generator().manual_seed(seed)
    rays_o = 3 * torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1)
    rays_d = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator) * 0.5 - rays_o, dim=-1)
    return rays_o.to(DEVICE), rays_d.to(DEVICE)


@pytest.mark.parametrize(
    "origin, direction, near, far",
    [
        ((-3, 0, 0), (1, 0, 0), 2, 4),  # two components zero
        ((0.2, 0.1, 5), (0, 0, -1), 4.75, 5.25),  # -0.0 among them
        ((0, 0, 0), (0, 1, 0), 0.05, 0.5),  # from the inside: near is the bounds'
        ((-2, -2, 0), (1, 1, 0), 1.5 * math.sqrt(2), 2.5 * math.sqrt(2)),
        ((0.9, 0, 0.1), (1, 0, 0), 0.05, 0.1),
    ],
)
def test_rays_are_clipped_where_they_cross_the_box(origin, direction, near, far):
    starts, ends = clip_rays(*rays((origin, direction)), FLAT)
    assert starts.item() == pytest.approx(near, abs=1e-5) and ends.item() == pytest.approx(far, abs=1e-5)


@pytest.mark.parametrize(
    "origin, direction",
    [
        ((-3, 0.6, 0), (1, 0, 0)),  # beside the box, parallel to its side
        ((3, 0, 0), (1, 0, 0)),  # the box is behind
        ((-3, 0, 0), (0, 1, 0)),
        ((-3, 3, 0), (1, 0.2, 0.1)),
        ((0.99, 0, 0), (1, 0, 0)),  # leaves before near
    ],
)
def test_rays_that_miss_the_box_have_near_beyond_far(origin, direction):
    starts, ends = clip_rays(*rays((origin, direction)), FLAT)
    assert starts.item() > ends.item()


def test_clipped_points_lie_on_the_faces():
    rays_o, rays_d = random_rays(2000)
    near, far = clip_rays(rays_o, rays_d, FLAT)
    hit, half = far > near, torch.tensor(FLAT.aabb[3:], device=DEVICE)
    assert 300 < hit.sum() < 1900
    for t in (near, far):
        out = ((rays_o + t[:, None] * rays_d).abs() / half)[hit].amax(-1)
        torch.testing.assert_close(out, torch.ones_like(out), rtol=1e-4, atol=1e-4)
    # a ray that misses has no point in the box
    t = torch.linspace(0, 6, 400, device=DEVICE)
    points = rays_o[~hit, None] + t[:, None] * rays_d[~hit, None]
    assert not (points.abs() < half - 1e-3).all(-1).any()


def test_the_far_end_of_the_bounds_clips_a_bounded_scene_too():
    _, far = clip_rays(*rays(((-3, 0, 0), (1, 0, 0))), dataclasses.replace(CUBE, far=3.5))
    assert far.item() == 3.5


def test_rays_of_an_unbounded_scene_have_its_range_wherever_they_go():
    near, far = clip_rays(*random_rays(10), EVERYWHERE)
    assert (near == EVERYWHERE.near).all() and (far == 256).all()


# ---- every sampler


def check_packing(samples, n_rays):
    start, count = samples.packed_info.T
    assert samples.packed_info.shape == (n_rays, 2) and count.sum() == len(samples.ray_indices)
    assert torch.equal(start, count.cumsum(0) - count)
    expected = torch.arange(n_rays, device=count.device).repeat_interleave(count)
    assert torch.equal(samples.ray_indices, expected)
    same_ray = samples.ray_indices[1:] == samples.ray_indices[:-1]
    assert (samples.t_ends > samples.t_starts).all()
    assert (samples.t_starts[1:] >= samples.t_ends[:-1] - 1e-5)[same_ray].all()


@pytest.mark.parametrize("bounds", [CUBE, FLAT, EVERYWHERE], ids=["cube", "flat", "unbounded"])
@pytest.mark.parametrize("has_jitter", [False, True])
@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_are_packed_sorted_in_the_box_and_in_the_cube(name, has_jitter, bounds):
    rays_o, rays_d = random_rays(40)
    jitter = torch.rand(40, generator=torch.Generator().manual_seed(1)).to(DEVICE) if has_jitter else None
    samples = SAMPLERS[name](bounds).sample(Slab(), rays_o, rays_d, jitter=jitter)
    check_packing(samples, 40)
    mids = (samples.t_starts + samples.t_ends)[:, None] / 2
    points = rays_o[samples.ray_indices] + mids * rays_d[samples.ray_indices]
    torch.testing.assert_close(samples.xyzs, to_unit_cube(points, bounds.contract), rtol=0, atol=1e-5)
    assert (samples.xyzs >= 0).all() and (samples.xyzs <= 1).all()
    near, far = clip_rays(rays_o, rays_d, bounds)
    if not bounds.contract:
        half = torch.tensor(bounds.aabb[3:], device=DEVICE)
        assert (points.abs() <= half + 1e-5).all()
        assert torch.equal(samples.packed_info[:, 1] > 0, far > near)
    assert torch.isinf(samples.t_next).all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_rays_that_all_miss_and_no_rays_give_no_samples(name):
    sampler = SAMPLERS[name](CUBE)
    for rays_o, rays_d in (rays(((3, 0, 0), (1, 0, 0)), ((0, 0, 5), (1, 0, 0))), rays()):
        for jitter in (None, torch.zeros(len(rays_o), device=DEVICE)):
            samples = sampler.sample(Slab(), rays_o, rays_d, jitter=jitter)
            check_packing(samples, len(rays_o))
            assert len(samples.xyzs) == 0 and samples.xyzs.shape[1:] == (3,)
            assert samples.t_next.shape == (len(rays_o),) and torch.isinf(samples.t_next).all()


# ---- by the occupancy grid


def test_steps_are_regular_and_as_many_as_configured_on_the_diagonal():
    sampler = SAMPLERS["occupancy"](CUBE)
    rays_o, rays_d = rays(((-2, -2, -2), (1, 1, 1)))
    samples = sampler.sample(Slab(), rays_o, rays_d, jitter=None)
    lengths = samples.t_ends - samples.t_starts
    torch.testing.assert_close(lengths, torch.full_like(lengths, 2 * math.sqrt(3) / 64), rtol=1e-4, atol=0)
    assert 63 <= len(lengths) <= 64


def test_jitter_moves_the_samples_by_its_share_of_a_step():
    sampler, (rays_o, rays_d) = SAMPLERS["occupancy"](CUBE), rays(((-3, 0.1, 0.1), (1, 0, 0)))
    first = [
        sampler.sample(Slab(), rays_o, rays_d, jitter=None if j is None else torch.tensor([j], device=DEVICE))
        for j in (0.0, None, 0.9)
    ]
    starts = [2.0, 2.0 + 0.5 * sampler.step, 2.0 + 0.9 * sampler.step]
    assert [s.t_starts[0].item() for s in first] == pytest.approx(starts, abs=1e-5)


def test_only_occupied_cells_are_sampled():
    sampler, field = SAMPLERS["occupancy"](CUBE), Slab(0.5, 0.625)
    rays_o, rays_d = rays(((-3, 0.1, 0.1), (1, 0, 0)))
    before = len(sampler.sample(field, rays_o, rays_d, jitter=None).xyzs)
    sampler.after_step(field, 0)
    xyzs = sampler.sample(field, rays_o, rays_d, jitter=None).xyzs
    assert ((xyzs[:, 0] > 0.5) & (xyzs[:, 0] < 0.625)).all() and 2 <= len(xyzs) < before / 4
    sampler.reset()
    assert len(sampler.sample(field, rays_o, rays_d, jitter=None).xyzs) == before


def test_the_grid_is_refreshed_every_so_many_steps():
    sampler = SAMPLERS["occupancy"](CUBE)
    for step in range(33):
        sampler.after_step(Slab(), step)
    assert sampler.grid.n_updates == 3


@pytest.mark.parametrize("bounds", [CUBE, EVERYWHERE], ids=["bounded", "unbounded"])
def test_going_on_from_t_next_gives_the_samples_of_one_call(bounds):
    sampler, field = SAMPLERS["occupancy"](bounds), Slab(0.3, 0.7)
    sampler.after_step(field, 0)
    rays_o, rays_d = random_rays(30)
    whole = sampler.sample(field, rays_o, rays_d, jitter=None)
    starts, near, jitter = [], None, None
    for _ in range(100):
        part = sampler.sample(field, rays_o, rays_d, jitter=jitter, near=near, max_samples=7)
        assert part.packed_info[:, 1].max() <= 7
        starts.append(torch.stack([part.ray_indices.float(), part.t_starts, part.t_ends], -1))
        if torch.isinf(part.t_next).all():
            break
        near, jitter = part.t_next, torch.zeros_like(part.t_next)
    parts = torch.cat(starts)
    order = torch.argsort(parts[:, 0], stable=True)
    assert len(starts) > 2
    expected = torch.stack([whole.ray_indices.float(), whole.t_starts, whole.t_ends], -1)
    assert torch.equal(parts[order], expected)


def test_steps_of_an_unbounded_scene_grow_with_the_distance_and_reach_its_end():
    sampler = SAMPLERS["occupancy"](EVERYWHERE)
    rays_o, rays_d = rays(((0, 0, 0), (1, 0.5, 0.2)))
    samples = sampler.sample(Slab(), rays_o, rays_d, jitter=None)
    lengths, expected = samples.t_ends - samples.t_starts, (samples.t_starts / 64).clamp(min=sampler.step)
    torch.testing.assert_close(lengths, expected, rtol=1e-2, atol=1e-5)
    assert samples.t_ends[-1] > 250


def test_fine_steps_are_not_cut_off_before_the_end_of_the_ray():
    config = OccupancySamplingConfig(resolution=16, n_steps=4000)
    samples = OccupancySampler(CUBE, config, 0).to(DEVICE).sample(
        Slab(), *rays(((-2, -2, -2), (1, 1, 1))), jitter=None
    )  # fmt: skip
    assert 3990 <= len(samples.xyzs) <= 4000


# ---- at stratified intervals


def test_without_jitter_the_intervals_are_equal():
    rays_o, rays_d = rays(((-3, 0, 0), (1, 0, 0)))
    samples = SAMPLERS["stratified"](CUBE).sample(Slab(), rays_o, rays_d, jitter=None)
    edges = torch.linspace(2, 4, 65, device=DEVICE)
    torch.testing.assert_close(samples.t_starts, edges[:-1])
    torch.testing.assert_close(samples.t_ends, edges[1:])


@pytest.mark.parametrize("name, n_samples", [("stratified", 64), ("importance", 48)])
@pytest.mark.parametrize("has_jitter", [False, True])
@pytest.mark.parametrize("bounds", [FLAT, EVERYWHERE], ids=["bounded", "unbounded"])
def test_intervals_cover_a_ray_from_near_to_far_without_gaps(name, n_samples, has_jitter, bounds):
    rays_o, rays_d = random_rays(40)
    near, far = clip_rays(rays_o, rays_d, bounds)
    jitter = torch.zeros_like(near) if has_jitter else None
    samples = SAMPLERS[name](bounds).sample(Slab(0.4, 0.6), rays_o, rays_d, jitter=jitter)
    hit = far > near
    assert torch.equal(samples.packed_info[:, 1], torch.where(hit, n_samples, 0))
    t_starts, t_ends = samples.t_starts.reshape(-1, n_samples), samples.t_ends.reshape(-1, n_samples)
    assert torch.equal(t_starts[:, 1:], t_ends[:, :-1])
    torch.testing.assert_close(t_starts[:, 0], near[hit], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(t_ends[:, -1], far[hit], rtol=1e-4, atol=1e-6)


def test_with_jitter_each_sample_lies_in_its_own_interval_and_moves_about_in_it():
    sampler, (rays_o, rays_d) = SAMPLERS["stratified"](CUBE), rays(*[((-3, 0, 0), (1, 0, 0))] * 500)
    samples = sampler.sample(Slab(), rays_o, rays_d, jitter=torch.zeros(500, device=DEVICE))
    place = ((samples.t_starts + samples.t_ends) / 2 - 2).reshape(500, 64) * 32
    share = place - torch.arange(64, device=DEVICE)
    assert (share > -1e-4).all() and (share < 1 + 1e-4).all()
    assert share.mean().item() == pytest.approx(0.5, abs=0.01) and share[:, 1:-1].std() > 0.15
    again = sampler.sample(Slab(), rays_o, rays_d, jitter=torch.zeros(500, device=DEVICE))
    assert not torch.equal(samples.t_starts, again.t_starts)


def test_intervals_of_an_unbounded_scene_are_regular_up_to_1_and_in_the_inverse_beyond():
    rays_o, rays_d = rays(((0, 0, 0), (1, 0, 0)))
    samples = SAMPLERS["stratified"](EVERYWHERE).sample(Slab(), rays_o, rays_d, jitter=None)
    edges = torch.cat([samples.t_starts, samples.t_ends[-1:]]).double()
    s = torch.where(edges < 1, edges / 2, 1 - 0.5 / edges)
    expected = torch.linspace(0.01, 1 - 0.5 / 256, 65, dtype=torch.float64, device=DEVICE)
    torch.testing.assert_close(s, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("has_jitter", [False, True])
def test_importance_samples_gather_in_a_thin_opaque_slab(has_jitter):
    config = StratifiedSamplingConfig(n_samples=32, n_importance=64)
    sampler = StratifiedSampler(CUBE, config, 0).to(DEVICE)
    # the slab is one of the first pass's intervals: 1 / 32 of the ray
    field = Slab(20 / 32, 21 / 32, density=1e4)
    rays_o, rays_d = rays(*[((-3, 0, 0), (1, 0, 0))] * 10)
    jitter = torch.zeros(10, device=DEVICE) if has_jitter else None
    xyzs = sampler.sample(field, rays_o, rays_d, jitter=jitter).xyzs.reshape(10, 96, 3)
    # with jitter, the interval that found the slab reaches half an interval beyond it at each side
    margin = 1 / 32 if has_jitter else 1e-4
    inside = (xyzs[..., 0] > 20 / 32 - margin) & (xyzs[..., 0] < 21 / 32 + margin)
    assert (inside.sum(-1) > 60).all()


def test_importance_samples_of_an_empty_ray_are_spread_over_it():
    config = StratifiedSamplingConfig(n_samples=8, n_importance=56)
    rays_o, rays_d = rays(((-3, 0, 0), (1, 0, 0)))
    samples = StratifiedSampler(CUBE, config, 0).to(DEVICE).sample(Slab(2, 3), rays_o, rays_d, jitter=None)
    assert (samples.t_ends - samples.t_starts).max() < 2 / 64 * 1.5


def test_importance_needs_no_gradient_of_the_field():
    factor = torch.ones((), requires_grad=True)
    field = Slab()
    field.value = factor  # pyright: ignore[reportAttributeAccessIssue]
    samples = SAMPLERS["importance"](CUBE).sample(field, *random_rays(5), jitter=None)
    assert not samples.t_starts.requires_grad


def test_a_restored_sampler_draws_what_the_first_would_have_drawn():
    (rays_o, rays_d), jitter = random_rays(10), torch.zeros(10, device=DEVICE)
    first = SAMPLERS["importance"](CUBE)
    first.sample(Slab(), rays_o, rays_d, jitter=jitter)
    second = StratifiedSampler(CUBE, first.config, 7).to(DEVICE)
    second.load_state_dict(first.state_dict())
    drawn = [s.sample(Slab(), rays_o, rays_d, jitter=jitter).t_starts for s in (first, second)]
    assert torch.equal(*drawn)


@pytest.mark.parametrize("config", [OccupancySamplingConfig, StratifiedSamplingConfig])
def test_the_samplers_name_their_settings(config):
    assert config in (OccupancySampler.Config, StratifiedSampler.Config)


@pytest.mark.parametrize(
    "values",
    [
        {"resolution": 5}, {"resolution": 0}, {"unbounded_resolution": 2000}, {"n_steps": 0},
        {"cone_angle": 0.0}, {"cone_angle": 2.0}, {"update_every": 0},
    ],
)  # fmt: skip
def test_settings_of_the_grid_out_of_range_are_refused(values):
    ((name, value),) = values.items()
    with pytest.raises(ValueError, match=rf"{name} must .*; got {value}"):
        OccupancySamplingConfig(**values)


@pytest.mark.parametrize("values", [{"n_samples": 0}, {"n_importance": -1}])
def test_settings_of_the_intervals_out_of_range_are_refused(values):
    ((name, value),) = values.items()
    with pytest.raises(ValueError, match=rf"{name} must .*; got {value}"):
        StratifiedSamplingConfig(**values)
