"""Numba loops: from rays to pixels, and from the gradients of pixels to those of the field.

Rays are cut into chunks; a chunk's rays go through everything in groups of ``GROUP``, in rounds of 16 samples of each,
which stay in the second-level cache from the march to the density; a ray that sees nothing more takes no further round.
What the backward needs of the samples that matter is written to arrays that all chunks share, each into the part that
begins where its first sample would lie if all were kept, and without gaps in it.
"""

# numba removes the first argument of an intrinsic, and takes stubs for functions; a type checker cannot know
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false, reportIndexIssue=false

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from nerfkit.kernels._elementwise import sigmoid
from nerfkit.kernels.composite._reference import MAX_TAU
from nerfkit.kernels.hashgrid._cpu import BLOCK as HASH_BLOCK
from nerfkit.kernels.hashgrid._cpu import add_rows, corner_scratch
from nerfkit.kernels.march._cpu import walk
from nerfkit.kernels.mlp._loops import backward_block, load_d_out, make_scratch, pack, pack_transposed, run_layers
from nerfkit.kernels.mlp._plan import BLOCK

from ._cpu_encoding import encode
from ._reference import MAX_LOG_DENSITY
from ._specs import CHUNK

__all__ = ["backward", "density", "forward", "optical_depth", "run_trunk", "scatter", "transpose"]

GROUP = 64
"""Rays that take their rounds together, 16 samples of each: 230 KB at 8 levels of 4 features."""

_RELU = 0

_loops = njit(cache=True, error_model="numpy", nogil=True)
_parallel = njit(parallel=True, cache=True, error_model="numpy", nogil=True)

# Arguments of the loops; tuples are flat where a parallel function takes them, as numba wants it:
# lines = (rays, t_first, counts, lattice, grid), what kernels/march counted and walks with
# table, levels, axes, features: of kernels/hashgrid; frequencies [3, m], and an empty ``features`` for Fourier features
# nets = (trunk_params, trunk_plan, color_params, color_plan), parameters as kernels/mlp flattens them
# shading = (harmonics [n_rays, H], log_density_offset, min_weight, max_depth, first trunk output that colour takes,
#            whether space is contracted)
# pixels = (rgb [n_rays, 3], depths, opacities, distortions [n_rays], or [0] where nobody asks for them)
# state = (t [GROUP] where each ray goes on, asked [GROUP] samples so far, depths [GROUP] their optical depth)
# kept = (xyzs [3, n], encodings [n, E], trunks [n, G], sigmas [n], rgbs [n, 3], t_starts, t_ends, weights, trans [n],
#         info [n_rays, 2]): what is kept of samples; info is first sample and count of each ray


@_loops
def _begin_group(first, end, at, lines, state, alive, kept):
    """Rays at their first samples, each with room in ``kept`` for all that it may have; returns how many have some."""
    _, t_first, counts, _, _ = lines
    t, asked, depths, info = state[0], state[1], state[2], kept[9]
    n_alive = 0
    for ray in range(first, end):
        info[ray, 0], info[ray, 1] = at, 0
        t[ray - first], asked[ray - first], depths[ray - first] = t_first[ray], 0, 0.0
        at += counts[ray]
        if counts[ray] > 0:
            alive[n_alive] = ray
            n_alive += 1
    return n_alive


@_loops
def _march_round(alive, n_alive, first, lines, state, samples, columns):
    """The next samples of each ray, at most ``CHUNK``; positions also as columns [3, n]. Returns how many there are."""
    rays, _, counts, lattice, grid = lines
    t, asked = state[0], state[1]
    n = 0
    for a in range(n_alive):
        ray = alive[a]
        i = ray - first
        n_next = min(CHUNK, counts[ray] - asked[i])
        _, t[i], _ = walk(ray, t[i], rays, lattice, grid, n_next, n, samples)
        n += n_next
    transpose(columns, samples[3], n)
    return n


