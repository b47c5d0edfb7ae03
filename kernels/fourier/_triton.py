"""Triton kernels for fourier. Programs own tiles of positions; see README.md for the backward."""

# pyright: reportGeneralTypeIssues=false
# (to pyright a call of a jitted function never returns)
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from nerfkit.kernels._autograd import differentiable_gradients
from nerfkit.kernels._launch import CompileCase, ceil_div, launch

from ._reference import fourier_reference

# phases in a tile, 16 and 8 a thread (half of it in float64): with their sines and cosines they stay in
# registers. The backward holds their gradients too: twice as many spilled on sm_80, in float64 on sm_120
TILE_FWD = 2048
TILE_BWD = 1024
NUM_WARPS = 4
# slices of d_freqs that are summed at the end; a constant, so that sums do not depend on the card
MAX_PARTIALS = 256
_TAU = tl.constexpr(2 * math.pi)


@triton.jit
def _cos_sin(cycles):
    """Cosine and sine of ``2 pi cycles``, to the last digits of float32 and float64.

    Series of our own on an eighth of a turn: the library's sine carries a slow path for large angles, with a
    table in local memory, that no phase reduced to half a cycle can take.
    """
    part = cycles - tl.floor(cycles + 0.5)  # [-1/2, 1/2)
    quarter = tl.floor(4 * part + 0.5)  # -2, -1, 0, 1, 2
    a = _TAU * (part - 0.25 * quarter)  # [-pi/4, pi/4]
    aa = a * a
    # Taylor to a^17 and a^18: below 1e-16 at pi/4
    sin = 1 - aa * (1 / 110) * (1 - aa * (1 / 156) * (1 - aa * (1 / 210) * (1 - aa * (1 / 272))))
    sin = 1 - aa * (1 / 6) * (1 - aa * (1 / 20) * (1 - aa * (1 / 42) * (1 - aa * (1 / 72) * sin)))
    sin = a * sin
    cos = 1 - aa * (1 / 132) * (1 - aa * (1 / 182) * (1 - aa * (1 / 240) * (1 - aa * (1 / 306))))
    cos = 1 - aa * (1 / 30) * (1 - aa * (1 / 56) * (1 - aa * (1 / 90) * cos))
    cos = 1 - aa * (1 / 2) * (1 - aa * (1 / 12) * cos)
    # a quarter of a turn swaps them: cos(a + pi/2) = -sin(a), sin(a + pi/2) = cos(a)
    is_odd = (quarter == 1) | (quarter == -1)
    c = tl.where(is_odd, sin, cos)
    s = tl.where(is_odd, cos, sin)
    c = tl.where((quarter == 1) | (tl.abs(quarter) == 2), -c, c)
    s = tl.where((quarter == -1) | (tl.abs(quarter) == 2), -s, s)
    return c, s


@triton.jit
def _cycles(x_ptr, freqs_ptr, rows, cols, n, m, ACC: tl.constexpr, D: tl.constexpr):
    """Phases [rows, cols], 0 outside."""
    cycles = tl.zeros((rows.shape[0], cols.shape[0]), ACC)
    for k in tl.static_range(D):
        x_k = tl.load(x_ptr + rows * D + k, mask=rows < n, other=0).to(ACC)
        freq_k = tl.load(freqs_ptr + cols * D + k, mask=cols < m, other=0).to(ACC)
        cycles += x_k[:, None] * freq_k[None, :]
    return cycles


@triton.jit
def _d_cycles(d_features_ptr, cycles, rows, cols, n, m, ACC: tl.constexpr):
    c, s = _cos_sin(cycles)
    at = rows[:, None] * (2 * m) + cols[None, :]
    mask = (rows < n)[:, None] & (cols < m)[None, :]
    d_c = tl.load(d_features_ptr + at, mask=mask, other=0).to(ACC)
    d_s = tl.load(d_features_ptr + at + m, mask=mask, other=0).to(ACC)
    return _TAU * (c * d_s - s * d_c)


