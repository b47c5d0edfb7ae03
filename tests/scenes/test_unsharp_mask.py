"""The unsharp mask is that of scipy's Gaussian, and its inverse makes no noise larger."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from nerfkit.scenes.observations.unsharp_mask import UnsharpMask

FRAMES = torch.rand(3, 13, 10, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("amount", "radius"), [(0.0, 1.0), (0.5, 0.7), (2.0, 1.5)])
def test_a_mask_adds_what_a_blur_takes_and_is_undone(amount, radius):
    blurred = np.stack([gaussian_filter(frame, radius) for frame in FRAMES.double().numpy()])
    mask = UnsharpMask(amount, radius)
    torch.testing.assert_close(mask.apply(FRAMES), FRAMES + amount * (FRAMES - torch.from_numpy(blurred).float()))
    torch.testing.assert_close(mask.undo(mask.apply(FRAMES)), FRAMES)


def test_the_inverse_makes_no_wave_larger_and_keeps_the_mean():
    undone = UnsharpMask(1.0).undo(FRAMES)
    assert (undone - undone.mean()).norm() < (FRAMES - FRAMES.mean()).norm()
    torch.testing.assert_close(undone.mean((1, 2)), FRAMES.mean((1, 2)))