@_loops
def transpose(columns, xyzs, n):
    """The first ``n`` positions [n, 3] as columns, which the loops over samples read as vectors."""
    for i in range(n):
        columns[0, i], columns[1, i], columns[2, i] = xyzs[i, 0], xyzs[i, 1], xyzs[i, 2]


@_loops
def run_trunk(trunks, encodings, scratch, n, plan):
    """Outputs of the trunk for the first ``n`` encodings."""
    n_layers = len(plan.weight_at)
    width, padded, last = plan.widths[n_layers], plan.padded[n_layers], plan.hidden_at[n_layers]
    one = trunks.dtype.type(1)
    for start in range(0, n, BLOCK):
        count = min(BLOCK, n - start)
        run_layers(scratch, encodings, start * plan.widths[0], count, plan, n_layers, _RELU, one, False)
        for i in range(count):
            for j in range(width):
                trunks[start + i, j] = scratch[last + i * padded + j]


@_loops
def density(raw, log_offset, zero):
    """Density from the trunk's first output, rounded to the type of ``zero``."""
    log_density = float(raw + log_offset)
    # a comparison, not min(): it lets a NaN through, so that a broken network is seen
    return type(zero)(math.exp(MAX_LOG_DENSITY if log_density > MAX_LOG_DENSITY else log_density))


@_loops
def optical_depth(sigma, delta):
    """Of a sample, bounded as in kernels/composite."""
    tau = float(sigma) * float(delta)
    return MAX_TAU if tau > MAX_TAU else tau


@_loops
def _keep_round(alive, n_alive, first, lines, state, samples, columns, encodings, trunks, shading, kept):
    """Copy the samples that matter behind those of their rays, and leave rays in the list that see more to come.

    Returns how many these are.
    """
    counts = lines[2]
    _, asked, depths = state
    _, log_offset, min_weight, max_depth, _, _ = shading
    xyzs, kept_encodings, kept_trunks, sigmas, _, t_starts, t_ends, _, _, info = kept
    real = sigmas.dtype.type
    n, n_left = 0, 0
    for a in range(n_alive):
        ray = alive[a]
        depth = depths[ray - first]
        left = math.exp(-depth)
        at = info[ray, 0] + info[ray, 1]
        n_next = min(CHUNK, counts[ray] - asked[ray - first])
        for i in range(n, n + n_next):
            # of a round that was begun, the samples behind the end
            if depth >= max_depth:
                break
            sigma = density(trunks[i, 0], log_offset, real(0))
            depth += optical_depth(sigma, samples[2][i] - samples[1][i])
            behind = math.exp(-depth)
            # negated for the sake of NaN
            if not (min_weight > 0 and left - behind <= min_weight):
                sigmas[at], t_starts[at], t_ends[at] = sigma, samples[1][i], samples[2][i]
                for axis in range(3):
                    xyzs[axis, at] = columns[axis, i]
                for j in range(encodings.shape[1]):
                    kept_encodings[at, j] = encodings[i, j]
                for j in range(trunks.shape[1]):
                    kept_trunks[at, j] = trunks[i, j]
                at += 1
            left = behind
        n += n_next
        info[ray, 1] = at - info[ray, 0]
        depths[ray - first] = depth
        asked[ray - first] += n_next
        # NaN is no number beyond the bound, and goes on
        if asked[ray - first] < counts[ray] and not (depth >= max_depth):
            alive[n_left] = ray
            n_left += 1
    return n_left


@_loops
def _close_gaps(first, end, at, kept):
    """Move what was kept of rays to where the ray before ends, from ``at`` on; returns the place behind the last."""
    xyzs, encodings, trunks, sigmas, _, t_starts, t_ends, _, _, info = kept
    for ray in range(first, end):
        start = info[ray, 0]
        info[ray, 0] = at
        if start == at:
            at += info[ray, 1]
            continue
        # towards the front: what is read was not yet written
        for i in range(start, start + info[ray, 1]):
            sigmas[at], t_starts[at], t_ends[at] = sigmas[i], t_starts[i], t_ends[i]
            for axis in range(3):
                xyzs[axis, at] = xyzs[axis, i]
            for j in range(encodings.shape[1]):
                encodings[at, j] = encodings[i, j]
            for j in range(trunks.shape[1]):
                trunks[at, j] = trunks[i, j]
            at += 1
    return at


