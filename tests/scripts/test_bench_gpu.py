"""The GPU benchmark without a GPU: a rehearsal in the interpreter, and what it does with a kernel that is wrong."""

# pyright: reportCallIssue=false
# (rays are handed on by the tuple)
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nerfkit.kernels.march import march, pack_bits
from nerfkit.kernels.mlp import MAX_TRITON_WIDTH
from nerfkit.kernels.radiance import _reference

SCRIPTS = Path(__file__).parents[2] / "scripts"
pytest.importorskip("triton")


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("bench_gpu")


def rehearse(*arguments):
    command = [sys.executable, str(SCRIPTS / "bench_gpu.py"), "--rehearse", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_rehearsal_checks_and_times():
    done = rehearse("--only", "composite", "--parts", "checks,ops")
    assert done.returncode == 0, done.stderr
    checked, timed = (line.split("|") for line in done.stdout.splitlines() if line.startswith("| composite"))
    assert float(checked[4]) < 2e-5 and float(checked[6]) < 2e-5
    assert float(timed[3]) > 0 and timed[4].strip() == ""


def test_without_a_gpu_it_says_so():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    done = subprocess.run([sys.executable, str(SCRIPTS / "bench_gpu.py")], capture_output=True, text=True)
    assert done.returncode == 3
    assert "no GPU that torch can use" in done.stderr


def test_an_unknown_part():
    done = rehearse("--parts", "checks,nonsense")
    assert done.returncode == 2
    assert "no nonsense; there are checks, ops, step, lego" in done.stderr


class Twice:
    """An operation that doubles; its kernel is off by ``error`` or raises."""

    def __init__(self, bench, error):
        self.bench, self.error = bench, error

    def case(self):
        cases = importlib.import_module("gpu_cases")

        def make(n, device, dtype):
            x = torch.linspace(1, 2, n, dtype=dtype, device=device).requires_grad_()

            def run(impl):
                if impl == "triton" and self.error is None:
                    raise RuntimeError("out of resources")
                return (2 * x + (self.error if impl == "triton" else 0),)

            return cases.Problem(run, [x])

        return cases.Case("twice", "test", make, cases.streamed(8))


@pytest.mark.parametrize("error, is_right", [(0.0, True), (0.01, False), (float("nan"), False), (None, False)])
def test_what_is_wrong_is_found(bench, error, is_right):
    found = bench.check(Twice(bench, error).case(), "cpu", 33)
    assert found.is_right == is_right
    assert ("out of resources" in found.fault) == (error is None)


def test_what_is_wrong_is_not_timed(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench, "CASES", [Twice(bench, 0.01).case()])
    monkeypatch.setattr(bench, "time_case", lambda *_: pytest.fail("timed"))
    monkeypatch.setattr(sys, "argv", ["bench_gpu.py", "--rehearse", "--parts", "checks,ops"])
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert bench.main() == 1
    assert "wrong, and not timed: twice (test)" in capsys.readouterr().err


def test_definitions_in_float32_are_those_in_float64(bench):
    """Every case but the large ones can be made, with numbers that float32 can hold."""
    cases = importlib.import_module("gpu_cases")
    for case in cases.CASES:
        if case.op not in ("radiance", "mlp"):
            got, want = (
                bench.outputs_and_gradients(case.make(65, "cpu", dtype), "reference")
                for dtype in (torch.float32, torch.float64)
            )
            errors = [bench.largest_error(a, b) for a, b in zip(got, want, strict=True)]
            assert max(errors) <= case.tolerance, case


def test_a_few_numbers_far_off_are_found_in_gradients_that_are_judged_by_their_norm(bench):
    """And of outputs each number counts."""
    cases = importlib.import_module("gpu_cases")

    def make(n, device, dtype):
        x = torch.linspace(1, 2, n, dtype=dtype, device=device).requires_grad_()

        def run(impl):
            factor = torch.full_like(x, 2.0)
            factor[7] += 0.5 if impl == "triton" else 0
            return ((factor * x).sum().reshape(1),)

        return cases.Problem(run, [x])

    def found(n, tolerance):
        case = cases.Case("twice", "test", make, cases.streamed(8), tolerance=1.0, gradient_tolerance=tolerance)
        return bench.check(case, "cpu", n)

    assert found(100, 0.024).gradient_error == pytest.approx(0.025)
    assert not found(100, 0.024).is_right and found(100, 0.026).is_right
    assert found(400, 0.026).gradient_error == pytest.approx(0.0125)


def test_what_does_not_fit_the_card_is_checked_with_fewer(bench, monkeypatch):
    case, asked = Twice(bench, 0.0).case(), []

    def short(case, device, n):
        asked.append(n)
        if n > 2**15:
            raise torch.OutOfMemoryError("no room")
        return bench._checked(case, n, 0.0, 0.0)

    monkeypatch.setattr(bench, "_check", short)
    assert bench.check(case, "cpu", 2**17).n_samples == 2**15
    assert asked == [2**17, 2**16, 2**15]

    def never(case, device, n):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(bench, "_check", never)
    found = bench.check(case, "cpu", 2**17)
    assert not found.is_right and "does not fit this card" in found.fault


def test_no_floor_is_above_a_goal_or_a_time_that_was_reached(bench):
    """At the rates of an H200; a goal below what must be moved and multiplied would be none."""
    floors = importlib.import_module("gpu_floors")
    cases = {(case.op, case.config): case for case in bench.CASES}
    assert set(floors.GOALS) <= set(cases) and set(floors.EAGER_GOALS) <= set(cases)
    for key, goal in floors.GOALS.items():
        assert 0 < cases[key].least(cases[key].n).floor(floors.H200) < goal.best < goal.good


def test_the_grid_that_is_checked_is_the_grid_that_is_timed(bench):
    """On a GPU, at any number of samples, and what floors are of; without one a smaller table of the same levels."""
    cases = importlib.import_module("gpu_cases")
    assert cases._grid("cuda") is cases.GRID and max(cases.GRID.sizes) == 2**19
    assert cases._grid("cpu").resolutions == cases.GRID.resolutions
    (case,) = (case for case in bench.CASES if case.config == "hash, bfloat16")
    spec, positions = case.make(128, "cpu", torch.float32).asked
    assert spec is cases.GRID and positions().shape == (128, 3)


def test_floors_by_hand(bench):
    """A million samples of the trainer's field, in half precision."""
    floors = importlib.import_module("gpu_floors")
    (case,) = (case for case in bench.CASES if case.config == "hash, bfloat16")
    least = case.least(2**20)
    assert least.flops == 6 * 2**20 * (32 * 64 + 64 * 16 + 32 * 64 + 64 * 64 + 64 * 3)
    n_entries = importlib.import_module("gpu_cases").GRID.n_entries
    # table and gradient; of a ray eight numbers in and five out, each with its gradient or a second time
    assert least.memory_bytes == 2 * 4 * 4 * n_entries + 2**14 * (2 * 32 + 2 * 20)
    parts = least.milliseconds(floors.H200)
    assert parts["products"] == pytest.approx(1e3 * least.flops / 790e12)
    assert least.floor(floors.H200) == max(parts["memory"], parts["products"])


def test_sectors_that_neighbours_share_are_counted_once():
    floors = importlib.import_module("gpu_floors")
    spec = floors.HashGridSpec(3, 4, (4,), 10)
    centre = torch.full((2, 3), 0.5)
    # cell 2 of 5 vertices a side: rows of two neighbours along x, of 8 bytes each, at four places in y and z
    alone = floors.grid_traffic(spec, centre, 8, tile=1)
    entries = [2 + 5 * (2 + y + 5 * (2 + z)) + x for z in (0, 1) for y in (0, 1) for x in (0, 1)]
    assert alone == len({entry * 8 // 32 for entry in entries})
    assert floors.grid_traffic(spec, centre, 8, tile=2) == alone / 2


def test_an_object_is_met_by_a_third_of_the_rays(bench):
    """As many as in the photos of a trained object (29 %), and some forty samples of it a ray."""
    cases = importlib.import_module("gpu_cases")
    rays = cases._drawn_rays(cases._Draw("cpu", torch.float32), 4096)
    samples = march(*rays, pack_bits(cases._object()), cases.CELLS, step=cases.STEP)
    counts = samples.packed_info[:, 1]
    assert 0.25 < (counts > 0).float().mean() < 0.4
    assert 30 < counts[counts > 0].float().mean() < 50


def test_goals_are_judged(bench):
    row = bench.Timed("radiance", "hash, bfloat16", 3.0, 0.9, 50.0, 0.07, 18.0, 1200.0, None)
    assert [(j.what, j.verdict) for j in bench.judge([row])] == [
        ("radiance (hash, bfloat16)", "good"),
        ("radiance (hash, bfloat16), faster than eager", "reached"),
        ("radiance (hash, bfloat16), less memory than eager", "missed"),
    ]


def test_a_training_step_is_timed_as_it_is_launched(bench):
    rows = bench.time_step("cpu", 3)
    assert [row["what"].split(",")[0] for row in rows] == ["step of hash", "training of hash"]
    assert all(row["what"].endswith("launched") and row["milliseconds"] > 0 for row in rows)


def test_the_widest_networks_are_such_as_the_kernel_of_mlp_takes(bench, monkeypatch):
    cases = importlib.import_module("gpu_cases")
    (case,) = (case for case in cases.CASES if "8 x 256" in case.config)
    mlp, seen = _reference.mlp, []

    def look(x, weights, *rest, **options):
        seen.append((max(x.shape[1], *(w.shape[1] for w in weights)), torch.is_autocast_enabled(x.device.type)))
        return mlp(x, weights, *rest, **options)

    monkeypatch.setattr(_reference, "mlp", look)
    case.make(64, "cpu", torch.float32).run("auto")
    assert seen == [(MAX_TRITON_WIDTH, True)] * 2


def test_floors_are_printed_without_a_gpu(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench, "N_COUNTED", 1280)
    monkeypatch.setattr(sys, "argv", ["bench_gpu.py", "--floors", "--only", "hash, bfloat16, split"])
    assert bench.main() == 0
    row = capsys.readouterr().out.splitlines()[-1].split("|")
    memory, products, floor, cache = (float(row[i]) for i in (5, 6, 7, 9))
    assert floor == max(memory, products) < cache
    gathered, added = (float(part) for part in row[8].split(","))
    # of 8 levels at most: a vertex in half precision lies in a sector with its neighbour three times of four
    assert 8 < gathered < added < 8 * 8
