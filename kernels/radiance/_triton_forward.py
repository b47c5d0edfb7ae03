"""The forward kernel: rays in, what they see out. See README.md for the formulas and the layout."""

# pyright: reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
# (to pyright a call of a jitted function never returns, and a constexpr has nothing of the value that it holds)
from __future__ import annotations

import triton
import triton.language as tl

from nerfkit.kernels.composite._triton import _alpha
from nerfkit.kernels.distortion._triton import _distance

from ._triton_encoding import _encode
from ._triton_network import _color, _density, _trunk
from ._triton_rays import _bounded, _each_sample, _of_owner, _sum_before, _sum_rows_where, _sum_where
from ._triton_samples import _intervals, _n_samples_of, _positions, _unit_cube

# rays that a program has at least: with fewer, its lanes run out of rays and its tiles of samples
RAYS_A_PROGRAM = 48
_RAYS_A_PROGRAM = tl.constexpr(RAYS_A_PROGRAM)
# counts, which never cause a recompilation
_COUNTS = ["n_rays", "n_samples", "n_freqs"]


@triton.jit
def _draw(
    is_free, next_rank, stride, end, ray, count, order_ptr, n_marched_ptr, near_ptr, far_ptr, n_samples,
    SAMPLING: tl.constexpr,
):  # fmt: skip
    """Give free lanes the next rays of the program's queue: rays [R], their counts of samples, and the queue's head."""
    rank = next_rank + (tl.cumsum(is_free.to(tl.int32), 0) - 1) * stride
    is_drawn = is_free & (rank < end)
    if SAMPLING.MARCHES:
        drawn = tl.load(order_ptr + rank, mask=is_drawn, other=0)
    else:
        drawn = rank.to(tl.int64)
    drawn_count = _n_samples_of(drawn, is_drawn, near_ptr, far_ptr, n_marched_ptr, n_samples, SAMPLING)
    next_rank += tl.sum(is_free.to(tl.int32), 0) * stride
    return tl.where(is_drawn, drawn, ray), tl.where(is_free, drawn_count, count), next_rank


@triton.jit
def _share_out(count, group, ray, t_rows_ptr, near_ptr, far_ptr, n_samples, seed_ptr, SAMPLING: tl.constexpr):
    """Which lane has which groups of the tile [lanes, groups]; the groups' rays and their numbers in these; starts and
    ends of samples [R, K], and which exist.

    Who has a ray takes a group, and where few have one, as many each as there are groups for.
    """
    R: tl.constexpr = SAMPLING.R
    K: tl.constexpr = SAMPLING.K
    slot = tl.arange(0, R)
    n_taken = _n_taken(count, group, SAMPLING)
    stop = tl.cumsum(n_taken, 0)
    begin = stop - n_taken
    owns = (begin[:, None] <= slot[None, :]) & (slot[None, :] < stop[:, None])
    g_ray, g_number = _of_owner(ray, owns), _of_owner(group - begin, owns) + slot
    k = g_number[:, None] * K + tl.arange(0, K)[None, :]
    exists = k < _of_owner(count, owns)[:, None]
    t_starts, t_ends = _intervals(k, g_ray, exists, near_ptr, far_ptr, t_rows_ptr, n_samples, seed_ptr, SAMPLING)
    return owns, g_ray, g_number, t_starts, t_ends, exists


