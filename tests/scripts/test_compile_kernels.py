"""compile_kernels: what it compiles is what is launched, and each fault ends with exit code 1."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import INTERPRET

pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(INTERPRET, reason="interpreted kernels cannot be compiled")
SCRIPT = Path(__file__).parents[2] / "scripts" / "compile_kernels.py"


@pytest.fixture
def script(monkeypatch, tmp_path):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))  # main() sets it; put back afterwards
    spec = importlib.util.spec_from_file_location("compile_kernels", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "compile_kernels", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def with_cases(monkeypatch, cases):
    """Let fourier, the smallest of the operations, list these cases."""
    from nerfkit.kernels.fourier import _triton

    monkeypatch.setattr(_triton, "compile_cases", lambda: cases)
    return _triton


def forward_case(**budget):
    from nerfkit.kernels._launch import CompileCase
    from nerfkit.kernels.fourier._triton import Fourier

    return CompileCase("fp32", lambda: Fourier.apply(torch.zeros(64, 3), torch.zeros(16, 3)), **budget)


def run_one(script, tmp_path, target="cuda:90"):
    code = script.main(["--targets", target, "--ops", "fourier", "--json", str(tmp_path / "rows.json")])
    return code, json.loads((tmp_path / "rows.json").read_text())


@pytest.mark.parametrize("target", ["cuda:90", "hip:gfx942"])
def test_composite_compiles_without_spills(script, tmp_path, capsys, target):
    code = script.main(["--targets", target, "--ops", "composite", "--json", str(tmp_path / "rows.json")])
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert code == 0, rows
    assert {row["kernel"] for row in rows} == {"_composite_fwd_kernel", "_composite_bwd_kernel"}
    for row in rows:
        assert row["op"] == "composite" and row["target"] == target and row["config"] and not row["error"]
        assert row["registers"] > 8 and row["spills"] == row["spill_budget"] == 0
        assert 0 <= row["shared"] <= row["shared_limit"]
    assert f"{len(rows)} kernels compiled, 0 with a fault" in capsys.readouterr().out


@pytest.mark.parametrize("index", [0, 1, 2], ids=["forward", "list", "backward"])
def test_radiance_counts_do_not_recompile(script, index):
    """Forward and backward are the same kernels whatever the counts of rays and samples and the seed."""
    from nerfkit.kernels._launch import record_launches
    from nerfkit.kernels.radiance import RegularSampling, _cases

    variants = set()
    for n, n_samples, seed in ((1, 1, 0), (7, 48, 1), (16, 16, 16), (1000, 100, 2**31 - 1)):
        with record_launches() as launches:
            _cases.train(_cases.fourier_field(16, 1), RegularSampling(n_samples), n_rays=n, seed=seed)
        variants.add(repr(script.specialise(launches[index])))
    assert len(variants) == 1


def test_quick_leaves_out_what_is_not(script, monkeypatch, tmp_path):
    with_cases(monkeypatch, [forward_case(is_quick=False), *script_cases()])
    code = script.main(["--quick", "--targets", "cuda:90", "--ops", "fourier", "--json", str(tmp_path / "rows.json")])
    assert {row["config"] for row in json.loads((tmp_path / "rows.json").read_text())} == {"fp32 3x128"} and code == 0


def script_cases():
    from nerfkit.kernels.fourier._triton import compile_cases

    return compile_cases()[:1]


def test_every_operation_with_kernels_is_found(script):
    assert {"adam", "composite", "fourier", "hashgrid", "march", "mlp"} <= set(script.find_ops())


def test_signature_is_that_of_the_launch(script):
    from nerfkit.kernels._launch import record_launches
    from nerfkit.kernels.composite._triton import BLOCK_S, NUM_WARPS, composite_triton

    n = 48
    samples = [torch.zeros(n, dtype=torch.bfloat16), torch.zeros(n, 3), torch.zeros(n), torch.zeros(n)]
    with record_launches() as launches:
        composite_triton(*samples, packed_info=torch.tensor([[0, n]]), bkgd_rgb=None)
    (launch,) = launches
    special = script.specialise(launch)
    names = launch.kernel.arg_names
    assert special.signature["sigmas_ptr"] == "*bf16" and special.signature["packed_info_ptr"] == "*i64"
    # what is not given is a constant; what is counted must not be one, whatever its value
    assert special.constexprs[(names.index("bkgd_rgb_ptr"),)] is None
    assert special.constexprs[(names.index("BLOCK_S"),)] == BLOCK_S
    assert special.signature["n_samples"] == "i32" and (names.index("n_samples"),) not in special.attrs
    assert special.attrs[(names.index("rgbs_ptr"),)] == [["tt.divisibility", 16]]
    assert special.options == {"num_warps": NUM_WARPS, "enable_fp_fusion": True}


@pytest.mark.parametrize(
    "op",
    ["adam", "composite", "distortion", "fourier", "hashgrid", "march", "mlp", "mlp half", "occupancy", "resample"],
)
def test_counts_do_not_recompile(script, op):
    """Other counts of rays and samples, 1 and multiples of 16 among them, are the same kernel."""
    from nerfkit.kernels._launch import record_launches

    variants = set()
    for n in (1, 7, 16, 100):
        with record_launches() as launches:
            launch_with(op, n)
        variants.add(repr([script.specialise(launch) for launch in launches]))
    assert len(variants) == 1


def launch_with(op, n):
    from nerfkit.kernels.adam._triton import adam_triton
    from nerfkit.kernels.composite._triton import composite_triton
    from nerfkit.kernels.distortion._triton import distortion_triton
    from nerfkit.kernels.fourier._triton import Fourier
    from nerfkit.kernels.hashgrid import HashGridSpec
    from nerfkit.kernels.hashgrid._triton import HashGridTriton
    from nerfkit.kernels.march._triton import march_triton
    from nerfkit.kernels.mlp._triton import mlp_triton
    from nerfkit.kernels.occupancy._triton import update_occupancy_triton
    from nerfkit.kernels.resample._triton import resample_triton

    x = torch.zeros(n, 3, requires_grad=True)
    if op == "adam":
        # the number of the step and the learning rate change, too
        numbers = torch.zeros(n, 3), torch.zeros(n, 3), torch.zeros(n, 3), torch.zeros(n, 3)
        adam_triton(*numbers, n, 1.0 / n, (0.9, 0.99), 1e-15, True)
    elif op == "distortion":
        samples = torch.zeros(n, n + 1, requires_grad=True)
        distortion_triton(samples, samples.detach(), samples.detach(), None, False).sum().backward()
    elif op == "occupancy":
        grid = torch.zeros(8 * n), torch.zeros(n, dtype=torch.uint8)
        update_occupancy_triton(*grid, torch.zeros(n, dtype=torch.int64), torch.zeros(n), 0.9, 1.0 / n)
    elif op == "resample":
        samples = torch.zeros(n, n + 1)
        resample_triton(samples, samples, samples, n, None, None, n, 0.0)
    elif op == "fourier":
        Fourier.apply(x, torch.zeros(20, 3, requires_grad=True)).sum().backward()
    elif op == "hashgrid":
        # as many levels as samples: their number is a count, too
        spec = HashGridSpec(3, 2, (4,) * n, log2_table_size=4)
        HashGridTriton.apply(x, torch.zeros(spec.n_entries, 2, requires_grad=True), spec, False).sum().backward()
    elif op.startswith("mlp"):
        # as many networks as samples: their number is a count, too
        dtype = torch.float16 if op == "mlp half" else torch.float32
        x = torch.zeros(n, n, 3, dtype=dtype, requires_grad=True)
        weights = [torch.zeros(n, a, b, dtype=dtype, requires_grad=True) for a, b in [(3, 8), (8, 2)]]
        mlp_triton(x, weights, [None, None], "sine", 1.0, "none").sum().backward()
    elif op == "march":
        # a resolution and a bound of samples are counts, too
        bits = torch.zeros((n**3 + 7) // 8, dtype=torch.uint8)
        ends = torch.zeros(n)
        march_triton(x, x, ends, ends, bits, n, 0.1, 0.0, False, ends, n)
    else:
        counts = torch.tensor([[0, n]])
        composite_triton(torch.zeros(n), x, torch.zeros(n), torch.zeros(n), counts, None)[0].sum().backward()


@pytest.mark.parametrize("case", [0, 1], ids=["straight", "contract"])
def test_march_fuses_no_operations(script, case):
    """One rounding instead of two would move samples across the borders of cells."""
    import triton
    from triton.compiler import ASTSource

    from nerfkit.kernels._launch import record_launches
    from nerfkit.kernels.march._triton import compile_cases

    with record_launches() as launches:
        compile_cases()[case].run()
    for launch in launches:
        special = script.specialise(launch)
        source = ASTSource(launch.kernel, special.signature, constexprs=special.constexprs, attrs=special.attrs)
        assert special.options["enable_fp_fusion"] is False
        ptx = triton.compile(source, target=script._gpu_target("cuda:90"), options=special.options).asm["ptx"]
        assert "fma." not in ptx
        assert ("div.rn.f32" in ptx) == (case == 1) and "div.full" not in ptx


def test_spills_above_the_budget_are_a_fault(script, monkeypatch, tmp_path, capsys):
    _triton = with_cases(monkeypatch, [forward_case(spill_budget=16, spill_reason="a test")])
    monkeypatch.setattr(script, "_kernel_names", lambda module: [])
    monkeypatch.setattr(script, "_nvidia_resources", lambda compiled: (40, 24, 0))
    code, rows = run_one(script, tmp_path)
    assert code == 1 and rows[0]["spills"] == 24 and rows[0]["spill_budget"] == 16
    assert "FAULT: spills 24 bytes a thread; its budget is 16" in capsys.readouterr().out
    monkeypatch.setattr(script, "_nvidia_resources", lambda compiled: (40, 16, 0))
    assert run_one(script, tmp_path)[0] == 0


def test_shared_memory_above_the_limit_is_a_fault(script, monkeypatch, tmp_path, capsys):
    with_cases(monkeypatch, [forward_case()])
    monkeypatch.setattr(script, "_kernel_names", lambda module: [])
    monkeypatch.setattr(script, "_nvidia_resources", lambda compiled: (40, 0, 100 * 1024))
    assert run_one(script, tmp_path, "cuda:90")[0] == 0
    code, rows = run_one(script, tmp_path, "cuda:120")
    assert code == 1 and rows[0]["error"] == ("needs 102400 bytes of shared memory; cuda:120 grants 101376")
    capsys.readouterr()


def test_compile_error_is_a_fault(script, monkeypatch, tmp_path, capsys):
    from nerfkit.kernels._launch import Launch

    with_cases(monkeypatch, [forward_case()])
    monkeypatch.setattr(script, "_kernel_names", lambda module: [])
    good = script.specialise

    def with_a_float_for_a_pointer(launch: Launch):
        special = good(launch)
        special.signature["x_ptr"] = "fp32"
        special.attrs.clear()
        return special

    monkeypatch.setattr(script, "specialise", with_a_float_for_a_pointer)
    code, rows = run_one(script, tmp_path)
    assert code == 1 and "CompilationError" in rows[0]["error"] and rows[0]["registers"] is None
    assert "1 with a fault" in capsys.readouterr().out


def test_kernel_without_a_case_is_a_fault(script, monkeypatch, tmp_path, capsys):
    with_cases(monkeypatch, [forward_case()])
    code, rows = run_one(script, tmp_path)
    uncovered = {row["kernel"] for row in rows if "no case" in row["error"]}
    assert code == 1 and uncovered == {"_fourier_bwd_x_kernel", "_fourier_bwd_freqs_kernel"}
    capsys.readouterr()


def test_operation_without_cases_is_a_fault(script, monkeypatch, tmp_path, capsys):
    from nerfkit.kernels.fourier import _triton

    monkeypatch.delattr(_triton, "compile_cases")
    code, rows = run_one(script, tmp_path)
    assert code == 1 and rows[0]["error"] == "its _triton.py has no compile_cases()"
    capsys.readouterr()


def test_budget_without_a_reason_is_refused():
    with pytest.raises(ValueError, match="a spill budget of 16 bytes needs a reason"):
        forward_case(spill_budget=16)


def test_unreadable_report_is_an_error(script):
    with pytest.raises(RuntimeError, match="report has no 'REG:"):
        script._number("nothing", r"REG:(\d+)")


@pytest.mark.parametrize(
    ("env", "args", "code", "message"),
    [
        ({"TRITON_INTERPRET": "1"}, [], 2, "unset TRITON_INTERPRET; interpreted kernels cannot be compiled"),
        ({}, ["--targets", "cuda:12"], 2, "invalid choice: 'cuda:12'"),
    ],
)
def test_refusals(env, args, code, message):
    run = [sys.executable, str(SCRIPT), *args]
    done = subprocess.run(run, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert done.returncode == code and message in done.stderr
    assert "Traceback" not in done.stderr and not done.stdout


def test_needs_triton(script, monkeypatch, capsys):
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: None)
    assert script.main([]) == 3
    assert "needs the package triton, which is not installed here" in capsys.readouterr().err


@pytest.mark.parametrize("counted, is_fault", [(4095, True), (4096, False), (None, False)])
def test_more_shared_memory_than_the_operation_counts_is_a_fault(script, counted, is_fault):
    """Its own check, before a launch, would let a kernel through that the GPU refuses."""
    row = script.Row("op", "kernel", "cuda:90", "case", 32, 0, shared=4096, shared_limit=65536, shared_bound=counted)
    error = script.check(row).error
    assert error == ("needs 4096 bytes of shared memory; the operation counts 4095" if is_fault else "")
