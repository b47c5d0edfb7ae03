"""The second kernel of a backward in two: the stored gradient of the encoding, added to the table's."""

# pyright: reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
# (to pyright a call of a jitted function never returns, and a constexpr has nothing of the value that it holds)
from __future__ import annotations

import triton
import triton.language as tl

from ._triton_encoding import _scatter
from ._triton_packing import _first_of_rays, _tile
from ._triton_rays import _each_sample
from ._triton_samples import _positions, _unit_cube


@triton.jit
def _store_features(d_features_ptr, largest_ptr, d_features, group, is_sample, LAYOUT: tl.constexpr, K: tl.constexpr):
    """Store the gradient [M, L * F] of the encoding in its place, and raise the largest of each level."""
    M: tl.constexpr = d_features.shape[0]
    at = _each_sample(group, K) * K + tl.arange(0, M) % K
    e = tl.arange(0, LAYOUT.E)[None, :]
    rounded = d_features.to(d_features_ptr.dtype.element_ty)
    tl.store(d_features_ptr + at[:, None] * LAYOUT.E + e, rounded, mask=is_sample[:, None])
    if largest_ptr is not None:
        size = tl.where(is_sample[:, None], tl.abs(d_features), 0)
        # what is no number is as good as beyond all: a maximum would leave it out
        size = tl.where(size == size, size, float("inf"))
        largest = tl.max(tl.max(tl.reshape(size, (M, LAYOUT.L, LAYOUT.F)), 2), 0)
        tl.atomic_max(largest_ptr + tl.arange(0, LAYOUT.L), largest, sem="relaxed")


@triton.jit(do_not_specialize=["n_rays", "n_samples", "first_group", "end_group"])
def _radiance_scatter_kernel(
    d_encoding_ptr,  # out, like the table, added to; int64 where there are scales
    d_features_ptr,
    scales_ptr,  # in, as the backward left them, and [L] units of the integers to one of the gradient; may be None
    group_rays_ptr,
    group_ends_ptr,
    counts_ptr,
    n_groups_ptr,
    t_rows_ptr,
    rays_o_ptr,
    rays_d_ptr,
    near_ptr,
    far_ptr,
    levels_ptr,  # in, as in the backward
    n_rays,
    n_samples,
    seed_ptr,
    first_group,
    end_group,
    zero,
    LAYOUT: tl.constexpr,
    SAMPLING: tl.constexpr,
    IS_WIDE: tl.constexpr,
):
    """``d_table[v] += weight of v * d_features`` for the samples that exist, R groups of K at a time."""
    R: tl.constexpr = SAMPLING.R
    K: tl.constexpr = SAMPLING.K
    M: tl.constexpr = R * K
    n_total = tl.load(group_ends_ptr + n_rays - 1)
    begin = _first_of_rays(tl.minimum(first_group, n_total), group_rays_ptr, group_ends_ptr, n_groups_ptr, n_total)
    stop = _first_of_rays(tl.minimum(end_group, n_total), group_rays_ptr, group_ends_ptr, n_groups_ptr, n_total)
    begin += tl.program_id(0) * R
    while begin < stop:
        group = begin + tl.arange(0, R)
        ray, _, t_starts, t_ends, exists = _tile(
            group, begin, stop, group_rays_ptr, group_ends_ptr, n_groups_ptr, counts_ptr, near_ptr, far_ptr,
            t_rows_ptr, n_samples, seed_ptr, SAMPLING
        )  # fmt: skip
        is_sample = tl.reshape(exists, (M,))
        x, y, z = _positions(rays_o_ptr, rays_d_ptr, ray, ray >= 0, 0.5 * (t_starts + t_ends), M)
        x, y, z = _unit_cube(x, y, z, SAMPLING.CONTRACT)
        at = _each_sample(group - first_group, K) * K + tl.arange(0, M) % K
        at = at[:, None] * LAYOUT.E + tl.arange(0, LAYOUT.E)[None, :]
        d_features = tl.load(d_features_ptr + at, mask=is_sample[:, None], other=0).to(x.dtype)
        _scatter(x, y, z, is_sample, d_features, d_encoding_ptr, levels_ptr, scales_ptr, LAYOUT, IS_WIDE)
        begin += tl.num_programs(0) * R
