#!/usr/bin/env python
"""Compile every Triton kernel for NVIDIA and AMD GPUs that need not be here, and check what came out.

Each ``kernels/<op>/_triton.py`` lists uses of its operation in ``compile_cases()``. A use is run with its
launches recorded instead of made, so that a kernel is compiled with the argument types, constexprs and warps
that it is launched with. A compile error, local memory above the case's budget (0 unless it gives a reason)
or shared memory above what the target grants one program ends with exit code 1.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nerfkit.kernels._launch import CompileCase, Launch

TARGETS = ["cuda:80", "cuda:90", "cuda:120", "hip:gfx942"]

# KiB of shared memory that one program may have; Triton compiles beyond it and fails at the launch.
# CUDA C++ Programming Guide, table "Technical Specifications per Compute Capability"; for AMD the LDS of a
# work-group in the CDNA 3 and RDNA 3 instruction set guides
SHARED_LIMIT_KIB = {
    "cuda:75": 64,
    "cuda:80": 163,
    "cuda:86": 99,
    "cuda:89": 99,
    "cuda:90": 227,
    "cuda:100": 227,
    "cuda:120": 99,
    "hip:gfx90a": 64,
    "hip:gfx942": 64,
    "hip:gfx1100": 64,
}

TYPE_NAMES = {
    "float16": "fp16",
    "bfloat16": "bf16",
    "float32": "fp32",
    "float64": "fp64",
    "bool": "i1",
    "uint8": "u8",
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
    "int64": "i64",
}


@dataclass
class Row:
    """What one kernel came to on one target; ``error`` is empty where it keeps within its bounds."""

    op: str
    kernel: str
    target: str
    config: str
    registers: int | None = None
    spills: int | None = None  # bytes of local memory a thread
    spill_budget: int = 0
    shared: int | None = None  # bytes a program
    shared_limit: int = 0
    shared_bound: int | None = None  # what the operation itself counts
    error: str = ""


@dataclass(frozen=True)
class Specialised:
    """A launch as the compiler wants it."""

    signature: dict[str, str]
    constexprs: dict[tuple[int], Any]
    attrs: dict[tuple[int], list]
    options: dict[str, Any]


def main(argv: list[str] | None = None) -> int:
    """Compile, print a table, and say by the exit code whether all is well."""
    args = _parser().parse_args(argv)
    if os.environ.get("TRITON_INTERPRET") == "1":
        print("compile_kernels: unset TRITON_INTERPRET; interpreted kernels cannot be compiled", file=sys.stderr)
        return 2
    if importlib.util.find_spec("triton") is None:
        print("compile_kernels: needs the package triton, which is not installed here", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory(prefix="nerfkit-compile-") as cache:
        os.environ["TRITON_CACHE_DIR"] = cache  # never report what an older source compiled to
        rows = []
        for row in compile_all(args.targets, args.ops, is_quick=args.quick):
            rows.append(row)
            _print_row(row)
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    n_bad = sum(bool(row.error) for row in rows)
    print(f"{len(rows)} kernels compiled, {n_bad} with a fault")
    return 1 if n_bad or not rows else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    known = sorted(SHARED_LIMIT_KIB)
    parser.add_argument(
        "--targets",
        nargs="+",
        default=TARGETS,
        choices=known,
        metavar="TARGET",
        help=f"of {', '.join(known)}",
    )
    parser.add_argument("--ops", nargs="+", default=find_ops(), choices=find_ops(), help="only these operations")
    parser.add_argument("--quick", action="store_true", help="leave out the cases that few runs have")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table as a list of objects")
    return parser


def find_ops() -> list[str]:
    """Operations that have Triton kernels: folders of nerfkit.kernels with a _triton.py."""
    import nerfkit.kernels

    return sorted(f.parent.name for folder in nerfkit.kernels.__path__ for f in Path(folder).glob("*/_triton.py"))


def compile_all(targets: list[str], ops: list[str], *, is_quick: bool = False) -> Iterator[Row]:
    """One row for each distinct launch and target; of the cases marked quick alone, if ``is_quick``.

    Processes, not threads: LLVM's options are a process's own, and a target's would reach into another's.
    """
    tasks = [(op, target, is_quick) for op in ops for target in targets]
    if len(tasks) == 1:
        yield from compile_op(*tasks[0])
        return
    n_processes = min(os.cpu_count() or 1, len(tasks))
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        for rows in pool.map(compile_op, *zip(*tasks, strict=True)):
            yield from rows


def compile_op(op: str, target: str, is_quick: bool) -> list[Row]:
    """The rows of an operation on one target."""
    module = importlib.import_module(f"nerfkit.kernels.{op}._triton")
    cases = getattr(module, "compile_cases", None)
    if cases is None:
        return [Row(op, "", target, "", error="its _triton.py has no compile_cases()")]
    launches = list(_distinct_launches(cases()))
    seen = {launch.kernel.__name__ for _, launch in launches}
    missed = [name for name in _kernel_names(module) if name not in seen]
    rows = [Row(op, name, target, "", error="no case of compile_cases() launches it") for name in missed]
    for case, launch in launches:
        if target not in case.leaves_out and (case.is_quick or not is_quick):
            rows.append(check(compile_launch(op, case, launch, target)))
    return rows


def _kernel_names(module: Any) -> list[str]:
    # by the project's naming: a jitted function that is launched ends in _kernel, one that is called does not
    return [name for name in vars(module) if name.endswith("_kernel")]


def _distinct_launches(cases: list[CompileCase]) -> Iterator[tuple[CompileCase, Launch]]:
    from nerfkit.kernels._launch import record_launches

    seen = set()
    for case in cases:
        with record_launches() as launches:
            case.run()
        for launch in launches:
            key = (launch.kernel.__name__, repr(specialise(launch)))
            if key not in seen:
                seen.add(key)
                yield case, launch


def specialise(launch: Launch) -> Specialised:
    """Types and constants of a launch, by the rules with which Triton specialises on arguments."""
    import torch

    signature, constexprs, attrs = {}, {}, {}
    names = launch.kernel.arg_names
    positional = dict(zip(names, launch.args, strict=False))
    for i, param in enumerate(launch.kernel.params):
        is_constexpr = param.name in launch.meta
        value = launch.meta[param.name] if is_constexpr else positional[param.name]
        may_specialise = not param.do_not_specialize
        if is_constexpr or value is None or (isinstance(value, int) and value == 1 and may_specialise):
            signature[param.name] = "constexpr"
            constexprs[(i,)] = value
            continue
        if isinstance(value, torch.Tensor):
            signature[param.name] = "*" + TYPE_NAMES[str(value.dtype).removeprefix("torch.")]
            is_aligned = True  # torch allocates at multiples of 256 bytes
        else:
            signature[param.name] = _scalar_type(value)
            is_aligned = isinstance(value, int) and value % 16 == 0 and may_specialise
        if is_aligned:
            attrs[(i,)] = [["tt.divisibility", 16]]
    options = {k: v for k, v in launch.meta.items() if k not in names}
    return Specialised(signature, constexprs, attrs, options)


def _scalar_type(value: float) -> str:
    if isinstance(value, bool):
        return "i1"
    if isinstance(value, int):
        return "i32" if -(2**31) <= value < 2**31 else "i64"
    return "fp32"


def compile_launch(op: str, case: CompileCase, launch: Launch, target: str) -> Row:
    """Compile one launch for one target and read its registers, local and shared memory."""
    import triton
    from triton.compiler import ASTSource

    row = Row(op, launch.kernel.__name__, target, case.config, spill_budget=case.spill_budget)
    row.shared_limit = SHARED_LIMIT_KIB[target] * 1024
    if case.shared_bounds is not None:
        row.shared_bound = case.shared_bounds[target.startswith("hip")]
    special = specialise(launch)
    source = ASTSource(launch.kernel, special.signature, constexprs=special.constexprs, attrs=special.attrs)
    try:
        compiled = triton.compile(source, target=_gpu_target(target), options=special.options)
        resources = _nvidia_resources if target.startswith("cuda") else _amd_resources
        row.registers, row.spills, shared = resources(compiled)
        row.shared = max(shared, compiled.metadata.shared)
    # every stage of the compiler raises errors of its own; each is this kernel's fault on this target
    except Exception as error:
        row.error = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return row


def check(row: Row) -> Row:
    """Note in ``error`` which bound a compiled kernel breaks."""
    if row.error or row.spills is None or row.shared is None:
        return row
    if row.spills > row.spill_budget:
        row.error = f"spills {row.spills} bytes a thread; its budget is {row.spill_budget}"
    elif row.shared > row.shared_limit:
        row.error = f"needs {row.shared} bytes of shared memory; {row.target} grants {row.shared_limit}"
    elif row.shared_bound is not None and row.shared > row.shared_bound:
        row.error = f"needs {row.shared} bytes of shared memory; the operation counts {row.shared_bound}"
    return row


def _gpu_target(target: str) -> Any:
    from triton.backends.compiler import GPUTarget

    backend, _, arch = target.partition(":")
    if backend == "cuda":
        return GPUTarget("cuda", int(arch), 32)
    return GPUTarget("hip", arch, 64 if arch.startswith("gfx9") else 32)


def _nvidia_resources(compiled: Any) -> tuple[int, int, int]:
    """Registers, bytes of local memory and of static shared memory, from the machine code itself."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(compiled.asm["cubin"])
        cubin.flush()
        usage = subprocess.run([tool, "-res-usage", cubin.name], capture_output=True, text=True, check=True).stdout
    # the stack frame holds spills and local arrays alike; LOCAL is what older tools call it
    local = max(_number(usage, r"STACK:(\d+)"), _number(usage, r"LOCAL:(\d+)"))
    return _number(usage, r"REG:(\d+)"), local, _number(usage, r"SHARED:(\d+)")


def _amd_resources(compiled: Any) -> tuple[int, int, int]:
    """Vector registers, bytes of scratch a lane and of static LDS, from the kernel's metadata."""
    metadata = compiled.asm["amdgcn"]
    scratch = _number(metadata, r"\.private_segment_fixed_size:\s*(\d+)")
    spilled = 4 * _number(metadata, r"\.vgpr_spill_count:\s*(\d+)")
    lds = _number(metadata, r"\.group_segment_fixed_size:\s*(\d+)")
    return _number(metadata, r"\.vgpr_count:\s*(\d+)"), max(scratch, spilled), lds


def _number(text: str, pattern: str) -> int:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"the compiler's report has no {pattern!r}: {text[:200]!r}")
    return int(found[1])


def _print_row(row: Row) -> None:
    cells = [row.op, row.kernel, row.config, row.target]
    widths = [12, 28, 16, 11]
    text = " ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
    if row.registers is not None:
        text += f" {row.registers:4} registers {row.spills:5} B spilled {row.shared:7} B shared"
    print(text + (f"  FAULT: {row.error}" if row.error else ""), flush=True)


if __name__ == "__main__":
    sys.exit(main())
