"""Triton kernel for harmonics: all columns of a direction in one launch, rows written whole."""

# pyright: reportGeneralTypeIssues=false
# (to pyright a call of a jitted function never returns)
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from nerfkit.kernels._autograd import differentiable_gradients
from nerfkit.kernels._launch import CompileCase, ceil_div, launch

from ._reference import harmonics_reference

# 32 directions of 32 columns are 8 numbers a thread
BLOCK_N = 32
NUM_WARPS = 4

_PI = tl.constexpr(3.141592653589793)


@triton.jit
def _put(out, k: tl.constexpr, value):
    """The tile with ``value`` in its column k."""
    columns = tl.arange(0, out.shape[1])
    return tl.where((columns == k)[None, :], value[:, None], out)


@triton.jit
def _root(k, like):
    """sqrt(k / pi) in the dtype of the sums."""
    return tl.sqrt(tl.full((1,), k, like.dtype) / _PI)


@triton.jit(do_not_specialize=["n"])
def _harmonics_kernel(
    out_ptr,
    dirs_ptr,  # out, in; [n, (DEGREE + 1)^2], [n, 3]
    n,
    DEGREE: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """The polynomials of _reference.py, in its order."""
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    x = tl.load(dirs_ptr + 3 * rows, mask=rows < n, other=0).to(ACC)
    y = tl.load(dirs_ptr + 3 * rows + 1, mask=rows < n, other=0).to(ACC)
    z = tl.load(dirs_ptr + 3 * rows + 2, mask=rows < n, other=0).to(ACC)
    xx, yy, zz = x * x, y * y, z * z
    out = tl.zeros((BLOCK_N, BLOCK_C), ACC)
    out = _put(out, 0, _root(1 / 4, x) + 0 * x)
    c = _root(3 / 4, x)
    out = _put(out, 1, -c * y)
    out = _put(out, 2, c * z)
    out = _put(out, 3, -c * x)
    if DEGREE >= 2:
        c = _root(15 / 4, x)
        out = _put(out, 4, c * (x * y))
        out = _put(out, 5, -c * (y * z))
        out = _put(out, 6, _root(5 / 16, x) * (2 * zz - xx - yy))
        out = _put(out, 7, -c * (x * z))
        out = _put(out, 8, c / 2 * (xx - yy))
    if DEGREE >= 3:
        across = 4 * zz - xx - yy
        out = _put(out, 9, -_root(35 / 32, x) * y * (3 * xx - yy))
        out = _put(out, 10, _root(105 / 4, x) * (x * y) * z)
        out = _put(out, 11, -_root(21 / 32, x) * y * across)
        out = _put(out, 12, _root(7 / 16, x) * z * (2 * zz - 3 * (xx + yy)))
        out = _put(out, 13, -_root(21 / 32, x) * x * across)
        out = _put(out, 14, _root(105 / 4, x) / 2 * z * (xx - yy))
        out = _put(out, 15, -_root(35 / 32, x) * x * (xx - 3 * yy))
    if DEGREE >= 4:
        rho = xx + yy
        out = _put(out, 16, _root(315 / 16, x) * (x * y) * (xx - yy))
        out = _put(out, 17, -_root(315 / 32, x) * (y * z) * (3 * xx - yy))
        out = _put(out, 18, _root(45 / 16, x) * (x * y) * (6 * zz - rho))
        out = _put(out, 19, -_root(45 / 32, x) * (y * z) * (4 * zz - 3 * rho))
        out = _put(out, 20, _root(9 / 256, x) * (8 * zz * (zz - 3 * rho) + 3 * rho * rho))
        out = _put(out, 21, -_root(45 / 32, x) * (x * z) * (4 * zz - 3 * rho))
        out = _put(out, 22, _root(45 / 16, x) / 2 * (xx - yy) * (6 * zz - rho))
        out = _put(out, 23, -_root(315 / 32, x) * (x * z) * (xx - 3 * yy))
        out = _put(out, 24, _root(315 / 16, x) / 4 * (xx * (xx - 3 * yy) - yy * (3 * xx - yy)))
    N_COLUMNS: tl.constexpr = (DEGREE + 1) * (DEGREE + 1)
    columns = tl.arange(0, BLOCK_C)
    at = rows[:, None] * N_COLUMNS + columns[None, :]
    tl.store(out_ptr + at, out, mask=(rows < n)[:, None] & (columns < N_COLUMNS)[None, :])


class Harmonics(torch.autograd.Function):
    """The kernel; the gradient, which only corrected cameras ask for, by the definition."""

    @staticmethod
    def forward(ctx, dirs: Tensor, degree: int) -> Tensor:
        """Values in the dtype of ``dirs``; degree 1 at least."""
        ctx.save_for_backward(dirs)
        ctx.degree = degree
        n_columns = (degree + 1) ** 2
        out = dirs.new_empty(len(dirs), n_columns)
        if len(dirs):
            launch(
                _harmonics_kernel, (ceil_div(len(dirs), BLOCK_N),), out, dirs.contiguous(), len(dirs),
                DEGREE=degree, ACC=tl.float64 if dirs.dtype == torch.float64 else tl.float32, BLOCK_N=BLOCK_N,
                BLOCK_C=triton.next_power_of_2(n_columns), num_warps=NUM_WARPS,
            )  # fmt: skip
        return out

    @staticmethod
    def backward(ctx, d_out: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Derivatives of polynomials, by autograd; differentiable where that is asked for."""
        (dirs,) = ctx.saved_tensors

        def reference(dirs: Tensor) -> Tensor:
            return harmonics_reference(dirs, ctx.degree)

        if torch.is_grad_enabled():
            return *differentiable_gradients(reference, (dirs,), (True,), (d_out,)), None
        with torch.enable_grad():
            dirs = dirs.detach().requires_grad_()
            return *torch.autograd.grad(reference(dirs), dirs, d_out, materialize_grads=True), None


def harmonics_triton(dirs: Tensor, degree: int) -> Tensor:
    """Same contract as :func:`nerfkit.kernels.harmonics.harmonics`."""
    return Harmonics.apply(dirs, degree)  # pyright: ignore[reportReturnType]


def compile_cases() -> list[CompileCase]:
    """Uses of harmonics whose kernel is compiled ahead of time."""

    def run(dtype: torch.dtype, degree: int) -> None:
        harmonics_triton(torch.zeros(64, 3, dtype=dtype), degree)

    return [
        CompileCase("fp32 degree 3", lambda: run(torch.float32, 3)),
        CompileCase("fp32 degree 4", lambda: run(torch.float32, 4)),
        CompileCase("fp16 degree 2", lambda: run(torch.float16, 2)),
        CompileCase("bf16 degree 3", lambda: run(torch.bfloat16, 3)),
        CompileCase("fp64 degree 4", lambda: run(torch.float64, 4)),
    ]
