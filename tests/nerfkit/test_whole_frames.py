"""Frames that were held out judge pictures: the scene beats its blur, wherever its axes lie."""

from dataclasses import replace

import pytest
import torch
from lowres_scenes import fine_scene, make_frames, measured

from nerfkit.superresolution.whole_frames import WholeFrames

CELLS = 8


def judged(n=6, noise=0.005):
    frames, shifts, _ = make_frames(n, noise)
    stack, view = measured(frames, shifts)
    return WholeFrames(stack, view, torch.full((n,), 1 / n))


def scene():
    """What the frames see, on ``CELLS`` cells a low-res pixel, the reference frame alone."""
    return torch.from_numpy(fine_scene(0)).float()[3 * CELLS : -3 * CELLS, 3 * CELLS : -3 * CELLS].contiguous()


def blurred(image):
    return torch.nn.functional.avg_pool2d(image[None, None], 2 * CELLS + 1, 1, CELLS, count_include_pad=False)[0, 0]


def test_the_scene_is_as_far_off_as_the_noise_and_its_blur_farther():
    judges = judged()
    assert judges.error(scene(), CELLS) ** 0.5 == pytest.approx(0.005, rel=0.2)
    assert judges.error(blurred(scene()), CELLS) > 20 * judges.error(scene(), CELLS)


def test_a_picture_is_moved_onto_the_frames():
    # a quarter of a low-res pixel down and right, and half as bright
    moved = 0.5 * torch.roll(scene(), (CELLS // 4, CELLS // 4), (0, 1))
    assert judged().error(moved, CELLS) ** 0.5 < 0.01


def test_rows_that_were_filled_in_judge_nothing():
    judges = judged()
    judges.stack.values[:, 1::2] = 0.5
    poor = judges.error(scene(), CELLS)
    rows = torch.ones_like(judges.stack.values)
    rows[:, 1::2] = 0
    fair = WholeFrames(replace(judges.stack, measured=rows), judges.view, judges.shares).error(scene(), CELLS)
    assert fair**0.5 == pytest.approx(0.005, rel=0.2) and poor > 20 * fair


def test_shares_tell_what_each_frame_counts():
    judges = judged()
    judges.stack.values[0] = judges.stack.values[0].flip(0)
    poor = judges.error(scene(), CELLS)
    shares = torch.tensor([0.0, 0.2, 0.2, 0.2, 0.2, 0.2])
    fair = WholeFrames(judges.stack, judges.view, shares).error(scene(), CELLS)
    assert fair**0.5 < 0.01 < poor**0.5
