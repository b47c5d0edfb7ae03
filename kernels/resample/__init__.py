"""Samples where weights say that something is: the public function, its contract and the choice of implementation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nerfkit.kernels._dispatch import choose_impl
from nerfkit.kernels._packed import check_packed
from nerfkit.kernels._random import uniform

from ._reference import resample_reference

__all__ = ["Resampled", "resample", "resample_reference"]


class Resampled(NamedTuple):
    """New samples of rays, near to far."""

    ts: Tensor
    """[n_rays, n_new] where the samples are, within the intervals that were given"""
    edges: Tensor
    """[n_rays, n_new + 1] ends of an interval round each, middle between neighbours"""


def resample(
    t_starts: Tensor,
    t_ends: Tensor,
    weights: Tensor,
    n_new: int,
    packed_info: Tensor | None = None,
    *,
    jitter: Tensor | None = None,
    seed: int | Tensor | None = None,
    padding: float = 0.0,
    impl: str = "auto",
) -> Resampled:
    """Samples drawn from the weights of a ray's intervals (NeRF, arXiv:2003.08934, section 5.2), near to far.

    The weights, constant over their intervals, make a distribution along the ray. Sample k lies where the share
    ``(k + jitter_k) / n_new`` of it has passed. The interval round a sample reaches to the middles between it and its
    neighbours, the first and the last as far out as in, but not beyond the ray (mip-NeRF 360, arXiv:2111.12077).

    Parameters
    ----------
    t_starts, t_ends : Tensor, shape (n_rays, n_samples) or (n_samples,)
        Ends of the intervals, sorted within a ray and without overlap, finite; gaps have no weight. float32 or float64.
    weights : Tensor, same shape
        Weight of each interval, not negative; any floating dtype. A ray whose weights add up to nothing, to infinity
        or to no number is sampled as if they were equal.
    n_new : int
        Samples of each ray, 1 or more.
    packed_info : Tensor of int64, shape (n_rays, 2), optional
        With tensors of one dimension: first sample and number of samples of each ray, without gaps between them
        (checked on the CPU). A ray without intervals gets samples at 0, of length 0.
    jitter : Tensor, shape (n_rays, n_new), optional
        Where in its n-th part of the distribution each sample lies, [0, 1).
    seed : int or Tensor of int64 with one element, optional
        Makes the jitter, a hash of ray, sample and seed; a tensor is read on its device. With neither of them each
        sample lies in the middle, 0.5.
    padding : float
        Added to each weight, so that intervals without weight are sampled, too.
    impl : {"auto", "triton", "reference"}
        ``"auto"`` takes Triton for CUDA tensors.

    Returns
    -------
    Resampled
        ``ts`` and ``edges``, in the dtype of ``t_starts``.

    Notes
    -----
    Not differentiable: the new samples are constants, as in both papers. The same numbers give the same bits.

    Examples
    --------
    Half of the weight in [0, 1], half in [2, 4]:

    >>> import torch
    >>> starts, ends = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[1.0, 2.0, 4.0]])
    >>> new = resample(starts, ends, torch.tensor([[0.5, 0.0, 0.5]]), 4)
    >>> new.ts, new.edges
    (tensor([[0.2500, 0.7500, 2.5000, 3.5000]]), tensor([[0.0000, 0.5000, 1.6250, 3.0000, 4.0000]]))
    """
    if torch.compiler.is_compiling():
        from nerfkit.kernels._eager import call_eagerly

        return call_eagerly(
            resample,
            t_starts,
            t_ends,
            weights,
            n_new,
            packed_info,
            jitter=jitter,
            seed=seed,
            padding=padding,
            impl=impl,
        )
    _check(t_starts, t_ends, weights, n_new, packed_info, padding)
    n_rays = len(t_starts) if packed_info is None else len(packed_info)
    if jitter is not None and (seed is not None or tuple(jitter.shape) != (n_rays, n_new)):
        got = tuple(jitter.shape)
        raise ValueError(f"jitter must have shape ({n_rays}, {n_new}), and no seed beside it; got {got}")
    chosen = choose_impl("resample", t_starts, impl, ("triton",))
    # imported here so that a machine without Triton can still import nerfkit.kernels
    if chosen == "triton":
        from ._triton import resample_triton

        return Resampled(*resample_triton(t_starts, t_ends, weights, n_new, packed_info, jitter, seed, padding))
    if jitter is None and seed is not None:
        rays, k = (torch.arange(n, device=t_starts.device) for n in (n_rays, n_new))
        jitter = uniform(rays[:, None], k, seed if isinstance(seed, Tensor) else seed & 0x7FFFFFFF)
    return Resampled(*resample_reference(t_starts, t_ends, weights, n_new, packed_info, jitter, padding))


def _check(
    t_starts: Tensor, t_ends: Tensor, weights: Tensor, n_new: int, packed_info: Tensor | None, padding: float
) -> None:
    if not (t_starts.shape == t_ends.shape == weights.shape and t_starts.ndim == (2 if packed_info is None else 1)):
        raise ValueError(
            "t_starts, t_ends and weights must share one shape, (n_rays, n_samples) or (n_samples,) with packed_info; "
            f"got {tuple(t_starts.shape)}, {tuple(t_ends.shape)}, {tuple(weights.shape)}"
        )
    if t_starts.dtype not in (torch.float32, torch.float64) or t_ends.dtype != t_starts.dtype:
        raise ValueError(f"t_starts and t_ends must both be float32 or float64; got {t_starts.dtype}, {t_ends.dtype}")
    if not weights.is_floating_point():
        raise ValueError(f"weights must be floating point; got {weights.dtype}")
    if n_new < 1 or not padding >= 0:
        raise ValueError(f"need n_new >= 1 and padding >= 0; got {n_new} and {padding}")
    if packed_info is not None:
        check_packed(packed_info, len(t_starts))
