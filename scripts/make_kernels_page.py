"""Fill the table of docs/kernels.md: largest errors of every operation, implementation and dtype against float64.

    python scripts/make_kernels_page.py

Where there is no GPU the Triton kernels run in the interpreter, in a process of its own, on fewer samples. Milliseconds
and floors come from the newest docs/benchmarks/<card>.json of scripts/bench_gpu.py, if there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from bench_gpu import N_REHEARSED, largest_error, outputs_and_gradients
from gpu_cases import CASES, HALF, Case

PAGE = Path("docs/kernels.md")
MARKS = ("<!-- table: scripts/make_kernels_page.py -->", "<!-- end of the table -->")
DTYPES = (torch.float16, torch.float32, torch.float64)
N_SAMPLES = 4099


@dataclass(frozen=True)
class Accuracy:
    """Largest error over largest value of an implementation, of its outputs and of its gradients (none: NaN)."""

    op: str
    config: str
    impl: str
    dtype: str
    values: float
    gradients: float | None


def measure(case: Case, impl: str, dtype: torch.dtype, device: str, n: int) -> Accuracy | None:
    """None where the operation has no such implementation or dtype, or would be compared with itself.

    Of networks in half precision it is that of the products, in the kernels alone.
    """
    is_half_inside = "bfloat16" in case.config
    if is_half_inside and (impl, dtype) != (case.impl, torch.float32):
        return None
    if case.is_float32_alone and (dtype != torch.float32 or impl == "reference"):
        return None
    problem = case.make(n, device, dtype)
    try:
        got = outputs_and_gradients(problem, impl)
    except (ValueError, RuntimeError):
        return None
    wanted = outputs_and_gradients(case.make(n, device, torch.float64), "reference")
    errors = [largest_error(a, b) for a, b in zip(got, wanted, strict=True)]
    n_outputs = len(errors) - len(problem.leaves)
    gradients = max(errors[n_outputs:], default=None)
    name = HALF if is_half_inside else str(dtype).removeprefix("torch.")
    config = case.config.replace("bfloat16", "half")
    return Accuracy(case.op, config, impl, name, max(errors[:n_outputs]), gradients)


def accuracies(impls: list[str], device: str, n: int) -> list[Accuracy]:
    """All that this process can measure."""
    found = [measure(case, impl, dtype, device, n) for case in CASES for impl in impls for dtype in DTYPES]
    return [row for row in found if row is not None and (row.impl, row.dtype) != ("reference", "float64")]


def interpreted() -> list[Accuracy]:
    """The Triton kernels, in a process that interprets them."""
    command = [sys.executable, __file__, "--worker"]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return [Accuracy(**row) for row in json.loads(done.stdout.splitlines()[-1])]


def measured_times() -> tuple[str, dict[tuple[str, str], dict]]:
    """The card and the rows that the GPU benchmark wrote; empty where none did."""
    for path in sorted(Path("docs/benchmarks").glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True):
        content = json.loads(path.read_text())
        if "ops" in content and "gpu" in content.get("machine", {}):
            return content["machine"]["gpu"], {(row["op"], row["config"]): row for row in content["ops"]}
    return "", {}


def _best(time: dict) -> str:
    """From a graph where that can be, as training has it."""
    return f"{time['captured_milliseconds'] or time['milliseconds']:.3f}"


def table(rows: list[Accuracy]) -> str:
    """The table, and a line on where its last columns come from."""
    gpu, times = measured_times()
    lines = [
        "| op | case | implementation | dtype | values | gradients | ms | floor ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        key = row.op, row.config.replace("half", "bfloat16")
        time = times.get(key) if row.impl == "triton" and (row.dtype == "float32" or key[1] != row.config) else None
        gradients = "none" if row.gradients is None else f"{row.gradients:.0e}"
        measured = ["", ""] if time is None else [_best(time), f"{time['floor_milliseconds']:.3f}"]
        cells = [row.op, row.config, row.impl, row.dtype, f"{row.values:.0e}", gradients, *measured]
        lines.append("| " + " | ".join(cells) + " |")
    note = f"Milliseconds: {gpu}." if gpu else "Milliseconds wait for a GPU."
    return "\n".join([*lines, "", note])


def main() -> None:
    """Measure and rewrite the page between its marks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps([asdict(row) for row in accuracies(["triton"], "cpu", N_REHEARSED)]))
        return
    if torch.cuda.is_available():
        triton = accuracies(["triton"], "cuda", N_SAMPLES)
    else:
        triton = interpreted()
    rows = accuracies(["reference", "cpu"], "cpu", N_SAMPLES) + triton
    names = [case.op for case in CASES]
    rows.sort(key=lambda row: (names.index(row.op), row.config))
    text = PAGE.read_text()
    pattern = re.escape(MARKS[0]) + ".*" + re.escape(MARKS[1])
    filled = re.sub(pattern, lambda _: f"{MARKS[0]}\n{table(rows)}\n{MARKS[1]}", text, flags=re.DOTALL)
    PAGE.write_text(filled)
    print(table(rows))
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
