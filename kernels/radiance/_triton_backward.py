"""The backward kernels: gradients of what rays see. See README.md for the derivation.

Programs own blocks of rays one after the other, walk the chunks of a block from the last to the first and compute
each anew. The first kernel does all, or stores the gradient of the encoding for the second to add to the table's.
"""

# pyright: reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
# (to pyright a call of a jitted function never returns, and a constexpr has nothing of the value that it holds)
from __future__ import annotations

import triton
import triton.language as tl

from nerfkit.kernels.composite._triton import _alpha
from nerfkit.kernels.distortion._triton import _distance

from ._triton_encoding import _encode, _fourier_backward, _gather_backward, _scatter
from ._triton_network import (
    _add_projection,
    _back,
    _color,
    _color_backward,
    _density,
    _trunk,
    _trunk_backward,
)
from ._triton_rays import _bounded, _is_within, _load_ray, _positions, _ray, _row, _sum_before
from ._triton_samples import _samples, _unit_cube, _unit_cube_backward

# counts, which never cause a recompilation
_COUNTS = ["n_rays", "n_samples", "first_block", "n_slots"]


@triton.jit
def _chunk_samples(
    chunk, ray, mask, passed, chunk_cursors_ptr, rays_o_ptr, rays_d_ptr, near_ptr, far_ptr,
    occupancy_ptr, n_rays, resolution, n_samples, seed_ptr, max_depth, SAMPLING: tl.constexpr,
):  # fmt: skip
    """Starts, ends [R, K] of the samples of a chunk, and which exist, as the forward had them."""
    ox, oy, oz = _load_ray(rays_o_ptr, ray, mask)
    dx, dy, dz = _load_ray(rays_d_ptr, ray, mask)
    near = tl.load(near_ptr + ray, mask=mask, other=0)
    far = tl.load(far_ptr + ray, mask=mask, other=0)
    cursor = near
    if SAMPLING.MARCHES:
        cursor = tl.load(chunk_cursors_ptr + ray + chunk * n_rays.to(tl.int64), mask=mask, other=0)
    is_live = (passed >= max_depth) == 0
    t_starts, t_ends, exists, _ = _samples(
        chunk, ray, near, far, cursor, is_live, ox, oy, oz, dx, dy, dz,
        occupancy_ptr, resolution, n_samples, seed_ptr, SAMPLING,
    )  # fmt: skip
    return t_starts, t_ends, exists


@triton.jit
def _ray_sums(d_x, d_y, d_z, x, y, z, t_mids, CONTRACT: tl.constexpr, R: tl.constexpr, K: tl.constexpr):
    """Gradients [R, 16] of rays from those of their samples' places in the cube: columns 0 to 2 origin, 3 to 5
    direction.
    """
    d_x, d_y, d_z = _unit_cube_backward(x, y, z, d_x, d_y, d_z, CONTRACT)
    column = tl.arange(0, 16)[None, :]
    axis = column % 3
    each = tl.where(axis == 0, d_x[:, None], tl.where(axis == 1, d_y[:, None], d_z[:, None]))
    each *= tl.where(column < 3, 1, tl.reshape(t_mids, (R * K,))[:, None])
    return tl.sum(tl.reshape(each, (R, K, 16)), 1)


@triton.jit
def _store_rays(d_rays_o_ptr, d_rays_d_ptr, d_rays, ray, mask):
    column = tl.arange(0, 16)[None, :]
    tl.store(d_rays_o_ptr + 3 * ray[:, None] + column, d_rays, mask=mask[:, None] & (column < 3))
    is_direction = mask[:, None] & (column >= 3) & (column < 6)
    tl.store(d_rays_d_ptr + 3 * ray[:, None] + (column - 3), d_rays, mask=is_direction)


