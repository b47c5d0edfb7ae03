"""Launches of the fused kernels and their gradients. The kernels themselves are in ``_triton_forward.py``,
``_triton_backward.py`` and ``_triton_scatter.py``; what they are made of, in the other ``_triton_*.py``. See README.md.
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
from nerfkit.kernels.hashgrid import HashGridSpec
from nerfkit.kernels.hashgrid._triton import add_fixed_point, fixed_point_scales
from nerfkit.kernels.march._triton import march_rows

from ._layout import Layout, WeightShapes, layout_of, slots
from ._reference import radiance_reference
from ._specs import MarchSampling, RadianceSpec, RegularSampling
from ._triton_backward import _radiance_bwd_kernel
from ._triton_forward import _radiance_fwd_kernel
from ._triton_packing import _radiance_list_kernel
from ._triton_samples import Sampling
from ._triton_scatter import _radiance_scatter_kernel

if TYPE_CHECKING:
    from . import RadianceParams

# a tile: 64 rows are what Hopper's matrix units want at least, and short groups pad the ends of rays least
GROUPS_A_TILE, SAMPLES_A_GROUP = 16, 4
# programs of the forward and of the backward, and so slices of the weights' gradient: constants, so that sums do not
# depend on the card
MAX_FORWARD_PROGRAMS, MAX_PROGRAMS = 528, 256
# rays of a program that lists groups, and its warps
BLOCK_LIST, LIST_WARPS = 32, 1
# programs of the kernel that scatters a stored gradient, each with tiles in turn
MAX_SCATTER_PROGRAMS = 2**11
# bytes of the encoding's gradient that the split backward holds at a time
MAX_FEATURE_BYTES = 2**28
# bytes of marched samples that rays without gradients hold at a time
MAX_ROW_BYTES = 2**28

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
            R=GROUPS_A_TILE,
            K=SAMPLES_A_GROUP,
        )
        return {
            "LAYOUT": self.layout,
            "SAMPLING": sampling,
            "IS_WIDE": self.layout.IS_HASH and table.numel() >= 2**31,
            # 8 warps where the activations of a layer would take more than 32 registers of each of 4
            "num_warps": 8 if self.layout.H > 64 else 4,
            # the loops over tiles do not pipeline
            "num_stages": 1,
        }

    @property
    def register_bound(self) -> dict[str, int]:
        """Bound on the registers of a thread of the forward, for NVIDIA's compiler: it takes 188 where 168 do."""
        # three programs of 4 warps share the 65536 registers; who needs more than that would spill
        needs_more = self.precision not in _DTYPES or self.layout.H > 64 or not self.layout.IS_HASH
        return {} if needs_more or torch.version.hip else {"maxnreg": 168}

    @property
    def input_precision(self) -> str:
        """The word of tl.dot; it concerns float32 alone."""
        return self.precision if self.precision.startswith("tf32") else "ieee"

    @property
    def most_groups(self) -> int:
        """Most groups of a ray."""
        return ceil_div(self.sampling.max_samples, SAMPLES_A_GROUP)


