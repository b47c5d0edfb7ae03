"""What is not kept: pictures that lose against the mean of the frames, and why that is said."""

from types import SimpleNamespace
from typing import cast

import pytest
import torch
from lowres_scenes import make_frames, measured

from nerfkit.limits import Limit
from nerfkit.scenes.transfer import LINEAR
from nerfkit.solvers.grid import Prior
from nerfkit.superresolution.alignment import Alignment
from nerfkit.superresolution.fallback import FACTORS, LEAST_FRAMES, judge, not_for_mesh
from nerfkit.superresolution.judging import left_out
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
