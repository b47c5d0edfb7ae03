"""Volume rendering: closed forms, passes with early end against one pass, background and empty batches."""

import dataclasses
import math

import pytest
import torch
from support import DEVICE

from nerfkit.scenes.bounds import SceneBounds
from nerfkit.scenes.observations.volume_rendering import MIN_TRANSMITTANCE, SAMPLES_A_PASS, VolumeRendering
from nerfkit.scenes.rays import Rays
from nerfkit.scenes.samplers import OccupancySampler, StratifiedSampler
from nerfkit.scenes.sampling_configs import OccupancySamplingConfig, StratifiedSamplingConfig

CUBE = SceneBounds((0.0, 0.0, 0.0), 1.0, False, (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0), 0.05, math.inf)
EVERYWHERE = dataclasses.replace(CUBE, contract=True, near=0.02, far=256.0)
COLOR = (0.2, 0.5, 0.9)
BKGD = torch.tensor([0.9, 0.8, 0.1], device=DEVICE)
SAMPLERS = {
    "occupancy": lambda bounds: OccupancySampler(bounds, OccupancySamplingConfig(resolution=16), 0).to(DEVICE),
    "stratified": lambda bounds: StratifiedSampler(bounds, StratifiedSamplingConfig(96, 32), 0).to(DEVICE),
}
EVERY_SAMPLER = pytest.mark.parametrize("sampler", SAMPLERS)


class Fog:
    """The same density and colour everywhere."""

    def __init__(self, density, color=COLOR):
        self.value = torch.tensor(float(density), device=DEVICE)
        self.color = torch.tensor(color, device=DEVICE)

    def density(self, xyzs):
        return self.value.expand(len(xyzs))

    def __call__(self, xyzs, viewdirs, ray_indices):
        return self.density(xyzs), self.color.expand(len(xyzs), 3)

    def parameter_groups(self, learning_rate):
        return []


class Waves(Fog):
    """Density and colour that vary over space, and a colour that depends on the ray."""

    def density(self, xyzs):
        return self.value * (1 + torch.sin(20 * xyzs).prod(-1)) ** 2

    def __call__(self, xyzs, viewdirs, ray_indices):
        return self.density(xyzs), 0.5 + 0.5 * torch.sin(9 * xyzs + 3 * viewdirs[ray_indices])


class Walls(Fog):
    """Two opaque slabs across x with nothing before and between them: the front one green, then blue."""

    def density(self, xyzs):
        x = xyzs[:, 0]
        return 1e4 * (((x > 0.25) & (x < 0.5)) | (x > 0.75)).float()

    def __call__(self, xyzs, viewdirs, ray_indices):
        color = torch.zeros_like(xyzs)
        color[:, 1], color[:, 2] = (xyzs[:, 0] < 0.6).float(), (xyzs[:, 0] >= 0.6).float()
        return self.density(xyzs), color


def axis_rays(n=4):
    """Rays along +x through the whole cube, 2 long."""
    rays_o = torch.full((n, 3), 0.1, device=DEVICE)
    rays_o[:, 0] = -3
    return rays_o, torch.tensor([[1.0, 0, 0]], device=DEVICE).expand(n, 3)


def random_rays(n=64, radius=3.0):
    generator = torch.Generator().manual_seed(0)
    rays_o = radius * torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1)
    rays_d = torch.nn.functional.normalize(0.4 * torch.randn(n, 3, generator=generator) - rays_o, dim=-1)
    return rays_o.to(DEVICE), rays_d.to(DEVICE)


def observe(sampler, bounds=CUBE):
    return VolumeRendering(SAMPLERS[sampler](bounds))


@pytest.mark.parametrize("density", [0.01, 0.5, 3.0])
def test_a_fog_absorbs_as_the_closed_form_says(density):
    # stratified intervals cover the ray exactly: 2 units of fog
    out = observe("stratified").predict(Fog(density), Rays(*axis_rays(), BKGD, None))
    opacity = -math.expm1(-2 * density)
    torch.testing.assert_close(out.opacities, torch.full_like(out.opacities, opacity), rtol=1e-5, atol=1e-6)
    expected = opacity * torch.tensor(COLOR, device=DEVICE) + (1 - opacity) * BKGD
    torch.testing.assert_close(out.rgb, expected.expand(4, 3), rtol=1e-5, atol=1e-6)
    # integral of t sigma exp(-sigma (t - 2)) from 2 to 4
    depth = 2 * opacity + (1 - math.exp(-2 * density) * (1 + 2 * density)) / density
    torch.testing.assert_close(out.depths, torch.full_like(out.depths, depth), rtol=2e-4, atol=0)
    assert out.n_samples == 4 * 128


