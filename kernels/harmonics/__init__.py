"""Spherical harmonics of directions: the public function, its contract and the choice of implementation."""

from __future__ import annotations

import torch
from torch import Tensor

from nerfkit.kernels._dispatch import choose_impl

from ._reference import harmonics_reference

__all__ = ["harmonics", "harmonics_reference"]

MAX_DEGREE = 4


def harmonics(dirs: Tensor, degree: int, *, impl: str = "auto") -> Tensor:
    """Real spherical harmonics up to ``degree`` (Sloan, JCGT 2(2), 2013), orthonormal on the unit sphere.

    Parameters
    ----------
    dirs : Tensor, shape (n, 3)
        Unit directions.
    degree : int in 0..4
        Highest degree l.
    impl : {"auto", "triton", "reference"}
        ``"auto"`` takes Triton for CUDA tensors, one launch for all columns, and the reference elsewhere.

    Returns
    -------
    values : Tensor, shape (n, (degree + 1)**2)
        Column ``l * l + l + m`` holds degree l and order m in -l..l, with the Condon-Shortley sign, as
        tiny-cuda-nn and Gaussian splatting have them. Dtype of ``dirs``.

    Notes
    -----
    Differentiable in ``dirs``, any number of times, by the reference. The values are homogeneous polynomials of degree
    l: a vector of length r gives ``r**l`` times the value of its direction, and the gradient is that polynomial's.

    Examples
    --------
    >>> import torch
    >>> harmonics(torch.tensor([[0.0, 0.0, 1.0]]), degree=1)
    tensor([[0.2821, -0.0000, 0.4886, -0.0000]])
    """
    if dirs.ndim != 2 or dirs.shape[1] != 3 or not dirs.is_floating_point():
        raise ValueError(f"dirs must be floating point of shape (n, 3); got {dirs.dtype} of shape {tuple(dirs.shape)}")
    if degree not in range(MAX_DEGREE + 1):
        raise ValueError(f"degree must be one of 0..{MAX_DEGREE}; got {degree!r}")
    chosen = choose_impl("harmonics", dirs, impl, ("triton",))
    # degree 0 is a constant; and a compiler makes one kernel of the definition by itself
    if chosen == "triton" and degree > 0 and not torch.compiler.is_compiling():
        # imported here so that a machine without Triton can still import nerfkit.kernels
        from ._triton import harmonics_triton

        return harmonics_triton(dirs, degree)
    return harmonics_reference(dirs, degree)
