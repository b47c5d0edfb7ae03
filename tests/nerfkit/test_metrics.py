"""PSNR by its closed form, SSIM by its definition, and the log."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from nerfkit.metrics import MetricsLog, psnr, ssim
from nerfkit.scenes.errors import NerfkitError


def pictures(height, width, noise, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.random((height, width, 3))
    image = np.clip(truth + noise * rng.standard_normal(truth.shape), 0, 1)
    return torch.tensor(image), torch.tensor(truth)


def defined_ssim(image, truth):
    """SSIM as Wang et al. 2004 define it, on the pixels whose window lies inside."""

    def mean(x):
        return ndimage.gaussian_filter(x, 1.5, truncate=3.5, axes=(0, 1))[5:-5, 5:-5]

    a, b = image.numpy(), truth.numpy()
    luminance = (2 * mean(a) * mean(b) + 0.01**2) / (mean(a) ** 2 + mean(b) ** 2 + 0.01**2)
    covariance = mean(a * b) - mean(a) * mean(b)
    variances = mean(a * a) - mean(a) ** 2 + mean(b * b) - mean(b) ** 2
    return (luminance * (2 * covariance + 0.03**2) / (variances + 0.03**2)).mean()


@pytest.mark.parametrize("offset", [1.0, 0.1, 1e-3])
def test_psnr_of_a_constant_error(offset):
    value = psnr(torch.zeros(4, 5, 3), torch.full((4, 5, 3), offset))
    assert value == pytest.approx(-20 * math.log10(offset), abs=1e-5)


def test_psnr_is_of_the_mean_square():
    # half of the pixels are off by 0.2: mean square 0.02
    truth = torch.zeros(2, 2, 3)
    truth[0] = 0.2
    assert psnr(torch.zeros(2, 2, 3), truth) == pytest.approx(-10 * math.log10(0.02), abs=1e-5)


def test_psnr_of_equal_pictures_is_infinite():
    assert psnr(torch.ones(2, 2, 3), torch.ones(2, 2, 3)) == math.inf


@pytest.mark.parametrize(("height", "width"), [(11, 11), (23, 40), (64, 48)])
@pytest.mark.parametrize("noise", [0.01, 0.1, 1.0])
def test_ssim_equals_its_definition(height, width, noise):
    image, truth = pictures(height, width, noise)
    assert ssim(image, truth) == pytest.approx(defined_ssim(image, truth), abs=1e-6)


def test_ssim_of_smooth_pictures_equals_its_definition():
    # flat areas, where variances cancel
    ramp = torch.linspace(0, 1, 40, dtype=torch.float64).expand(30, 40)[..., None].repeat(1, 1, 3)
    image = (ramp * 0.9 + 0.02).round(decimals=1)
    assert ssim(image, ramp) == pytest.approx(defined_ssim(image, ramp), abs=1e-6)


def test_ssim_of_float32_is_as_exact():
    image, truth = (x.float() for x in pictures(32, 32, 0.1))
    assert ssim(image, truth) == pytest.approx(defined_ssim(image.double(), truth.double()), abs=1e-6)


def test_ssim_of_equal_pictures_is_one():
    image, _ = pictures(16, 16, 0.0)
    assert ssim(image, image) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("size", [(10, 40), (40, 10)])
def test_ssim_needs_room_for_its_window(size):
    with pytest.raises(ValueError, match="at least 11 x 11 pixels"):
        ssim(torch.zeros(*size, 3), torch.zeros(*size, 3))


def test_the_log_is_there_after_every_line(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    log = MetricsLog(path)
    for step in (10, 20):
        log.write({"step": step, "loss": 0.5})
        assert len(path.read_text().splitlines()) == step // 10
    log.close()
    again = MetricsLog(path)
    again.write({"step": 30})
    again.close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [10, 20, 30]


def test_rewinding_drops_later_lines_and_broken_ones(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 10}\n{"step": 20}\n{"other": 1}\n{"step": 15}\n{"st')
    log = MetricsLog(path)
    log.rewind(15)
    log.write({"step": 16})
    log.close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [10, 15, 16]


def test_a_log_that_cannot_be_opened(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NerfkitError, match="cannot be written"):
        MetricsLog(tmp_path / "file" / "metrics.jsonl")


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_says_so():
    log = MetricsLog(Path("/dev/full"))
    with pytest.raises(NerfkitError, match="no space left"):
        log.write({"step": 1})
    log.close()


def test_only_pixels_that_count_are_compared():
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.random((30, 40, 3)))
    image, mask = truth + 0.1, np.ones((30, 40), bool)
    mask[:, :20] = False
    image[:, :20] = 0.0
    assert psnr(image, truth, mask) == pytest.approx(20)
    assert ssim(image, truth, np.ones((30, 40), bool)) == pytest.approx(ssim(image, truth))
    # away from the seam it is the half alone
    assert ssim(image, truth, mask) == pytest.approx(ssim(image[:, 20:], truth[:, 20:]), abs=0.02)
    nothing = np.zeros((30, 40), bool)
    assert np.isnan(psnr(image, truth, nothing)) and np.isnan(ssim(image, truth, nothing))
