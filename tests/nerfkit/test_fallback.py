"""What is not kept: pictures that lose against the mean of the frames, and why that is said."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from lowres_scenes import make_frames, measured, motion_of, rms, run, turned_frames

from nerfkit.limits import Limit
from nerfkit.scenes.readers.frames import read_frames
from nerfkit.scenes.transfer import LINEAR
from nerfkit.solvers.grid import Prior
from nerfkit.superresolution import reconstruct
from nerfkit.superresolution.aligned_mean import aligned_mean
from nerfkit.superresolution.alignment import Alignment
from nerfkit.superresolution.fallback import FACTORS, LEAST_FRAMES, judge, not_for_mesh
from nerfkit.superresolution.judging import left_out
from nerfkit.superresolution.mesh import MOST_MESH
from nerfkit.superresolution.settings import SuperresSettings, plan_grids

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
        transfer=LINEAR,
    )  # fmt: skip
    return judge(cast(Alignment, aligned), stack, view, PRIOR)


def test_a_picture_of_right_motions_is_kept(problem):
    found = asked(*problem)
    assert found is not None and found.fallback is None and found.neighbours is None
    assert 2 * found.twins[0].error < found.mean
    assert found.as_dict()["n"] == LEAST_FRAMES // 4
    assert [twin.factor for twin in found.twins] == [1.0]


def test_a_picture_of_wrong_motions_is_not_and_neighbours_tell_the_right_ones(problem):
    frames, shifts = problem
    wrong = 3 * shifts[::-1].copy()
    wrong[0] = 0
    found = asked(frames, wrong)
    assert found is not None and found.fallback is not None and found.neighbours is not None
    assert found.fallback.to == "aligned mean" and len(found.twins) == len(FACTORS)
    motion, is_placed = found.neighbours
    assert is_placed.all()
    apart = motion.displacements((SIDE, SIDE)) - torch.from_numpy(shifts)
    assert float(apart.norm(dim=1).median()) < 0.1
    said = found.fallback.sentence()
    assert "the mean of the aligned frames predicts 4 frames that were held out with" in said
    assert "aligned mean (shift-and-add) is written instead" in said and "--crop" in said


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


def test_frames_that_turn_but_are_to_shift_end_as_their_mean(tmp_path, capsys):
    frames, _ = turned_frames(LEAST_FRAMES, degrees=30)
    np.savez(tmp_path / "frames.npz", frames=frames)
    options = ("--scale", 2, "--register", "shift", "--seconds", 300, "--psf-width", 1)
    code, result = run(capsys, "superres", tmp_path / "frames.npz", "-o", tmp_path / "a.png", *options)
    assert code == 0 and result["fallback"] == "aligned mean" and result["mesh"] < MOST_MESH
    # nothing is printed of the picture that was not written
    assert result["holdout_psnr"] is None
    assert result["held_out_frames"]["psnr"] < result["held_out_frames"]["psnr_aligned_mean"]
    assert result["register"] != "shift" and result["expected"] is None
    assert [warning for warning in result["warnings"] if "aligned mean (shift-and-add) is written" in warning]
    picture, mean = (read_frames(path).images[0] for path in (tmp_path / "a.png", tmp_path / "a" / "aligned_mean.png"))
    assert rms(picture, mean) < 0.01
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
