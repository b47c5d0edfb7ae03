"""Launches of the fused kernels and their gradients. The kernels themselves are in ``_triton_forward.py`` and
``_triton_backward.py``; what they are made of, in the other ``_triton_*.py``. See README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from nerfkit.kernels._autograd import differentiable_gradients
from nerfkit.kernels._launch import CompileCase, ceil_div, launch
from nerfkit.kernels.harmonics import harmonics
from nerfkit.kernels.hashgrid import HashGridSpec, hashgrid

from ._layout import Layout, WeightShapes, layout_of, slots
from ._reference import radiance_reference
from ._specs import CHUNK, MarchSampling, RadianceSpec, RegularSampling
from ._triton_backward import _radiance_bwd_kernel, _radiance_scatter_kernel
from ._triton_forward import _radiance_fwd_kernel
from ._triton_samples import Sampling

if TYPE_CHECKING:
    from . import RadianceParams

# rays of a block: 64 rows in a tile, what Hopper's matrix units want at least
RAYS_A_BLOCK = 4
# programs of the backward, and so slices of the weights' gradient: a constant, so that sums do not depend on the card
MAX_PROGRAMS = 256
# bytes of the encoding's gradient that the split backward holds at a time
MAX_FEATURE_BYTES = 2**28

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Options:
    """All of a call that is no tensor, and its seed."""

    spec: RadianceSpec
    sampling: RegularSampling | MarchSampling
    precision: str
    backward: str
    has_distortion: bool
    seed: Tensor | None
    """[1] int64, beside the rays"""
    layout: Layout
    shapes: WeightShapes

    @classmethod
    def of(cls, params, spec, sampling, precision, backward, has_distortion, seed, dtype) -> Options:
        """Those of a call; a ValueError where the kernels cannot do it."""
        if dtype == torch.float64 and precision != "float32":
            raise ValueError(f"radiance: float64 rays need precision 'float32'; got {precision!r}")
        if spec.grid is None and params.encoding.requires_grad:
            raise ValueError("radiance: the fused kernels have no gradient for frequencies; use impl='reference'")
        layout, shapes = layout_of(params, spec), WeightShapes.of(params)
        return cls(spec, sampling, precision, backward, has_distortion, seed, layout, shapes)

    def constexprs(self, table: Tensor) -> dict[str, Any]:
        """What the kernels are compiled for."""
        is_marched = isinstance(self.sampling, MarchSampling)
        sampling = Sampling(
            MARCHES=is_marched,
            CONTRACT=self.sampling.contract,
            HAS_JITTER=self.seed is not None,
            STEP=float(self.sampling.step) if isinstance(self.sampling, MarchSampling) else 1.0,
            CONE=float(self.sampling.cone_angle) if isinstance(self.sampling, MarchSampling) else 0.0,
            R=RAYS_A_BLOCK,
            K=CHUNK,
        )
        return {
            "LAYOUT": self.layout,
            "SAMPLING": sampling,
            "IS_WIDE": self.layout.IS_HASH and table.numel() >= 2**31,
            # 8 warps where the activations of a layer would take more than 32 registers of each of 4
            "num_warps": 8 if self.layout.H > 64 else 4,
            # the loops over chunks do not pipeline
            "num_stages": 1,
        }

    @property
    def input_precision(self) -> str:
        """The word of tl.dot; it concerns float32 alone."""
        return self.precision if self.precision.startswith("tf32") else "ieee"

    @property
    def n_chunks(self) -> int:
        """Most chunks of a ray."""
        return ceil_div(self.sampling.max_samples, CHUNK)


class RadianceTriton(torch.autograd.Function):
    """The kernels with their gradients, in the dtype of the rays: float32 or float64."""

    @staticmethod
    def forward(ctx, options, rays_o, rays_d, near, far, jitter, encoding, bkgd_rgb, occupancy, *weights):
        """Colour, depth, opacity, distortion (empty when not wanted) and number of samples of rays."""
        arguments = (rays_o, rays_d, near, far, jitter, encoding, bkgd_rgb, occupancy)
        inputs = _Inputs.of(options, arguments, weights)
        outputs, kept = _run_forward(options, inputs, has_backward=True)
        # packed and rounded once a step: the copies are small beside the gradients
        ctx.options, ctx.inputs = options, inputs
        ctx.save_for_backward(*arguments, *kept, *weights)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(outputs[4])
        return outputs

    @staticmethod
    def backward(ctx, *d_outputs):
        """Walk each ray from its far end to the camera, computing all samples anew."""
        arguments, kept, weights = ctx.saved_tensors[:8], ctx.saved_tensors[8:12], ctx.saved_tensors[12:]
        options, needs = ctx.options, ctx.needs_input_grad
        if torch.is_grad_enabled():  # create_graph=True: a second derivative may follow
            reference = partial(_reference, options)
            return None, *differentiable_gradients(reference, (*arguments, *weights), needs[1:], d_outputs)
        wanted = _Wanted(rays=needs[1] or needs[2], encoding=needs[6], bkgd_rgb=needs[7])
        inputs = ctx.inputs
        grads = _run_backward(options, inputs, kept, d_outputs[:4], wanted, arguments[5])
        return (
            None,
            grads.rays_o,
            grads.rays_d,
            None,
            None,
            None,
            grads.encoding,
            grads.bkgd_rgb,
            None,
            *(
                d.view(w.shape).to(w.dtype)
                for d, w in zip(grads.weights[inputs.slots].split([w.numel() for w in weights]), weights, strict=True)
            ),
        )


@dataclass(frozen=True)
class _Inputs:
    """What the kernels read, as they read it."""

    rays_o: Tensor
    rays_d: Tensor
    near: Tensor
    far: Tensor
    directions: Tensor
    encoding: Tensor
    levels: Tensor | None
    weights: Tensor
    biases: Tensor
    occupancy: Tensor | None
    bkgd_rgb: Tensor | None
    slots: Tensor
    n_freqs: int

    @classmethod
    def of(cls, options: Options, arguments: tuple, weights: Sequence[Tensor]) -> _Inputs:
        """Contiguous, padded, rounded."""
        rays_o, rays_d, near, far, jitter, encoding, bkgd_rgb, occupancy = arguments
        layout, grid, sampling = options.layout, options.spec.grid, options.sampling
        acc, dtype = rays_o.dtype, _DTYPES.get(options.precision, rays_o.dtype)
        n_freqs = 0 if grid is not None else len(encoding)
        where = slots(layout, options.shapes, n_freqs, rays_o.device)
        flat = torch.cat([w.detach().reshape(-1).to(acc) for w in weights])
        packed = torch.zeros(layout.TOTAL, dtype=acc, device=rays_o.device).index_copy_(0, where, flat)
        if isinstance(sampling, MarchSampling):
            # where the lattice of a ray starts
            shift = 0.5 if jitter is None else jitter
            near = near + shift * (sampling.cone_angle * near).clamp(min=sampling.step)
        directions = harmonics(rays_d.detach(), options.spec.harmonics_degree)
        return cls(
            *(x.contiguous() for x in (rays_o, rays_d, near, far)),
            directions=pad(directions, (0, layout.S - directions.shape[1])).to(dtype).contiguous(),
            # half of the bytes to gather, and what they are rounded to before the first product anyway
            encoding=(encoding.to(dtype) if grid is not None else encoding).contiguous(),
            levels=None if grid is None else _levels(grid, layout.L, rays_o.device),
            weights=packed.to(dtype),
            biases=packed,
            occupancy=None if occupancy is None else occupancy.contiguous(),
            bkgd_rgb=None if bkgd_rgb is None else bkgd_rgb.contiguous(),
            slots=where,
            n_freqs=n_freqs,
        )

    def pointers(self) -> tuple[Tensor | None, ...]:
        """Those of the forward and of the backward, in their order."""
        return (
            self.rays_o, self.rays_d, self.near, self.far, self.directions, self.encoding, self.levels,
            self.weights, self.biases, self.occupancy, self.bkgd_rgb,
        )  # fmt: skip


@dataclass(frozen=True)
class _Wanted:
    """Which gradients are asked for; those of the weights always are."""

    rays: bool
    encoding: bool
    bkgd_rgb: bool


class _Grads(NamedTuple):
    rays_o: Tensor | None
    rays_d: Tensor | None
    encoding: Tensor | None
    bkgd_rgb: Tensor | None
    weights: Tensor  # [TOTAL]


def radiance_triton(
    rays_o: Tensor,
    rays_d: Tensor,
    near: Tensor,
    far: Tensor,
    params: RadianceParams,
    options: Options,
    bkgd_rgb: Tensor | None,
    occupancy: Tensor | None,
    jitter: Tensor | None,
) -> tuple[Tensor, ...]:
    """Same contract as :func:`nerfkit.kernels.radiance.radiance`, with ``bkgd_rgb`` one row a ray."""
    arguments = (rays_o, rays_d, near, far, jitter, params.encoding, bkgd_rgb, occupancy)
    weights = params.weights()
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (*arguments, *weights)):
        return RadianceTriton.apply(options, *arguments, *weights)  # pyright: ignore[reportReturnType]
    return _run_forward(options, _Inputs.of(options, arguments, weights), has_backward=False)[0]


def _run_forward(options: Options, inputs: _Inputs, *, has_backward: bool) -> tuple[tuple[Tensor, ...], list]:
    n_rays, like = len(inputs.rays_o), inputs.biases
    rgb, depths, opacities = (like.new_empty(n_rays, c) for c in (3, 1, 1))
    distortions = like.new_empty(n_rays if options.has_distortion else 0, 1)
    counts = torch.empty(n_rays, dtype=torch.int32, device=like.device)
    kept: list[Tensor | None] = [None] * 4
    if has_backward:
        n_blocks, is_marched = ceil_div(n_rays, RAYS_A_BLOCK), isinstance(options.sampling, MarchSampling)
        kept = [
            like.new_empty(options.n_chunks, n_rays),
            like.new_empty(options.n_chunks, n_rays) if is_marched else None,
            torch.empty(n_blocks, dtype=torch.int32, device=like.device),
            like.new_empty(2, n_rays),
        ]
    if n_rays:
        launch(
            _radiance_fwd_kernel,
            (ceil_div(n_rays, RAYS_A_BLOCK),),
            *(rgb, depths, opacities, distortions if options.has_distortion else None, counts),
            *kept,
            *inputs.pointers(),
            *_scalars(options, inputs),
            0,
            PRECISION=options.input_precision,
            **options.constexprs(inputs.encoding),
        )
    return (rgb, depths, opacities, distortions, counts), kept


def _run_backward(
    options: Options, inputs: _Inputs, kept: tuple, d_outputs: tuple, wanted: _Wanted, table: Tensor
) -> _Grads:
    n_rays, layout, like = len(inputs.rays_o), options.layout, inputs.biases
    n_blocks = ceil_div(n_rays, RAYS_A_BLOCK)
    wants_table = wanted.encoding and layout.IS_HASH
    d_table = torch.zeros_like(table, dtype=like.dtype, memory_format=torch.contiguous_format) if wants_table else None
    d_rays_o, d_rays_d = (torch.empty_like(inputs.rays_o) if wanted.rays else None for _ in range(2))
    d_directions = like.new_empty(n_rays, layout.S) if wanted.rays else None
    d_bkgd_rgb = like.new_empty(n_rays, 3) if wanted.bkgd_rgb and d_outputs[0] is not None else None
    d_packed = torch.zeros(min(n_blocks, MAX_PROGRAMS), layout.TOTAL, dtype=like.dtype, device=like.device)
    d_outputs = tuple(None if d is None or not d.numel() else d.to(like.dtype).contiguous() for d in d_outputs)
    is_split = options.backward != "fused" and layout.IS_HASH and (wants_table or wanted.rays)
    for first, end in _batches(options, n_blocks, inputs.weights.element_size()) if is_split else [(0, n_blocks)]:
        d_features, xyzs = _features(options, inputs, end - first) if is_split else (None, None)
        d_rays = (None, None) if is_split else (d_rays_o, d_rays_d)
        if n_blocks:
            launch(
                _radiance_bwd_kernel,
                (min(end - first, MAX_PROGRAMS),),
                *(None if is_split else d_table, d_features, xyzs, *d_rays),
                *(d_directions, d_bkgd_rgb, d_packed, *d_outputs, *kept, *inputs.pointers()),
                *_scalars(options, inputs),
                *(first, end, options.n_chunks * CHUNK, 0),
                PRECISION=options.input_precision,
                **options.constexprs(table),
            )
        if d_features is None:
            continue
        if xyzs is not None and d_table is not None:
            d_table += _table_gradient(options, xyzs, d_features, table)
        _scatter_features(
            options, inputs, kept, d_features, None if xyzs is not None else d_table, d_rays_o, d_rays_d, first, end
        )
    if d_rays_d is not None and d_directions is not None and options.spec.harmonics_degree > 0:
        d_rays_d += _direction_gradient(options, inputs, d_directions)
    d_table = None if d_table is None else d_table.to(table.dtype)
    return _Grads(d_rays_o, d_rays_d, d_table, d_bkgd_rgb, d_packed.sum(0))


def _batches(options: Options, n_blocks: int, element_size: int) -> list[tuple[int, int]]:
    """First and last block of launches whose gradient of the encoding fits ``MAX_FEATURE_BYTES``."""
    a_block = RAYS_A_BLOCK * options.n_chunks * CHUNK * options.layout.E * element_size
    n = max(MAX_FEATURE_BYTES // a_block, 1)
    return [(first, min(first + n, n_blocks)) for first in range(0, n_blocks, n)]


def _features(options: Options, inputs: _Inputs, n_blocks: int) -> tuple[Tensor, Tensor | None]:
    """Where the backward stores the gradient of the encoding, and the places in the cube if another op goes on."""
    n = n_blocks * RAYS_A_BLOCK * options.n_chunks * CHUNK
    if options.backward == "split":
        return inputs.weights.new_empty(n, options.layout.E), None
    # zeros: the samples that do not exist bring nothing, and lie in a corner
    return inputs.biases.new_zeros(n, options.layout.E), inputs.biases.new_zeros(n, 3)


def _table_gradient(options: Options, xyzs: Tensor, d_features: Tensor, table: Tensor) -> Tensor:
    """Gradient of the table by :func:`nerfkit.kernels.hashgrid.hashgrid`, whose sums have a fixed order."""
    grid = options.spec.grid
    assert grid is not None
    d_features = d_features[:, : grid.n_levels * grid.n_features]
    with torch.enable_grad():
        table = table.detach().requires_grad_()
        features = hashgrid(xyzs, table, grid, deterministic=True)
        (d_table,) = torch.autograd.grad(features, table, d_features.contiguous())
    return d_table


def _scatter_features(
    options: Options, inputs: _Inputs, kept: tuple, d_features: Tensor,
    d_table: Tensor | None, d_rays_o: Tensor | None, d_rays_d: Tensor | None, first: int, end: int,
) -> None:  # fmt: skip
    if d_table is None and d_rays_o is None:
        return
    n_rays, n_samples, _, *scalars = _scalars(options, inputs)
    launch(
        _radiance_scatter_kernel,
        (end - first,),
        *(d_table, d_rays_o, d_rays_d, d_features, *kept[:3]),
        *(inputs.rays_o, inputs.rays_d, inputs.near, inputs.far, inputs.encoding, inputs.levels, inputs.occupancy),
        *(n_rays, n_samples, *scalars, first, options.n_chunks * CHUNK, 0),
        **options.constexprs(inputs.encoding),
    )


def _direction_gradient(options: Options, inputs: _Inputs, d_directions: Tensor) -> Tensor:
    with torch.enable_grad():
        rays_d = inputs.rays_d.detach().requires_grad_()
        values = harmonics(rays_d, options.spec.harmonics_degree)
        return torch.autograd.grad(values, rays_d, d_directions[:, : values.shape[1]])[0]


def _scalars(options: Options, inputs: _Inputs) -> tuple[int | float | Tensor | None, ...]:
    sampling = options.sampling
    resolution = sampling.resolution if isinstance(sampling, MarchSampling) else 0
    n_rays, n_samples = len(inputs.rays_o), sampling.max_samples
    return n_rays, n_samples, inputs.n_freqs, resolution, options.seed, sampling.max_depth


@lru_cache(maxsize=16)
def _levels(grid: HashGridSpec, n_padded: int, device: torch.device) -> Tensor:
    """Resolution, first entry, size and whether dense [4, n_padded] of each level."""
    rows = torch.tensor([grid.resolutions, grid.offsets, grid.sizes, grid.is_dense], dtype=torch.int32)
    return pad(rows, (0, n_padded - grid.n_levels)).to(device)


def _reference(options: Options, rays_o, rays_d, near, far, jitter, encoding, bkgd_rgb, occupancy, *weights):
    return radiance_reference(
        rays_o, rays_d, near, far, options.shapes.params(encoding, weights), options.spec, options.sampling,
        bkgd_rgb, occupancy=occupancy, jitter=jitter, seed=options.seed,
    )  # fmt: skip


def compile_cases() -> list[CompileCase]:
    """Uses of radiance whose kernels are compiled ahead of time: those of the trainer, and what stretches them."""
    from ._cases import compile_cases

    return compile_cases()
