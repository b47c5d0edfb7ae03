"""What stands still on the sensor neither locks the registration nor is drawn into the picture."""

import math

import numpy as np
import pytest
import torch
from lowres_scenes import fine_scene, means, rms, run, write
from PIL import Image
from scipy.ndimage import binary_dilation

from nerfkit.superresolution.registration import phase_correlation
from nerfkit.superresolution.sensor_pattern import find_pattern, from_neighbours, is_defect, without_pattern

SIDE, N = 40, 20


def moved_frames(noise=0.01):
    """Frames that move by up to 1.5 low-res pixels, and their shifts."""
    rng = np.random.default_rng(5)
    fine = 0.25 + 0.4 * fine_scene(2, SIDE)
    shifts = np.round(rng.uniform(-1.5, 1.5, (N, 2)) * 8) / 8
    shifts[0] = 0
    frames = np.stack([means(fine, dx, dy, SIDE, 8) for dx, dy in shifts])
    return (frames + rng.normal(0, noise, frames.shape)).astype(np.float32), shifts


def hot(frames, rng):
    is_hot = rng.random(frames.shape[1:]) < 0.02
    return np.where(is_hot, 1.0, frames)


def burnt_in(frames, rng):
    text = np.zeros(frames.shape[1:], bool)
    text[30:36, 4:34] = rng.random((6, 30)) < 0.5
    return np.where(text, 1.0, frames)


PATTERNS = {
    "hot pixels": hot,
    "dead pixels": lambda frames, rng: np.where(rng.random(frames.shape[1:]) < 0.02, 0.0, frames),
    "burnt-in text": burnt_in,
    "row noise": lambda frames, rng: frames + rng.normal(0, 0.1, (1, SIDE, 1)),
    "gain of each pixel": lambda frames, rng: frames * (1 + rng.normal(0, 0.15, (SIDE, SIDE))),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_shifts_are_freed_of_a_pattern(name):
    frames, shifts = moved_frames()
    seen = PATTERNS[name](frames, np.random.default_rng(1))
    locked = phase_correlation(seen)
    found = find_pattern(seen, locked, 0)
    assert rms(locked, shifts) > 0.3 and found is not None
    assert rms(found[0], shifts) < 0.15 and found[1].shape == (SIDE, SIDE)


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_frames_without_a_pattern_have_none(noise):
    frames, _ = moved_frames(noise)
    assert find_pattern(frames, phase_correlation(frames), 0) is None
    # too few to tell, and too far apart for what is left
    assert find_pattern(frames[:4], phase_correlation(frames[:4]), 0) is None
    assert find_pattern(frames, np.full((N, 2), 30.0), 0) is None


def test_a_pattern_is_the_same_in_whatever_unit():
    frames, _ = moved_frames()
    seen = hot(frames, np.random.default_rng(1))
    a, b = (find_pattern(each, phase_correlation(each), 0) for each in (seen, 1000 + 0.003 * seen.astype(float)))
    assert a is not None and b is not None
    np.testing.assert_allclose(a[0], b[0], atol=0.051)


def test_defect_pixels_show_what_is_predicted_and_others_keep_what_they_measured():
    rng = np.random.default_rng(0)
    seen = torch.from_numpy(rng.random((12, 10, 10)).astype(np.float32))
    values = seen + 0.01 * torch.from_numpy(rng.normal(size=seen.shape)).float()
    values[:, 3, 4] = 1.5
    mended, bad = without_pattern(values, seen, torch.ones(12, dtype=torch.bool))
    assert bad.nonzero().tolist() == [[3, 4]] and torch.equal(mended[:, 3, 4], seen[:, 3, 4])
    assert torch.equal(mended[:, ~bad], values[:, ~bad])
    # a pattern of all pixels is subtracted
    rows = 0.2 * torch.from_numpy(rng.normal(size=(10, 1))).float()
    mended, _ = without_pattern(values + rows, seen, torch.ones(12, dtype=torch.bool))
    assert float((mended - seen)[:, ~bad].square().mean().sqrt()) < 0.015
    assert not is_defect(np.zeros((4, 4)), 0.0).any()


def test_a_defect_pixel_at_the_edge_is_judged_by_the_frames_that_others_see_there():
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.random((12, 10, 10)).astype(np.float32))
    values = truth + 0.01 * torch.from_numpy(rng.normal(size=truth.shape)).float()
    values[:, 0, 4] = 1.5
    seen = truth.clone()
    # most frames have nobody beside them there, and one corner is never seen
    seen[:8, 0], seen[:, 9, 9] = math.nan, math.nan
    mended, bad = without_pattern(values, seen, torch.ones(12, dtype=torch.bool))
    assert bad.nonzero().tolist() == [[0, 4]] and mended[:8, 0, 4].isnan().all()
    assert torch.equal(mended[8:, 0, 4], truth[8:, 0, 4]) and torch.equal(mended[:, 9, 9], values[:, 9, 9])
    around = from_neighbours(values, bad)[:, 0, 4]
    want = torch.stack([values[:, 0, 3], values[:, 0, 5], *values[:, 1, 3:6].unbind(1)]).mean(0)
    torch.testing.assert_close(around, want)


