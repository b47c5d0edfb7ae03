"""Exposure of photos: of mean 1 and 0, before a background, and fitted to a part of a photo."""

import pytest
import torch

from nerfkit.scenes.observations.photo_exposure import ExposedRendering, PhotoExposure, align_exposure
from nerfkit.scenes.observations.volume_rendering import Rendered
from nerfkit.scenes.rays import Rays


def seen(n=4):
    generator = torch.Generator().manual_seed(0)
    rgb, opacities = torch.rand(n, 3, generator=generator), torch.rand(n, 1, generator=generator)
    return Rendered(rgb, torch.ones(n, 1), opacities, 1)


def random_exposure(n=3):
    exposure, generator = PhotoExposure(n), torch.Generator().manual_seed(1)
    for changes in exposure.parameters():
        changes.data = 0.2 * torch.randn(n, 3, generator=generator)
    return exposure


def test_over_the_photos_gains_have_mean_1_and_offsets_mean_0():
    exposure = random_exposure()
    assert torch.allclose(exposure.gains().mean(0), torch.ones(3)) and exposure.offsets().mean(0).abs().max() < 1e-7
    assert exposure.difference() > 0 and exposure.deviations() > 0
    assert PhotoExposure(3).difference() == 0 and PhotoExposure(3).deviations() == 0


def test_what_a_photo_shows_is_its_gain_times_the_scene_plus_its_offset():
    exposure, ids = random_exposure(), torch.tensor([0, 2, 2, 1])
    rays = Rays(torch.zeros(4, 3), torch.zeros(4, 3), photo_ids=ids)
    rendering = type("Stub", (), {"predict": lambda self, field, where, **options: seen()})()
    found = ExposedRendering(rendering, exposure).predict(None, rays)  # pyright: ignore[reportArgumentType]
    assert torch.allclose(found.rgb, exposure.gains()[ids] * seen().rgb + exposure.offsets()[ids])
    assert torch.equal(found.opacities, seen().opacities)


def test_a_background_keeps_its_colour():
    exposure, ids, white = random_exposure(), torch.tensor([0, 1, 2, 0]), torch.ones(3)
    nothing = Rendered(torch.ones(4, 3), torch.zeros(4, 1), torch.zeros(4, 1), 1)
    assert torch.equal(exposure.expose(nothing, ids, white), torch.ones(4, 3))
    whole = seen()._replace(opacities=torch.ones(4, 1))
    assert torch.allclose(exposure.expose(whole, ids, white), exposure.expose(whole, ids, None))


def test_aligning_fits_the_counted_pixels_alone():
    rendered = torch.rand(6, 8, 3, generator=torch.Generator().manual_seed(0)) * 0.5
    truth = rendered * torch.tensor([1.2, 0.8, 1.0]) + torch.tensor([0.0, 0.1, -0.05])
    counted = torch.arange(8).expand(6, 8) < 4
    wrong = torch.where(counted[..., None], truth, torch.rand(6, 8, 3))
    aligned = align_exposure(rendered, wrong, counted)
    assert torch.allclose(aligned, truth.clamp(0, 1), atol=1e-5)
    # a photo that is masked on the left stays as it is
    assert torch.allclose(align_exposure(rendered, truth, torch.zeros(6, 8, dtype=torch.bool)), rendered, atol=1e-6)
    with pytest.raises(RuntimeError):
        align_exposure(rendered, truth[:, :4], counted)
