"""Numba loops without gradients: rays in groups, 16 samples of each at a time, until they leave or see nothing more.

Nothing of a sample outlives its round, and a ray that hit something opaque asks no further.
"""

# numba removes the first argument of an intrinsic, and takes stubs for functions; a type checker cannot know
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false, reportIndexIssue=false

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from nerfkit.kernels._elementwise import sigmoid
from nerfkit.kernels.march._cpu import walk
from nerfkit.kernels.mlp._loops import make_scratch, pack, run_layers
from nerfkit.kernels.mlp._plan import BLOCK

from ._cpu_encoding import encode
from ._cpu_loops import density, optical_depth, run_trunk, transpose
from ._specs import CHUNK

__all__ = ["render"]

GROUP = 128
"""Rays that take their rounds together: 2048 samples, 450 KB at 8 levels of 4 features and a trunk of 16 outputs."""

_RELU = 0

_loops = njit(cache=True, error_model="numpy", nogil=True)
_parallel = njit(parallel=True, cache=True, error_model="numpy", nogil=True)

# Arguments as in _cpu_loops.py; of a group also
# state = (t [GROUP] where each ray goes on, left [GROUP] samples that it may still have, asked [GROUP] optical depth of
#          all samples, kept [GROUP] of those that are not left out)


@_loops
def _march_round(alive, n_alive, first, state, taken, lines, samples):
    """The next samples of each ray, at most ``CHUNK``; returns how many there are, and counts them in ``taken``."""
    rays, lattice, grid = lines
    n = 0
    for a in range(n_alive):
        ray = alive[a]
        i = ray - first
        taken[a], state[0][i], _ = walk(ray, state[0][i], rays, lattice, grid, min(CHUNK, state[1][i]), n, samples)
        state[1][i] -= taken[a]
        n += taken[a]
    return n


@_loops
def _weigh(alive, n_alive, first, state, taken, samples, trunks, shading, weights, picked, depths, n_kept):
    """Weights of the samples; what matters is listed in ``picked``, sample and ray. Returns the length of that list."""
    _, log_offset, min_weight, max_depth, _, _ = shading
    n, k = 0, 0
    for a in range(n_alive):
        ray = alive[a]
        asked, kept = state[2][ray - first], state[3][ray - first]
        for i in range(n, n + taken[a]):
            # of a round that was begun, the samples behind the end
            if asked >= max_depth:
                break
            t0, t1 = float(samples[1][i]), float(samples[2][i])
            tau = optical_depth(density(trunks[i, 0], log_offset, depths.dtype.type(0)), t1 - t0)
            before, asked = asked, asked + tau
            # negated for the sake of NaN
            if not (min_weight > 0 and math.exp(-before) - math.exp(-asked) <= min_weight):
                weights[k] = math.exp(-kept) * -math.expm1(-tau)
                kept += tau
                depths[ray] += weights[k] * (0.5 * (t0 + t1))
                n_kept[ray] += 1
                picked[k, 0], picked[k, 1] = i, ray
                k += 1
        n += taken[a]
        state[2][ray - first], state[3][ray - first] = asked, kept
    return k


@_loops
def _shade(rgb, scratch, inputs, weights, picked, n_picked, trunks, shading, plan):
    """Add the colours of the samples that matter to their rays."""
    harmonics, skipped = shading[0], shading[4]
    n_layers = len(plan.weight_at)
    padded, last = plan.padded[n_layers], plan.hidden_at[n_layers]
    n_geometry = trunks.shape[1] - skipped
    for start in range(0, n_picked, BLOCK):
        count = min(BLOCK, n_picked - start)
        for i in range(count):
            sample, ray = picked[start + i]
            for j in range(n_geometry):
                inputs[i, j] = trunks[sample, skipped + j]
            for j in range(harmonics.shape[1]):
                inputs[i, n_geometry + j] = harmonics[ray, j]
        run_layers(scratch, inputs, 0, count, plan, n_layers, _RELU, inputs.dtype.type(1), False)
        for i in range(count):
            for c in range(3):
                rgb[picked[start + i, 1], c] += weights[start + i] * sigmoid(scratch[last + i * padded + c])


@_loops
def _still_alive(alive, n_alive, first, state, far, max_depth):
    """Keep rays in the list that have a way to go and light to see by; NaN is no end."""
    n = 0
    for a in range(n_alive):
        i = alive[a] - first
        if state[0][i] < far[alive[a]] and state[1][i] > 0 and not (state[2][i] >= max_depth):
            alive[n] = alive[a]
            n += 1
    return n


@_loops
def _render_group(
    pixels, n_kept, first, stop, starts, max_samples, rays, lattice, grid, table, levels, axes, features, trunk_params,
    trunk_plan, color_params, color_plan, shading, bkgd_rgb,
):  # fmt: skip
    rgb, depths, opacities = pixels
    real, size = table.dtype.type, GROUP * CHUNK
    samples = (np.empty(size, np.int64), np.empty(size, real), np.empty(size, real), np.empty((size, 3), real))
    columns, encodings = np.empty((3, size), real), np.empty((size, trunk_plan.widths[0]), real)
    trunks, inputs = np.empty((size, trunk_plan.widths[-1]), real), np.empty((BLOCK, color_plan.widths[0]), real)
    weights, picked = np.empty(size, np.float64), np.empty((size, 2), np.int64)
    trunk_scratch, color_scratch = make_scratch(table, trunk_plan), make_scratch(table, color_plan)
    pack(trunk_scratch, trunk_params[0], trunk_plan)
    pack(color_scratch, color_params[0], color_plan)
    n_alive = stop - first
    alive, taken = np.arange(first, stop), np.empty(n_alive, np.int64)
    state = (starts[first:stop].copy(), np.full(n_alive, max_samples), np.zeros(n_alive), np.zeros(n_alive))
    rgb[first:stop] = 0
    depths[first:stop] = 0
    n_kept[first:stop] = 0
    while n_alive > 0:
        n = _march_round(alive, n_alive, first, state, taken, (rays, lattice, grid), samples)
        transpose(columns, samples[3], n)
        encode(encodings, columns, table, levels, n, axes, features)
        run_trunk(trunks, encodings, trunk_scratch, n, trunk_plan)
        k = _weigh(alive, n_alive, first, state, taken, samples, trunks, shading, weights, picked, depths, n_kept)
        _shade(rgb, color_scratch, inputs, weights, picked, k, trunks, shading, color_plan)
        n_alive = _still_alive(alive, n_alive, first, state, rays[2], shading[3])
    for ray in range(first, stop):
        opacities[ray] = -math.expm1(-state[3][ray - first])
        if len(bkgd_rgb) > 0:
            for c in range(3):
                rgb[ray, c] += math.exp(-state[3][ray - first]) * bkgd_rgb[ray, c]


@_parallel
def render(
    pixels, n_kept, starts, max_samples, rays, lattice, grid, table, levels, axes, features, trunk_params, trunk_plan,
    color_params, color_plan, shading, bkgd_rgb,
):  # fmt: skip
    """Pixels, and the samples that make them up; rays begin at lattice points ``starts``."""
    for group in prange((len(starts) + GROUP - 1) // GROUP):
        first = group * GROUP
        _render_group(
            pixels, n_kept, first, min(first + GROUP, len(starts)), starts, max_samples, rays, lattice, grid, table,
            levels, axes, features, trunk_params, trunk_plan, color_params, color_plan, shading, bkgd_rgb,
        )  # fmt: skip