class RadianceTriton(torch.autograd.Function):
    """The kernels with their gradients, in the dtype of the rays: float32 or float64."""

    @staticmethod
    def forward(ctx, options, rays_o, rays_d, near, far, jitter, encoding, bkgd_rgb, occupancy, *weights):
        """Colour, depth, opacity, distortion (empty when not wanted) and number of samples of rays."""
        arguments = (rays_o, rays_d, near, far, jitter, encoding, bkgd_rgb, occupancy)
        inputs = _Inputs.of(options, arguments, weights)
        outputs, kept = _run_forward(options, inputs, has_backward=True)
        assert kept is not None
        # packed and rounded once a step: the copies are small beside the gradients
        ctx.options, ctx.inputs = options, inputs
        ctx.save_for_backward(*arguments, outputs[4], *kept, *weights)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(outputs[4])
        return outputs

    @staticmethod
    def backward(ctx, *d_outputs):
        """Walk each ray from its far end to the camera, computing all samples anew."""
        n_arguments, n_kept = 8, 8 + 1 + len(_Kept._fields)
        arguments, weights = ctx.saved_tensors[:n_arguments], ctx.saved_tensors[n_kept:]
        counts, *kept = ctx.saved_tensors[n_arguments:n_kept]
        options, needs = ctx.options, ctx.needs_input_grad
        if torch.is_grad_enabled():  # create_graph=True: a second derivative may follow
            reference = partial(_reference, options)
            return None, *differentiable_gradients(reference, (*arguments, *weights), needs[1:], d_outputs)
        wanted = _Wanted(rays=needs[1] or needs[2], encoding=needs[6], bkgd_rgb=needs[7])
        inputs = ctx.inputs
        grads = _run_backward(options, inputs, counts, _Kept(*kept), d_outputs[:4], wanted, arguments[5])
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


class _Marched(NamedTuple):
    """The samples that a march finds, and the order in which rays are taken; None where samples are regular."""

    t_rows: Tensor | None
    """[n_rays, max_samples] starts"""
    counts: Tensor | None
    """[n_rays] int32"""
    n_hits: Tensor | None
    """[1] int32, rays that have samples"""
    order: Tensor | None
    """[n_rays] int64, rays with most samples first"""

    @classmethod
    def of(cls, sampling, rays_o, rays_d, near, far, occupancy, jitter) -> _Marched:
        """One march for the forward and the backward."""
        if not isinstance(sampling, MarchSampling):
            return cls(None, None, None, None)
        t_rows, counts, n_hits = march_rows(
            rays_o, rays_d, near, far, occupancy, sampling.resolution, sampling.step, sampling.cone_angle,
            sampling.contract, torch.full_like(near, 0.5) if jitter is None else jitter, sampling.max_samples,
        )  # fmt: skip
        return cls(t_rows, counts, n_hits, torch.argsort(counts, descending=True, stable=True))


