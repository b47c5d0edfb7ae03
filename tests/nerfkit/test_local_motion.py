"""Pixels that move by themselves in large frames: part by part, where held-out pixels gain, in bounded memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lowres_scenes import FINE, fine_scene, make_frames, means, measured, two_planes

from nerfkit.limits import Limit
from nerfkit.scenes.transfer import LINEAR
from nerfkit.superresolution import alignment, local_motion
from nerfkit.superresolution.alignment import COARSE_CELLS, Alignment
from nerfkit.superresolution.local_motion import displace
from nerfkit.superresolution.refiner import Refiner
from nerfkit.superresolution.settings import SuperresSettings

N, SIDE = 12, 40


@pytest.fixture(scope="module")
def half_of_two_planes():
    """Frames [n, side, 2 * side], shifts and drift: to the left a scene that shakes, to the right two planes."""
    frames, drift, _ = two_planes(N, side=SIDE)
    rng = np.random.default_rng(3)
    shake = rng.uniform(-0.7, 0.7, (N, 2))
    shake[0] = 0
    shake = np.round(shake * FINE) / FINE
    left = np.stack([means(fine_scene(7, SIDE), dx, dy, SIDE, FINE) for dx, dy in shake])
    left = 0.15 + 0.7 * left + rng.normal(0, 0.005, left.shape)
    return np.concatenate([left, frames], 2).astype(np.float32), shake, drift


def displaced(frames, shifts, limit=None):
    said = []
    stack, view = measured(frames, shifts)
    refiner = Refiner(0, "shift", 0, LINEAR, limit or Limit())
    return displace(stack, view, refiner, COARSE_CELLS, said.append), said


def test_parts_are_displaced_where_their_pixels_gain(half_of_two_planes, monkeypatch):
    frames, shifts, drift = half_of_two_planes
    monkeypatch.setattr(local_motion, "WINDOW", SIDE)
    found, said = displaced(frames, shifts)
    assert found is not None and "by themselves, in 1 of 2 parts of the frame" in said[-1]
    moves, half = found.motion.displacement, SIDE // 2
    assert moves is not None
    assert not moves[:, :, : SIDE - 4].any() and not moves[0].any()
    upper, lower = (part.flatten(1, 2).median(1).values for part in (moves[:, 3:half, 44:76], moves[:, half:-3, 44:76]))
    np.testing.assert_allclose((lower - upper)[:, 0], drift, atol=0.5)
    assert found.weights.all() and found.grid.width == 2 * SIDE


def test_without_time_no_part_is_displaced(half_of_two_planes, monkeypatch):
    frames, shifts, _ = half_of_two_planes
    monkeypatch.setattr(local_motion, "WINDOW", SIDE)
    limit = Limit(1e-9)
    assert displaced(frames, shifts, limit)[0] is None and limit.cut == [local_motion.CUT]


def test_large_frames_are_asked_and_windows_keep_what_is_found(monkeypatch):
    side = 32
    frames, _, _ = make_frames(5, side=side)
    monkeypatch.setattr(alignment, "WINDOW", 16)
    asked, moves = [], torch.randn(5, side, side, 2, generator=torch.Generator().manual_seed(0))

    def found(stack, view, *_):
        asked.append(view.size)
        assert aligned.registered is not None
        return replace(aligned.registered, motion=view.motion.displaced(moves))

    monkeypatch.setattr(alignment, "displace", found)
    aligned = Alignment(frames, SuperresSettings(scale=2, frame_size=(side, side)))
    aligned.register()
    assert asked == [(side, side)] and aligned.view.motion.displacement is moves
    _, view = aligned.windowed()
    top, left, height, width = aligned.window
    x, y = view.motion.looks_at((width, height))
    whole_x, whole_y = aligned.view.motion.looks_at((side, side))
    for frame, (col, row) in enumerate(aligned.corners.long().tolist()):
        rows, cols = slice(row, row + height), slice(col, col + width)
        torch.testing.assert_close(x[frame] + left, whole_x[frame, rows, cols])
        torch.testing.assert_close(y[frame] + top, whole_y[frame, rows, cols])
    # what neighbours say of the window is no displacement of the whole
    aligned.take_motions(view.motion, torch.ones(5))
    assert aligned.view.motion.displacement is not None and aligned.view.motion.displacement.shape == moves.shape
