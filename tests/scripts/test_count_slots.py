"""count_slots: its schedules are those of the kernels, on rays that can be counted by hand."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("triton", reason="the layout stands in the Triton kernels")
SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPTS))
    try:
        spec = importlib.util.spec_from_file_location("count_slots", SCRIPTS / "count_slots.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["count_slots"] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(SCRIPTS))
        sys.modules.pop("count_slots", None)


def test_a_free_lane_draws_the_next_ray(script):
    # turn 1: the rays of 9 and 8 samples, of which the first ends at its 3rd; turn 2: the second and the third ray
    live, marched = np.array([3, 8, 1, 0]), np.array([9, 8, 4, 0])
    assert script.forward_slots(live, marched, 2, 4, 1) == (16, 16)


def test_a_lane_alone_takes_all_groups(script):
    # 4 groups of 4 in turn 1, and the 5 samples that are left in turn 2
    assert script.forward_slots(np.array([21]), np.array([21]), 4, 4, 528) == (32, 21)
    assert script.forward_slots(np.array([0]), np.array([0]), 4, 4, 528) == (0, 0)


def test_few_rays_are_left_to_few_programs(script):
    n = 2 * script.RAYS_A_PROGRAM
    ones = np.ones(n, np.int64)
    # two programs of as many rays each, 16 lanes a turn
    assert script.forward_slots(ones, 4 * ones, 16, 4, 528) == (2 * script.RAYS_A_PROGRAM // 16 * 64, 4 * n)


def test_groups_have_no_gaps_between_rays(script):
    # 1 + 2 + 2 groups in tiles of 2
    assert script.backward_slots(np.array([3, 8, 0, 5]), 2, 4, 1) == 24
    # 32 rays of one group, 16 a tile: one program of two tiles, as two would have fewer than they need
    assert script.backward_slots(np.full(32, 4), 16, 4, 256) == 128


def test_blocks_wait_for_their_slowest_ray(script):
    assert script.blocks(np.array([1, 9, 0, 0]), 2, 4) == 24