@_loops
def _color_inputs(inputs, ray, nth, start, count, shading, kept):
    """Rows (trunk, harmonics of the ray) of samples from ``start`` on, the first of which is number ``nth`` of ``ray``.

    Returns ray and number of the sample behind the last.
    """
    trunks, info = kept[2], kept[9]
    harmonics, skipped = shading[0], shading[4]
    n_geometry = trunks.shape[1] - skipped
    for i in range(count):
        while nth >= info[ray, 1]:
            ray, nth = ray + 1, 0
        for j in range(n_geometry):
            inputs[i, j] = trunks[start + i, skipped + j]
        for j in range(harmonics.shape[1]):
            inputs[i, n_geometry + j] = harmonics[ray, j]
        nth += 1
    return ray, nth


@_loops
def _shade(scratch, inputs, ray, start, stop, nets, shading, kept):
    """Colours of samples start to stop - 1, the first of which is the first of ``ray``."""
    rgbs, plan = kept[4], nets[3]
    n_layers = len(plan.weight_at)
    padded, last = plan.padded[n_layers], plan.hidden_at[n_layers]
    one = inputs.dtype.type(1)
    nth = 0
    for at in range(start, stop, BLOCK):
        count = min(BLOCK, stop - at)
        ray, nth = _color_inputs(inputs, ray, nth, at, count, shading, kept)
        run_layers(scratch, inputs, 0, count, plan, n_layers, _RELU, one, False)
        for i in range(count):
            for c in range(3):
                rgbs[at + i, c] = sigmoid(scratch[last + i * padded + c])


@_loops
def _interval(i, contract, kept):
    """Middle and length of a sample in what distortion is measured in (kernels/distortion)."""
    t0, t1 = float(kept[5][i]), float(kept[6][i])
    s0, s1 = (2 - 1 / t0 if contract and t0 > 1 else t0), (2 - 1 / t1 if contract and t1 > 1 else t1)
    return 0.5 * (s0 + s1), s1 - s0


@_loops
def _distortion(ray, contract, kept):
    """Of a ray, from the weights that :func:`_composite` left (kernels/distortion)."""
    weights, info = kept[7], kept[9]
    total, before, spread, previous = 0.0, 0.0, 0.0, 0.0
    for i in range(info[ray, 0], info[ray, 0] + info[ray, 1]):
        weight = float(weights[i])
        mid, length = _interval(i, contract, kept)
        spread += before * (mid - previous)
        total += weight * (2 * spread + weight * length / 3)
        before += weight
        previous = mid
    return total


@_loops
def _distortion_backward(d_weights, ray, base, d_distortion, contract, kept):
    """Gradient of the distortion to the weights of a ray, written from i - base on (kernels/distortion/README.md)."""
    weights, info = kept[7], kept[9]
    start, stop = info[ray, 0], info[ray, 0] + info[ray, 1]
    before, spread, previous = 0.0, 0.0, 0.0
    for i in range(start, stop):
        weight = float(weights[i])
        mid, length = _interval(i, contract, kept)
        spread += before * (mid - previous)
        d_weights[i - base] = d_distortion * (2 * spread + weight * length * 2 / 3)
        before += weight
        previous = mid
    after, spread = 0.0, 0.0
    for i in range(stop - 1, start - 1, -1):
        mid, _ = _interval(i, contract, kept)
        spread += after * (previous - mid)
        d_weights[i - base] += d_distortion * 2 * spread
        after += float(weights[i])
        previous = mid


