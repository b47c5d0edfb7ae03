"""bench_cpu_step: its clocks count what they say."""

import importlib.util
import sys
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(SCRIPTS))
    try:
        spec = importlib.util.spec_from_file_location("bench_cpu_step", SCRIPTS / "bench_cpu_step.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(SCRIPTS))


def test_means_are_of_the_second_half(bench):
    watch = bench.Stopwatch()
    watch.seconds["a part"] = [9.0, 9.0, 0.002, 0.004]
    assert watch.late_means(4) == {"a part": pytest.approx(3.0)}


def test_a_function_that_is_timed_does_what_it_did(bench):
    watch = bench.Stopwatch()
    assert watch.around("nap", lambda seconds: time.sleep(seconds) or seconds)(0.01) == 0.01
    assert watch.seconds["nap"][0] >= 0.01


def test_parts_of_a_step_add_up_in_both_ways(bench, tmp_path):
    from nerfkit.scenes.observations import fused_rendering, volume_rendering
    from nerfkit.scenes.readers import read_posed_photos
    from nerfkit.scenes.synthetic import write_posed_scene

    write_posed_scene(tmp_path, n_train=4, n_val=1, n_test=1, size=(16, 16), supersample=1)
    source = read_posed_photos(tmp_path)
    for is_fused in (True, False):
        times = bench.train(source, {"steps": 6}, is_fused=is_fused)
        parts = sum(value for name, value in times.items() if name != "step")
        assert parts == pytest.approx(times["step"])
        assert 0 < times["forward"] < times["step"] and 0 < times["backward"] < times["step"]
    assert volume_rendering.can_render_fused is fused_rendering.can_render_fused
