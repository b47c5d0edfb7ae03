"""Fused rendering: the pictures and gradients of the rendering in parts, for both fields and both samplers."""

import dataclasses

import pytest
import torch
from support import DEVICE

from nerfkit.scenes.bounds import SceneBounds
from nerfkit.scenes.fields import field_class
from nerfkit.scenes.fields.configs import FourierFieldConfig, HashFieldConfig
from nerfkit.scenes.observations import volume_rendering
from nerfkit.scenes.observations.fused_rendering import FusableField, can_render_fused, draw_seed, render_fused
from nerfkit.scenes.observations.volume_rendering import VolumeRendering
from nerfkit.scenes.rays import Rays
from nerfkit.scenes.samplers import OccupancySampler, StratifiedSampler
from nerfkit.scenes.sampling_configs import OccupancySamplingConfig, StratifiedSamplingConfig

CUBE = SceneBounds((0.0, 0.0, 0.0), 1.0, False, (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0), 0.05, 1e6)
EVERYWHERE = dataclasses.replace(CUBE, contract=True, near=0.02, far=256.0)
FIELDS = {
    "hash": HashFieldConfig(n_levels=3, log2_table_size=10, base_resolution=4, max_resolution=32, width=16),
    "fourier": FourierFieldConfig(n_frequencies=3, width=16, n_layers=2),
}
SAMPLERS = {
    "occupancy": lambda bounds: OccupancySampler(bounds, OccupancySamplingConfig(8, 8, n_steps=32), 0),
    "stratified": lambda bounds: StratifiedSampler(bounds, StratifiedSamplingConfig(24), 0),
}


def make_field(name):
    field = field_class(name)(FIELDS[name], torch.Generator().manual_seed(0)).to(DEVICE)
    if name == "hash":
        with torch.no_grad():
            field.encoding.table.mul_(1e4)  # at the start it is too small to be seen
    return field


def make_rays(n=9):
    generator = torch.Generator().manual_seed(0)
    rays_o = 3 * torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1)
    rays_d = torch.nn.functional.normalize(0.4 * torch.randn(n, 3, generator=generator) - rays_o, dim=-1)
    rays_d[-1] = -rays_d[-1]  # looks away
    return rays_o.to(DEVICE), rays_d.to(DEVICE), torch.rand(n, 3, generator=generator).to(DEVICE)


@pytest.mark.parametrize("bounds", [CUBE, EVERYWHERE], ids=["bounded", "unbounded"])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", FIELDS)
def test_same_pictures_and_gradients_as_in_parts(name, sampler, bounds, monkeypatch):
    monkeypatch.setattr(volume_rendering, "can_render_fused", lambda *_: False)
    field, sampler = make_field(name), SAMPLERS[sampler](bounds).to(DEVICE)
    rays_o, rays_d, bkgd_rgb = make_rays()
    jitter = torch.rand(len(rays_o), generator=torch.Generator().manual_seed(1)).to(DEVICE)
    if isinstance(sampler, StratifiedSampler):
        jitter = None  # the two draw from different sources
    parts = VolumeRendering(sampler).predict(field, Rays(rays_o, rays_d, bkgd_rgb, jitter))
    # what lies behind the little light at which fused rays end counts in the parts
    fused = render_fused(
        field, sampler, rays_o, rays_d, bkgd_rgb, jitter=jitter, min_transmittance=0.0, precision="float32"
    )
    torch.testing.assert_close(fused.rgb, parts.rgb, rtol=0, atol=2e-5)
    torch.testing.assert_close(fused.opacities, parts.opacities, rtol=0, atol=2e-5)
    params = list(field.parameters())
    got, want = (torch.autograd.grad((x.rgb * bkgd_rgb).sum(), params, materialize_grads=True) for x in (fused, parts))
    for g, w in zip(got, want, strict=True):
        assert (g - w).abs().max() <= 1e-3 * w.abs().max() + 1e-6


def test_fields_and_devices_that_are_fused():
    field = make_field("hash")
    assert isinstance(field, FusableField) and not isinstance(object(), FusableField)
    rays_o, _, _ = make_rays()
    assert can_render_fused(field, SAMPLERS["occupancy"](CUBE), rays_o)
    assert can_render_fused(field, SAMPLERS["stratified"](CUBE), rays_o) is rays_o.is_cuda
    importance = StratifiedSampler(CUBE, StratifiedSamplingConfig(24, 8), 0)
    assert not can_render_fused(field, importance, rays_o)


