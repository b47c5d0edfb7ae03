"""The GPU benchmark without a GPU: a rehearsal in the interpreter, and what it does with a kernel that is wrong."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

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
    checked, timed = (line for line in done.stdout.splitlines() if line.startswith("| composite"))
    assert float(checked.split("|")[3]) < 2e-5
    assert float(timed.split("|")[3]) > 0


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

            return cases.Problem(run, [x], 1.0, 1.0)

        return cases.Case("twice", "test", make)


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
            errors = [bench.relative_error(a, b) for a, b in zip(got, want, strict=True)]
            assert max(errors) <= case.tolerance, case


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
