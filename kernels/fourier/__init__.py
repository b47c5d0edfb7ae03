"""Fourier features of positions: the public function, its contract and the choice of implementation."""

from __future__ import annotations

import torch
from torch import Tensor

from nerfkit.kernels._dispatch import choose_impl

from ._reference import fourier_reference

__all__ = ["fourier", "fourier_reference"]

MAX_DIMS = 4  # the kernels hold a position in registers, unrolled


def fourier(x: Tensor, freqs: Tensor, *, impl: str = "auto") -> Tensor:
    """Cosines and sines of positions along given frequencies (Tancik et al., arXiv:2006.10739, eq. 5).

    Parameters
    ----------
    x : Tensor, shape (n, d), d in 1..4
        Positions; float16, bfloat16, float32 or float64.
    freqs : Tensor, shape (m, d)
        One frequency vector a row, in cycles per unit of ``x``: Gaussian rows give Tancik's features, rows
        ``2**k / 2`` along each axis those of NeRF (arXiv:2003.08934, eq. 4).
    impl : {"auto", "triton", "cpu", "reference"}
        ``"auto"`` takes Triton for CUDA tensors and numba for tensors on the CPU.

    Returns
    -------
    features : Tensor, shape (n, 2 * m)
        ``[cos(2 pi x freqs^T), sin(2 pi x freqs^T)]`` in the dtype of ``x``.

    Notes
    -----
    Differentiable in ``x`` and ``freqs``, any number of times (Triton's second derivatives by the reference).
    Phases are float32 (float64 if an input is float64) whatever autocast or the precision of matrix products
    say, and are reduced to half a cycle before the sine: a phase of p cycles is good to p * 6e-8 cycles.

    Examples
    --------
    A quarter of a cycle:

    >>> import torch
    >>> fourier(torch.tensor([[0.25]]), torch.tensor([[1.0]])).round(decimals=6).abs()
    tensor([[0., 1.]])
    """
    if x.ndim != 2 or freqs.ndim != 2 or x.shape[1] != freqs.shape[1] or not 1 <= x.shape[1] <= MAX_DIMS:
        raise ValueError(
            f"x must be (n, d) and freqs (m, d) with one d in 1..{MAX_DIMS}; "
            f"got {tuple(x.shape)} and {tuple(freqs.shape)}"
        )
    if not (x.is_floating_point() and freqs.is_floating_point()):
        raise ValueError(f"x and freqs must be floating point; got {x.dtype} and {freqs.dtype}")
    chosen = choose_impl("fourier", x, impl, ("triton", "cpu"))
    if chosen == "reference":
        return fourier_reference(x, freqs)
    # imported here so that Triton and numba are loaded only where they run
    if torch.compiler.is_compiling():
        from ._graph import fourier_graph

        return fourier_graph(x, freqs, chosen)
    if chosen == "cpu":
        from ._cpu import FourierCpu

        return FourierCpu.apply(x, freqs)  # pyright: ignore[reportReturnType]
    from ._triton import Fourier

    return Fourier.apply(x, freqs)  # pyright: ignore[reportReturnType]