@triton.jit(do_not_specialize=[*_COUNTS, "n_freqs", "end_block"])
def _radiance_bwd_kernel(
    d_encoding_ptr,  # out, like the table, added to; None: not wanted
    d_features_ptr,
    xyzs_ptr,  # out, [end - first blocks, R, n_slots, L * F] and [.., 3], instead of d_encoding; may be None
    d_rays_o_ptr,
    d_rays_d_ptr,  # out, [n_rays, 3]; may be None
    d_directions_ptr,
    d_bkgd_rgb_ptr,  # out, [n_rays, S], [n_rays, 3]; may be None
    d_w_ptr,  # out, [n_programs, TOTAL], added to
    d_rgb_ptr,
    d_depths_ptr,
    d_opacities_ptr,
    d_distortions_ptr,  # in, [n_rays(, 3)]; may be None
    chunk_depths_ptr,
    chunk_cursors_ptr,
    n_chunks_ptr,
    totals_ptr,  # in, as the forward left them
    rays_o_ptr,
    rays_d_ptr,
    near_ptr,
    far_ptr,
    directions_ptr,
    encoding_ptr,
    levels_ptr,
    w_ptr,
    b_ptr,
    occupancy_ptr,
    bkgd_rgb_ptr,  # in, as in the forward
    n_rays,
    n_samples,
    n_freqs,
    resolution,
    seed_ptr,
    max_depth,
    first_block,
    end_block,
    n_slots,
    zero,
    LAYOUT: tl.constexpr,
    SAMPLING: tl.constexpr,
    PRECISION: tl.constexpr,
    IS_WIDE: tl.constexpr,
):
    R: tl.constexpr = SAMPLING.R
    K: tl.constexpr = SAMPLING.K
    M: tl.constexpr = R * K
    ACC: tl.constexpr = b_ptr.dtype.element_ty
    DT: tl.constexpr = w_ptr.dtype.element_ty
    CONTRACT: tl.constexpr = SAMPLING.CONTRACT
    column = tl.arange(0, 16)[None, :]
    S: tl.constexpr = LAYOUT.S
    s_column = tl.arange(0, S)[None, :]
    d_w_ptr += tl.program_id(0).to(tl.int64) * LAYOUT.TOTAL
    block = first_block + tl.program_id(0)
    while block < end_block:
        ray = _ray(block, R)
        mask = ray < n_rays
        # the background is one more sample, the last: it brings its colour and takes away opacity
        left = tl.exp(-tl.load(totals_ptr + ray, mask=mask, other=0))
        later = tl.zeros((R,), ACC)
        if d_opacities_ptr is not None:
            later -= left * tl.load(d_opacities_ptr + ray, mask=mask, other=0)
        if bkgd_rgb_ptr is not None and d_rgb_ptr is not None:
            is_rgb = mask[:, None] & (column < 3)
            d_rgb = tl.load(d_rgb_ptr + 3 * ray[:, None] + column, mask=is_rgb, other=0)
            bkgd = tl.load(bkgd_rgb_ptr + 3 * ray[:, None] + column, mask=is_rgb, other=0)
            later += left * tl.sum(d_rgb * bkgd.to(ACC), 1)
            if d_bkgd_rgb_ptr is not None:
                tl.store(d_bkgd_rgb_ptr + 3 * ray[:, None] + column, left[:, None] * d_rgb, mask=is_rgb)
        later_moment = tl.zeros((R,), ACC)
        d_rays = tl.zeros((R, 16), ACC)
        d_directions = tl.zeros((R, S), ACC)
        chunk = tl.load(n_chunks_ptr + block) - 1
        while chunk >= 0:
            none = chunk * zero
            ray = _ray(block + none, R)
            mask = ray < n_rays
            # the depth at the start of each chunk was kept: a difference of sums would be amplified by tau
            passed = tl.load(chunk_depths_ptr + ray + chunk * n_rays.to(tl.int64), mask=mask, other=0)
            t_starts, t_ends, exists = _chunk_samples(
                chunk, ray, mask, passed, chunk_cursors_ptr, rays_o_ptr, rays_d_ptr, near_ptr, far_ptr,
                occupancy_ptr, n_rays, resolution, n_samples, seed_ptr, max_depth, SAMPLING,
            )  # fmt: skip
            t_mids = 0.5 * (t_starts + t_ends)

            # the forward once more
            x, y, z = _positions(rays_o_ptr, rays_d_ptr, ray, mask, t_mids, M)
            x, y, z = _unit_cube(x, y, z, CONTRACT)
            features = _encode(
                x, y, z, encoding_ptr, levels_ptr + none if LAYOUT.IS_HASH else None, n_freqs, LAYOUT, IS_WIDE, DT
            )
            raw, geometry = _trunk(features, w_ptr + none, b_ptr + none, LAYOUT, PRECISION)
            row = _row(block + none, R, K)[:, None]
            directions = tl.load(directions_ptr + row * S + s_column, mask=row < n_rays, other=0)
            rgbs = _color(geometry, directions, w_ptr + none, b_ptr + none, LAYOUT, PRECISION)
            tau_free = tl.where(exists, tl.reshape(_density(raw), (R, K)) * (t_ends - t_starts), 0)
            tau = _bounded(tau_free)
            before = passed[:, None] + _sum_before(tau, False)
            weights = tl.exp(-before) * _alpha(tau)

            # what one more unit of each weight would bring
            d_colors = tl.zeros((M, 16), ACC)
            if d_rgb_ptr is not None:
                d_colors = tl.load(d_rgb_ptr + 3 * row + column, mask=(row < n_rays) & (column < 3), other=0)
            d_weights = tl.reshape(tl.sum(d_colors * rgbs, 1), (R, K))
            if d_depths_ptr is not None:
                d_weights += tl.load(d_depths_ptr + ray, mask=mask, other=0)[:, None] * t_mids
            if d_distortions_ptr is not None:
                total = tl.load(totals_ptr + ray, mask=mask, other=0)
                moment = tl.load(totals_ptr + n_rays + ray, mask=mask, other=0)
                d_distortions = tl.load(d_distortions_ptr + ray, mask=mask, other=0)
                s_starts, s_ends = _distance(t_starts, CONTRACT), _distance(t_ends, CONTRACT)
                s = 0.5 * (s_starts + s_ends)
                weight_after = tl.exp(-(before + tau)) - tl.exp(-total)[:, None]
                moment_after = later_moment[:, None] + _sum_before(weights * s, True)
                moment_before = moment[:, None] - moment_after - weights * s
                pairs = s * (_alpha(before) - weight_after) - moment_before + moment_after
                d_weights += d_distortions[:, None] * (2 * pairs + weights * (s_ends - s_starts) * (2 / 3))
                later_moment += tl.sum(weights * s, 1)

            # from the far end to the camera: nothing is a difference of sums
            brought = weights * d_weights
            d_tau = tl.exp(-(before + tau)) * d_weights - (later[:, None] + _sum_before(brought, True))
            later += tl.sum(brought, 1)
            d_raw = tl.reshape(tl.where(exists, d_tau * tau_free * _is_within(tau_free), 0), (M,))
            d_logits = tl.reshape(weights, (M,))[:, None] * d_colors * rgbs * (1 - rgbs)

            # another zero: the activations are computed once more rather than kept
            none = (chunk + 1) * zero
            d_geometry, d_sum = _color_backward(
                geometry, directions, d_logits, w_ptr + none, b_ptr + none, d_w_ptr + none, 0, LAYOUT, PRECISION
            )
            if d_directions_ptr is not None:
                at: tl.constexpr = LAYOUT.AT_FROM_DIRECTIONS
                each = _back(d_sum, w_ptr + none + at, S, LAYOUT.H, b_ptr, PRECISION)
                d_directions += tl.sum(tl.reshape(each, (R, K, S)), 1)
            d_sum, d_skip = _trunk_backward(
                features[0], features, d_geometry, d_raw, w_ptr + none, b_ptr + none, d_w_ptr + none,
                0, LAYOUT, PRECISION,
            )  # fmt: skip
            _add_projection(d_w_ptr + none, features, d_sum, LAYOUT, PRECISION)
            if LAYOUT.SKIP > 0:
                _add_projection(d_w_ptr + none + LAYOUT.AT_SKIP, features, d_skip, LAYOUT, PRECISION)

            # the encoding
            if LAYOUT.IS_HASH:
                d_features = _back(d_sum, w_ptr + none, LAYOUT.E, LAYOUT.H, b_ptr, PRECISION)
                if LAYOUT.SKIP > 0:
                    d_features += _back(d_skip, w_ptr + none + LAYOUT.AT_SKIP, LAYOUT.E, LAYOUT.H, b_ptr, PRECISION)
                none = (chunk + 2) * zero
                if d_features_ptr is not None:
                    row = _row(block - first_block + none, R, K)
                    slot = row * n_slots + chunk * K + tl.arange(0, M) % K
                    e = tl.arange(0, LAYOUT.E)[None, :]
                    keeps = _row(block + none, R, K) < n_rays
                    d_features = d_features.to(d_features_ptr.dtype.element_ty)
                    tl.store(d_features_ptr + slot[:, None] * LAYOUT.E + e, d_features, mask=keeps[:, None])
                    if xyzs_ptr is not None:
                        tl.store(xyzs_ptr + 3 * slot, x, mask=keeps)
                        tl.store(xyzs_ptr + 3 * slot + 1, y, mask=keeps)
                        tl.store(xyzs_ptr + 3 * slot + 2, z, mask=keeps)
                else:
                    ray = _ray(block + none, R)
                    px, py, pz = _positions(rays_o_ptr, rays_d_ptr, ray, ray < n_rays, t_mids, M)
                    x, y, z = _unit_cube(px, py, pz, CONTRACT)
                    if d_encoding_ptr is not None:
                        _scatter(x, y, z, d_features, d_encoding_ptr, levels_ptr + none, LAYOUT, IS_WIDE)
                    if d_rays_o_ptr is not None:
                        d_x, d_y, d_z = _gather_backward(
                            x, y, z, d_features, encoding_ptr, levels_ptr + none, LAYOUT, IS_WIDE
                        )
                        d_rays += _ray_sums(d_x, d_y, d_z, px, py, pz, t_mids, CONTRACT, R, K)
            elif d_rays_o_ptr is not None:
                d_x, d_y, d_z = _fourier_places(
                    features, d_sum, d_skip, encoding_ptr, n_freqs, w_ptr + none, b_ptr, LAYOUT, PRECISION
                )
                ray = _ray(block + (chunk + 2) * zero, R)
                px, py, pz = _positions(rays_o_ptr, rays_d_ptr, ray, ray < n_rays, t_mids, M)
                d_rays += _ray_sums(d_x, d_y, d_z, px, py, pz, t_mids, CONTRACT, R, K)
            chunk -= 1
        ray = _ray(block, R)
        mask = ray < n_rays
        if d_directions_ptr is not None:
            at_directions = ray[:, None] * S + s_column
            tl.store(d_directions_ptr + at_directions, d_directions, mask=mask[:, None])
        if d_rays_o_ptr is not None:
            _store_rays(d_rays_o_ptr, d_rays_d_ptr, d_rays, ray, mask)
        block += tl.num_programs(0)


