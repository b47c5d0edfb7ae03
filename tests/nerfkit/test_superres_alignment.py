"""Frames are brought to one place and one brightness; what does not belong to the scene is left out and named."""

import itertools

import numpy as np
import pytest
import torch
from lowres_scenes import make_frames, rms, run, turned_frames, write

from nerfkit.scenes.observations.lowres_frames import LowresFrames, Psf
from nerfkit.superres import alignment
from nerfkit.superres.alignment import Alignment
from nerfkit.superres.grid_solve import Deadline
from nerfkit.superres.reconstruct import reconstruct
from nerfkit.superres.registration import (
    against,
    correction,
    find_outliers,
    phase_correlation,
    refine,
)
from nerfkit.superres.settings import SuperresSettings
from nerfkit.superres.solving import still_pixels

pytestmark = pytest.mark.usefixtures("steady_clock")
# no deadline that a slow or busy machine could miss: every part of the work runs all of its steps
UNHURRIED = Deadline.after(1e6)


def test_phase_correlation_finds_shifts_by_our_convention():
    frames, shifts, _ = make_frames()
    found = phase_correlation(frames)
    assert rms(found, shifts) < 0.15 and np.abs(found[0]).max() == 0
    # signs and order: any other reading is far off
    assert rms(-found, shifts) > 0.5 and rms(found[:, ::-1], shifts) > 0.5
    moved = phase_correlation(frames, reference=3)
    assert rms(moved - moved[0], found) < 0.15


def test_refinement_brings_shifts_to_a_sixtieth_of_a_pixel():
    frames, shifts, _ = make_frames()
    wrong = shifts + np.random.default_rng(0).normal(0, 0.1, shifts.shape) * (np.arange(len(shifts)) > 0)[:, None]
    lowres = LowresFrames(torch.from_numpy(frames), torch.from_numpy(wrong), Psf())
    found = refine(
        lowres, lowres.grid(4), n_rounds=20, n_steps=30, tv_weights=(8, 1), deadline=UNHURRIED
    )  # fmt: skip
    # with a reference that stands still while the image moves, 0.019
    assert rms(found.shifts, shifts) < 0.015
    assert found.shifts[0].abs().max() == 0


def test_outliers_are_left_out_and_no_others():
    frames, shifts, _ = make_frames()
    frames[[4, 9]] = 1 - frames[[4, 9]]
    lowres = LowresFrames(torch.from_numpy(frames), torch.from_numpy(shifts), Psf())
    found = find_outliers(lowres, lowres.grid(4))
    assert torch.nonzero(found.weights == 0).flatten().tolist() == [4, 9]


@pytest.mark.parametrize(("motion", "perspective", "bound"), [("affine", 0.0, 0.04), ("homography", 3e-4, 0.08)])
def test_turned_frames_are_registered(motion, perspective, bound):
    frames, matrices = turned_frames(perspective=perspective)
    side = frames.shape[1]
    start = torch.from_numpy(phase_correlation(frames))
    lowres = LowresFrames(torch.from_numpy(frames), start, Psf())
    found = refine(
        lowres, lowres.grid(4), n_rounds=24, n_steps=30, tv_weights=(8, 1), deadline=UNHURRIED, motion=motion
    )
    assert found.transforms is not None
    corners = np.array([[4.0, 4, 1], [side - 4, 4, 1], [4, side - 4, 1], [side - 4, side - 4, 1]]).T

    def seen(matrix):
        points = matrix @ corners
        return points[:2] / points[2]

    errors = [rms(seen(a), seen(b)) for a, b in zip(found.transforms.numpy(), matrices, strict=True)]
    assert errors[0] == 0 and np.median(errors) < bound
    # shifts alone leave the corners far off
    shifted = LowresFrames(lowres.frames, start, Psf()).matrices().numpy()
    assert np.median([rms(seen(a), seen(b)) for a, b in zip(shifted, matrices, strict=True)]) > 0.1


