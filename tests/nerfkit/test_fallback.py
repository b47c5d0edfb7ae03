"""What is not kept: pictures that lose against the mean of the frames, and why that is said."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from lowres_scenes import FINE, fine_scene, make_frames, means, measured, motion_of, rms, run, turned_frames

from nerfkit.heldout import Trial
from nerfkit.limits import Limit
from nerfkit.scenes.readers.frames import read_frames
from nerfkit.scenes.transfer import LINEAR
from nerfkit.solvers.grid import Prior
from nerfkit.superresolution import fallback, reconstruct
from nerfkit.superresolution.aligned_mean import aligned_mean
from nerfkit.superresolution.alignment import Alignment
from nerfkit.superresolution.chain import Chain
from nerfkit.superresolution.fallback import LEAST_FRAMES, Judged, judge, not_for_mesh
from nerfkit.superresolution.judging import left_out
from nerfkit.superresolution.mesh import MOST_MESH
from nerfkit.superresolution.refiner import Refiner
from nerfkit.superresolution.settings import SuperresSettings, plan_grids
from nerfkit.superresolution.trials import Trials
from nerfkit.superresolution.twins import PICTURE, Bench, Twin, Way, with_detail_of

SIDE = 32
PRIOR = Prior(0.3, 0.01)


@pytest.fixture(scope="module")
def problem():
    frames, shifts, _ = make_frames(LEAST_FRAMES, noise=0.01, seed=2, side=SIDE)
    return frames, shifts


def asked(frames, shifts, limit=None):
    stack, view = measured(frames, shifts)
    aligned = SimpleNamespace(
        limit=limit or Limit(), plan=plan_grids(2, (SIDE, SIDE)), reference=0, settings=SuperresSettings(),
        transfer=LINEAR, model=view.motion.model, view=view, refiner=Refiner(0, "shift", 0, LINEAR, Limit()),
    )  # fmt: skip
    return judge(cast(Alignment, aligned), stack, view, PRIOR)


def test_a_picture_of_right_motions_is_kept(problem):
    found = asked(*problem)
    assert found is not None and found.fallback is None and found.neighbours is None
    assert 2 * found.twins[0].error < found.mean
    assert found.as_dict()["n"] == LEAST_FRAMES // 4
    assert [twin.way for twin in found.twins] == [PICTURE]


def test_a_picture_of_wrong_motions_is_not_and_neighbours_tell_the_right_ones(problem):
    frames, shifts = problem
    wrong = 3 * shifts[::-1].copy()
    wrong[0] = 0
    found = asked(frames, wrong)
    assert found is not None and found.fallback is not None and found.neighbours is not None
    assert found.fallback.to == "neighbours' motions" and len(found.twins) == 2
    motion, is_placed = found.neighbours
    assert is_placed.all()
    apart = motion.displacements((SIDE, SIDE)) - torch.from_numpy(shifts)
    assert float(apart.norm(dim=1).median()) < 0.1
    said = found.fallback.sentence()
    assert "the mean of the aligned frames predicts 4 frames that were held out with" in said
    assert "a picture by the motions that neighbouring frames tell is written instead; give a part" in said


TRIAL = Trial(PRIOR, torch.empty(0), torch.empty(0))
NEXT_STEPS = {
    Way("simpler motion", model="affine"): "a picture by affine maps is written instead; give a part",
    Way("stronger prior", factor=16.0): "a picture with a stronger prior is written instead; give a part",
    Way(
        "smaller scale", scale=2
    ): "a picture of the asked size with the detail of scale 2 is written instead; give a part",
}


@pytest.mark.parametrize("way", NEXT_STEPS)
def test_the_first_way_that_is_no_worse_than_the_mean_is_said(way):
    lost = Twin(PICTURE, TRIAL, 0.02)
    found = Judged(4, 0.01, [lost, Twin(way, TRIAL, 0.01)], None).fallback
    assert found is not None and found.to == way.to and found.way == way and NEXT_STEPS[way] in found.sentence()
    found = Judged(4, 0.01, [lost, Twin(way, TRIAL, 0.011)], None).fallback
    assert found is not None and found.to == "aligned mean" and found.way == PICTURE
    assert "the aligned mean (shift-and-add) is written instead; give a part" in found.sentence()


def test_ways_keep_as_much_detail_as_they_can():
    def ways(model, scale, motion, *, has_neighbours=True):
        aligned = SimpleNamespace(
            model=model, settings=SuperresSettings(scale=scale), view=SimpleNamespace(motion=motion)
        )  # fmt: skip
        return [(way.to, way.model, way.scale) for way in fallback._ways(cast(Alignment, aligned), has_neighbours)]

    still, prior = motion_of(np.zeros((1, 2))), ("stronger prior", None, None)
    assert ways("homography", 4.0, still) == [
        ("picture", None, None), ("neighbours' motions", None, None), ("simpler motion", "affine", None), prior, prior,
        ("smaller scale", None, 2),
    ]  # fmt: skip
    # nothing is simpler than shifts, and at 2x nothing is left of half the scale
    assert ways("shift", 2.0, still, has_neighbours=False) == [("picture", None, None), prior, prior]
    displaced = still.displaced(torch.zeros(1, 4, 4, 2))
    assert ("simpler motion", "shift", None) not in ways("similarity", 4.0, displaced)


def test_the_detail_of_a_smaller_scale_is_that_of_its_pixels():
    image = torch.rand(1, 16, 24, generator=torch.Generator().manual_seed(0))
    found = with_detail_of(image, 1, 4)
    assert found.shape == image.shape and abs(float(found.mean() - image.mean())) < 0.02
    assert float(found.std()) < 0.5 * float(image.std())
    plane = torch.arange(24.0).expand(1, 16, 24)
    assert float((with_detail_of(plane, 2, 4) - plane)[..., 4:-4].abs().max()) < 0.2


def test_frames_registered_by_fewer_numbers_forget_what_was_no_motion(problem):
    frames, shifts = problem
    stack, view = measured(frames, wobbled(shifts))
    trials = Trials(stack, view, view.grid(4), 0, n_folds=4)
    chain = Chain(motion_of(shifts).matrices.numpy(), np.ones(len(shifts), bool), 0, "affine")
    bench = Bench(trials, chain, Refiner(0, "affine", 0, LINEAR, Limit()))
    simpler, picture = (bench.twin(way, PRIOR).error for way in (Way("simpler motion", model="shift"), PICTURE))
    assert simpler < 0.7 * picture


def wobbled(shifts, by=0.02):
    """Shifts as affine maps that stretch and shear as well, which the frames do not."""
    matrices = motion_of(shifts).matrices.numpy().copy()
    matrices[1:, :2, :2] += np.random.default_rng(0).normal(0, by, (len(shifts) - 1, 2, 2))
    return matrices


def judged_as(way):
    """A judge that a picture loses by, and that keeps a way."""

    def judge(aligned, stack, view, prior):
        grid = view.grid(aligned.plan.trial)
        trial = Trial(prior, grid.enlarge(stack.values[0]), torch.empty(0))
        return Judged(4, 0.01, [Twin(PICTURE, trial, 0.02), Twin(way, trial, 0.005)], None)

    return judge


def solved(frames, given, **known):
    settings = SuperresSettings(
        scale=2.0, output_size=(2 * SIDE, 2 * SIDE), frame_size=(SIDE, SIDE), bit_depth=32, exact_shifts=True,
        psf_width=1.0, **known,
    )  # fmt: skip
    return reconstruct.reconstruct(frames, settings, motion=motion_of(given))


def test_a_picture_of_the_asked_size_has_the_detail_of_a_smaller_scale(problem, monkeypatch):
    frames, shifts = (part[:6] for part in problem)
    whole = solved(frames, shifts)
    monkeypatch.setattr(reconstruct, "judge", judged_as(Way("smaller scale", scale=1)))
    found = solved(frames, shifts)
    assert found.image.shape == whole.image.shape and not found.is_mean
    torch.testing.assert_close(found.image, with_detail_of(whole.image, 1, whole.cells))


def test_a_picture_by_a_simpler_motion_is_solved_with_it(problem, monkeypatch):
    frames, shifts = (part[:10] for part in problem)
    monkeypatch.setattr(reconstruct, "judge", judged_as(Way("simpler motion", model="shift")))
    found = solved(frames, wobbled(shifts, 0.01), register="affine")
    assert found.aligned.model == found.view.motion.model == "shift"
    assert rms(found.view.motion.shifts, shifts) < 0.05 and found.holdout_mse < 1e-3


def test_few_frames_and_no_time_judge_nothing(problem):
    frames, shifts = problem
    assert asked(frames[:-1], shifts[:-1]) is None
    limit = Limit(1e-9)
    assert asked(frames, shifts, limit) is None and limit.cut


def test_a_mesh_and_many_frames_that_are_left_out_are_named():
    found = not_for_mesh(8.24)
    assert found.to == "aligned mean" and "(mesh 8.2, where 4 is the most that is kept)" in found.because
    assert found.sentence().endswith("add frames with other shifts, or give a smaller --scale")
    assert left_out(0, 5) == left_out(1, 11) == "" and left_out(1, 10).startswith("1 of 10 frames (10%) are left out")


def test_frames_that_turn_but_are_to_shift_look_where_neighbours_say(tmp_path, capsys):
    frames, _ = turned_frames(LEAST_FRAMES, degrees=30)
    np.savez(tmp_path / "frames.npz", frames=frames)
    options = ("--scale", 2, "--register", "shift", "--seconds", 300, "--psf-width", 1)
    code, result = run(capsys, "superres", tmp_path / "frames.npz", "-o", tmp_path / "a.png", *options)
    assert code == 0 and result["fallback"] == "neighbours' motions" and result["mesh"] < MOST_MESH
    # what is printed is of the picture that was written
    assert result["holdout_psnr"] > 30
    assert result["held_out_frames"]["psnr"] < result["held_out_frames"]["psnr_aligned_mean"]
    assert result["register"] != "shift" and result["unexplained"] < 0.2
    assert [warning for warning in result["warnings"] if "neighbouring frames tell is written" in warning]
    truth = means(fine_scene(3, 62), 15, 15, 32, FINE // 2)[4:-4, 4:-4]
    picture, mean = (
        read_frames(path).images[0][4:-4, 4:-4] for path in (tmp_path / "a.png", tmp_path / "a" / "aligned_mean.png")
    )  # fmt: skip
    assert rms(picture, truth) < 0.75 * rms(mean, truth)
    assert "is written instead" in (tmp_path / "a" / "report.html").read_text()


def test_a_mesh_in_the_solved_picture_ends_as_the_mean(problem, monkeypatch):
    frames, shifts = problem
    monkeypatch.setattr(reconstruct, "MOST_MESH", 0.0)
    settings = SuperresSettings(
        scale=2.0, output_size=(2 * SIDE, 2 * SIDE), frame_size=(SIDE, SIDE), bit_depth=32, exact_shifts=True,
        psf_width=1.0,
    )  # fmt: skip
    state = reconstruct.reconstruct(frames, settings, motion=motion_of(shifts))
    assert state.is_mean and state.fallback is not None and "repeats the frames' pixels" in state.fallback.because
    mean = aligned_mean(state.stack, state.view, (2 * SIDE, 2 * SIDE))
    torch.testing.assert_close(state.image[0], mean)
    assert (state.bounds[:, 0] < state.image.min()).all() and (state.bounds[:, 1] > state.image.max()).all()
    # the mean of so few is no better
    few = slice(reconstruct.LEAST_MESHED - 1)
    assert reconstruct.reconstruct(frames[few], settings, motion=motion_of(shifts[few])).fallback is None
