"""Volume rendering of packed samples: the public function, its contract and the choice of implementation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nerfkit.kernels._dispatch import choose_impl
from nerfkit.kernels._packed import check_packed

from ._reference import composite_reference

__all__ = ["Composited", "composite", "composite_reference"]


class Composited(NamedTuple):
    """What the samples of each ray add up to."""

    rgb: Tensor
    """[n_rays, 3] colour, background included"""
    depths: Tensor
    """[n_rays, 1] sum of weights * t_mids, in world units; not divided by the opacity"""
    opacities: Tensor
    """[n_rays, 1] sum of weights, in [0, 1]"""
    weights: Tensor
    """[n_samples] share of each sample in the colour of its ray, in [0, 1]"""


def composite(
    sigmas: Tensor,
    rgbs: Tensor,
    t_starts: Tensor,
    t_ends: Tensor,
    packed_info: Tensor,
    bkgd_rgb: Tensor | None = None,
    *,
    impl: str = "auto",
) -> Composited:
    """Colour, depth and opacity of rays from their samples (NeRF, arXiv:2003.08934, eq. 3).

    Parameters
    ----------
    sigmas : Tensor, shape (n_samples,)
        Density in 1 / world unit, non-negative, after the activation. Infinity counts as opaque.
    rgbs : Tensor, shape (n_samples, 3)
        Colour of each sample.
    t_starts, t_ends : Tensor, shape (n_samples,)
        Start and end of each sample along its ray, in world units, finite, sorted within a ray.
    packed_info : Tensor of int64, shape (n_rays, 2)
        First sample and number of samples of each ray. The rays' samples follow one another without gaps
        (checked on the CPU, trusted on a GPU, where a check would wait for the device).
    bkgd_rgb : Tensor, shape (3,) or (n_rays, 3), optional
        Colour behind the last sample. None is black.
    impl : {"auto", "triton", "cpu", "reference"}
        ``"auto"`` takes Triton for CUDA tensors and numba for CPU tensors.

    Returns
    -------
    Composited
        ``rgb``, ``depths``, ``opacities`` and ``weights``, in float32 (float64 if any input is float64).
        A ray without samples has opacity 0, depth 0 and the colour of the background.

    Notes
    -----
    Differentiable in ``sigmas``, ``rgbs``, ``t_starts``, ``t_ends`` and ``bkgd_rgb``, through all four
    outputs; twice and more as well, where the reference takes over (``create_graph=True``). Triton and numba
    give the same bits each time they run.

    Examples
    --------
    One ray of two samples, the second one opaque; half of the light passes the first.

    >>> import math, torch
    >>> out = composite(
    ...     sigmas=torch.tensor([math.log(2.0), 1e9]),
    ...     rgbs=torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
    ...     t_starts=torch.tensor([0.0, 1.0]),
    ...     t_ends=torch.tensor([1.0, 2.0]),
    ...     packed_info=torch.tensor([[0, 2]]),
    ... )
    >>> out.rgb, out.depths, out.opacities
    (tensor([[0.5000, 0.0000, 0.5000]]), tensor([[1.]]), tensor([[1.]]))
    """
    _check_shapes(sigmas, rgbs, t_starts, t_ends, packed_info, bkgd_rgb)
    chosen = choose_impl("composite", sigmas, impl, ("triton", "cpu"))
    if bkgd_rgb is not None:
        bkgd_rgb = bkgd_rgb.expand(packed_info.shape[0], 3)
    # imported here so that a machine without Triton or numba can still import nerfkit.kernels
    if torch.compiler.is_compiling() and chosen != "reference":
        from ._graph import composite_graph

        return Composited(*composite_graph(sigmas, rgbs, t_starts, t_ends, packed_info, bkgd_rgb, chosen))
    if chosen == "triton":
        from ._triton import composite_triton as run
    elif chosen == "cpu":
        from ._cpu import composite_cpu as run
    else:
        run = composite_reference
    return Composited(*run(sigmas, rgbs, t_starts, t_ends, packed_info, bkgd_rgb))


def _check_shapes(
    sigmas: Tensor,
    rgbs: Tensor,
    t_starts: Tensor,
    t_ends: Tensor,
    packed_info: Tensor,
    bkgd_rgb: Tensor | None,
) -> None:
    if not (sigmas.shape == t_starts.shape == t_ends.shape and sigmas.ndim == 1):
        raise ValueError(
            "sigmas, t_starts and t_ends must share one shape (n_samples,); "
            f"got {tuple(sigmas.shape)}, {tuple(t_starts.shape)}, {tuple(t_ends.shape)}"
        )
    n_samples = sigmas.shape[0]
    if rgbs.shape != (n_samples, 3):
        raise ValueError(f"rgbs must have shape ({n_samples}, 3), one row a sample; got {tuple(rgbs.shape)}")
    check_packed(packed_info, n_samples)
    n_rays = packed_info.shape[0]
    if bkgd_rgb is not None and bkgd_rgb.shape not in ((3,), (n_rays, 3)):
        raise ValueError(f"bkgd_rgb must have shape (3,) or ({n_rays}, 3); got {tuple(bkgd_rgb.shape)}")