@_loops
def _composite(pixels, ray, bkgd_rgb, contract, kept):
    """Colour, depth, opacity and distortion of a ray from the samples that were kept (kernels/composite)."""
    rgb, depths, opacities, distortions = pixels
    _, _, _, sigmas, rgbs, t_starts, t_ends, weights, trans, info = kept
    left, passed = 1.0, 0.0
    red, green, blue, depth = 0.0, 0.0, 0.0, 0.0
    for i in range(info[ray, 0], info[ray, 0] + info[ray, 1]):
        t0, t1 = float(t_starts[i]), float(t_ends[i])
        tau = optical_depth(sigmas[i], t1 - t0)
        weight = left * -math.expm1(-tau)
        passed += tau
        left = math.exp(-passed)
        weights[i], trans[i] = weight, left
        red += weight * rgbs[i, 0]
        green += weight * rgbs[i, 1]
        blue += weight * rgbs[i, 2]
        depth += weight * (0.5 * (t0 + t1))
    if len(bkgd_rgb) > 0:
        red += left * bkgd_rgb[ray, 0]
        green += left * bkgd_rgb[ray, 1]
        blue += left * bkgd_rgb[ray, 2]
    rgb[ray, 0], rgb[ray, 1], rgb[ray, 2] = red, green, blue
    depths[ray] = depth
    opacities[ray] = -math.expm1(-passed)
    if len(distortions) > 0:
        distortions[ray] = _distortion(ray, contract, kept)


@_loops
def _forward_chunk(
    pixels, start, stop, at, rays, t_first, counts, lattice, grid, table, levels, axes, features, trunk_params,
    trunk_plan, color_params, color_plan, shading, bkgd_rgb, kept,
):  # fmt: skip
    lines = (rays, t_first, counts, lattice, grid)
    nets = (trunk_params, trunk_plan, color_params, color_plan)
    real = table.dtype.type
    size = GROUP * CHUNK
    samples = (np.empty(size, np.int64), np.empty(size, real), np.empty(size, real), np.empty((size, 3), real))
    columns = np.empty((3, size), real)
    encodings = np.empty((size, trunk_plan.widths[0]), real)
    trunks = np.empty((size, trunk_plan.widths[-1]), real)
    inputs = np.empty((BLOCK, color_plan.widths[0]), real)
    trunk_scratch, color_scratch = make_scratch(table, trunk_plan), make_scratch(table, color_plan)
    pack(trunk_scratch, trunk_params[0], trunk_plan)
    pack(color_scratch, color_params[0], color_plan)
    alive = np.empty(GROUP, np.int64)
    state = (np.empty(GROUP, real), np.empty(GROUP, np.int64), np.empty(GROUP, np.float64))
    for first in range(start, stop, GROUP):
        end = min(first + GROUP, stop)
        n_alive = _begin_group(first, end, at, lines, state, alive, kept)
        while n_alive > 0:
            n = _march_round(alive, n_alive, first, lines, state, samples, columns)
            encode(encodings, columns, table, levels, n, axes, features)
            run_trunk(trunks, encodings, trunk_scratch, n, trunk_plan)
            n_alive = _keep_round(
                alive, n_alive, first, lines, state, samples, columns, encodings, trunks, shading, kept
            )
        behind = _close_gaps(first, end, at, kept)
        _shade(color_scratch, inputs, first, at, behind, nets, shading, kept)
        for ray in range(first, end):
            _composite(pixels, ray, bkgd_rgb, shading[5], kept)
        at = behind


@_parallel
def forward(
    pixels, bounds, places, rays, t_first, counts, lattice, grid, table, levels, axes, features, trunk_params,
    trunk_plan, color_params, color_plan, shading, bkgd_rgb, kept,
):  # fmt: skip
    """Chunk i is rays bounds[i] to bounds[i + 1] - 1; what is kept of it lies from places[i] on."""
    for chunk in prange(len(bounds) - 1):
        _forward_chunk(
            pixels, bounds[chunk], bounds[chunk + 1], places[chunk], rays, t_first, counts, lattice, grid, table,
            levels, axes, features, trunk_params, trunk_plan, color_params, color_plan, shading, bkgd_rgb, kept,
        )  # fmt: skip