@pytest.mark.parametrize("density", [0.01, 0.5, 3.0])
def test_the_distortion_of_a_fog_is_the_closed_form(density):
    rays = Rays(*axis_rays(), BKGD, None)
    out = observe("stratified").predict(Fog(density), rays, has_distortion=True)
    assert out.distortions is not None
    # 2 int W (W(end) - W) along 2 units of fog, with W the opacity so far
    left = math.exp(-2 * density)
    expected = ((1 - left) ** 2 + 2 * left * (1 - left) - 4 * density * left) / density
    torch.testing.assert_close(out.distortions, torch.full_like(out.distortions, expected), rtol=2e-3, atol=1e-7)
    assert observe("stratified").predict(Fog(density), rays).distortions is None


@pytest.mark.parametrize("density", [0.01, 0.5, 3.0])
def test_regular_steps_absorb_the_same_to_a_step(density):
    sampler = SAMPLERS["occupancy"](CUBE)
    out = VolumeRendering(sampler).predict(Fog(density), Rays(*axis_rays(), None, None))
    error = (-torch.log1p(-out.opacities) / density - 2).abs()
    assert (error <= sampler.step).all()


@EVERY_SAMPLER
@pytest.mark.parametrize("bounds, radius", [(CUBE, 3.0), (EVERYWHERE, 0.7)], ids=["bounded", "unbounded"])
@pytest.mark.parametrize("density, atol", [(0.02, 1e-5), (1.0, 2e-3), (50.0, 2e-3)])
def test_passes_that_end_early_see_what_one_pass_sees(sampler, density, atol, bounds, radius):
    observation, field = observe(sampler, bounds), Waves(density)
    rays_o, rays_d = random_rays(radius=radius)
    if bounds.contract and density == 0.02:
        field.value /= 50  # hundreds of units long: thin all the way
    whole = observation.predict(field, Rays(rays_o, rays_d, BKGD, None))
    passes = observation.render(field, Rays(rays_o, rays_d, BKGD))
    torch.testing.assert_close(passes.rgb, whole.rgb, rtol=0, atol=atol)
    torch.testing.assert_close(passes.opacities, whole.opacities, rtol=0, atol=atol)
    # what is left of the light may come from as far as the far end
    reach = 6 if not bounds.contract else 256
    torch.testing.assert_close(passes.depths, whole.depths, rtol=1e-4, atol=max(MIN_TRANSMITTANCE, atol / 2) * reach)


@EVERY_SAMPLER
def test_a_transparent_scene_shows_the_background(sampler):
    observation, rays = observe(sampler), random_rays()
    for out in (observation.predict(Fog(0), Rays(*rays, BKGD, None)), observation.render(Fog(0), Rays(*rays, BKGD))):
        torch.testing.assert_close(out.rgb, BKGD.expand(64, 3))
        assert (out.opacities == 0).all() and (out.depths == 0).all()


@EVERY_SAMPLER
def test_an_opaque_scene_shows_its_front_and_how_far_it_is(sampler):
    observation, rays = observe(sampler), axis_rays()
    green = torch.tensor([0.0, 1.0, 0.0], device=DEVICE).expand(4, 3)
    for out in (
        observation.predict(Walls(1), Rays(*rays, BKGD, None)),
        observation.render(Walls(1), Rays(*rays, BKGD)),
    ):
        torch.testing.assert_close(out.rgb, green, rtol=0, atol=1e-3)
        # x = 0.25 of the cube is 2.5 from the origin
        assert (out.depths - 2.5).abs().max() < 0.03 and (out.opacities > 0.999).all()


def test_rays_that_hit_something_opaque_ask_no_further():
    observation, rays = observe("occupancy"), axis_rays(20)
    n_whole = observation.predict(Fog(1e4), Rays(*rays, None, None)).n_samples
    n_passes = observation.render(Fog(1e4), Rays(*rays, None)).n_samples
    assert n_passes == 20 * SAMPLES_A_PASS < n_whole / 5


@EVERY_SAMPLER
def test_rays_that_miss_the_box_show_the_background(sampler):
    observation, (rays_o, rays_d) = observe(sampler), axis_rays()
    for out in (
        observation.predict(Fog(5), Rays(rays_o, -rays_d, BKGD, None)),
        observation.render(Fog(5), Rays(rays_o, -rays_d, BKGD)),
    ):
        torch.testing.assert_close(out.rgb, BKGD.expand(4, 3))
        assert out.n_samples == 0


