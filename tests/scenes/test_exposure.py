"""Exposures: what was applied is found and undone; a reference's brightness, or that of the frames that are used."""

import pytest
import torch

from nerfkit.scenes.observations.exposure import MIN_GAIN, Exposure


def test_gains_and_offsets_are_found_by_the_pixels_that_count():
    g = torch.Generator().manual_seed(0)
    scene = torch.rand(3, 8, 9, generator=g)
    gains, offsets = torch.tensor([1.0, 0.7, 1.3]), torch.tensor([0.0, 0.1, -0.05])
    seen, weights = gains[:, None, None] * scene + offsets[:, None, None], torch.ones_like(scene)
    seen[1, 2:5], weights[1, 2:5] = 7.0, 0.0
    found = Exposure.fit(seen, scene, weights)
    torch.testing.assert_close(found.gains, gains)
    torch.testing.assert_close(found.offsets, offsets, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.undo(seen)[weights > 0], scene[weights > 0])


def test_frames_without_contrast_have_an_offset_alone_and_no_gain_is_below_the_least():
    scene = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0))
    scene[1] = 0.5
    found = Exposure.fit(torch.stack([scene[0], scene[1] + 0.2, 0.001 * scene[2]]), scene, torch.ones_like(scene))
    assert found.gains[1] == 1 and float(found.offsets[1]) == pytest.approx(0.2)
    assert float(found.gains[2]) == pytest.approx(MIN_GAIN)


@pytest.mark.parametrize("is_used", [True, False])
def test_brightness_is_against_the_reference_or_the_median_of_the_others(is_used):
    exposure = Exposure(torch.tensor([2.0, 1.0, 1.5, 3.0]), torch.tensor([0.1, 0.2, 0.2, 0.2]))
    found = exposure.relative_to(0, torch.tensor([is_used, True, True, True]))
    usual_gain, usual_offset = (2.0, 0.1) if is_used else (1.5, 0.2)
    # a value as the usual frame has it is that of frame i after its gain and offset
    scene = torch.tensor([0.0, 0.4, 1.0])
    as_usual = usual_gain * scene + usual_offset
    for gain, offset, old_gain, old_offset in zip(
        found.gains, found.offsets, exposure.gains, exposure.offsets, strict=True
    ):
        torch.testing.assert_close(gain * as_usual + offset, old_gain * scene + old_offset)


def test_neutral_changes_nothing():
    values = torch.rand(2, 3, 3)
    assert Exposure.neutral(2).is_neutral and torch.equal(Exposure.neutral(2).undo(values), values)
    assert not Exposure(torch.tensor([1.0, 1.1]), torch.zeros(2)).is_neutral