@_loops
def _composite_backward(d_sigmas, d_rgbs, d_bkgd_rgb, ray, base, d_pixels, bkgd_rgb, contract, kept):
    """Gradients to density and colour of a ray's samples (kernels/composite/README.md), written from i - base on."""
    _, _, _, _, rgbs, t_starts, t_ends, weights, trans, info = kept
    d_rgb, d_depths, d_opacities, d_distortions = d_pixels
    start, stop = info[ray, 0], info[ray, 0] + info[ray, 1]
    left = float(trans[stop - 1]) if stop > start else 1.0
    red, green, blue = float(d_rgb[ray, 0]), float(d_rgb[ray, 1]), float(d_rgb[ray, 2])
    # the background is one more sample, the last: it brings its colour and takes away opacity
    later = -left * d_opacities[ray]
    if len(bkgd_rgb) > 0:
        later += left * (red * bkgd_rgb[ray, 0] + green * bkgd_rgb[ray, 1] + blue * bkgd_rgb[ray, 2])
    if len(d_bkgd_rgb) > 0:
        d_bkgd_rgb[ray, 0], d_bkgd_rgb[ray, 1], d_bkgd_rgb[ray, 2] = left * red, left * green, left * blue
    if len(d_distortions) > 0:
        _distortion_backward(d_sigmas, ray, base, float(d_distortions[ray]), contract, kept)
    for i in range(stop - 1, start - 1, -1):
        weight, t0, t1 = float(weights[i]), float(t_starts[i]), float(t_ends[i])
        d_rgbs[i - base, 0], d_rgbs[i - base, 1], d_rgbs[i - base, 2] = weight * red, weight * green, weight * blue
        d_weight = red * rgbs[i, 0] + green * rgbs[i, 1] + blue * rgbs[i, 2] + d_depths[ray] * 0.5 * (t0 + t1)
        if len(d_distortions) > 0:
            # the place is free until the density's gradient goes there
            d_weight += d_sigmas[i - base]
        d_tau = trans[i] * d_weight - later
        later += weight * d_weight
        d_sigmas[i - base] = d_tau * (t1 - t0)


@_loops
def _backward_networks(
    d_encodings, partials, scratches, rows, base, first, count, d_sigmas, d_rgbs, nets, skipped, kept, needs
):
    """From the gradients to density and colour of a block of samples to those of networks, and of the encodings.

    ``rows`` are the colour network's inputs, room for their gradient and for that of the trunk's outputs.
    """
    encodings, sigmas, rgbs = kept[1], kept[3], kept[4]
    trunk_plan, color_plan = nets[1], nets[3]
    inputs, d_inputs, d_trunks = rows
    one = inputs.dtype.type(1)
    n_hidden = len(color_plan.weight_at) - 1
    run_layers(scratches[1], inputs, 0, count, color_plan, n_hidden, _RELU, one, True)
    load_d_out(scratches[1], d_rgbs[first:], rgbs[base + first :], 0, count, color_plan, True)
    backward_block(d_inputs, partials[1], scratches[1], inputs, 0, count, color_plan, _RELU, needs[1], -1)
    for i in range(count):
        d_trunks[i, 0] = 0
        for j in range(skipped, d_trunks.shape[1]):
            d_trunks[i, j] = d_inputs[i, j - skipped]
        # the gradient of exp goes on beyond its bound: a density that overshot must be able to come back
        d_trunks[i, 0] += d_sigmas[first + i] * sigmas[base + first + i]
    # without a table to give it to, the encodings' gradient is not needed
    lowest = -1 if len(d_encodings) > 0 else 0
    at = (base + first) * trunk_plan.widths[0]
    n_hidden = len(trunk_plan.weight_at) - 1
    run_layers(scratches[0], encodings, at, count, trunk_plan, n_hidden, _RELU, one, True)
    load_d_out(scratches[0], d_trunks, d_trunks, 0, count, trunk_plan, False)
    backward_block(d_encodings, partials[0], scratches[0], encodings, at, count, trunk_plan, _RELU, needs[0], lowest)


