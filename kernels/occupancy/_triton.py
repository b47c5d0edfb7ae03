"""Triton kernels for occupancy: densities raised by atomics, summed by parts, compared and packed."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from nerfkit.kernels._launch import CompileCase, ceil_div, launch

# cells of a program: 512 parts of a grid of 128^3, which every program of the last kernel adds up by itself
BLOCK_C = 4096
# cells that were looked at, a program
BLOCK_N = 256
# parts that are added at a time
BLOCK_P = 256
NUM_WARPS = 4


@triton.jit(do_not_specialize=["n"])
def _raise_kernel(
    densities_ptr,  # in and out, [n_cells]: float32, as integers
    cells_ptr,
    found_ptr,  # in, [n]: as densities
    n,
    BLOCK_N: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    cells = tl.load(cells_ptr + at, mask=at < n, other=0)
    # numbers >= 0 are in the order of their bits, NaN above all; a maximum knows no order of its terms
    tl.atomic_max(densities_ptr + cells, tl.load(found_ptr + at, mask=at < n, other=0), mask=at < n, sem="relaxed")


@triton.jit(do_not_specialize=["n_cells"])
def _sum_kernel(
    parts_ptr,  # out, [ceil(n_cells / BLOCK_C)] float64
    densities_ptr,  # in, [n_cells]
    n_cells,
    BLOCK_C: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * BLOCK_C + tl.arange(0, BLOCK_C)
    part = tl.load(densities_ptr + at, mask=at < n_cells, other=0).to(tl.float64)
    tl.store(parts_ptr + tl.program_id(0), tl.sum(part, axis=0))


@triton.jit(do_not_specialize=["n_cells", "n_parts", "threshold"])
def _pack_kernel(
    bits_ptr,  # out, [n_cells / 8]
    densities_ptr,
    parts_ptr,  # in, [n_cells], [n_parts]
    n_cells,
    n_parts,
    threshold,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    total = tl.zeros((BLOCK_P,), tl.float64)
    first = 0
    while first < n_parts:
        parts = first + tl.arange(0, BLOCK_P)
        total += tl.load(parts_ptr + parts, mask=parts < n_parts, other=0)
        first += BLOCK_P
    # half the mean bounds the threshold, so that a young scene that is thin everywhere is not emptied
    half_mean = (tl.sum(total, axis=0) / n_cells.to(tl.float64) * 0.5).to(tl.float32)
    # a comparison, not minimum(): a NaN empties the grid here as in the reference
    limit = tl.where(half_mean > threshold, threshold, half_mean)
    bit = tl.arange(0, 8)[None, :]
    byte = tl.program_id(0).to(tl.int64) * (BLOCK_C // 8) + tl.arange(0, BLOCK_C // 8)
    cells = 8 * byte[:, None] + bit
    density = tl.load(densities_ptr + cells, mask=cells < n_cells, other=0)
    packed = tl.sum((density > limit).to(tl.int32) << bit, axis=1)
    tl.store(bits_ptr + byte, packed.to(tl.uint8), mask=8 * byte < n_cells)


@torch.no_grad()
def update_occupancy_triton(
    densities: Tensor, bits: Tensor, cells: Tensor, found: Tensor, decay: float, threshold: float
) -> None:
    """Same contract as :func:`nerfkit.kernels.occupancy.update_occupancy`."""
    densities.mul_(decay)
    n, n_cells = len(cells), len(densities)
    if n:
        found = found.contiguous().view(torch.int32)
        arguments = densities.view(torch.int32), cells.contiguous(), found, n
        launch(_raise_kernel, (ceil_div(n, BLOCK_N),), *arguments, BLOCK_N=BLOCK_N, num_warps=NUM_WARPS)
    n_parts = ceil_div(n_cells, BLOCK_C)
    parts = densities.new_empty(n_parts, dtype=torch.float64)
    launch(_sum_kernel, (n_parts,), parts, densities, n_cells, BLOCK_C=BLOCK_C, num_warps=NUM_WARPS)
    numbers = n_cells, n_parts, float(threshold)
    meta = {"BLOCK_C": BLOCK_C, "BLOCK_P": BLOCK_P, "num_warps": NUM_WARPS}
    launch(_pack_kernel, (n_parts,), bits, densities, parts, *numbers, **meta)


def compile_cases() -> list[CompileCase]:
    """The use of occupancy, whose kernels are compiled ahead of time."""

    def run() -> None:
        densities, bits = torch.zeros(64), torch.zeros(8, dtype=torch.uint8)
        update_occupancy_triton(densities, bits, torch.zeros(3, dtype=torch.int64), torch.zeros(3), 0.95, 0.1)

    return [CompileCase("fp32", run)]
