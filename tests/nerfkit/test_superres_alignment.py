"""Frames are brought to one place and one brightness; what does not belong to the scene is left out and named."""

import json

import numpy as np
import pytest
import torch
from lowres_scenes import make_frames, measured, motion_of, rms, run, turned_frames, write

from nerfkit.cli import main
from nerfkit.limits import Limit
from nerfkit.superresolution import alignment
from nerfkit.superresolution.alignment import Alignment
from nerfkit.superresolution.reconstruct import reconstruct
from nerfkit.superresolution.registration import correction, find_outliers, phase_correlation, refine, still_pixels
from nerfkit.superresolution.settings import SuperresSettings


def off_by(shifts, error, seed=0):
    """Shifts with errors, the first right."""
    errors = np.random.default_rng(seed).normal(0, error, shifts.shape)
    return shifts + errors * (np.arange(len(shifts)) > 0)[:, None]


def refined(frames, given, model="shift", rounds=20, limit=None):
    stack, view = measured(frames, given)
    start = find_outliers(stack, view, view.grid(4))
    return refine(stack, view, start, rounds=rounds, steps=30, tv_weights=(8, 1), model=model, limit=limit)


def aligned(frames, given=None, **known):
    """Frames that were registered, and what was said of it."""
    said = []
    settings = SuperresSettings(scale=2, **known)
    motion = None if given is None else motion_of(given)
    found = Alignment(frames, settings, motion=motion, say=said.append)
    found.register()
    return found, said


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
    found = refined(frames, off_by(shifts, 0.1))
    # with a reference that stands still while the image moves, 0.019
    assert rms(found.motion.shifts, shifts) < 0.015
    assert found.motion.shifts[0].abs().max() == 0


def test_no_round_begins_that_the_limit_does_not_allow():
    frames, shifts, _ = make_frames(4, side=16)
    limit = Limit(-1)
    found = refined(frames, shifts, limit=limit)
    assert rms(found.motion.shifts, shifts) == 0 and limit.cut == ["rounds of the registration"]


def test_outliers_are_left_out_and_no_others():
    frames, shifts, _ = make_frames()
    frames[[4, 9]] = 1 - frames[[4, 9]]
    stack, view = measured(frames, shifts)
    found = find_outliers(stack, view, view.grid(4))
    assert torch.nonzero(found.weights == 0).flatten().tolist() == [4, 9]


@pytest.mark.parametrize(("model", "perspective", "bound"), [("affine", 0.0, 0.04), ("homography", 3e-4, 0.08)])
def test_turned_frames_are_registered(model, perspective, bound):
    frames, matrices = turned_frames(perspective=perspective)
    side = frames.shape[1]
    shifts = phase_correlation(frames)
    found = refined(frames, shifts, model, rounds=24)
    assert found.motion.model == model
    near, far = 4.0, side - 4.0
    corners = torch.tensor([[near, near], [far, near], [near, far], [far, far]], dtype=torch.float64)

    def errors(motion):
        return [rms(*pair) for pair in zip(motion.seen(corners), motion_of(matrices).seen(corners), strict=True)]

    assert errors(found.motion)[0] == 0 and np.median(errors(found.motion)) < bound
    # shifts alone leave the corners far off
    assert np.median(errors(motion_of(shifts))) > 0.1


@pytest.mark.parametrize(("model", "degrees", "perspective"), [
    ("shift", 0.0, 0.0), ("affine", 1.5, 0.0), ("homography", 1.5, 3e-3),
])  # fmt: skip
@pytest.mark.parametrize("register", ["auto", "shift"])
def test_frames_tell_the_motion_model_unless_the_user_does(model, degrees, perspective, register):
    frames = make_frames(10)[0]
    if model != "shift":
        frames = turned_frames(n=20, degrees=degrees, perspective=perspective)[0]
    found, said = aligned(frames, register=register)
    assert found.model == found.view.motion.model == (model if register == "auto" else "shift")
    explained = [line for line in said if "explain" in line]
    if found.model == "shift":
        assert not explained
    else:
        assert explained[-1].startswith(f"registering: {alignment.NAMES[model]} explain the frames, ")