@pytest.mark.parametrize("name", FIELDS)
def test_volume_rendering_takes_it(name, monkeypatch):
    """Predictions and views go through the operation wherever it says that it can."""
    field, sampler = make_field(name), SAMPLERS["occupancy"](CUBE).to(DEVICE)
    rays_o, rays_d, bkgd_rgb = make_rays()
    observation, jitter = VolumeRendering(sampler), torch.full_like(rays_o[:, 0], 0.25)
    monkeypatch.setattr(volume_rendering, "can_render_fused", lambda *_: False)
    parts = (
        observation.predict(field, Rays(rays_o, rays_d, bkgd_rgb, jitter)),
        observation.render(field, Rays(rays_o, rays_d, None)),
    )
    monkeypatch.setattr(volume_rendering, "can_render_fused", lambda *_: True)
    fused = (
        observation.predict(field, Rays(rays_o, rays_d, bkgd_rgb, jitter)),
        observation.render(field, Rays(rays_o, rays_d, None)),
    )
    for got, want in zip(fused, parts, strict=True):
        torch.testing.assert_close(got.rgb, want.rgb, rtol=0, atol=2e-3)
        torch.testing.assert_close(got.depths, want.depths, rtol=0, atol=1e-2)
    assert int(fused[0].n_samples) > 0 and not fused[1].rgb.requires_grad


def test_seeds_of_stratified_samples():
    first, again = (draw_seed(SAMPLERS["stratified"](CUBE)) for _ in range(2))
    assert first == again and draw_seed(SAMPLERS["occupancy"](CUBE)) is None


def test_an_encoding_that_the_kernels_do_not_have_is_rendered_in_parts():
    config = FourierFieldConfig(encoding="identity", width=16)
    field = field_class("fourier")(config, torch.Generator().manual_seed(0)).to(DEVICE)
    sampler = SAMPLERS["occupancy"](CUBE).to(DEVICE)
    rays_o, rays_d, _ = make_rays()
    assert field.radiance_params() is None and not can_render_fused(field, sampler, rays_o)
    assert VolumeRendering(sampler).predict(field, Rays(rays_o, rays_d, None, None)).opacities.max() > 0


@pytest.mark.parametrize("bounds", [CUBE, EVERYWHERE], ids=["bounded", "unbounded"])
def test_rays_have_the_gradient_of_the_definition(bounds):
    field, sampler = make_field("hash"), SAMPLERS["occupancy"](bounds).to(DEVICE)
    rays_o, rays_d, bkgd_rgb = make_rays()
    rays_o, rays_d = rays_o.requires_grad_(), rays_d.requires_grad_()
    out = VolumeRendering(sampler).predict(field, Rays(rays_o, rays_d, bkgd_rgb))
    defined = render_fused(
        field, sampler, rays_o, rays_d, bkgd_rgb, min_transmittance=0.0, precision="float32", impl="reference"
    )
    weights = torch.rand(len(rays_o), 3, generator=torch.Generator().manual_seed(2)).to(DEVICE)
    found, wanted = (torch.autograd.grad((x.rgb * weights).sum(), [rays_o, rays_d]) for x in (out, defined))
    assert out.n_samples > 0 and max(x.abs().max() for x in wanted) > 1e-3
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("is_fused", [True, False], ids=["fused", "parts"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_nothing_is_seen_beyond_a_far_end(sampler, is_fused, monkeypatch):
    if not is_fused:
        monkeypatch.setattr(volume_rendering, "can_render_fused", lambda *_: False)
    field, sampler = make_field("hash"), SAMPLERS[sampler](CUBE).to(DEVICE)
    rays_o, rays_d, _ = make_rays()
    whole, cut, none = (
        VolumeRendering(sampler).predict(field, Rays(rays_o, rays_d, far=far))
        for far in (None, torch.full_like(rays_o[:, 0], 3.0), torch.zeros_like(rays_o[:, 0]))
    )
    assert (cut.opacities <= whole.opacities).all() and cut.opacities.mean() < 0.9 * whole.opacities.mean()
    assert (cut.depths <= 3.0 * cut.opacities + 1e-5).all() and none.opacities.max() == 0