@triton.jit
def _fourier_places(
    features, d_sum, d_skip, freqs_ptr, n_freqs, w_ptr, b_ptr, LAYOUT: tl.constexpr, PRECISION: tl.constexpr
):
    """Gradient with respect to the places in the cube, through Fourier features."""
    H: tl.constexpr = LAYOUT.H
    FM: tl.constexpr = LAYOUT.FM
    d_position = _back(d_sum, w_ptr, 16, H, b_ptr, PRECISION)
    d_cos = _back(d_sum, w_ptr + 16 * H, FM, H, b_ptr, PRECISION)
    d_sin = _back(d_sum, w_ptr + (16 + FM) * H, FM, H, b_ptr, PRECISION)
    if LAYOUT.SKIP > 0:
        at: tl.constexpr = LAYOUT.AT_SKIP
        d_position += _back(d_skip, w_ptr + at, 16, H, b_ptr, PRECISION)
        d_cos += _back(d_skip, w_ptr + at + 16 * H, FM, H, b_ptr, PRECISION)
        d_sin += _back(d_skip, w_ptr + at + (16 + FM) * H, FM, H, b_ptr, PRECISION)
    return _fourier_backward(features[1], features[2], d_position, d_cos, d_sin, freqs_ptr, n_freqs, LAYOUT)