class _Kept(NamedTuple):
    """What the forward leaves for the backward."""

    group_depths: Tensor
    """[n_rays, most groups] optical depth in front of each group of samples"""
    n_groups: Tensor
    """[n_rays] int32, groups that hold a sample that light reaches"""
    totals: Tensor
    """[2, n_rays] optical depth, and sum of weights times distance"""


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
    bkgd_rgb: Tensor | None
    marched: _Marched
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
        directions = harmonics(rays_d.detach(), options.spec.harmonics_degree)
        return cls(
            *(x.detach().contiguous() for x in (rays_o, rays_d, near, far)),
            directions=pad(directions, (0, layout.S - directions.shape[1])).to(dtype).contiguous(),
            # half of the bytes to gather, and what they are rounded to before the first product anyway
            encoding=(encoding.to(dtype) if grid is not None else encoding).contiguous(),
            levels=None if grid is None else _levels(grid, layout.L, rays_o.device),
            weights=packed.to(dtype),
            biases=packed,
            bkgd_rgb=None if bkgd_rgb is None else bkgd_rgb.contiguous(),
            marched=_Marched.of(sampling, rays_o, rays_d, near, far, occupancy, jitter),
            slots=where,
            n_freqs=n_freqs,
        )

    def pointers(self) -> tuple[Tensor | None, ...]:
        """Those of the forward and of the backward, in their order."""
        return (
            self.rays_o, self.rays_d, self.near, self.far, self.directions, self.encoding, self.levels,
            self.weights, self.biases, self.bkgd_rgb,
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
    n = max(len(rays_o), 1)
    if isinstance(options.sampling, MarchSampling):
        n = max(MAX_ROW_BYTES // (options.sampling.max_samples * rays_o.element_size()), 1)
    of_rays = (*arguments[:5], bkgd_rgb)
    parts = zip(*([None] * max(ceil_div(len(rays_o), n), 1) if x is None else x.split(n) for x in of_rays), strict=True)
    seen = [_render(options, (*part[:5], params.encoding, part[5], occupancy), weights) for part in parts]
    return seen[0] if len(seen) == 1 else tuple(torch.cat(x) for x in zip(*seen, strict=True))


def _render(options: Options, arguments: tuple, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return _run_forward(options, _Inputs.of(options, arguments, weights), has_backward=False)[0]


def _run_forward(options: Options, inputs: _Inputs, *, has_backward: bool) -> tuple[tuple[Tensor, ...], _Kept | None]:
    n_rays, like = len(inputs.rays_o), inputs.biases
    # zeros, and the background: what a ray without samples sees costs no program anything
    depths, opacities = (like.new_zeros(n_rays, 1) for _ in range(2))
    rgb = like.new_zeros(n_rays, 3) if inputs.bkgd_rgb is None else inputs.bkgd_rgb.to(like.dtype, copy=True)
    distortions = like.new_zeros(n_rays if options.has_distortion else 0, 1)
    counts = torch.zeros(n_rays, dtype=torch.int32, device=like.device)
    kept = None
    if has_backward:
        kept = _Kept(like.new_empty(n_rays, options.most_groups), torch.zeros_like(counts), like.new_zeros(2, n_rays))
    if n_rays:
        launch(
            _radiance_fwd_kernel,
            (min(ceil_div(n_rays, GROUPS_A_TILE), MAX_FORWARD_PROGRAMS),),
            *(rgb, depths, opacities, distortions if options.has_distortion else None, counts),
            *(kept or (None, None, None)),
            *inputs.marched,
            *inputs.pointers(),
            *(n_rays, options.sampling.max_samples, inputs.n_freqs, options.seed, options.sampling.max_depth, 0),
            PRECISION=options.input_precision,
            **options.constexprs(inputs.encoding),
            **options.register_bound,
        )
    return (rgb, depths, opacities, distortions, counts), kept


def _run_backward(
    options: Options, inputs: _Inputs, counts: Tensor, kept: _Kept, d_outputs: tuple, wanted: _Wanted, table: Tensor
) -> _Grads:
    n_rays, layout, like = len(inputs.rays_o), options.layout, inputs.biases
    wants_table = wanted.encoding and layout.IS_HASH
    is_split = options.backward != "fused" and wants_table
    d_table = torch.zeros_like(table, dtype=like.dtype, memory_format=torch.contiguous_format) if wants_table else None
    # zeros where a ray has no samples
    d_rays_o, d_rays_d = (torch.zeros_like(inputs.rays_o) if wanted.rays else None for _ in range(2))
    d_directions = like.new_zeros(n_rays, layout.S) if wanted.rays else None
    n_programs = min(ceil_div(n_rays * options.most_groups, GROUPS_A_TILE), MAX_PROGRAMS)
    d_packed = torch.zeros(n_programs, layout.TOTAL, dtype=like.dtype, device=like.device)
    d_outputs = tuple(None if d is None or not d.numel() else d.to(like.dtype).contiguous() for d in d_outputs)
    packed = _pack(options, kept.n_groups) if n_rays else ()
    for first, end in _windows(options, inputs) if n_rays else []:
        d_features, largest = _features(options, inputs, end - first) if is_split else (None, None)
        launch(
            _radiance_bwd_kernel,
            (n_programs,),
            *(None if is_split else d_table, d_features, largest, d_rays_o, d_rays_d, d_directions, d_packed),
            *(*d_outputs, *packed, counts, *kept, inputs.marched.t_rows, *inputs.pointers()),
            *(n_rays, options.sampling.max_samples, inputs.n_freqs, options.seed, first, end, 0),
            PRECISION=options.input_precision,
            **options.constexprs(table),
        )
        if d_table is not None and d_features is not None:
            _scatter_features(options, inputs, counts, kept, packed, d_table, d_features, largest, first, end)
    if d_rays_d is not None and d_directions is not None and options.spec.harmonics_degree > 0:
        d_rays_d += _direction_gradient(options, inputs, d_directions)
    d_bkgd_rgb = None
    if wanted.bkgd_rgb and d_outputs[0] is not None:
        d_bkgd_rgb = torch.exp(-kept.totals[0])[:, None] * d_outputs[0]
    d_table = None if d_table is None else d_table.to(table.dtype)
    return _Grads(d_rays_o, d_rays_d, d_table, d_bkgd_rgb, d_packed.sum(0))


def _pack(options: Options, n_groups: Tensor) -> tuple[Tensor, Tensor]:
    """Ray of each group, in a buffer for as many as there could be, and the end [n_rays] of each ray's groups."""
    n_rays, ends = len(n_groups), n_groups.cumsum(0)
    group_rays = torch.empty(n_rays * options.most_groups, dtype=torch.int32, device=n_groups.device)
    launch(
        _radiance_list_kernel, (ceil_div(n_rays, BLOCK_LIST),), group_rays, ends, n_rays,
        BLOCK_R=BLOCK_LIST, num_warps=LIST_WARPS,
    )  # fmt: skip
    return group_rays, ends


def _windows(options: Options, inputs: _Inputs) -> list[tuple[int, int]]:
    """Groups that begin the rays of a launch: all, or so many that the encoding's gradient fits ``MAX_FEATURE_BYTES``.

    As many as there could be: how many there are is known on the device alone, where the others end at once.
    """
    n_most = len(inputs.rays_o) * options.most_groups
    if options.backward == "fused" or not options.layout.IS_HASH:
        return [(0, n_most)]
    a_group = SAMPLES_A_GROUP * options.layout.E * inputs.weights.element_size()
    n = max(MAX_FEATURE_BYTES // a_group, 1)
    return [(first, min(first + n, n_most)) for first in range(0, n_most, n)]


def _features(options: Options, inputs: _Inputs, n_groups: int) -> tuple[Tensor, Tensor | None]:
    """Where the backward stores the gradient of the encoding; its largest of each level for sums in integers."""
    # the last ray of a window may end behind it
    n = (n_groups + options.most_groups) * SAMPLES_A_GROUP
    if options.backward == "split":
        return inputs.weights.new_empty(n, options.layout.E), None
    return inputs.biases.new_empty(n, options.layout.E), inputs.biases.new_zeros(options.layout.L)


def _scatter_features(
    options: Options, inputs: _Inputs, counts: Tensor, kept: _Kept, packed: tuple, d_table: Tensor,
    d_features: Tensor, largest: Tensor | None, first: int, end: int,
) -> None:  # fmt: skip
    """Add the stored gradient of the encoding to the table's, in integers where ``largest`` gives their scale."""
    grid = options.spec.grid
    assert grid is not None
    scales = None if largest is None else fixed_point_scales(largest, len(d_features))
    sums = d_table if scales is None else torch.zeros_like(d_table, dtype=torch.int64)
    meta = options.constexprs(d_table)
    launch(
        _radiance_scatter_kernel,
        (min(ceil_div(end - first, GROUPS_A_TILE), MAX_SCATTER_PROGRAMS),),
        *(sums, d_features, scales, *packed, counts, kept.n_groups, inputs.marched.t_rows),
        *(inputs.rays_o, inputs.rays_d, inputs.near, inputs.far, inputs.levels),
        *(len(inputs.rays_o), options.sampling.max_samples, options.seed, first, end, 0),
        **meta,
    )
    if scales is not None:
        add_fixed_point(d_table, sums, scales[: grid.n_levels], grid)


def _direction_gradient(options: Options, inputs: _Inputs, d_directions: Tensor) -> Tensor:
    with torch.enable_grad():
        rays_d = inputs.rays_d.detach().requires_grad_()
        values = harmonics(rays_d, options.spec.harmonics_degree)
        return torch.autograd.grad(values, rays_d, d_directions[:, : values.shape[1]])[0]


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