@triton.jit
def _n_taken(count, group, SAMPLING: tl.constexpr):
    """Groups that each lane takes."""
    n_lanes = tl.sum((count > 0).to(tl.int32), 0)
    n_left = (count + SAMPLING.K - 1) // SAMPLING.K - group
    return tl.where(count > 0, tl.minimum(n_left, SAMPLING.R // tl.maximum(n_lanes, 1)), 0)


@triton.jit(do_not_specialize=_COUNTS)
def _radiance_fwd_kernel(
    rgb_ptr,
    depths_ptr,
    opacities_ptr,
    distortions_ptr,
    counts_ptr,  # out, [n_rays(, 3)], of rays that have samples; distortions may be None
    group_depths_ptr,
    n_groups_ptr,
    totals_ptr,  # out, [n_rays, most groups], [n_rays], [2, n_rays], all for the backward; may be None
    t_rows_ptr,
    n_marched_ptr,
    n_hits_ptr,
    order_ptr,  # in, as march_rows left them, and [n_rays] rays by falling n_marched; None where samples are regular
    rays_o_ptr,
    rays_d_ptr,
    near_ptr,
    far_ptr,  # in, [n_rays(, 3)]
    directions_ptr,  # in, [n_rays, S] harmonics
    encoding_ptr,
    levels_ptr,  # in, table and [4, L] levels, or frequencies [n_freqs, 3] and None
    w_ptr,
    b_ptr,  # in, [TOTAL] in the dtype of the products, and of the sums
    bkgd_rgb_ptr,  # in, [n_rays, 3]; may be None
    n_rays,
    n_samples,
    n_freqs,
    seed_ptr,  # in, [1]; None where nothing is drawn
    max_depth,
    zero,  # 0, which the compiler does not know: addresses that depend on it are not kept over the loop
    LAYOUT: tl.constexpr,
    SAMPLING: tl.constexpr,
    PRECISION: tl.constexpr,
    IS_WIDE: tl.constexpr,
):
    """``rgb = sum_i w_i c_i + T_(n+1) c_b`` with ``w_i = T_i (1 - exp(-tau_i))``, and depths, opacities, distortions.

    A program has R lanes, each with a ray at a time, and a tile of R groups of K samples. In each turn the groups are
    shared out among the lanes that have a ray, consecutive groups to a lane that takes several; a lane whose ray has
    ended writes it out and draws the next of the program's queue.
    """
    R: tl.constexpr = SAMPLING.R
    K: tl.constexpr = SAMPLING.K
    M: tl.constexpr = R * K
    ACC: tl.constexpr = b_ptr.dtype.element_ty
    column = tl.arange(0, 16)[None, :]
    most_groups = (n_samples + K - 1) // K
    # of the lanes' rays: samples, the next group, and all sums so far
    count = tl.zeros((R,), tl.int32)
    # int64: 3 times a ray, or n_samples times, can pass 2**31
    ray, next_rank = tl.zeros((R,), tl.int64), tl.program_id(0)
    group = tl.zeros((R,), tl.int32)
    n_seen = tl.zeros((R,), tl.int32)
    depth = tl.zeros((R,), ACC)
    distortion = tl.zeros((R,), ACC)
    moment = tl.zeros((R,), ACC)
    # one tile holds all sums that are weights times a value: columns 0 to 2 colour, 3 depth
    sums = tl.zeros((R, 16), ACC)
    # the queue: rays rank, rank + stride, ...; few rays are left to few programs, whose tiles they then fill
    end = n_rays
    if SAMPLING.MARCHES:
        end = tl.load(n_hits_ptr)
    stride = tl.minimum(tl.maximum(end // _RAYS_A_PROGRAM, 1), tl.num_programs(0))
    next_rank = tl.where(next_rank < stride, next_rank, end)
    turn = 0
    ray, count, next_rank = _draw(
        count == 0, next_rank, stride, end, ray, count, order_ptr, n_marched_ptr, near_ptr, far_ptr, n_samples, SAMPLING
    )
    while (tl.max(count, 0) > 0) | (next_rank < end):
        none = turn * zero
        _, g_ray, _, t_starts, t_ends, exists = _share_out(
            count, group, ray, t_rows_ptr, near_ptr, far_ptr, n_samples, seed_ptr, SAMPLING
        )
        is_sample = tl.reshape(exists, (M,))
        t_mids = 0.5 * (t_starts + t_ends)
        x, y, z = _positions(rays_o_ptr, rays_d_ptr, g_ray, tl.max(exists.to(tl.int32), 1) > 0, t_mids, M)
        x, y, z = _unit_cube(x, y, z, SAMPLING.CONTRACT)
        features = _encode(
            x, y, z, is_sample, encoding_ptr, levels_ptr + none if LAYOUT.IS_HASH else None, n_freqs,
            LAYOUT, IS_WIDE, w_ptr.dtype.element_ty,
        )  # fmt: skip
        raw, geometry = _trunk(features, w_ptr + none, b_ptr + none, LAYOUT, PRECISION)
        row = _each_sample(g_ray, K)[:, None]
        directions = tl.load(
            directions_ptr + row * LAYOUT.S + tl.arange(0, LAYOUT.S)[None, :], mask=is_sample[:, None], other=0
        )
        rgbs = _color(geometry, directions, w_ptr + none, b_ptr + none, LAYOUT, PRECISION)

        # worked out once more rather than kept over the networks, which another zero hides from the compiler
        owns, g_ray, g_number, t_starts, t_ends, exists = _share_out(
            count + none, group, ray, t_rows_ptr, near_ptr, far_ptr, n_samples, seed_ptr, SAMPLING
        )
        t_mids = 0.5 * (t_starts + t_ends)
        slot = tl.arange(0, R)
        g_lane = _of_owner(slot, owns)
        g_exists = tl.max(exists.to(tl.int32), 1) > 0
        is_earlier = (g_lane[:, None] == g_lane[None, :]) & (slot[None, :] < slot[:, None]) & g_exists[:, None]
        tau = tl.where(exists, _bounded(tl.reshape(_density(raw), (R, K)) * (t_ends - t_starts)), 0)
        g_before = _of_owner(depth, owns) + _sum_where(tl.sum(tau, 1), is_earlier)
        if group_depths_ptr is not None:
            tl.store(group_depths_ptr + g_ray * most_groups + g_number, g_before, mask=g_exists)
        before = g_before[:, None] + _sum_before(tau, False)
        # negated, so that NaN goes on: a field that diverged must not pass for an opaque one
        is_seen = exists & ((before >= max_depth) == 0)
        tau = tl.where(is_seen, tau, 0)
        weights = tl.exp(-before) * _alpha(tau)
        values = tl.where(column < 3, rgbs, tl.where(column == 3, tl.reshape(t_mids, (M,))[:, None], 0))
        # chosen: a weight of 0 times what is not a number is none
        values = tl.where(tl.reshape(is_seen, (M,))[:, None], tl.reshape(weights, (M,))[:, None] * values, 0)
        sums += _sum_rows_where(tl.sum(tl.reshape(values, (R, K, 16)), 1), owns)
        if distortions_ptr is not None:
            # mip-NeRF 360 eq. 15 by running sums: each pair of samples is met once, at its later one
            s_starts, s_ends = _distance(t_starts, SAMPLING.CONTRACT), _distance(t_ends, SAMPLING.CONTRACT)
            s = 0.5 * (s_starts + s_ends)
            g_moment = tl.sum(weights * s, 1)
            moment_before = _of_owner(moment, owns) + _sum_where(g_moment, is_earlier)
            moment_before = moment_before[:, None] + _sum_before(weights * s, False)
            pairs = 2 * weights * (s * _alpha(before) - moment_before)
            distortion += _sum_where(tl.sum(pairs + weights * weights * (s_ends - s_starts) * (1 / 3), 1), owns)
            moment += _sum_where(g_moment, owns)
        depth += _sum_where(tl.sum(tau, 1), owns)
        n_seen += _sum_where(tl.sum(is_seen.to(tl.int32), 1), owns)
        group += _n_taken(count, group, SAMPLING)

        ended = (count > 0) & ((depth >= max_depth) | (group * K >= count))
        colors = sums
        if bkgd_rgb_ptr is not None:
            is_rgb = ended[:, None] & (column < 3)
            bkgd = tl.load(bkgd_rgb_ptr + 3 * ray[:, None] + column, mask=is_rgb, other=0)
            colors += tl.exp(-depth)[:, None] * bkgd.to(ACC)
        tl.store(rgb_ptr + 3 * ray[:, None] + column, colors, mask=ended[:, None] & (column < 3))
        tl.store(depths_ptr + ray, tl.sum(tl.where(column == 3, sums, 0), 1), mask=ended)
        tl.store(opacities_ptr + ray, _alpha(depth), mask=ended)
        tl.store(counts_ptr + ray, n_seen, mask=ended)
        if distortions_ptr is not None:
            tl.store(distortions_ptr + ray, distortion, mask=ended)
        if group_depths_ptr is not None:
            tl.store(n_groups_ptr + ray, (n_seen + K - 1) // K, mask=ended)
            tl.store(totals_ptr + ray, depth, mask=ended)
            tl.store(totals_ptr + n_rays + ray, moment, mask=ended)

        count = tl.where(ended, 0, count)
        is_free = count == 0
        ray, count, next_rank = _draw(
            is_free,
            next_rank,
            stride,
            end,
            ray,
            count,
            order_ptr,
            n_marched_ptr,
            near_ptr,
            far_ptr,
            n_samples,
            SAMPLING,
        )
        group = tl.where(is_free, 0, group)
        n_seen = tl.where(is_free, 0, n_seen)
        depth = tl.where(is_free, 0, depth)
        distortion = tl.where(is_free, 0, distortion)
        moment = tl.where(is_free, 0, moment)
        sums = tl.where(is_free[:, None], 0, sums)
        turn += 1
