"""The numba loops as a function that torch differentiates."""

# to a type checker an unpacked tuple is one argument
# pyright: reportCallIssue=false

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nerfkit.kernels._autograd import differentiable_gradients
from nerfkit.kernels.harmonics import harmonics
from nerfkit.kernels.hashgrid._cpu import lengths_of, levels_of
from nerfkit.kernels.march._cpu import count_samples, walk_from
from nerfkit.kernels.memory import large_empty
from nerfkit.kernels.mlp._cpu import N_CHUNKS
from nerfkit.kernels.mlp._loops import add_partials
from nerfkit.kernels.mlp._plan import Plan, make_plan

from ._cpu_loops import backward, forward, scatter
from ._cpu_render import render
from ._reference import radiance_reference
from ._specs import MarchSampling, RadianceSpec

if TYPE_CHECKING:
    from . import RadianceParams

__all__ = ["radiance_cpu"]

# what the loops take for a hash grid where there is none
_NO_LEVELS = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.bool_))


def radiance_cpu(
    rays_o: Tensor, rays_d: Tensor, near: Tensor, far: Tensor, params: RadianceParams, spec: RadianceSpec,
    sampling: MarchSampling, bkgd_rgb: Tensor | None, *, occupancy: Tensor, jitter: Tensor | None, min_weight: float,
    has_distortion: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Same contract as :func:`nerfkit.kernels.radiance.radiance`; ``bkgd_rgb`` one row a ray."""
    fixed = (rays_o, rays_d, near, far, spec, sampling, occupancy, jitter, min_weight, params.log_density_offset)
    trunk = _in_order(params.trunk_weights, params.trunk_biases)
    color = _in_order(params.color_weights, params.color_biases)
    inputs = (params.encoding, bkgd_rgb, *trunk, *color)
    is_differentiated = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs)
    # rendering keeps no samples; who wants their distortion without a gradient takes the other way
    if is_differentiated or has_distortion:
        return RadianceCpu.apply(fixed, len(trunk), has_distortion, *inputs)  # pyright: ignore[reportReturnType]
    return _render(fixed, trunk, color, params.encoding, bkgd_rgb)


def _render(fixed, trunk, color, encoding: Tensor, bkgd_rgb: Tensor | None) -> tuple[Tensor, ...]:
    """Pixels without gradients."""
    rays_o, rays_d, near, far, spec, sampling, occupancy, jitter, min_weight, log_offset = fixed
    walk = walk_from(
        rays_o, rays_d, far, occupancy, sampling.resolution, sampling.step, sampling.cone_angle, sampling.contract
    )
    first = (sampling.cone_angle * near).clamp(min=sampling.step)
    starts = near + (0.5 if jitter is None else jitter) * first
    pixels = [torch.empty(len(rays_o), c, dtype=rays_o.dtype) for c in (3, 1, 1)]
    n_kept = torch.empty(len(rays_o), dtype=torch.int32)
    shading = _shading(rays_d, log_offset, min_weight, spec, sampling)
    arrays = (pixels[0].numpy(), pixels[1].view(-1).numpy(), pixels[2].view(-1).numpy())
    render(
        arrays, n_kept.numpy(), _array(starts), sampling.max_samples, *walk, *_grid(encoding, spec), *_net(trunk),
        *_net(color), shading, _background(bkgd_rgb, rays_o),
    )  # fmt: skip
    return *pixels, pixels[1].new_empty(0, 1), n_kept


def _in_order(weights: Sequence[Tensor], biases: Sequence[Tensor | None] | None) -> list[Tensor | None]:
    return [*weights, *([None] * len(weights) if biases is None else biases)]


class RadianceCpu(torch.autograd.Function):
    """The loops with their gradients; everything has one dtype, float32 or float64."""

    @staticmethod
    def forward(ctx, fixed, n_trunk, has_distortion, encoding, bkgd_rgb, *parameters):
        """March, ask, keep what matters, shade and composite; what is kept stays for the backward."""
        rays_o, rays_d, near, far, spec, sampling, occupancy, jitter, min_weight, log_offset = fixed
        counted = count_samples(
            rays_o, rays_d, near, far, occupancy, sampling.resolution, sampling.step, sampling.cone_angle,
            sampling.contract, torch.full_like(near, 0.5) if jitter is None else jitter, sampling.max_samples,
        )  # fmt: skip
        firsts, counts = counted.packed_info.T.copy()
        nets = (*_net(parameters[:n_trunk]), *_net(parameters[n_trunk:]))
        kept = _allocate(int(counts.sum()), len(counts), nets[1], counted.rays[0].dtype)
        shading = _shading(rays_d, log_offset, min_weight, spec, sampling)
        background = _background(bkgd_rgb, rays_o)
        # the chunks depend on the number of rays alone: the same bits with any number of threads
        bounds = np.linspace(0, len(counts), min(N_CHUNKS, len(counts)) + 1).astype(np.int64)
        places = firsts[bounds[:-1]]
        rgb, depths, opacities = (torch.empty(len(counts), c, dtype=rays_o.dtype) for c in (3, 1, 1))
        distortions = torch.empty(len(counts) if has_distortion else 0, 1, dtype=rays_o.dtype)
        pixels = (rgb.numpy(), *(x.view(-1).numpy() for x in (depths, opacities, distortions)))
        lines = (counted.rays, counted.t_first, counts, counted.lattice, counted.grid)
        grid = _grid(encoding, spec)
        forward(pixels, bounds, places, *lines, *grid, *nets, shading, background, kept)
        ctx.loop = bounds, places, nets, shading, background, kept
        ctx.inputs = fixed, n_trunk, has_distortion
        ctx.save_for_backward(encoding, bkgd_rgb, *parameters)
        n_kept = torch.from_numpy(kept[9][:, 1].astype(np.int32))
        ctx.mark_non_differentiable(n_kept)
        return rgb, depths, opacities, distortions, n_kept

    @staticmethod
    def backward(ctx, d_rgb, d_depths, d_opacities, d_distortions, _):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Composite, networks and encodings backwards in one pass over what was kept, then the table level by level."""
        encoding, bkgd_rgb, *parameters = ctx.saved_tensors
        fixed, n_trunk, has_distortion = ctx.inputs
        needs = ctx.needs_input_grad[3:]
        if torch.is_grad_enabled():  # create_graph=True: a second derivative may follow
            definition = _definition(fixed, n_trunk, has_distortion)
            inputs = (encoding, bkgd_rgb, *parameters)
            d_pixels = (d_rgb, d_depths, d_opacities, *([d_distortions] if has_distortion else []))
            return None, None, None, *differentiable_gradients(definition, inputs, needs, d_pixels)
        bounds, places, nets, shading, background, kept = ctx.loop
        spec: RadianceSpec = fixed[4]
        real = kept[0].dtype
        has_table = needs[0] and spec.grid is not None
        d_encodings = np.empty(kept[1].size if has_table else 0, real)
        d_background = torch.empty(len(background) if needs[1] else 0, 3, dtype=d_rgb.dtype)
        n_chunks = len(places)
        partials = [np.empty((1, n_chunks, plan.n_packed), real) for plan in (nets[1], nets[3])]
        layers = [np.ones((2, len(plan.weight_at)), np.bool_) for plan in (nets[1], nets[3])]
        for present, plan in zip(layers, (nets[1], nets[3]), strict=True):
            present[1] = plan.bias_at >= 0
        d_pixels = (_array(d_rgb), *(_array(x.reshape(-1)) for x in (d_depths, d_opacities, d_distortions)))
        backward(
            d_encodings, *partials, d_background.numpy(), bounds, d_pixels, *nets, shading, background, kept, *layers
        )
        d_parameters = [
            *_split(partials[0], nets[1], layers[0], parameters[:n_trunk]),
            *_split(partials[1], nets[3], layers[1], parameters[n_trunk:]),
        ]
        d_table = _scatter(d_encodings, encoding, spec, kept, bounds, places) if has_table else None
        return None, None, None, d_table, d_background if needs[1] else None, *d_parameters


def _shading(
    rays_d: Tensor, log_offset: Tensor, min_weight: float, spec: RadianceSpec, sampling: MarchSampling
) -> tuple:
    """``shading`` of the loops."""
    basis = _array(harmonics(rays_d, spec.harmonics_degree))
    skipped = int(not spec.color_sees_density)
    return basis, basis.dtype.type(log_offset), float(min_weight), sampling.max_depth, skipped, bool(sampling.contract)


def _background(bkgd_rgb: Tensor | None, rays_o: Tensor) -> np.ndarray:
    return _array(rays_o.new_empty(0, 3) if bkgd_rgb is None else bkgd_rgb)


def _definition(fixed, n_trunk: int, has_distortion: bool):
    """The reference as a function of what has a gradient."""
    from . import RadianceParams

    rays_o, rays_d, near, far, spec, sampling, occupancy, jitter, min_weight, log_offset = fixed

    def definition(encoding, bkgd_rgb, *parameters):
        trunk, color = parameters[:n_trunk], parameters[n_trunk:]
        halves = (trunk[: n_trunk // 2], trunk[n_trunk // 2 :], color[: len(color) // 2], color[len(color) // 2 :])
        params = RadianceParams(encoding, halves[0], halves[2], log_offset, halves[1], halves[3])
        return radiance_reference(
            rays_o, rays_d, near, far, params, spec, sampling, bkgd_rgb,
            occupancy=occupancy, jitter=jitter, min_weight=min_weight, has_distortion=has_distortion,
        )[: 3 + has_distortion]  # fmt: skip

    return definition


def _net(parameters: Sequence[Tensor | None]) -> tuple[np.ndarray, Plan]:
    """A network's parameters in one row [1, n] and where they lie in it."""
    weights, biases = parameters[: len(parameters) // 2], parameters[len(parameters) // 2 :]
    row = torch.cat([p.detach().reshape(-1) for p in parameters if p is not None])
    sizes = [tuple(w.shape) for w in weights if w is not None]
    widths = (sizes[0][0], *(n_out for _, n_out in sizes))
    return row.numpy()[None], make_plan(widths, tuple(b is not None for b in biases), row.element_size())


def _allocate(n: int, n_rays: int, trunk_plan: Plan, dtype: np.dtype) -> tuple[np.ndarray, ...]:
    """Room for all samples, should all be kept; ``kept`` of the loops."""
    columns = [(3, n), (n, trunk_plan.widths[0]), (n, trunk_plan.widths[-1]), (n,), (n, 3), (n,), (n,), (n,), (n,)]
    return (*(np.empty(shape, dtype) for shape in columns), np.empty((n_rays, 2), np.int64))


def _grid(encoding: Tensor, spec: RadianceSpec) -> tuple:
    """``table, levels, axes, features`` of the loops."""
    if spec.grid is None:
        return _array(encoding.T), _NO_LEVELS, (0, 0, 0), ()
    return _array(encoding), levels_of(spec.grid), *lengths_of(spec.grid)


def _split(partials: np.ndarray, plan: Plan, present: np.ndarray, parameters: Sequence[Tensor | None]):
    """The chunks' sums, added in order, as the gradient of each parameter."""
    sizes = [p.numel() for p in parameters if p is not None]
    total = torch.empty(1, sum(sizes), dtype=next(p.dtype for p in parameters if p is not None))
    add_partials(total.numpy(), partials, plan, present)
    parts = iter(total[0].split(sizes))
    return [None if p is None else next(parts).view(p.shape) for p in parameters]


def _scatter(d_encodings, table: Tensor, spec: RadianceSpec, kept, bounds, places) -> Tensor:
    assert spec.grid is not None
    xyzs, info = kept[0], kept[9]
    counts = info[bounds[1:] - 1].sum(-1) - places
    d_table = large_empty(*table.shape, dtype=table.dtype)
    # every other level: two halves then hold as many coarse levels as fine ones
    order = np.array([*range(0, spec.grid.n_levels, 2), *range(1, spec.grid.n_levels, 2)])
    levels, lengths = levels_of(spec.grid), lengths_of(spec.grid)
    scatter(d_table.numpy(), d_encodings, xyzs, places, counts, levels, order, *lengths)
    return d_table


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()