@pytest.mark.parametrize(("motion", "degrees", "perspective"), [
    ("shift", 0.0, 0.0), ("affine", 1.5, 0.0), ("homography", 1.5, 3e-3),
])  # fmt: skip
@pytest.mark.parametrize("register", ["auto", "shift"])
def test_frames_tell_what_moves_unless_the_user_does(motion, degrees, perspective, register, monkeypatch):
    monkeypatch.setattr(alignment, "FROM_SCRATCH", ((12, 30), (2, 20)))
    frames = turned_frames(degrees=degrees, perspective=perspective)[0]
    if motion == "shift":
        frames = make_frames(10)[0]
    settings, said = SuperresSettings(scale=2, register=register), []
    aligned = Alignment(frames, settings, UNHURRIED, say=said.append)
    aligned.register()
    assert aligned.motion == (motion if register == "auto" else "shift")
    names = ["shifts", "affine maps", "homographies"][: ["shift", "affine", "homography"].index(aligned.motion) + 1]
    wanted = [f"registering: {more} explain the frames, {less} do not" for less, more in itertools.pairwise(names)]
    assert [line for line in said if "explain" in line] == wanted


def test_given_shifts_are_not_replaced_by_a_richer_motion():
    frames, matrices = turned_frames()
    settings = SuperresSettings(scale=2)
    aligned = Alignment(frames, settings, UNHURRIED, shifts=matrices[:, :2, 2])
    aligned.register()
    assert aligned.motion == "shift" and aligned.frames.transforms is None


@pytest.mark.parametrize("options", [[], ["--register", "affine"]])
def test_turned_frames_in_and_matrices_out(tmp_path, capsys, unhurried, options):
    frames, matrices = turned_frames(perspective=0.0)
    folder = write(tmp_path / "f", frames, 16)
    code, result = run(capsys, "superres", folder, "-o", tmp_path / "a.png", "--scale", 2, "--seconds", 1, *options)
    assert code == 0 and len(result["registered"]) == len(frames) and result["register"] == "affine"
    assert f"register: {'affine' if options else 'auto'}\n" in (tmp_path / "a" / "config.yml").read_text()
    written = (tmp_path / "a" / "registered.csv").read_text().splitlines()
    assert written[0].startswith("file,h00,h01,h02") and len(written) == len(frames) + 1
    found = np.array([[float(cell) for cell in line.split(",")[1:10]] for line in written[1:]]).reshape(-1, 3, 3)
    assert np.median(np.abs(found[:, 0, 1] - matrices[:, 0, 1])) < 0.004
    # the middle of a frame is what dx and dy say
    middle = found @ np.array([16, 16, 1.0])
    assert middle[3, 0] / middle[3, 2] - 16 == pytest.approx(result["registered"][3]["dx"], abs=1e-4)


def test_given_shifts_are_kept_when_right_and_refined_when_not(unhurried):
    frames, shifts, _ = make_frames()
    settings = SuperresSettings(scale=2)
    found = reconstruct(frames, settings, Deadline.after(0.2), shifts=shifts)
    assert rms(found.shifts, shifts) < 0.02
    wrong = shifts + np.random.default_rng(0).normal(0, 0.15, shifts.shape) * (np.arange(len(shifts)) > 0)[:, None]
    found = reconstruct(frames, settings, Deadline.after(0.2), shifts=wrong)
    assert rms(found.shifts, shifts) < 0.05
    exact = reconstruct(frames, SuperresSettings(scale=2, exact_shifts=True), Deadline.after(0.2), shifts=wrong)
    assert rms(exact.shifts, wrong) == 0


@pytest.mark.parametrize("error", [0.02, 0.1])
def test_one_step_tells_how_far_shifts_are_off(error):
    frames, shifts, _ = make_frames()
    wrong = shifts + np.random.default_rng(0).normal(0, error, shifts.shape) * (np.arange(len(shifts)) > 0)[:, None]

    def told(given):
        lowres = LowresFrames(torch.from_numpy(frames), torch.from_numpy(given), Psf())
        grid = lowres.grid(4)
        return correction(lowres, grid, find_outliers(lowres, grid))

    assert told(shifts) < 0.008 < told(wrong)
    assert 0.4 < told(wrong) / np.median(np.hypot(*(wrong - shifts)[1:].T)) < 1.6


def test_right_shifts_are_not_refined(monkeypatch):
    from nerfkit.superres import alignment as module

    def never(*_, **__):
        raise AssertionError("refined")

    frames, shifts, _ = make_frames()
    monkeypatch.setattr(module, "refine", never)
    said = []
    found = reconstruct(frames, SuperresSettings(scale=2), Deadline.after(0.2), shifts=shifts, say=said.append)
    assert rms(found.shifts, shifts) == 0 and any("right to 0.00" in line for line in said)
    with pytest.raises(AssertionError, match="refined"):
        reconstruct(frames, SuperresSettings(scale=2, register="affine"), Deadline.after(0.2), shifts=shifts)