def superresolved(tmp_path, capsys, frames):
    """What the command says, and its picture."""
    code, result = run(
        capsys, "superres", write(tmp_path / "f", frames), "-o", tmp_path / "a.png", "--scale", 2, "--psf-width", 1,
        "--set", "width=8", "--seconds", 300,
    )  # fmt: skip
    assert code == 0
    return result, np.asarray(Image.open(tmp_path / "a.png"), float) / 65535


def test_hot_pixels_that_do_not_lock_the_registration_are_mended(tmp_path, capsys):
    frames, shifts = moved_frames()
    is_hot = np.zeros((SIDE, SIDE), bool)
    is_hot[[9, 20, 31], [25, 8, 30]] = True
    seen = np.where(is_hot, 1.0, frames)
    assert find_pattern(seen, phase_correlation(seen), 0) is None
    result, picture = superresolved(tmp_path, capsys, seen)
    found = np.array([(row["dx"], row["dy"]) for row in result["registered"]])
    assert result["defects"] == 3 and rms(found, shifts) < 0.1
    errors = picture - means(0.25 + 0.4 * fine_scene(2, SIDE), 0, 0, SIDE, 4)
    is_near = np.asarray(binary_dilation(np.kron(is_hot, np.ones((2, 2))), iterations=4), bool)
    assert np.std(errors[is_near]) < 1.5 * np.std(errors[~is_near])


def test_a_star_is_no_hot_pixel_where_frames_hardly_move(tmp_path, capsys):
    rng = np.random.default_rng(5)
    fine = 0.05 + 0.05 * fine_scene(2, SIDE)
    fine[fine.shape[0] // 2 + 3, fine.shape[1] // 2 + 3] += 50
    shifts = np.round(rng.uniform(-0.3, 0.3, (N, 2)) * 8) / 8
    shifts[0] = 0
    frames = np.stack([means(fine, dx, dy, SIDE, 8) for dx, dy in shifts])
    result, _ = superresolved(tmp_path, capsys, (frames + rng.normal(0, 0.005, frames.shape)).astype(np.float32))
    assert result["defects"] == 0


def test_hot_pixels_by_the_command(tmp_path, capsys):
    frames, shifts = moved_frames()
    seen = hot(frames, np.random.default_rng(1))
    result, picture = superresolved(tmp_path, capsys, seen)
    found = np.array([(row["dx"], row["dy"]) for row in result["registered"]])
    assert result["register"] == "shift" and rms(found, shifts) < 0.1
    n_hot = int((seen == 1).all(0).sum())
    assert 0.8 * n_hot <= result["defects"] <= 1.2 * n_hot
    # their trails are not in the picture: it is as good there as elsewhere
    truth = means(0.25 + 0.4 * fine_scene(2, SIDE), 0, 0, SIDE, 4)
    errors = picture - truth
    is_near = np.asarray(binary_dilation(np.kron((seen == 1).all(0), np.ones((2, 2))), iterations=4), bool)
    assert 0.1 < is_near.mean() < 0.5 and np.std(errors[is_near]) < 1.5 * np.std(errors[~is_near])
