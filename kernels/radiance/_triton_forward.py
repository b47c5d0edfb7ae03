"""The forward kernel: rays in, what they see out. One program is one block of rays; see README.md."""

# pyright: reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
# (to pyright a call of a jitted function never returns, and a constexpr has nothing of the value that it holds)
from __future__ import annotations

import triton
import triton.language as tl

from nerfkit.kernels.composite._triton import _alpha
from nerfkit.kernels.distortion._triton import _distance

from ._triton_encoding import _encode
from ._triton_network import _color, _density, _trunk
from ._triton_rays import _bounded, _load_ray, _positions, _ray, _row, _sum_before
from ._triton_samples import _may_go_on, _samples, _unit_cube

# counts, which never cause a recompilation
_COUNTS = ["n_rays", "n_samples", "n_freqs"]


@triton.jit(do_not_specialize=_COUNTS)
def _radiance_fwd_kernel(
    rgb_ptr,
    depths_ptr,
    opacities_ptr,
    distortions_ptr,
    counts_ptr,  # out, [n_rays(, 3)]; distortions may be None
    chunk_depths_ptr,
    chunk_cursors_ptr,  # out, [n_chunks, n_rays] optical depth and lattice point at each chunk's start; may be None
    n_chunks_ptr,
    totals_ptr,  # out, [n_blocks] chunks done; [2, n_rays] optical depth and sum of weights times distance; may be None
    rays_o_ptr,
    rays_d_ptr,
    near_ptr,
    far_ptr,  # in, [n_rays(, 3)]
    directions_ptr,  # in, [n_rays, S] harmonics
    encoding_ptr,
    levels_ptr,  # in, table and [4, L] levels, or frequencies [n_freqs, 3] and None
    w_ptr,
    b_ptr,  # in, [TOTAL] in the dtype of the products, and of the sums
    occupancy_ptr,
    bkgd_rgb_ptr,  # in, bits, [n_rays, 3]; may be None
    n_rays,
    n_samples,
    n_freqs,
    resolution,
    seed_ptr,  # in, [1]; None where nothing is drawn
    max_depth,
    zero,  # 0, which the compiler does not know: addresses that depend on it are not kept over the loop
    LAYOUT: tl.constexpr,
    SAMPLING: tl.constexpr,
    PRECISION: tl.constexpr,
    IS_WIDE: tl.constexpr,
):
    R: tl.constexpr = SAMPLING.R
    K: tl.constexpr = SAMPLING.K
    M: tl.constexpr = R * K
    ACC: tl.constexpr = b_ptr.dtype.element_ty
    block = tl.program_id(0)
    column = tl.arange(0, 16)[None, :]
    # one tile holds all sums that are weights times a value: columns 0 to 2 colour, 3 depth
    sums = tl.zeros((R, 16), ACC)
    passed = tl.zeros((R,), ACC)
    distortion = tl.zeros((R,), ACC)
    moment = tl.zeros((R,), ACC)
    count = tl.zeros((R,), tl.int32)
    ray = _ray(block, R)
    cursor = tl.load(near_ptr + ray, mask=ray < n_rays, other=0)
    far = tl.load(far_ptr + ray, mask=ray < n_rays, other=0)
    goes = _may_go_on(cursor, far, SAMPLING) if SAMPLING.MARCHES else far > cursor
    chunk = 0
    while tl.max(goes.to(tl.int32), 0) > 0:
        none = chunk * zero
        ray = _ray(block + none, R)
        mask = ray < n_rays
        if chunk_depths_ptr is not None:
            at = ray + chunk * n_rays.to(tl.int64)
            tl.store(chunk_depths_ptr + at, passed, mask=mask)
            if SAMPLING.MARCHES:
                tl.store(chunk_cursors_ptr + at, cursor, mask=mask)
        # negated, so that NaN goes on: a field that diverged must not pass for an opaque one
        is_live = (passed >= max_depth) == 0
        ox, oy, oz = _load_ray(rays_o_ptr, ray, mask)
        dx, dy, dz = _load_ray(rays_d_ptr, ray, mask)
        near = tl.load(near_ptr + ray, mask=mask, other=0)
        far = tl.load(far_ptr + ray, mask=mask, other=0)
        t_starts, t_ends, exists, cursor = _samples(
            chunk, ray, near, far, cursor, is_live, ox, oy, oz, dx, dy, dz,
            occupancy_ptr, resolution, n_samples, seed_ptr, SAMPLING,
        )  # fmt: skip
        t_mids = 0.5 * (t_starts + t_ends)
        x, y, z = _positions(rays_o_ptr, rays_d_ptr, ray, mask, t_mids, M)
        x, y, z = _unit_cube(x, y, z, SAMPLING.CONTRACT)
        features = _encode(
            x, y, z, encoding_ptr, levels_ptr + none if LAYOUT.IS_HASH else None, n_freqs,
            LAYOUT, IS_WIDE, w_ptr.dtype.element_ty,
        )  # fmt: skip
        raw, geometry = _trunk(features, w_ptr + none, b_ptr + none, LAYOUT, PRECISION)
        row = _row(block + none, R, K)[:, None]
        directions = tl.load(
            directions_ptr + row * LAYOUT.S + tl.arange(0, LAYOUT.S)[None, :], mask=row < n_rays, other=0
        )
        rgbs = _color(geometry, directions, w_ptr + none, b_ptr + none, LAYOUT, PRECISION)
        sigmas = tl.reshape(_density(raw), (R, K))
        tau = tl.where(exists, _bounded(sigmas * (t_ends - t_starts)), 0)
        weights = tl.exp(-(passed[:, None] + _sum_before(tau, False))) * _alpha(tau)
        values = tl.where(column < 3, rgbs, tl.where(column == 3, tl.reshape(t_mids, (M,))[:, None], 0))
        sums += tl.sum(tl.reshape(tl.reshape(weights, (M,))[:, None] * values, (R, K, 16)), 1)
        if distortions_ptr is not None:
            # mip-NeRF 360 eq. 15 by running sums: each pair of samples is met once, at its later one
            s_starts, s_ends = _distance(t_starts, SAMPLING.CONTRACT), _distance(t_ends, SAMPLING.CONTRACT)
            s = 0.5 * (s_starts + s_ends)
            weight_before = _alpha(passed[:, None] + _sum_before(tau, False))
            moment_before = moment[:, None] + _sum_before(weights * s, False)
            pairs = 2 * weights * (s * weight_before - moment_before)
            distortion += tl.sum(pairs + weights * weights * (s_ends - s_starts) * (1 / 3), 1)
            moment += tl.sum(weights * s, 1)
        passed += tl.sum(tau, 1)
        count += tl.sum(exists.to(tl.int32), 1)
        chunk += 1
        goes = _may_go_on(cursor, far, SAMPLING) if SAMPLING.MARCHES else far > near
        goes = goes & ((passed >= max_depth) == 0) & (chunk * K < n_samples)
    ray = _ray(block, R)
    mask = ray < n_rays
    if bkgd_rgb_ptr is not None:
        is_rgb = mask[:, None] & (column < 3)
        bkgd = tl.load(bkgd_rgb_ptr + 3 * ray[:, None] + column, mask=is_rgb, other=0)
        sums += tl.exp(-passed)[:, None] * bkgd.to(ACC)
    tl.store(rgb_ptr + 3 * ray[:, None] + column, sums, mask=mask[:, None] & (column < 3))
    tl.store(depths_ptr + ray, tl.sum(tl.where(column == 3, sums, 0), 1), mask=mask)
    tl.store(opacities_ptr + ray, _alpha(passed), mask=mask)
    tl.store(counts_ptr + ray, count, mask=mask)
    if distortions_ptr is not None:
        tl.store(distortions_ptr + ray, distortion, mask=mask)
    if chunk_depths_ptr is not None:
        tl.store(n_chunks_ptr + block, chunk)
        tl.store(totals_ptr + ray, passed, mask=mask)
        tl.store(totals_ptr + n_rays + ray, moment, mask=mask)