@triton.jit(do_not_specialize=["n"])
def _fourier_fwd_kernel(
    features_ptr,  # out, [n, 2 * m]
    x_ptr,
    freqs_ptr,  # in, [n, D] and [m, D]
    n,
    m,
    ACC: tl.constexpr,
    D: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    # int64 before the multiply: n * 2 * m can pass 2**31
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    cols = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    c, s = _cos_sin(_cycles(x_ptr, freqs_ptr, rows, cols, n, m, ACC, D))
    at = rows[:, None] * (2 * m) + cols[None, :]
    mask = (rows < n)[:, None] & (cols < m)[None, :]
    tl.store(features_ptr + at, c, mask=mask)
    tl.store(features_ptr + at + m, s, mask=mask)


@triton.jit(do_not_specialize=["n"])
def _fourier_bwd_x_kernel(
    d_x_ptr,  # out, [n, D]
    d_features_ptr,
    x_ptr,
    freqs_ptr,  # in, [n, 2 * m], [n, D], [m, D]
    n,
    m,
    ACC: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    axes = tl.arange(0, BLOCK_D)
    d_x = tl.zeros((BLOCK_N, BLOCK_D), ACC)
    first = 0
    while first < m:
        cols = first + tl.arange(0, BLOCK_M)
        cycles = _cycles(x_ptr, freqs_ptr, rows, cols, n, m, ACC, D)
        d_cycles = _d_cycles(d_features_ptr, cycles, rows, cols, n, m, ACC)
        for k in tl.static_range(D):
            freq_k = tl.load(freqs_ptr + cols * D + k, mask=cols < m, other=0).to(ACC)
            d_x_k = tl.sum(d_cycles * freq_k[None, :], axis=1)
            d_x += tl.where(axes == k, 1, 0)[None, :] * d_x_k[:, None]
        first += BLOCK_M
    mask = (rows < n)[:, None] & (axes < D)[None, :]
    tl.store(d_x_ptr + rows[:, None] * D + axes[None, :], d_x, mask=mask)


@triton.jit(do_not_specialize=["n"])
def _fourier_bwd_freqs_kernel(
    partials_ptr,  # out, [n_partials, m, D], n_partials = number of programs along axis 0
    d_features_ptr,
    x_ptr,
    freqs_ptr,  # in, [n, 2 * m], [n, D], [m, D]
    n,
    m,
    ACC: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    cols = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    axes = tl.arange(0, BLOCK_D)
    d_freqs = tl.zeros((BLOCK_M, BLOCK_D), ACC)
    first = tl.program_id(0).to(tl.int64) * BLOCK_N
    while first < n:
        rows = first + tl.arange(0, BLOCK_N)
        cycles = _cycles(x_ptr, freqs_ptr, rows, cols, n, m, ACC, D)
        d_cycles = _d_cycles(d_features_ptr, cycles, rows, cols, n, m, ACC)
        for k in tl.static_range(D):
            x_k = tl.load(x_ptr + rows * D + k, mask=rows < n, other=0).to(ACC)
            d_freqs_k = tl.sum(d_cycles * x_k[:, None], axis=0)
            d_freqs += tl.where(axes == k, 1, 0)[None, :] * d_freqs_k[:, None]
        first += tl.num_programs(0) * BLOCK_N
    slice_ptr = partials_ptr + tl.program_id(0).to(tl.int64) * m * D
    mask = (cols < m)[:, None] & (axes < D)[None, :]
    tl.store(slice_ptr + cols[:, None] * D + axes[None, :], d_freqs, mask=mask)


class Fourier(torch.autograd.Function):
    """The kernels with their gradients; ``x`` and ``freqs`` keep their own dtypes."""

    @staticmethod
    def forward(ctx, x: Tensor, freqs: Tensor) -> Tensor:
        """Features in the dtype of ``x``."""
        ctx.save_for_backward(x, freqs)
        x, freqs = x.contiguous(), freqs.contiguous()
        n, m = x.shape[0], freqs.shape[0]
        features = x.new_empty(n, 2 * m)
        if features.numel():
            meta = _meta(x, freqs, TILE_FWD)
            grid = (ceil_div(n, meta["BLOCK_N"]), ceil_div(m, meta["BLOCK_M"]))
            launch(_fourier_fwd_kernel, grid, features, x, freqs, n, m, **meta)
        return features

    @staticmethod
    def backward(ctx, d_features: Tensor) -> tuple[Tensor | None, Tensor | None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Recompute the features; each gradient has a kernel of its own."""
        x, freqs = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: a second derivative may follow
            d_x, d_freqs = differentiable_gradients(fourier_reference, (x, freqs), ctx.needs_input_grad, [d_features])
            return d_x, d_freqs
        return gradients(d_features, x, freqs, ctx.needs_input_grad)


def gradients(
    d_features: Tensor, x: Tensor, freqs: Tensor, needs: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of ``x`` and ``freqs``, None where not needed."""
    args = d_features.contiguous(), x.contiguous(), freqs.contiguous()
    return _bwd_x(*args) if needs[0] else None, _bwd_freqs(*args) if needs[1] else None


def _bwd_x(d_features: Tensor, x: Tensor, freqs: Tensor) -> Tensor:
    if not d_features.numel():
        return torch.zeros_like(x)
    d_x = torch.empty_like(x)
    meta = _meta_bwd(x, freqs)
    grid = (ceil_div(x.shape[0], meta["BLOCK_N"]),)
    n, m = x.shape[0], freqs.shape[0]
    launch(_fourier_bwd_x_kernel, grid, d_x, d_features, x, freqs, n, m, **meta)
    return d_x


def _bwd_freqs(d_features: Tensor, x: Tensor, freqs: Tensor) -> Tensor:
    if not d_features.numel():
        return torch.zeros_like(freqs)
    n, m = x.shape[0], freqs.shape[0]
    meta = _meta_bwd(x, freqs)
    n_partials = min(ceil_div(n, meta["BLOCK_N"]), MAX_PARTIALS)
    partials = freqs.new_empty(n_partials, *freqs.shape, dtype=_acc(x, freqs))
    grid = (n_partials, ceil_div(m, meta["BLOCK_M"]))
    launch(_fourier_bwd_freqs_kernel, grid, partials, d_features, x, freqs, n, m, **meta)
    return partials.sum(0).to(freqs.dtype)


def _acc(x: Tensor, freqs: Tensor) -> torch.dtype:
    return torch.float64 if torch.float64 in (x.dtype, freqs.dtype) else torch.float32


def _meta(x: Tensor, freqs: Tensor, tile: int) -> dict:
    # powers of two between bounds: at most 3 variants, whatever the number of frequencies
    block_m = min(max(16, triton.next_power_of_2(freqs.shape[0])), 64)
    is_double = _acc(x, freqs) == torch.float64
    if is_double:
        tile //= 2
    return {
        "ACC": tl.float64 if is_double else tl.float32,
        "D": x.shape[1],
        "BLOCK_N": tile // block_m,
        "BLOCK_M": block_m,
        "num_warps": NUM_WARPS,
    }


def _meta_bwd(x: Tensor, freqs: Tensor) -> dict:
    return {**_meta(x, freqs, TILE_BWD), "BLOCK_D": triton.next_power_of_2(x.shape[1])}


def compile_cases() -> list[CompileCase]:
    """Uses of fourier whose kernels are compiled ahead of time."""

    def run(dtype: torch.dtype, d: int, m: int) -> None:
        x, freqs = torch.zeros(64, d, dtype=dtype), torch.zeros(m, d)
        features = Fourier.apply(x.requires_grad_(), freqs.to(_acc(x, freqs)).requires_grad_())
        features.backward(torch.zeros_like(features))  # pyright: ignore[reportOptionalMemberAccess]

    return [
        CompileCase("fp32 3x128", lambda: run(torch.float32, 3, 128)),
        CompileCase("bf16 3x128", lambda: run(torch.bfloat16, 3, 128)),
        CompileCase("fp16 4x20", lambda: run(torch.float16, 4, 20)),
        CompileCase(
            "fp64 4x128",
            lambda: run(torch.float64, 4, 128),
            spill_budget=8,
            spill_reason="float64 is for checks; Triton 3.6's ptxas stops at 72 registers and spills a value",
        ),
    ]
