"""The samples that the forward used, packed: groups of K, ray after ray, and who walks which of them."""

# pyright: reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
# (to pyright a call of a jitted function never returns, and a constexpr has nothing of the value that it holds)
from __future__ import annotations

import triton
import triton.language as tl

from ._triton_samples import _intervals

# tiles that a program has at least: a step of few samples is left to few programs, as each ends with a tile in part
TILES_A_PROGRAM = 4
_TILES_A_PROGRAM = tl.constexpr(TILES_A_PROGRAM)


@triton.jit(do_not_specialize=["n_rays"])
def _radiance_list_kernel(
    group_rays_ptr,  # out, [n_groups] ray of each group, ray after ray
    group_ends_ptr,  # in, [n_rays] groups of this ray and of those before it
    n_rays,
    BLOCK_R: tl.constexpr,
):
    """Packed groups: those of ray r are ``group_ends[r - 1] .. group_ends[r] - 1``."""
    ray = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    mask = ray < n_rays
    end = tl.load(group_ends_ptr + ray, mask=mask, other=0)
    at = tl.load(group_ends_ptr + ray - 1, mask=mask & (ray > 0), other=0)
    while tl.max((at < end).to(tl.int32), 0) > 0:
        tl.store(group_rays_ptr + at, ray, mask=at < end)
        at += 1


@triton.jit
def _first_of_rays(group, group_rays_ptr, group_ends_ptr, n_groups_ptr, n_total):
    """The first group, from ``group`` on, with which a ray begins."""
    is_one = group < n_total
    ray = tl.load(group_rays_ptr + group, mask=is_one, other=0).to(tl.int64)
    end = tl.load(group_ends_ptr + ray, mask=is_one, other=0)
    begin = end - tl.load(n_groups_ptr + ray, mask=is_one, other=0)
    return tl.where(is_one, tl.where(begin == group, group, end), n_total)


@triton.jit
def _range_of_program(
    group_rays_ptr,
    group_ends_ptr,
    n_groups_ptr,
    n_rays,
    first_group,
    end_group,
    R: tl.constexpr,
):
    """First group of this program, and the one behind its last: whole rays, those that begin between the two."""
    n_total = tl.load(group_ends_ptr + n_rays - 1)
    first, end = tl.minimum(first_group, n_total), tl.minimum(end_group, n_total)
    most = tl.num_programs(0).to(tl.int64)
    n_programs = tl.minimum(tl.maximum((end - first) // (R * _TILES_A_PROGRAM), 1), most)
    program = tl.minimum(tl.program_id(0).to(tl.int64), n_programs)
    begin = first + (end - first) * program // n_programs
    stop = first + (end - first) * tl.minimum(program + 1, n_programs) // n_programs
    begin = _first_of_rays(begin, group_rays_ptr, group_ends_ptr, n_groups_ptr, n_total)
    stop = _first_of_rays(stop, group_rays_ptr, group_ends_ptr, n_groups_ptr, n_total)
    return begin, stop


@triton.jit
def _tile(
    group, begin, stop, group_rays_ptr, group_ends_ptr, n_groups_ptr, counts_ptr, near_ptr, far_ptr, t_rows_ptr,
    n_samples, seed_ptr, SAMPLING: tl.constexpr,
):  # fmt: skip
    """Rays [R] of groups and their numbers in these; starts and ends of samples [R, K], and which exist. Groups before
    ``begin`` or from ``stop`` on have ray -2 and no samples.
    """
    mask = (group >= begin) & (group < stop)
    ray = tl.load(group_rays_ptr + group, mask=mask, other=-2).to(tl.int64)
    end = tl.load(group_ends_ptr + ray, mask=mask, other=0)
    number = group - end + tl.load(n_groups_ptr + ray, mask=mask, other=0)
    k = number[:, None] * SAMPLING.K + tl.arange(0, SAMPLING.K)[None, :]
    exists = mask[:, None] & (k < tl.load(counts_ptr + ray, mask=mask, other=0)[:, None])
    t_starts, t_ends = _intervals(k, ray, exists, near_ptr, far_ptr, t_rows_ptr, n_samples, seed_ptr, SAMPLING)
    return ray, number, t_starts, t_ends, exists
