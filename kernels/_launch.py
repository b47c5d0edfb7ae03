"""Where Triton kernels are launched, so that launches can also be listed on a machine without a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["CompileCase", "Launch", "ceil_div", "launch", "record_launches"]


@dataclass(frozen=True)
class Launch:
    """One launch as an operation made it: what its kernel is compiled for."""

    kernel: Any
    """the ``@triton.jit`` function"""
    args: tuple[Any, ...]
    """positional arguments: tensors, numbers, None"""
    meta: Mapping[str, Any]
    """constexprs and options by name, ``num_warps`` among them"""


@dataclass(frozen=True)
class CompileCase:
    """One way to use an operation; ``scripts/compile_kernels.py`` compiles what it launches."""

    config: str
    """what sets the case apart, for the table: a dtype, a size"""
    run: Callable[[], object]
    """calls the operation, forward and backward; its results are not looked at"""
    spill_budget: int = 0
    """bytes a thread that may spill to local memory"""
    spill_reason: str = ""
    """why a spill is accepted; required where there is a budget"""
    shared_bounds: tuple[int, int] | None = None
    """bytes of shared memory that the operation counts for it before it is launched, on NVIDIA and on AMD"""
    leaves_out: tuple[str, ...] = ()
    """targets on which the operation does not use these kernels"""
    is_quick: bool = True
    """whether ``--quick`` compiles it too: the uses that most runs have, as a large kernel takes ten seconds"""

    def __post_init__(self):
        if self.spill_budget and not self.spill_reason:
            raise ValueError(f"case {self.config!r}: a spill budget of {self.spill_budget} bytes needs a reason")


_recorded: list[Launch] | None = None


def ceil_div(a: int, b: int) -> int:
    """``a / b`` rounded up, for grids."""
    return -(-a // b)


def launch(kernel: Any, grid: tuple[int, ...], *args: Any, **meta: Any) -> None:
    """Run ``kernel[grid](*args, **meta)`` on the device of its first tensor, or note it for a recorder."""
    # a * b + c in one rounding, said aloud: Triton's default for it changes between versions
    meta = {"enable_fp_fusion": True, **meta}
    if _recorded is not None:
        _recorded.append(Launch(kernel, args, meta))
        return
    first = next(x for x in args if isinstance(x, Tensor))
    with torch.cuda.device_of(first):  # Triton launches on the current device, whatever its tensors are on
        kernel[grid](*args, **meta)


@contextlib.contextmanager
def record_launches() -> Iterator[list[Launch]]:
    """List launches instead of making them, for tensors of any device; outputs stay unwritten."""
    global _recorded
    outer, _recorded = _recorded, []
    try:
        yield _recorded
    finally:
        _recorded = outer
