"""The Gaussian filter against scipy's."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from nerfkit.scenes.filters import gaussian_filter

SCIPY_NAMES = {"replicate": "nearest", "reflect": "mirror", "circular": "wrap", "constant": "constant"}


def pictures(*shape):
    return np.random.default_rng(0).random(shape)


@pytest.mark.parametrize("mode", SCIPY_NAMES)
@pytest.mark.parametrize("sigma, truncate", [(0.5, 4.0), (1.5, 3.5), (2.3, 2.0)])
@pytest.mark.parametrize("shape", [(12, 17), (3, 11, 12), (2, 3, 15, 11)])
def test_equals_scipy(shape, sigma, truncate, mode):
    image = pictures(*shape)
    want = ndimage.gaussian_filter(image, sigma, truncate=truncate, mode=SCIPY_NAMES[mode], axes=(-2, -1))
    got = gaussian_filter(torch.tensor(image), sigma, truncate, mode)
    np.testing.assert_allclose(got.numpy(), want, atol=1e-12)


def test_valid_is_the_inside_of_every_other_mode():
    image = torch.tensor(pictures(2, 20, 23))
    whole, inside = gaussian_filter(image, 1.5, 3.5), gaussian_filter(image, 1.5, 3.5, "valid")
    torch.testing.assert_close(inside, whole[:, 5:-5, 5:-5], rtol=0, atol=1e-14)


def test_window_larger_than_the_image():
    image = pictures(2, 3)
    got = gaussian_filter(torch.tensor(image), 2.0)
    np.testing.assert_allclose(got.numpy(), ndimage.gaussian_filter(image, 2.0, mode="nearest"), atol=1e-12)


def test_keeps_type_and_gradient():
    image = torch.tensor(pictures(6, 7), dtype=torch.float32, requires_grad=True)
    smooth = gaussian_filter(image, 1.0)
    assert smooth.dtype == torch.float32
    smooth.sum().backward()
    assert image.grad is not None
    # with replicated edges every output is a mean, so the sum of the gradient is the number of outputs
    assert float(image.grad.sum()) == pytest.approx(42, rel=1e-5)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
def test_sigma_that_is_none(sigma):
    with pytest.raises(ValueError, match="sigma must be above 0 pixels; got"):
        gaussian_filter(torch.zeros(3, 3), sigma)
