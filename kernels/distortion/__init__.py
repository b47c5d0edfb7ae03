"""The distortion loss of rays: the public function, its contract and the choice of implementation."""

from __future__ import annotations

import torch
from torch import Tensor

from nerfkit.kernels._dispatch import choose_impl
from nerfkit.kernels._packed import check_packed

from ._reference import distortion_reference

__all__ = ["distortion", "distortion_reference"]


def distortion(
    weights: Tensor,
    t_starts: Tensor,
    t_ends: Tensor,
    packed_info: Tensor | None = None,
    *,
    contract: bool = False,
    impl: str = "auto",
) -> Tensor:
    """How far apart the weights of a ray lie: mip-NeRF 360's distortion loss (arXiv:2111.12077, eq. 15).

    ``sum_ij w_i w_j |s_i - s_j| + 1/3 sum_i w_i^2 l_i`` with middles s and lengths l of the samples: the mean distance
    of two points drawn by the weights. It is small where a ray's light comes from one place. Time and memory grow with
    the number of samples, not with its square.

    Parameters
    ----------
    weights : Tensor, shape (n_rays, n_samples) or (n_samples,)
        Weight of each sample, as :func:`nerfkit.kernels.composite.composite` gives them; any floating dtype.
    t_starts, t_ends : Tensor, same shape
        Start and end of each sample along its ray, finite, sorted within a ray.
    packed_info : Tensor of int64, shape (n_rays, 2), optional
        With tensors of one dimension: first sample and number of samples of each ray, without gaps between them
        (checked on the CPU).
    contract : bool
        Measure in ``t`` up to 1 and ``2 - 1/t`` beyond, so that the background does not outweigh the rest.
    impl : {"auto", "triton", "cpu", "reference"}
        ``"auto"`` takes Triton for CUDA tensors and numba for CPU tensors.

    Returns
    -------
    distortions : Tensor, shape (n_rays, 1)
        Loss of each ray, in units of ``t_starts``; float32, or float64 if any input is. 0 for a ray without samples.

    Notes
    -----
    Differentiable in ``weights``, ``t_starts`` and ``t_ends``; twice and more as well, where the reference takes over
    (``create_graph=True``). Triton and numba give the same bits each time they run.

    Examples
    --------
    Two samples of weight 1/2, a distance of 3 apart: 2 x 1/4 x 3, and 1/3 x 1/4 for each with itself.

    >>> import torch
    >>> half, starts = torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 4.0]])
    >>> distortion(half, starts, starts + 1)
    tensor([[1.6667]])
    """
    if torch.compiler.is_compiling():
        from nerfkit.kernels._eager import call_eagerly

        return call_eagerly(distortion, weights, t_starts, t_ends, packed_info, contract=contract, impl=impl)
    if not (weights.shape == t_starts.shape == t_ends.shape and weights.ndim == (2 if packed_info is None else 1)):
        raise ValueError(
            "weights, t_starts and t_ends must share one shape, (n_rays, n_samples) or (n_samples,) with packed_info; "
            f"got {tuple(weights.shape)}, {tuple(t_starts.shape)}, {tuple(t_ends.shape)}"
        )
    if packed_info is not None:
        check_packed(packed_info, len(weights))
    chosen = choose_impl("distortion", weights, impl, ("triton", "cpu"))
    # imported here so that a machine without Triton or numba can still import nerfkit.kernels
    if chosen == "triton":
        from ._triton import distortion_triton as run
    elif chosen == "cpu":
        from ._cpu import distortion_cpu as run
    else:
        run = distortion_reference
    return run(weights, t_starts, t_ends, packed_info, contract)
