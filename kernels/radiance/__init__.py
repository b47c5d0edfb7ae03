"""Radiance fields along rays, fused: the public function, its contract and the choice of implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nerfkit.kernels._dispatch import choose_impl

from ._layout import MAX_WIDTH, Layout, element_size, layout_of, shared_bytes
from ._reference import radiance_reference
from ._specs import CHUNK, PRECISIONS, MarchSampling, RadianceSpec, RegularSampling

__all__ = [
    "CHUNK",
    "MAX_WIDTH",
    "MarchSampling",
    "Radiance",
    "RadianceParams",
    "RadianceSpec",
    "RegularSampling",
    "best_precision",
    "can_fuse",
    "can_loop",
    "radiance",
    "radiance_reference",
]

BACKWARDS = ("fused", "split", "deterministic")
# bytes of shared memory that a program may have on every card: those are not asked
GRANTED_ANYWHERE = 48 * 2**10


class RadianceParams(NamedTuple):
    """Tensors of a radiance field; matrices are inputs by outputs."""

    encoding: Tensor
    """table [n_entries, F] of the hash grid, or frequencies B [m, 3] of the Fourier features"""
    trunk_weights: Sequence[Tensor]
    """[d_l, d_next] of each layer from the encoding to log density and geometry; one hidden layer at least"""
    color_weights: Sequence[Tensor]
    """[d_l, d_next] of each layer from geometry and harmonics to 3 colours; one hidden layer at least"""
    log_density_offset: Tensor
    """scalar, added to the logarithm of the density"""
    trunk_biases: Sequence[Tensor | None] | None = None
    """[d_next] of each layer; None is zero"""
    color_biases: Sequence[Tensor | None] | None = None
    """[d_next] of each layer; None is zero"""

    def weights(self) -> list[Tensor]:
        """Matrices, then biases, then the offset; trunk before colour."""
        biases = [b for bs in (self.trunk_biases, self.color_biases) if bs is not None for b in bs if b is not None]
        return [*self.trunk_weights, *self.color_weights, *biases, self.log_density_offset]


class Radiance(NamedTuple):
    """What rays see."""

    rgb: Tensor
    """[n_rays, 3] colour, background included"""
    depths: Tensor
    """[n_rays, 1] sum of weights * t_mids, in units of rays_d; not divided by the opacity"""
    opacities: Tensor
    """[n_rays, 1] sum of weights, in [0, 1]"""
    distortions: Tensor | None
    """[n_rays, 1] distortion loss of each ray; None unless it was asked for"""
    counts: Tensor
    """[n_rays] int32, samples that the ray is made of, up to its end; on the device, so that nothing waits for it"""


def radiance(
    rays_o: Tensor,
    rays_d: Tensor,
    near: Tensor,
    far: Tensor,
    params: RadianceParams,
    spec: RadianceSpec,
    sampling: RegularSampling | MarchSampling,
    bkgd_rgb: Tensor | None = None,
    *,
    occupancy: Tensor | None = None,
    jitter: Tensor | None = None,
    seed: int | Tensor | None = None,
    has_distortion: bool = False,
    min_weight: float = 0.0,
    precision: str = "auto",
    backward: str = "fused",
    impl: str = "auto",
) -> Radiance:
    """Colour, depth and opacity of rays through a radiance field (NeRF, arXiv:2003.08934, eq. 3).

    Sampling, encoding, both networks and the integral in one operation. A sample at the middle of its interval, in
    the unit cube, is encoded by a hash grid or by Fourier features; the trunk, a ReLU network, makes of it the
    logarithm of the density and a geometry vector; the colour network, of the geometry and the harmonics of
    ``rays_d``, a colour. The density is ``exp(min(raw + log_density_offset, 15))``, whose gradient goes on beyond
    the bound; colours pass a sigmoid.

    Parameters
    ----------
    rays_o, rays_d : Tensor, shape (n_rays, 3)
        Origins and unit directions, float32 or float64, in normalised coordinates: the scene is [-1, 1]^3 or,
        contracted, all of space.
    near, far : Tensor, shape (n_rays,)
        Where rays start and stop, finite. ``near >= far`` is a ray that misses: it sees the background.
    params : RadianceParams
        Table or frequencies, weights and biases, of the dtype of the rays.
    spec : RadianceSpec
        Which encoding, and what goes into the networks.
    sampling : RegularSampling or MarchSampling
        Where rays are sampled, and when they end early.
    bkgd_rgb : Tensor, shape (3,) or (n_rays, 3), optional
        Colour behind the last sample. None is black.
    occupancy : Tensor, shape (ceil(resolution**3 / 8),), uint8
        With :class:`MarchSampling`: the bits, as :func:`nerfkit.kernels.march.pack_bits` writes them.
    jitter : Tensor, shape (n_rays,), optional
        With :class:`MarchSampling`: shift of each lattice in steps, [0, 1). None is 0.5.
    seed : int or Tensor of int64 with one element, optional
        With :class:`RegularSampling`: inner edges of the intervals move at random by up to half an interval, each by
        a hash of its ray's row, its number and the seed. None keeps them regular. A tensor, 0 to 2**31 - 1, is read on
        its device, so that a captured step draws anew; it must not change before the backward.
    has_distortion : bool
        Also give mip-NeRF 360's distortion loss of each ray (arXiv:2111.12077, eq. 15), measured in t or, with
        ``contract``, in t up to 1 and ``2 - 1/t`` beyond.
    min_weight : float
        Samples whose weight in their ray is at most this are left out, as if nobody had sampled there: with density an
        exponential, the gradient of a sample is proportional to its weight, so the backward of the others would
        change little. 0 keeps all. Not in the Triton kernels, which ask for 0.
    precision : {"auto", "bfloat16", "float16", "tf32", "tf32x3", "float32"}
        Of the matrix products in the fused kernels; sums are float32. ``"auto"`` is bfloat16 where a GPU has it, else
        float32. The two halves also read the table and the harmonics in that type. Gradients of float16 underflow below
        6e-8: scale the loss. Exact float32 takes four times as long as tf32 at least, and twice the shared memory of
        the halves: where a field then does not fit, ``impl="auto"`` runs the separate operations and
        ``impl="triton"`` is an error. Float64 rays need ``"auto"`` or ``"float32"``, which then mean float64.
    backward : {"fused", "split", "deterministic"}
        How the fused kernels find the table's gradient: added where it arises; by a second kernel from the
        encoding's gradient, at most 256 MiB of it at a time; or from the same in integers, so that it has the same bits
        each time, which all else always has. ``torch.use_deterministic_algorithms`` chooses the last one, too, and
        alone decides where the separate operations run.
    impl : {"auto", "triton", "cpu", "reference"}
        ``"auto"`` takes the fused kernels for float32 tensors on CUDA and fields that fit them (:func:`can_fuse`), the
        fused loops for tensors on a CPU and what they can do (:func:`can_loop`), and otherwise the separate operations
        one after the other, each in its best implementation.

    Returns
    -------
    Radiance
        In the dtype of the rays.

    Notes
    -----
    Differentiable in ``params`` (weights, biases, offset, table), ``rays_o``, ``rays_d`` and ``bkgd_rgb``, through
    all outputs but ``counts``; the distances of samples are constants, so ``near`` and ``far`` get no gradient.
    Frequencies that require a gradient are left to the separate operations. Second derivatives
    (``create_graph=True``) come from the reference. The fused kernels keep 2 bytes for each sample that a ray may
    have (6 when marching) for the backward; the loops for CPUs keep the samples that matter, and without gradients
    nothing. The order of rays changes no value but by rounding, and through ``seed``.

    Autocast changes nothing: ``precision`` says how products are taken. Under ``torch.compile`` it runs as it is, and
    the graph ends before it and goes on behind: a compiler could add nothing to one kernel.

    Examples
    --------
    >>> import torch
    >>> from nerfkit.kernels.hashgrid import HashGridSpec
    >>> spec = RadianceSpec(HashGridSpec(3, 2, (4, 8), 10), harmonics_degree=1, color_sees_density=True)
    >>> params = RadianceParams(
    ...     encoding=torch.zeros(spec.grid.n_entries, 2),
    ...     trunk_weights=[torch.zeros(4, 8), torch.zeros(8, 5)],
    ...     color_weights=[torch.zeros(9, 8), torch.zeros(8, 3)],
    ...     log_density_offset=torch.tensor(0.0),
    ... )
    >>> o, d = torch.tensor([[0.0, 0.0, -1.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    >>> out = radiance(o, d, torch.zeros(1), torch.full((1,), 2.0), params, spec, RegularSampling(8))
    >>> out.rgb, out.opacities  # density 1 over a length of 2: opacity 1 - exp(-2), and a colour of one half
    (tensor([[0.4323, 0.4323, 0.4323]]), tensor([[0.8647]]))
    """
    if torch.compiler.is_compiling():
        from nerfkit.kernels._eager import call_eagerly

        return call_eagerly(
            radiance, rays_o, rays_d, near, far, params, spec, sampling, bkgd_rgb, occupancy=occupancy, jitter=jitter,
            seed=seed, has_distortion=has_distortion, min_weight=min_weight, precision=precision, backward=backward,
            impl=impl,
        )  # fmt: skip
    _check(rays_o, rays_d, near, far, params, spec, bkgd_rgb)
    _check_sampling(rays_o, sampling, occupancy, jitter, seed)
    if precision not in ("auto", *PRECISIONS):
        raise ValueError(f"precision must be one of auto, {', '.join(PRECISIONS)}; got {precision!r}")
    precision = best_precision(rays_o) if precision == "auto" else precision
    if backward not in BACKWARDS:
        raise ValueError(f"backward must be one of {', '.join(BACKWARDS)}; got {backward!r}")
    if torch.are_deterministic_algorithms_enabled():
        backward = "deterministic"
    if bkgd_rgb is not None:
        bkgd_rgb = bkgd_rgb.expand(len(rays_o), 3)
    if seed is not None and not isinstance(seed, Tensor):
        # filled there: a copy to the device would be a wait
        seed = torch.full((1,), seed & 0x7FFFFFFF, device=rays_o.device)
    chosen = choose_impl("radiance", rays_o, impl, ("triton", "cpu"))
    is_asked = impl == "triton"
    if chosen == "triton" and min_weight > 0:
        raise ValueError(f"the Triton kernels keep every sample: min_weight must be 0; got {min_weight}")
    distortions = None
    if chosen == "triton":
        _check_precision(precision)
    if chosen == "triton" and is_asked:
        _check_room(rays_o, params, spec, precision)
    if chosen == "triton" and (is_asked or can_fuse(rays_o, params, spec, precision)):
        # imported here so that a machine without Triton can still import nerfkit.kernels
        from ._triton import Options, radiance_triton

        options = Options.of(params, spec, sampling, precision, backward, has_distortion, seed, rays_o.dtype)
        rgb, depths, opacities, distortions, counts = radiance_triton(
            rays_o, rays_d, near, far, params, options, bkgd_rgb, occupancy, jitter
        )
    elif (
        chosen == "cpu"
        and can_loop(rays_o, rays_d, params, spec, sampling)
        and isinstance(sampling, MarchSampling)
        and occupancy is not None
    ):
        # imported here so that numba is loaded only where its loops run
        from ._cpu import radiance_cpu

        rgb, depths, opacities, distortions, counts = radiance_cpu(
            rays_o, rays_d, near, far, params, spec, sampling, bkgd_rgb,
            occupancy=occupancy, jitter=jitter, min_weight=min_weight, has_distortion=has_distortion,
        )  # fmt: skip
    else:
        rgb, depths, opacities, distortions, counts = radiance_reference(
            rays_o, rays_d, near, far, params, spec, sampling, bkgd_rgb,
            occupancy=occupancy, jitter=jitter, seed=seed, has_distortion=has_distortion, min_weight=min_weight,
            impl="reference" if chosen == "reference" else "auto",
        )  # fmt: skip
    return Radiance(rgb, depths, opacities, distortions if has_distortion else None, counts)


def best_precision(rays_o: Tensor) -> str:
    """What ``precision="auto"`` is: bfloat16 where the GPU multiplies it, float32 elsewhere and for float64."""
    if rays_o.dtype != torch.float32 or not rays_o.is_cuda:
        return "float32"
    # cards before compute capability 8.0 have no bfloat16 products
    with torch.cuda.device_of(rays_o):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


def can_fuse(rays_o: Tensor, params: RadianceParams, spec: RadianceSpec, precision: str = "auto") -> bool:
    """Whether ``impl="auto"`` takes the fused kernels for this field: by its widths and dtypes, and on a GPU by the
    shared memory that the operands of its products take.
    """
    if rays_o.dtype != torch.float32 or (spec.grid is None and params.encoding.requires_grad):
        return False
    try:
        layout = layout_of(params, spec)
    except ValueError:
        return False
    if not rays_o.is_cuda:
        return True
    needed = _needed(layout, rays_o, precision)
    return needed <= GRANTED_ANYWHERE or needed <= _granted(rays_o.device)


def _check_precision(precision: str) -> None:
    if torch.version.hip and precision == "tf32x3":
        raise ValueError("radiance: AMD GPUs have no tf32x3; ask for precision='bfloat16' or 'float32'")


def _check_room(rays_o: Tensor, params: RadianceParams, spec: RadianceSpec, precision: str) -> None:
    """Raise where a program would ask for more shared memory than the GPU grants it."""
    if not rays_o.is_cuda:
        return
    layout = layout_of(params, spec)
    needed = _needed(layout, rays_o, precision)
    if needed > GRANTED_ANYWHERE and needed > (granted := _granted(rays_o.device)):
        raise ValueError(
            f"radiance: width {layout.widest} in {precision} takes {needed / 1024:.0f} KiB of shared memory, of which "
            f"this GPU grants {granted / 1024:.0f}; ask for precision='bfloat16', or impl='auto'"
        )


def _needed(layout: Layout, rays_o: Tensor, precision: str) -> int:
    precision = best_precision(rays_o) if precision == "auto" else precision
    return shared_bytes(layout, element_size(rays_o.dtype, precision), is_amd=bool(torch.version.hip))


def _granted(device: torch.device) -> int:
    """Bytes of shared memory that a program may have."""
    return torch.cuda.get_device_properties(device).shared_memory_per_block_optin


def can_loop(
    rays_o: Tensor,
    rays_d: Tensor,
    params: RadianceParams,
    spec: RadianceSpec,
    sampling: RegularSampling | MarchSampling,
) -> bool:
    """Whether the loops for CPUs can do it: marching, no skip, constant rays and frequencies."""
    constants = [rays_o, rays_d, params.log_density_offset, *([] if spec.grid is not None else [params.encoding])]
    is_differentiated = torch.is_grad_enabled() and any(x.requires_grad for x in constants)
    is_marched = isinstance(sampling, MarchSampling) and len(rays_o) > 0
    return is_marched and spec.skip is None and not is_differentiated


def _check(
    rays_o: Tensor,
    rays_d: Tensor,
    near: Tensor,
    far: Tensor,
    params: RadianceParams,
    spec: RadianceSpec,
    bkgd_rgb: Tensor | None,
) -> None:
    n_rays = len(rays_o)
    if rays_o.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"rays must be float32 or float64; got {rays_o.dtype}")
    wanted = {"rays_o": (n_rays, 3), "rays_d": (n_rays, 3), "near": (n_rays,), "far": (n_rays,)}
    for (name, shape), tensor in zip(wanted.items(), (rays_o, rays_d, near, far), strict=True):
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}; got {tuple(tensor.shape)}")
    if bkgd_rgb is not None and tuple(bkgd_rgb.shape) not in ((3,), (n_rays, 3)):
        raise ValueError(f"bkgd_rgb must have shape (3,) or ({n_rays}, 3); got {tuple(bkgd_rgb.shape)}")
    tensors = [rays_d, near, far, params.encoding, *params.weights()]
    for tensor in tensors if bkgd_rgb is None else [*tensors, bkgd_rgb]:
        if tensor.dtype != rays_o.dtype or tensor.device != rays_o.device:
            raise ValueError(
                f"rays, params and bkgd_rgb must share one dtype and device, {rays_o.dtype} on {rays_o.device}; "
                f"got {tensor.dtype} on {tensor.device}"
            )
    _check_networks(params, spec)


def _check_networks(params: RadianceParams, spec: RadianceSpec) -> None:
    if spec.grid is None:
        n_encoding = 3 + 2 * len(params.encoding)
        shape = (len(params.encoding), 3)
    else:
        n_encoding = spec.grid.n_levels * spec.grid.n_features
        shape = (spec.grid.n_entries, spec.grid.n_features)
    if tuple(params.encoding.shape) != shape:
        raise ValueError(f"params.encoding must have shape {shape}; got {tuple(params.encoding.shape)}")
    if params.log_density_offset.numel() != 1:
        raise ValueError(f"log_density_offset must be one number; got {tuple(params.log_density_offset.shape)}")
    n_out = _check_layers("trunk", params.trunk_weights, params.trunk_biases, n_encoding, spec.skip)
    n_inputs = n_out - (not spec.color_sees_density) + (spec.harmonics_degree + 1) ** 2
    if _check_layers("color", params.color_weights, params.color_biases, n_inputs, None) != 3:
        raise ValueError("color_weights must end in 3 columns")


def _check_layers(
    name: str, weights: Sequence[Tensor], biases: Sequence[Tensor | None] | None, n_in: int, skip: int | None
) -> int:
    if len(weights) < 2 or (skip is not None and skip >= len(weights) - 1):
        raise ValueError(
            f"{name}_weights must hold a hidden layer and the output at least, and skip name a hidden layer after "
            f"the first; got {len(weights)} matrices and skip {skip}"
        )
    n_encoding = n_in
    for l, weight in enumerate(weights):
        n_in += n_encoding if l == skip else 0
        if weight.ndim != 2 or weight.shape[0] != n_in:
            raise ValueError(f"{name}_weights[{l}] must have shape ({n_in}, n_out); got {tuple(weight.shape)}")
        n_in = weight.shape[1]
        bias = None if biases is None else biases[l]
        if bias is not None and tuple(bias.shape) != (n_in,):
            raise ValueError(f"{name}_biases[{l}] must have shape ({n_in},); got {tuple(bias.shape)}")
    return n_in


def _check_sampling(
    rays_o: Tensor,
    sampling: RegularSampling | MarchSampling,
    occupancy: Tensor | None,
    jitter: Tensor | None,
    seed: int | Tensor | None,
) -> None:
    if isinstance(sampling, RegularSampling):
        if occupancy is not None or jitter is not None:
            raise ValueError("occupancy and jitter belong to MarchSampling; RegularSampling takes a seed")
        return
    if seed is not None:
        raise ValueError("seed belongs to RegularSampling; MarchSampling takes a jitter")
    n_bytes = (sampling.resolution**3 + 7) // 8
    if occupancy is None or occupancy.dtype != torch.uint8 or tuple(occupancy.shape) != (n_bytes,):
        got = None if occupancy is None else (occupancy.dtype, tuple(occupancy.shape))
        raise ValueError(
            f"MarchSampling of resolution {sampling.resolution} needs occupancy, uint8 of shape ({n_bytes},); got {got}"
        )
    if jitter is not None and (tuple(jitter.shape) != (len(rays_o),) or jitter.dtype != rays_o.dtype):
        raise ValueError(
            f"jitter must have shape ({len(rays_o)},) and dtype {rays_o.dtype}; "
            f"got {tuple(jitter.shape)}, {jitter.dtype}"
        )