def test_given_shifts_are_not_replaced_by_a_richer_motion():
    frames, matrices = turned_frames(n=6, side=24)
    assert aligned(frames, matrices[:, :2, 2])[0].view.motion.model == "shift"


def test_turned_frames_in_and_matrices_out(tmp_path, capsys):
    frames, matrices = turned_frames(n=20)
    folder = write(tmp_path / "f", frames, 16)
    code, result = run(
        capsys, "superres", folder, "-o", tmp_path / "a.png", "--scale", 2, "--psf-width", 1, "--seconds", 300,
        "--set", "width=16",
    )  # fmt: skip
    assert code == 0 and len(result["registered"]) == len(frames) and result["register"] == "affine"
    assert "register: auto\n" in (tmp_path / "a" / "config.yml").read_text()
    written = (tmp_path / "a" / "registered.csv").read_text().splitlines()
    assert written[0].startswith("file,h00,h01,h02") and len(written) == len(frames) + 1
    found = np.array([[float(cell) for cell in line.split(",")[1:10]] for line in written[1:]]).reshape(-1, 3, 3)
    # turns are 0.012 in the median; how exact they are is asked of the registration above
    assert np.median(np.abs(found[:, 0, 1] - matrices[:, 0, 1])) < 0.006
    # the middle of a frame is what dx and dy say
    middle = found @ np.array([16, 16, 1.0])
    assert middle[3, 0] / middle[3, 2] - 16 == pytest.approx(result["registered"][3]["dx"], abs=1e-4)


def test_given_shifts_are_kept_when_right_and_refined_when_not():
    frames, shifts, _ = make_frames()
    wrong = off_by(shifts, 0.15)
    assert rms(aligned(frames, shifts)[0].view.motion.shifts, shifts) < 0.02
    assert rms(aligned(frames, wrong)[0].view.motion.shifts, shifts) < 0.05
    assert rms(aligned(frames, wrong, exact_shifts=True)[0].view.motion.shifts, wrong) == 0


@pytest.mark.parametrize("error", [0.02, 0.1])
def test_one_step_tells_how_far_shifts_are_off(error):
    frames, shifts, _ = make_frames()
    wrong = off_by(shifts, error)

    def told(given):
        stack, view = measured(frames, given)
        return correction(stack, view, find_outliers(stack, view, view.grid(4)))

    assert told(shifts) < 0.008 < told(wrong)
    assert 0.4 < told(wrong) / np.median(np.hypot(*(wrong - shifts)[1:].T)) < 1.6


def test_right_shifts_are_not_refined_but_by_a_richer_model():
    frames, shifts, _ = make_frames()
    found, said = aligned(frames, shifts)
    assert rms(found.view.motion.shifts, shifts) == 0 and any("right to 0.00" in line for line in said)
    assert not any("coarse" in line for line in said)
    assert any("coarse" in line for line in aligned(frames, shifts, register="affine")[1])


@pytest.fixture(scope="module")
def plain():
    """Frames, shifts, 2x truth, and what is made of frames that are equally bright."""
    frames, shifts, truth = make_frames()
    state = reconstruct(frames, SuperresSettings(scale=2, exact_shifts=True), motion=motion_of(shifts))
    return frames, shifts, truth, state


