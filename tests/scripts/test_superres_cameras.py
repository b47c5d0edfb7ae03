"""What the benchmark's cameras do to frames: what is sharpened overshoots, what is woven shows two times."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from nerfkit.scenes.readers._fields import field_order

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def scripts():
    sys.path.insert(0, str(SCRIPTS))
    try:
        yield {name: importlib.import_module(f"superres_{name}") for name in ("cameras", "problems")}
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture
def edge():
    """Three frames [3, 32, 32] of an edge at column 16, from 0.3 to 0.7."""
    frames = np.full((3, 32, 32), 0.3, np.float32)
    frames[:, :, 16:] = 0.7
    return frames


def test_sharpened_frames_overshoot_at_an_edge_alone(scripts, edge):
    seen = scripts["cameras"].sharpen(edge)
    # a step of 0.4 less its blur, which reaches half of it beside the edge: about 0.12 at a radius of 1
    np.testing.assert_allclose(seen[0, 10, [15, 16]], [0.18, 0.82], atol=0.01)
    np.testing.assert_allclose(seen[:, :, :8], 0.3, atol=0.003)
    assert scripts["cameras"].sharpen(edge + 0.3).max() == 1


@pytest.mark.parametrize("name", ["jpeg", "h264"])
def test_compressed_frames_are_near_what_they_were_and_not_the_same(scripts, edge, name):
    cameras = scripts["cameras"]
    if cameras.why_not(name):
        pytest.skip(cameras.why_not(name))
    rng = np.random.default_rng(0)
    frames = np.clip(edge + 0.05 * rng.normal(size=edge.shape), 0, 1).astype(np.float32)
    seen = cameras.CAMERAS[name](frames)
    assert seen.shape == frames.shape and seen.dtype == np.float32
    assert 0.005 < np.sqrt(np.mean((seen - frames) ** 2)) < 0.08


def test_woven_frames_have_even_rows_of_one_field_and_odd_rows_of_the_next(scripts):
    fields = np.arange(4, dtype=np.float32)[:, None, None] / 5 * np.ones((1, 6, 5), np.float32)
    woven = scripts["cameras"].weave(fields)
    assert woven.shape == (2, 6, 5)
    np.testing.assert_allclose(woven[1, :, 0], [0.4, 0.6] * 3)


def test_columns_of_cameras_are_8_bits_and_told_no_shifts(scripts):
    problems = scripts["problems"]
    for name in ("plain", "sharpened", "interlaced"):
        problem = problems.make_problem(problems.COLUMNS[name])
        assert problem.shifts is None and problem.as_filed.dtype == np.uint8 and len(problem.frames) == 32
        assert np.abs(problem.true_shifts).max() < 2 and problem.true_shifts[0].tolist() == [0, 0]
        # which field was first is not told by letters finer than the rows of a field (decision 0024)
        assert (field_order(problem.frames) is not None) == (name == "interlaced")
