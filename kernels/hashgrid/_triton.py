"""Triton kernels for hashgrid. A program owns a block of samples in one level; see README.md for the gradients.

Levels are the slow axis of the grid: one level after the other is read or written, and stays in the
second-level cache meanwhile.
"""

# pyright: reportGeneralTypeIssues=false
# (to pyright a call of a jitted function never returns)
from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from nerfkit.kernels._autograd import differentiable_gradients
from nerfkit.kernels._launch import CompileCase, ceil_div, launch

from ._reference import PRIMES, hashgrid_reference

if TYPE_CHECKING:
    from . import HashGridSpec

# samples of a program, one a thread, whose 2**d gathers are all in flight
BLOCK_N = 128
NUM_WARPS = 4
# numbers that describe a level, see _levels
_N_FIELDS = tl.constexpr(6)


@triton.jit
def _along_axis(x_ptr, level_ptr, rows, n, AXIS: tl.constexpr, D: tl.constexpr, ACC: tl.constexpr):
    """What the lower and the upper corners have from one axis in their rows, and the position between them."""
    # a plane is a volume of one layer; the compiler drops its third axis
    lower = tl.zeros(rows.shape, tl.uint32)
    upper = lower
    fraction = tl.zeros(rows.shape, ACC)
    if AXIS < D:
        x = tl.load(x_ptr + rows * D + AXIS, mask=rows < n, other=0).to(ACC)
        # comparisons: they let a NaN through to the weights and keep it from becoming an index
        x = tl.where(x < 0, 0, tl.where(x > 1, 1, x))
        p = x * (tl.load(level_ptr) - 1).to(ACC) + 0.5
        cell = tl.where(p >= 0, p, 0).to(tl.int32)
        step = tl.load(level_ptr + 3 + AXIS).to(tl.uint32)
        lower = cell.to(tl.uint32) * step
        upper = lower + step
        fraction = p - cell.to(ACC)
    return lower, upper, fraction


@triton.jit
def _entry(first, hash_mask, x, y, z):
    """Entries [BLOCK_N] in the table of corners, from what they have of each axis."""
    row = tl.where(hash_mask == 0, x + y + z, (x ^ y ^ z) & hash_mask)
    # int64 before the multiply by n_features: the table can have more than 2**31 elements
    return first + row.to(tl.int64)