def pixels_of(state):
    """The image [rows, cols] of 2 pixels a low-res pixel."""
    return torch.nn.functional.avg_pool2d(state.image[None], state.cells // 2)[0, 0].numpy()


def test_brightness_of_frames_is_fitted_with_the_image(plain):
    frames, shifts, truth, even = plain
    rng = np.random.default_rng(5)
    gains, offsets = rng.uniform(0.7, 1.2, len(frames)), rng.uniform(-0.05, 0.1, len(frames))
    gains[0], offsets[0] = 1, 0
    darkened = (frames * gains[:, None, None] + offsets[:, None, None]).astype(np.float32)
    found = reconstruct(darkened, SuperresSettings(scale=2, exact_shifts=True), motion=motion_of(shifts))
    exposure = found.aligned.exposure
    assert rms(exposure.gains, gains) < 0.02 and rms(exposure.offsets, offsets) < 0.02
    assert even.aligned.exposure.is_neutral

    def error(state):
        return rms(pixels_of(state)[4:-4, 4:-4], truth[4:-4, 4:-4])

    assert error(found) < 1.3 * error(even)


def test_a_reference_that_is_left_out_does_not_give_the_brightness():
    frames, shifts, _ = make_frames()
    rng = np.random.default_rng(6)
    gains = rng.uniform(0.95, 1.05, len(frames))[:, None, None]
    frames = (0.8 * frames * gains).astype(np.float32)
    # something else, and darker
    frames[0] = 0.3 * rng.random(frames[0].shape)
    found, said = aligned(frames, shifts, exact_shifts=True)
    used = found.weights > 0
    assert not used[0] and used[1:].float().mean() > 0.8
    assert any(line.startswith("the reference frame does not fit the others") for line in said)
    middle, gain = found.exposure.offsets[used].median(), found.exposure.gains[used].median()
    assert float(gain) == pytest.approx(1, abs=1e-4) and float(middle) == pytest.approx(0, abs=0.02)
    wanted = gains[used.numpy(), 0, 0]
    assert rms(found.exposure.gains[used], wanted / np.median(wanted)) < 0.02


def test_edges_of_a_still_scene_are_no_moving_things():
    stack, view = measured(*make_frames(8, noise=0.002, side=40)[:2])
    assert float(still_pixels(stack, view, 4).weights.mean()) > 0.998


def test_too_few_frames_do_not_tell_what_moves():
    frames, shifts, _ = make_frames(4)
    frames[1, 8:14, 8:14] = 0.5
    stack, view = measured(frames, shifts)
    assert still_pixels(stack, view, 4) is stack


def test_what_moves_is_left_out_and_does_not_smear(plain):
    frames, shifts, truth, still = plain
    frames = frames.copy()
    for index in range(0, len(frames), 2):
        frames[index, 9:12, index + 3 : index + 7] = 0.5
    stack, view = measured(frames, shifts)
    weights = still_pixels(stack, view, 4).weights
    covered = frames != plain[0]
    # what covers the scene weighs nothing, and little else is lost with it
    assert float(weights[torch.from_numpy(covered)].mean()) < 0.3 and float(weights.mean()) > 0.9
    spared = reconstruct(frames, SuperresSettings(scale=2, exact_shifts=True), motion=motion_of(shifts))
    assert 0.95 < float(spared.fractions.mean()) < 0.999 and float(spared.weights.min()) == 1
    part = (slice(16, 26), slice(8, 40))
    assert rms(pixels_of(spared)[part], truth[part]) < 1.5 * rms(pixels_of(still)[part], truth[part])


def test_frames_that_no_global_motion_explains_are_said_to_be_so_and_noisy_ones_are_not(tmp_path, capsys):
    rng = np.random.default_rng(0)
    frames, other = make_frames(16)[0], make_frames(16, seed=5)[0]
    noisy = frames + rng.normal(0, 0.08, frames.shape)
    # the lower half moves by itself
    apart = np.concatenate([frames[:, :12], np.roll(other[:, 12:], 3, axis=0)], 1)
    for index, frame in enumerate(apart):
        frame[12:] = np.roll(frame[12:], 2 * (index % 4), axis=1)
    for name, some, is_said in (("noisy", noisy, False), ("apart", apart, True)):
        folder, out = write(tmp_path / name / "frames", some), tmp_path / name / "out.png"
        assert main(["superres", str(folder), "-o", str(out), "--scale", "2", "--seconds", "20", "--json"]) == 0
        printed = capsys.readouterr()
        assert (json.loads(printed.out.splitlines()[-1])["unexplained"] > 0.25) == is_said
        assert ("of the frames' contrast unexplained" in printed.err) == is_said
