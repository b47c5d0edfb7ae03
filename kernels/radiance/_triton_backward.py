"""The backward kernel: gradients of what rays see. See README.md for the derivation and the layout.

It walks the packed groups of ``_triton_packing.py`` in tiles of R groups, from the last to the first, and does all, or
stores the gradient of the encoding for ``_triton_scatter.py`` to add to the table's.
"""

# pyright: reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
# (to pyright a call of a jitted function never returns, and a constexpr has nothing of the value that it holds)
from __future__ import annotations

import triton
import triton.language as tl

from nerfkit.kernels.composite._triton import _alpha
from nerfkit.kernels.distortion._triton import _distance

from ._triton_encoding import _encode, _fourier_backward, _gather_backward, _scatter
from ._triton_network import _add_projection, _back, _color, _color_backward, _density, _trunk, _trunk_backward
from ._triton_packing import _range_of_program, _tile
from ._triton_rays import _bounded, _each_sample, _is_within, _sum_before, _sum_rows_where, _sum_where
from ._triton_samples import _positions, _unit_cube, _unit_cube_backward
from ._triton_scatter import _store_features


@triton.jit
def _is_from(ray, slot):
    """Which groups [R, R] of the same ray are this one or lie behind it."""
    return (ray[:, None] == ray[None, :]) & (slot[None, :] >= slot[:, None])


@triton.jit
def _ray_rows(d_x, d_y, d_z, x, y, z, t_mids, CONTRACT: tl.constexpr, R: tl.constexpr, K: tl.constexpr):
    """Gradients [R, 16] of rays from those of their samples' places in the cube: columns 0 to 2 origin, 3 to 5
    direction.
    """
    d_x, d_y, d_z = _unit_cube_backward(x, y, z, d_x, d_y, d_z, CONTRACT)
    column = tl.arange(0, 16)[None, :]
    axis = column % 3
    each = tl.where(axis == 0, d_x[:, None], tl.where(axis == 1, d_y[:, None], d_z[:, None]))
    each *= tl.where(column < 3, 1, tl.reshape(t_mids, (R * K,))[:, None])
    return tl.sum(tl.reshape(each, (R, K, 16)), 1)