@triton.jit(do_not_specialize=["n", "n_levels"])
def _hashgrid_fwd_kernel(
    out_ptr,  # out, [n, n_levels, F]
    x_ptr,
    table_ptr,
    levels_ptr,  # in, [n, D], [n_entries, F], [n_levels, _N_FIELDS]
    n,
    n_levels,
    D: tl.constexpr,
    F: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    level = tl.program_id(1)
    cols = tl.arange(0, BLOCK_F)
    mask = (rows < n)[:, None] & (cols < F)[None, :]
    level_ptr = levels_ptr + level * _N_FIELDS
    first, hash_mask = tl.load(level_ptr + 1), tl.load(level_ptr + 2).to(tl.uint32)
    x0, x1, fx = _along_axis(x_ptr, level_ptr, rows, n, 0, D, ACC)
    y0, y1, fy = _along_axis(x_ptr, level_ptr, rows, n, 1, D, ACC)
    z0, z1, fz = _along_axis(x_ptr, level_ptr, rows, n, 2, D, ACC)
    out = tl.zeros((BLOCK_N, BLOCK_F), ACC)
    for c in tl.static_range(1 << D):
        entry = _entry(first, hash_mask, x1 if c & 1 else x0, y1 if c & 2 else y0, z1 if c & 4 else z0)
        weight = (fx if c & 1 else 1 - fx) * (fy if c & 2 else 1 - fy) * (fz if c & 4 else 1 - fz)
        at = (entry * F)[:, None] + cols[None, :]
        out += weight[:, None] * tl.load(table_ptr + at, mask=mask, other=0).to(ACC)
    at = ((rows * n_levels + level) * F)[:, None] + cols[None, :]
    tl.store(out_ptr + at, out, mask=mask)


@triton.jit(do_not_specialize=["n", "n_levels"])
def _hashgrid_bwd_table_kernel(
    d_table_ptr,  # out, [n_entries, F], zeros at first; int64 where scales are given
    d_out_ptr,
    x_ptr,
    levels_ptr,  # in, [n, n_levels, F], [n, D], [n_levels, _N_FIELDS]
    scales_ptr,  # in, [n_levels] units of the integers to one of the gradient, None without integers
    n,
    n_levels,
    D: tl.constexpr,
    F: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    level = tl.program_id(1)
    cols = tl.arange(0, BLOCK_F)
    mask = (rows < n)[:, None] & (cols < F)[None, :]
    level_ptr = levels_ptr + level * _N_FIELDS
    first, hash_mask = tl.load(level_ptr + 1), tl.load(level_ptr + 2).to(tl.uint32)
    x0, x1, fx = _along_axis(x_ptr, level_ptr, rows, n, 0, D, ACC)
    y0, y1, fy = _along_axis(x_ptr, level_ptr, rows, n, 1, D, ACC)
    z0, z1, fz = _along_axis(x_ptr, level_ptr, rows, n, 2, D, ACC)
    at = ((rows * n_levels + level) * F)[:, None] + cols[None, :]
    d_out = tl.load(d_out_ptr + at, mask=mask, other=0).to(ACC)
    if scales_ptr is not None:
        d_out *= tl.load(scales_ptr + level)
    for c in tl.static_range(1 << D):
        entry = _entry(first, hash_mask, x1 if c & 1 else x0, y1 if c & 2 else y0, z1 if c & 4 else z0)
        weight = (fx if c & 1 else 1 - fx) * (fy if c & 2 else 1 - fy) * (fz if c & 4 else 1 - fz)
        at = (entry * F)[:, None] + cols[None, :]
        d_row = weight[:, None] * d_out
        if scales_ptr is not None:
            d_row = d_row.to(tl.int64)
        tl.atomic_add(d_table_ptr + at, d_row, mask=mask, sem="relaxed")


@triton.jit(do_not_specialize=["n", "n_levels"])
def _hashgrid_bwd_x_kernel(
    d_x_ptr,  # out, [n, D]
    d_out_ptr,
    x_ptr,
    table_ptr,
    levels_ptr,  # in, [n, n_levels, F], [n, D], [n_entries, F], [n_levels, _N_FIELDS]
    n,
    n_levels,
    D: tl.constexpr,
    F: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    cols = tl.arange(0, BLOCK_F)
    mask = (rows < n)[:, None] & (cols < F)[None, :]
    d_x = tl.zeros((BLOCK_N,), ACC)
    d_y = tl.zeros((BLOCK_N,), ACC)
    d_z = tl.zeros((BLOCK_N,), ACC)
    level = 0
    # one program for all levels: their sum needs no atomics and no second pass
    while level < n_levels:
        level_ptr = levels_ptr + level * _N_FIELDS
        first, hash_mask = tl.load(level_ptr + 1), tl.load(level_ptr + 2).to(tl.uint32)
        x0, x1, fx = _along_axis(x_ptr, level_ptr, rows, n, 0, D, ACC)
        y0, y1, fy = _along_axis(x_ptr, level_ptr, rows, n, 1, D, ACC)
        z0, z1, fz = _along_axis(x_ptr, level_ptr, rows, n, 2, D, ACC)
        at = ((rows * n_levels + level) * F)[:, None] + cols[None, :]
        d_out = tl.load(d_out_ptr + at, mask=mask, other=0).to(ACC) * (tl.load(level_ptr) - 1).to(ACC)
        for c in tl.static_range(1 << D):
            entry = _entry(first, hash_mask, x1 if c & 1 else x0, y1 if c & 2 else y0, z1 if c & 4 else z0)
            at = (entry * F)[:, None] + cols[None, :]
            along = tl.sum(tl.load(table_ptr + at, mask=mask, other=0).to(ACC) * d_out, axis=1)
            wx = fx if c & 1 else 1 - fx
            wy = fy if c & 2 else 1 - fy
            wz = fz if c & 4 else 1 - fz
            d_x += (along if c & 1 else -along) * wy * wz
            d_y += (along if c & 2 else -along) * wx * wz
            d_z += (along if c & 4 else -along) * wx * wy
        level += 1
    for axis in tl.static_range(D):
        x = tl.load(x_ptr + rows * D + axis, mask=rows < n, other=0)
        d = d_x if axis == 0 else (d_y if axis == 1 else d_z)
        # flat outside of the cube
        tl.store(d_x_ptr + rows * D + axis, tl.where((x >= 0) & (x <= 1), d, 0), mask=rows < n)


class HashGridTriton(torch.autograd.Function):
    """The kernels with their gradients; ``x`` and ``table`` keep their own dtypes."""

    @staticmethod
    def forward(ctx, x: Tensor, table: Tensor, spec: HashGridSpec, deterministic: bool) -> Tensor:
        """Features in the dtype of ``table``."""
        ctx.save_for_backward(x, table)
        ctx.spec, ctx.deterministic = spec, deterministic
        out = table.new_empty(len(x), spec.n_levels * spec.n_features)
        if len(x):
            args = (out, x.contiguous(), table.contiguous(), _levels(spec, x.device), len(x), spec.n_levels)
            launch(_hashgrid_fwd_kernel, _grid(x, spec), *args, **_meta(x, spec))
        return out

    @staticmethod
    def backward(ctx, d_out: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Each gradient has a kernel of its own; both compute the corners again."""
        x, table = ctx.saved_tensors
        spec, needs = ctx.spec, ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # create_graph=True: a second derivative may follow

            def reference(x: Tensor, table: Tensor) -> Tensor:
                return hashgrid_reference(x, table, spec)

            return *differentiable_gradients(reference, (x, table), needs, (d_out,)), None, None
        return *gradients(d_out, x, table, spec, ctx.deterministic, needs), None, None


def gradients(
    d_out: Tensor, x: Tensor, table: Tensor, spec: HashGridSpec, deterministic: bool, needs: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of ``x`` and ``table``, None where not needed."""
    d_out = d_out.contiguous()
    d_x = _bwd_x(d_out, x, table, spec) if needs[0] else None
    d_table = _bwd_table(d_out, x, table, spec, deterministic) if needs[1] else None
    return d_x, d_table


def _bwd_x(d_out: Tensor, x: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
    x = x.contiguous()
    d_x = torch.empty_like(x)
    if len(x):
        args = (d_x, d_out, x, table.contiguous(), _levels(spec, x.device), len(x), spec.n_levels)
        launch(_hashgrid_bwd_x_kernel, _grid(x, spec)[:1], *args, **_meta(x, spec))
    return d_x


def _bwd_table(d_out: Tensor, x: Tensor, table: Tensor, spec: HashGridSpec, deterministic: bool) -> Tensor:
    if not len(x):
        return torch.zeros_like(table)
    scales = _fixed_point_scales(d_out, x, spec) if deterministic else None
    # x has the accumulation's dtype: half-precision sums of many samples would stop growing
    sums = table.new_zeros(table.shape, dtype=x.dtype if scales is None else torch.int64)
    args = (sums, d_out, x.contiguous(), _levels(spec, x.device), scales, len(x), spec.n_levels)
    launch(_hashgrid_bwd_table_kernel, _grid(x, spec), *args, **_meta(x, spec))
    if scales is None:
        return sums.to(table.dtype)
    d_table = torch.zeros_like(table, dtype=x.dtype, memory_format=torch.contiguous_format)
    add_fixed_point(d_table, sums, scales, spec)
    return d_table.to(table.dtype)


def _fixed_point_scales(d_out: Tensor, x: Tensor, spec: HashGridSpec) -> Tensor:
    by_level = d_out.view(len(x), spec.n_levels, spec.n_features)
    largest = torch.linalg.vector_norm(by_level, torch.inf, dim=(0, 2), dtype=x.dtype)
    return torch.where(x.isnan().any(), torch.nan, fixed_point_scales(largest, len(x)))


def fixed_point_scales(largest: Tensor, n: int) -> Tensor:
    """Power of two [n_levels] with which no sum of ``n`` samples leaves 62 bits; NaN where a sum would be no number.

    ``largest`` [n_levels] is the largest gradient of the features of a level.
    """
    # a sample's weights add up to 1, so that an entry has at most n times the largest gradient
    exponents = 62 - (n - 1).bit_length() - torch.frexp(largest).exponent
    # 126 in float32: what is then dropped is below the least normal number
    exponents = exponents.clamp(max=1 - math.frexp(torch.finfo(largest.dtype).tiny)[1])
    return torch.where(largest.isfinite(), torch.ldexp(torch.ones_like(largest), exponents), torch.nan)


def add_fixed_point(d_table: Tensor, sums: Tensor, scales: Tensor, spec: HashGridSpec) -> None:
    """Add sums in integers, in units of ``1 / scales`` [n_levels], to the table's gradient."""
    for part, total, scale in zip(d_table.split(spec.sizes), sums.split(spec.sizes), scales, strict=True):
        part.add_(total.to(part.dtype) / scale)


@lru_cache(maxsize=64)
def _levels(spec: HashGridSpec, device: torch.device) -> Tensor:
    """[n_levels, 6] int64: resolution, first entry, mask of the hash (0 in a dense level), step along each axis.

    A vertex lies at the sum of vertex * step in a dense level, at their exclusive or in a hashed one, in
    uint32 arithmetic. The primes come from here because Triton takes a literal above 2**31 for int32.
    """
    rows = []
    for n, offset, size, is_dense in zip(spec.resolutions, spec.offsets, spec.sizes, spec.is_dense, strict=True):
        steps = [(n + 1) ** axis for axis in range(3)] if is_dense else PRIMES
        rows.append([n, offset, 0 if is_dense else size - 1, *steps])
    return torch.tensor(rows, dtype=torch.int64, device=device)


def _grid(x: Tensor, spec: HashGridSpec) -> tuple[int, int]:
    return ceil_div(len(x), BLOCK_N), spec.n_levels


def _meta(x: Tensor, spec: HashGridSpec) -> dict:
    return {
        "D": spec.n_dims,
        "F": spec.n_features,
        "ACC": tl.float64 if x.dtype == torch.float64 else tl.float32,
        "BLOCK_N": BLOCK_N,
        "BLOCK_F": triton.next_power_of_2(spec.n_features),
        "num_warps": NUM_WARPS,
    }


def compile_cases() -> list[CompileCase]:
    """Uses of hashgrid whose kernels are compiled ahead of time."""
    from . import HashGridSpec

    def run(dtype: torch.dtype, n_dims: int, n_features: int, *, deterministic: bool = False) -> None:
        spec = HashGridSpec(n_dims, n_features, (4, 64), log2_table_size=8)
        x = torch.zeros(3, n_dims, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
        table = torch.zeros(spec.n_entries, n_features, dtype=dtype)
        out = HashGridTriton.apply(x.requires_grad_(), table.requires_grad_(), spec, deterministic)
        out.backward(torch.zeros_like(out))  # pyright: ignore[reportOptionalMemberAccess, reportArgumentType]

    return [
        CompileCase("fp32 3-D F=4", lambda: run(torch.float32, 3, 4)),
        CompileCase("fp32 3-D F=2", lambda: run(torch.float32, 3, 2)),
        CompileCase("bf16 3-D F=4", lambda: run(torch.bfloat16, 3, 4)),
        CompileCase("fp16 2-D F=1", lambda: run(torch.float16, 2, 1)),
        CompileCase("fp32 2-D F=8", lambda: run(torch.float32, 2, 8)),
        CompileCase("fp64 3-D F=8", lambda: run(torch.float64, 3, 8)),
        CompileCase("fp32 fixed", lambda: run(torch.float32, 3, 4, deterministic=True)),
        CompileCase("fp64 fixed", lambda: run(torch.float64, 3, 2, deterministic=True)),
    ]