@EVERY_SAMPLER
def test_each_ray_may_have_its_own_background_and_none_is_black(sampler):
    observation, rays = observe(sampler), random_rays()
    backgrounds = torch.rand(64, 3, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    for see in (
        lambda b: observation.predict(Waves(0.3), Rays(*rays, b, None)),
        lambda b: observation.render(Waves(0.3), Rays(*rays, b)),
    ):
        black, colored = see(None), see(backgrounds)
        torch.testing.assert_close(colored.rgb, black.rgb + (1 - black.opacities) * backgrounds)
        torch.testing.assert_close(see(torch.zeros(3, device=DEVICE)).rgb, black.rgb)


@EVERY_SAMPLER
def test_no_rays_give_no_pixels(sampler):
    observation, rays = observe(sampler), axis_rays(0)
    jitter = torch.zeros(0, device=DEVICE)
    for out in (
        observation.predict(Fog(1), Rays(*rays, BKGD, jitter)),
        observation.predict(Fog(1), Rays(*rays, None, None)),
        observation.render(Fog(1), Rays(*rays, BKGD)),
    ):
        assert out.rgb.shape == (0, 3) and out.depths.shape == out.opacities.shape == (0, 1)
        assert out.n_samples == 0


@EVERY_SAMPLER
def test_nothing_is_nan_where_everything_is_as_dense_as_a_field_can_be(sampler):
    observation, rays = observe(sampler), random_rays()
    field = Fog(math.exp(15))
    field.value.requires_grad_()
    out = observation.predict(field, Rays(*rays, BKGD, None))
    out.rgb.square().sum().backward()
    rendered = observation.render(field, Rays(*rays, BKGD))
    assert field.value.grad is not None
    for values in (*out[:3], *rendered[:3], field.value.grad):
        assert torch.isfinite(values).all()


@EVERY_SAMPLER
def test_a_prediction_has_the_gradient_of_the_closed_form(sampler):
    observation, field = observe(sampler), Fog(0.4)
    field.value.requires_grad_()
    field.color.requires_grad_()
    out = observation.predict(field, Rays(*axis_rays(1), None, None))
    (d_value,) = torch.autograd.grad(out.opacities.sum(), field.value, retain_graph=True)
    assert d_value.item() == pytest.approx(2 * math.exp(-0.8), rel=0.02)
    (d_color,) = torch.autograd.grad(out.rgb.sum(), field.color)
    torch.testing.assert_close(d_color, out.opacities.detach().expand(1, 3)[0])


def test_a_rendering_keeps_no_graph():
    field = Fog(0.4)
    field.value.requires_grad_()
    assert not observe("occupancy").render(field, Rays(*axis_rays(1), None)).rgb.requires_grad


@EVERY_SAMPLER
def test_jitter_averages_to_the_integral(sampler):
    observation, n = observe(sampler), 400
    jitter = torch.rand(n, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    out = observation.predict(Fog(0.4), Rays(*axis_rays(n), None, jitter))
    assert out.opacities.mean().item() == pytest.approx(-math.expm1(-0.8), abs=2e-3)


def test_the_light_that_is_given_up_is_below_half_a_grey_level():
    assert MIN_TRANSMITTANCE < 0.5 / 255


def test_samples_that_do_not_matter_are_left_out_of_a_step():
    # nothing before the first wall and nothing behind it: only its front is worth a backward pass
    sampler = SAMPLERS["occupancy"](CUBE)
    rays_o, rays_d = axis_rays()
    every = VolumeRendering(sampler).predict(Walls(1.0), Rays(rays_o, rays_d, BKGD, None))
    asked = []

    class Recorder(Walls):
        def __call__(self, xyzs, viewdirs, ray_indices):
            asked.append(len(xyzs))
            return super().__call__(xyzs, viewdirs, ray_indices)

    some = VolumeRendering(sampler, min_weight=1e-4).predict(Recorder(1.0), Rays(rays_o, rays_d, BKGD, None))
    torch.testing.assert_close(some.rgb, every.rgb, rtol=0, atol=1e-4)
    torch.testing.assert_close(some.depths, every.depths, rtol=0, atol=1e-4)
    assert 0 < asked[0] <= 2 * len(rays_o) < every.n_samples / 10


@pytest.mark.parametrize("min_weight", [1e-4, 1e-3])
def test_what_is_left_out_is_bounded_by_its_weight(min_weight):
    sampler = SAMPLERS["stratified"](CUBE)
    rays_o, rays_d = random_rays()
    every = VolumeRendering(sampler).predict(Waves(3.0), Rays(rays_o, rays_d, None, None))
    some = VolumeRendering(sampler, min_weight=min_weight).predict(Waves(3.0), Rays(rays_o, rays_d, None, None))
    n_samples = 96 + 32
    assert some.n_samples < every.n_samples
    assert (every.opacities - some.opacities).abs().max() <= min_weight * n_samples
    # colours may differ by what was left out and by what shone through in its place
    assert (every.rgb - some.rgb).abs().max() <= 2 * min_weight * n_samples


def test_a_scene_without_weight_asks_for_nothing_and_shows_the_background():
    sampler = SAMPLERS["occupancy"](CUBE)
    rays_o, rays_d = axis_rays()
    out = VolumeRendering(sampler, min_weight=1e-4).predict(Fog(0.0), Rays(rays_o, rays_d, BKGD, None))
    torch.testing.assert_close(out.rgb, BKGD.expand(len(rays_o), 3))