# counts, which never cause a recompilation
@triton.jit(do_not_specialize=["n_rays", "n_samples", "n_freqs", "first_group", "end_group"])
def _radiance_bwd_kernel(
    d_encoding_ptr,  # out, like the table, added to; None: not wanted
    d_features_ptr,
    largest_ptr,  # out instead of d_encoding, [groups, K, L * F], and [L] the largest of them; may be None
    d_rays_o_ptr,
    d_rays_d_ptr,  # out, [n_rays, 3], of rays that have samples; may be None
    d_directions_ptr,  # out, [n_rays, S], the same
    d_w_ptr,  # out, [n_programs, TOTAL], added to
    d_rgb_ptr,
    d_depths_ptr,
    d_opacities_ptr,
    d_distortions_ptr,  # in, [n_rays(, 3)]; may be None
    group_rays_ptr,
    group_ends_ptr,  # in, as the list kernel left and took them
    counts_ptr,
    group_depths_ptr,
    n_groups_ptr,
    totals_ptr,  # in, as the forward left them
    t_rows_ptr,
    rays_o_ptr,
    rays_d_ptr,
    near_ptr,
    far_ptr,
    directions_ptr,
    encoding_ptr,
    levels_ptr,
    w_ptr,
    b_ptr,
    bkgd_rgb_ptr,  # in, as in the forward
    n_rays,
    n_samples,
    n_freqs,
    seed_ptr,
    first_group,
    end_group,
    zero,
    LAYOUT: tl.constexpr,
    SAMPLING: tl.constexpr,
    PRECISION: tl.constexpr,
    IS_WIDE: tl.constexpr,
):
    """``d_tau_i = T_(i+1) h_i - S_i``, ``S_i = sum_(j>i) w_j h_j + T_(n+1) (d_rgb . c_b - d_opacity)``.

    A program walks the groups of whole rays from the last to the first. What a ray that is cut by a tile's begin has
    gathered so far is carried on to the next tile.
    """
    R: tl.constexpr = SAMPLING.R
    K: tl.constexpr = SAMPLING.K
    M: tl.constexpr = R * K
    ACC: tl.constexpr = b_ptr.dtype.element_ty
    DT: tl.constexpr = w_ptr.dtype.element_ty
    CONTRACT: tl.constexpr = SAMPLING.CONTRACT
    S: tl.constexpr = LAYOUT.S
    slot = tl.arange(0, R)
    column = tl.arange(0, 16)[None, :]
    s_column = tl.arange(0, S)[None, :]
    most_groups = (n_samples + K - 1) // K
    d_w_ptr += tl.program_id(0).to(tl.int64) * LAYOUT.TOTAL
    begin, stop = _range_of_program(group_rays_ptr, group_ends_ptr, n_groups_ptr, n_rays, first_group, end_group, R)
    # of the ray that the tile before cut: which it is, S in front of its groups so far, the same sum of w_j s_j, and
    # its gradients
    cut_ray = stop * 0 - 1
    cut_suffix = tl.sum(tl.zeros((R,), ACC), 0)
    cut_moment = cut_suffix
    cut_rays = tl.zeros((1, 16), ACC)
    cut_directions = tl.zeros((1, S), ACC)
    turn = 0
    while stop > begin:
        none = turn * zero
        ray, _, t_starts, t_ends, exists = _tile(
            stop - R + slot, begin, stop, group_rays_ptr, group_ends_ptr, n_groups_ptr, counts_ptr, near_ptr, far_ptr,
            t_rows_ptr, n_samples, seed_ptr, SAMPLING
        )  # fmt: skip
        mask = ray >= 0
        t_mids = 0.5 * (t_starts + t_ends)
        is_sample = tl.reshape(exists, (M,))

        # the forward once more
        x, y, z = _positions(rays_o_ptr, rays_d_ptr, ray, mask, t_mids, M)
        x, y, z = _unit_cube(x, y, z, CONTRACT)
        features = _encode(
            x, y, z, is_sample, encoding_ptr, levels_ptr + none if LAYOUT.IS_HASH else None, n_freqs,
            LAYOUT, IS_WIDE, DT
        )  # fmt: skip
        raw, geometry = _trunk(features, w_ptr + none, b_ptr + none, LAYOUT, PRECISION)
        row = _each_sample(ray, K)[:, None]
        directions = tl.load(directions_ptr + row * S + s_column, mask=is_sample[:, None], other=0)
        rgbs = _color(geometry, directions, w_ptr + none, b_ptr + none, LAYOUT, PRECISION)

        # found once more rather than kept over the networks, which another zero hides from the compiler
        ray, number, t_starts, t_ends, exists = _tile(
            stop - R + slot + none, begin, stop, group_rays_ptr, group_ends_ptr, n_groups_ptr, counts_ptr, near_ptr,
            far_ptr, t_rows_ptr, n_samples, seed_ptr, SAMPLING
        )  # fmt: skip
        mask = ray >= 0
        t_mids = 0.5 * (t_starts + t_ends)
        is_sample = tl.reshape(exists, (M,))
        row = _each_sample(ray, K)[:, None]
        # the depth in front of each group was kept: a difference of sums would be amplified by tau
        g_depth = tl.load(group_depths_ptr + ray * most_groups + number, mask=mask, other=0)
        tau_free = tl.where(exists, tl.reshape(_density(raw), (R, K)) * (t_ends - t_starts), 0)
        tau = _bounded(tau_free)
        before = g_depth[:, None] + _sum_before(tau, False)
        weights = tl.exp(-before) * _alpha(tau)

        # what one more unit of each weight would bring
        d_colors = tl.zeros((M, 16), ACC)
        if d_rgb_ptr is not None:
            d_colors = tl.load(d_rgb_ptr + 3 * row + column, mask=is_sample[:, None] & (column < 3), other=0)
        d_weights = tl.reshape(tl.sum(d_colors * rgbs, 1), (R, K))
        if d_depths_ptr is not None:
            d_weights += tl.load(d_depths_ptr + ray, mask=mask, other=0)[:, None] * t_mids
        is_later = (ray[:, None] == ray[None, :]) & (slot[None, :] > slot[:, None])
        was_cut = ray == cut_ray
        total = tl.load(totals_ptr + ray, mask=mask, other=0)
        if d_distortions_ptr is not None:
            moment = tl.load(totals_ptr + n_rays + ray, mask=mask, other=0)
            d_distortions = tl.load(d_distortions_ptr + ray, mask=mask, other=0)
            s_starts, s_ends = (_distance(t_starts, CONTRACT), _distance(t_ends, CONTRACT))
            s = 0.5 * (s_starts + s_ends)
            weight_after = tl.exp(-(before + tau)) - tl.exp(-total)[:, None]
            g_moment = tl.sum(weights * s, 1)
            g_after = tl.where(was_cut, cut_moment, 0) + _sum_where(g_moment, is_later)
            moment_after = g_after[:, None] + _sum_before(weights * s, True)
            moment_before = moment[:, None] - moment_after - weights * s
            pairs = s * (_alpha(before) - weight_after) - moment_before + moment_after
            d_weights += d_distortions[:, None] * (2 * pairs + weights * (s_ends - s_starts) * (2 / 3))
            cut_moment = tl.sum(tl.where(slot == 0, g_after + g_moment, 0), 0)

        # the background is one more sample, the last: it brings its colour and takes away opacity
        behind = tl.zeros((R,), ACC)
        if d_opacities_ptr is not None:
            behind -= tl.load(d_opacities_ptr + ray, mask=mask, other=0)
        if bkgd_rgb_ptr is not None and d_rgb_ptr is not None:
            is_rgb = mask[:, None] & (column < 3)
            d_rgb = tl.load(d_rgb_ptr + 3 * ray[:, None] + column, mask=is_rgb, other=0)
            bkgd = tl.load(bkgd_rgb_ptr + 3 * ray[:, None] + column, mask=is_rgb, other=0)
            behind += tl.sum(d_rgb * bkgd.to(ACC), 1)
        # from the far end to the camera: nothing is a difference of sums
        terms = tl.where(exists, weights * d_weights, 0)
        g_terms = tl.sum(terms, 1)
        g_suffix = tl.where(was_cut, cut_suffix, tl.exp(-total) * behind) + _sum_where(g_terms, is_later)
        d_tau = tl.exp(-(before + tau)) * d_weights - (g_suffix[:, None] + _sum_before(terms, True))
        cut_suffix = tl.sum(tl.where(slot == 0, g_suffix + g_terms, 0), 0)
        d_raw = tl.reshape(tl.where(exists, d_tau * tau_free * _is_within(tau_free), 0), (M,))
        d_logits = tl.where(is_sample[:, None], tl.reshape(weights, (M,))[:, None] * d_colors * rgbs * (1 - rgbs), 0)

        # another zero: the activations are computed once more rather than kept
        none = (turn + 1) * zero
        d_geometry, d_sum = _color_backward(
            geometry, directions, d_logits, w_ptr + none, b_ptr + none, d_w_ptr + none, 0, LAYOUT, PRECISION
        )
        if d_directions_ptr is not None:
            ray, number, _, _, _ = _tile(
                stop - R + slot + none, begin, stop, group_rays_ptr, group_ends_ptr, n_groups_ptr, counts_ptr, near_ptr,
                far_ptr, t_rows_ptr, n_samples, seed_ptr, SAMPLING
            )  # fmt: skip
            at: tl.constexpr = LAYOUT.AT_FROM_DIRECTIONS
            each = _back(d_sum, w_ptr + none + at, S, LAYOUT.H, b_ptr, PRECISION)
            rows = _sum_rows_where(tl.sum(tl.reshape(each, (R, K, S)), 1), _is_from(ray, slot))
            rows += tl.where((ray == cut_ray)[:, None], cut_directions, 0)
            tl.store(d_directions_ptr + ray[:, None] * S + s_column, rows, mask=((ray >= 0) & (number == 0))[:, None])
            cut_directions = tl.sum(tl.where(slot[:, None] == 0, rows, 0), 0)[None, :]
        d_sum, d_skip = _trunk_backward(
            features[0], features, d_geometry, d_raw, w_ptr + none, b_ptr + none, d_w_ptr + none, 0, LAYOUT, PRECISION
        )
        _add_projection(d_w_ptr + none, features, d_sum, LAYOUT, PRECISION)
        if LAYOUT.SKIP > 0:
            _add_projection(d_w_ptr + none + LAYOUT.AT_SKIP, features, d_skip, LAYOUT, PRECISION)

        # the encoding
        none = (turn + 2) * zero
        ray, number, t_starts, t_ends, exists = _tile(
            stop - R + slot + none, begin, stop, group_rays_ptr, group_ends_ptr, n_groups_ptr, counts_ptr, near_ptr,
            far_ptr, t_rows_ptr, n_samples, seed_ptr, SAMPLING
        )  # fmt: skip
        t_mids = 0.5 * (t_starts + t_ends)
        is_sample = tl.reshape(exists, (M,))
        if LAYOUT.IS_HASH:
            d_features = _back(d_sum, w_ptr + none, LAYOUT.E, LAYOUT.H, b_ptr, PRECISION)
            if LAYOUT.SKIP > 0:
                d_features += _back(d_skip, w_ptr + none + LAYOUT.AT_SKIP, LAYOUT.E, LAYOUT.H, b_ptr, PRECISION)
            if d_features_ptr is not None:
                _store_features(
                    d_features_ptr, largest_ptr, d_features, stop - R + slot - first_group, is_sample, LAYOUT, K
                )
        if d_encoding_ptr is not None or d_rays_o_ptr is not None:
            px, py, pz = _positions(rays_o_ptr, rays_d_ptr, ray, ray >= 0, t_mids, M)
            x, y, z = _unit_cube(px, py, pz, CONTRACT)
            if d_encoding_ptr is not None:
                _scatter(x, y, z, is_sample, d_features, d_encoding_ptr, levels_ptr + none, None, LAYOUT, IS_WIDE)
            if d_rays_o_ptr is not None:
                if LAYOUT.IS_HASH:
                    d_x, d_y, d_z = _gather_backward(
                        x, y, z, is_sample, d_features, encoding_ptr, levels_ptr + none, LAYOUT, IS_WIDE
                    )
                else:
                    d_x, d_y, d_z = _fourier_places(
                        features, d_sum, d_skip, encoding_ptr, n_freqs, w_ptr + none, b_ptr, LAYOUT, PRECISION
                    )
                rows = _ray_rows(d_x, d_y, d_z, px, py, pz, t_mids, CONTRACT, R, K)
                rows = _sum_rows_where(rows, _is_from(ray, slot))
                rows += tl.where((ray == cut_ray)[:, None], cut_rays, 0)
                is_whole = ((ray >= 0) & (number == 0))[:, None]
                tl.store(d_rays_o_ptr + 3 * ray[:, None] + column, rows, mask=is_whole & (column < 3))
                is_direction = is_whole & (column >= 3) & (column < 6)
                tl.store(d_rays_d_ptr + 3 * ray[:, None] + (column - 3), rows, mask=is_direction)
                cut_rays = tl.sum(tl.where(slot[:, None] == 0, rows, 0), 0)[None, :]
        cut_ray = tl.sum(tl.where(slot == 0, ray, 0), 0)
        stop -= R
        turn += 1


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