@_loops
def _backward_chunk(
    d_encodings, trunk_partial, color_partial, d_bkgd_rgb, start, stop, d_pixels, trunk_params, trunk_plan,
    color_params, color_plan, shading, bkgd_rgb, kept, trunk_needs, color_needs,
):  # fmt: skip
    nets = (trunk_params, trunk_plan, color_params, color_plan)
    encodings, trunks, info = kept[1], kept[2], kept[9]
    real = encodings.dtype.type
    base = info[start, 0]
    n = info[stop - 1, 0] + info[stop - 1, 1] - base
    d_sigmas, d_rgbs = np.empty(n, real), np.empty((n, 3), real)
    inputs = np.empty((BLOCK, color_plan.widths[0]), real)
    rows = (inputs, np.empty_like(inputs), np.empty((BLOCK, trunks.shape[1]), real))
    scratches = make_scratch(encodings, trunk_plan), make_scratch(encodings, color_plan)
    pack(scratches[0], trunk_params[0], trunk_plan)
    pack_transposed(scratches[0], trunk_params[0], trunk_plan)
    pack(scratches[1], color_params[0], color_plan)
    pack_transposed(scratches[1], color_params[0], color_plan)
    trunk_partial[:] = 0
    color_partial[:] = 0
    for ray in range(start, stop):
        _composite_backward(d_sigmas, d_rgbs, d_bkgd_rgb, ray, base, d_pixels, bkgd_rgb, shading[5], kept)
    ray, nth = start, 0
    for first in range(0, n, BLOCK):
        count = min(BLOCK, n - first)
        ray, nth = _color_inputs(inputs, ray, nth, base + first, count, shading, kept)
        _backward_networks(
            d_encodings, (trunk_partial, color_partial), scratches, rows, base, first, count, d_sigmas, d_rgbs, nets,
            shading[4], kept, (trunk_needs, color_needs),
        )  # fmt: skip


@_parallel
def backward(
    d_encodings, trunk_partials, color_partials, d_bkgd_rgb, bounds, d_pixels, trunk_params, trunk_plan, color_params,
    color_plan, shading, bkgd_rgb, kept, trunk_needs, color_needs,
):  # fmt: skip
    """Gradients of what :func:`forward` kept: of the encodings (flat), and of the networks in a partial sum a chunk."""
    for chunk in prange(len(bounds) - 1):
        if bounds[chunk] < bounds[chunk + 1]:
            _backward_chunk(
                d_encodings, trunk_partials[0, chunk], color_partials[0, chunk], d_bkgd_rgb, bounds[chunk],
                bounds[chunk + 1], d_pixels, trunk_params, trunk_plan, color_params, color_plan, shading, bkgd_rgb,
                kept, trunk_needs, color_needs,
            )  # fmt: skip


@_loops
def _scatter_level(d_table, d_encodings, xyzs, places, counts, levels, l, axes, features):
    scratch = corner_scratch(xyzs, axes)
    offsets, sizes = levels[1], levels[2]
    d_table[offsets[l] : offsets[l] + sizes[l]] = 0
    for chunk in range(len(places)):
        stop = places[chunk] + counts[chunk]
        for start in range(places[chunk], stop, HASH_BLOCK):
            add_rows(
                d_table, d_encodings, xyzs, scratch, start, min(HASH_BLOCK, stop - start), levels, l, axes, features
            )


@_parallel
def scatter(d_table, d_encodings, xyzs, places, counts, levels, order, axes, features):
    """Gradient of the table from that of the encodings, a thread a level: no atomics, the same bits every time."""
    for task in prange(len(order)):
        _scatter_level(d_table, d_encodings, xyzs, places, counts, levels, order[task], axes, features)