def test_brightness_of_frames_is_fitted_with_the_image():
    frames, shifts, truth = make_frames()
    rng = np.random.default_rng(5)
    gains, offsets = rng.uniform(0.7, 1.2, len(frames)), rng.uniform(-0.05, 0.1, len(frames))
    gains[0], offsets[0] = 1, 0
    darkened = (frames * gains[:, None, None] + offsets[:, None, None]).astype(np.float32)
    settings = SuperresSettings(scale=2, exact_shifts=True)
    found = reconstruct(darkened, settings, UNHURRIED, shifts=shifts)
    assert rms(found.exposures[:, 0], gains) < 0.02 and rms(found.exposures[:, 1], offsets) < 0.02
    plain = reconstruct(frames, settings, UNHURRIED, shifts=shifts)
    assert rms(plain.exposures[:, 0], 1) == 0

    def error(state):
        pixels = torch.nn.functional.avg_pool2d(state.image[None], state.cells // 2)[0, 0].numpy()
        return rms(pixels[4:-4, 4:-4], truth[4:-4, 4:-4])

    assert error(found) < 1.3 * error(plain)


def test_a_reference_that_is_left_out_does_not_give_the_brightness():
    frames, shifts, _ = make_frames()
    rng = np.random.default_rng(6)
    gains = rng.uniform(0.95, 1.05, len(frames))[:, None, None]
    frames = (0.8 * frames * gains).astype(np.float32)
    # something else, and darker
    frames[0] = 0.3 * rng.random(frames[0].shape)
    said = []
    settings = SuperresSettings(scale=2, exact_shifts=True)
    found = reconstruct(frames, settings, UNHURRIED, shifts=shifts, say=said.append)
    used = found.weights > 0
    assert not used[0] and used[1:].float().mean() > 0.8
    assert any(line.startswith("the reference frame does not fit the others") for line in said)
    middle = found.exposures[used].median(dim=0).values
    assert float(middle[0]) == pytest.approx(1, abs=1e-4) and float(middle[1]) == pytest.approx(0, abs=0.02)
    wanted = gains[used.numpy(), 0, 0]
    assert rms(found.exposures[used, 0], wanted / np.median(wanted)) < 0.02


@pytest.mark.parametrize("is_used", [True, False])
def test_brightness_is_against_the_reference_or_the_median_of_the_others(is_used):
    exposures = torch.tensor([[2.0, 0.1], [1.0, 0.2], [1.5, 0.2], [3.0, 0.2]])
    found = against(exposures, torch.tensor([is_used, True, True, True]), 0)
    usual = exposures[0] if is_used else torch.tensor([1.5, 0.2])
    # a value as the usual frame has it is that of frame i after its gain and offset
    scene = torch.tensor([0.0, 0.4, 1.0])
    as_usual = usual[0] * scene + usual[1]
    for (gain, offset), wanted in zip(found, exposures, strict=True):
        torch.testing.assert_close(gain * as_usual + offset, wanted[0] * scene + wanted[1])


def test_edges_of_a_still_scene_are_no_moving_things(monkeypatch):
    from nerfkit.superres import registration

    frames, shifts, _ = make_frames(8, noise=0.002, side=40)
    lowres = LowresFrames(torch.from_numpy(frames), torch.from_numpy(shifts), Psf())
    assert float(still_pixels(lowres, torch.ones(8), 0).mean()) > 0.998
    monkeypatch.setattr(registration, "MISPLACED", 0.0)
    assert float(still_pixels(lowres, torch.ones(8), 0).mean()) < 0.99


def test_what_moves_is_left_out_and_does_not_smear(monkeypatch):
    from nerfkit.superres import solving as module

    frames, shifts, truth = make_frames()
    for index in range(0, len(frames), 2):
        frames[index, 9:12, index + 3 : index + 7] = 0.5
    part = (slice(16, 26), slice(8, 40))

    def solved():
        settings = SuperresSettings(scale=2, exact_shifts=True)
        state = reconstruct(frames, settings, UNHURRIED, shifts=shifts)
        assert state.image is not None
        pixels = torch.nn.functional.avg_pool2d(state.image[None], state.cells // 2)[0, 0].numpy()
        return state, rms(pixels[part], truth[part])

    spared, error = solved()
    assert 0.95 < float(spared.shares.mean()) < 0.999 and float(spared.weights.min()) == 1
    monkeypatch.setattr(module, "MIN_FOR_MOTION", 99)
    smeared, worse = solved()
    assert float(smeared.shares.mean()) == 1 and error < 0.6 * worse