@triton.jit(do_not_specialize=_COUNTS)
def _radiance_scatter_kernel(
    d_encoding_ptr,  # out, like the table, added to; None: not wanted
    d_rays_o_ptr,
    d_rays_d_ptr,  # out, [n_rays, 3]; may be None
    d_features_ptr,  # in, as the backward left them
    chunk_depths_ptr,
    chunk_cursors_ptr,
    n_chunks_ptr,
    rays_o_ptr,
    rays_d_ptr,
    near_ptr,
    far_ptr,
    encoding_ptr,
    levels_ptr,
    occupancy_ptr,  # in, as in the forward
    n_rays,
    n_samples,
    resolution,
    seed_ptr,
    max_depth,
    first_block,
    n_slots,
    zero,
    LAYOUT: tl.constexpr,
    SAMPLING: tl.constexpr,
    IS_WIDE: tl.constexpr,
):
    R: tl.constexpr = SAMPLING.R
    K: tl.constexpr = SAMPLING.K
    M: tl.constexpr = R * K
    CONTRACT: tl.constexpr = SAMPLING.CONTRACT
    block = first_block + tl.program_id(0)
    d_rays = tl.zeros((R, 16), chunk_depths_ptr.dtype.element_ty)
    chunk = tl.load(n_chunks_ptr + block) - 1
    while chunk >= 0:
        ray = _ray(block + chunk * zero, R)
        mask = ray < n_rays
        passed = tl.load(chunk_depths_ptr + ray + chunk * n_rays.to(tl.int64), mask=mask, other=0)
        t_starts, t_ends, _ = _chunk_samples(
            chunk, ray, mask, passed, chunk_cursors_ptr, rays_o_ptr, rays_d_ptr, near_ptr, far_ptr,
            occupancy_ptr, n_rays, resolution, n_samples, seed_ptr, max_depth, SAMPLING,
        )  # fmt: skip
        t_mids = 0.5 * (t_starts + t_ends)
        px, py, pz = _positions(rays_o_ptr, rays_d_ptr, ray, mask, t_mids, M)
        x, y, z = _unit_cube(px, py, pz, CONTRACT)
        slot = _row(block - first_block, R, K) * n_slots + chunk * K + tl.arange(0, M) % K
        at = slot[:, None] * LAYOUT.E + tl.arange(0, LAYOUT.E)[None, :]
        keeps = (_row(block, R, K) < n_rays)[:, None]
        d_features = tl.load(d_features_ptr + at, mask=keeps, other=0).to(x.dtype)
        if d_encoding_ptr is not None:
            _scatter(x, y, z, d_features, d_encoding_ptr, levels_ptr, LAYOUT, IS_WIDE)
        if d_rays_o_ptr is not None:
            d_x, d_y, d_z = _gather_backward(x, y, z, d_features, encoding_ptr, levels_ptr, LAYOUT, IS_WIDE)
            d_rays += _ray_sums(d_x, d_y, d_z, px, py, pz, t_mids, CONTRACT, R, K)
        chunk -= 1
    ray = _ray(block, R)
    if d_rays_o_ptr is not None:
        _store_rays(d_rays_o_ptr, d_rays_d_ptr, d_rays, ray, ray < n_rays)
