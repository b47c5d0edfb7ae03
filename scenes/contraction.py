"""From normalised coordinates to the unit cube that fields and the occupancy grid live in."""

from __future__ import annotations

from torch import Tensor

__all__ = ["to_unit_cube"]


def to_unit_cube(xyzs: Tensor, contract: bool) -> Tensor:
    """Map normalised positions [n, 3] into [0, 1]; the same map as in :func:`nerfkit.kernels.march`.

    Parameters
    ----------
    xyzs : Tensor, shape (n, 3)
        Positions; the scene box is [-1, 1]^3.
    contract : bool
        Whether space beyond the box is contracted: with m = max |p|, p -> p (2 - 1/m) / m for m > 1 (mip-NeRF 360,
        arXiv:2111.12077, eq. 10, in the maximum norm), and all of space fills the cube.

    Examples
    --------
    >>> import torch
    >>> to_unit_cube(torch.tensor([[1.0, 0.0, -1.0], [4.0, 0.0, 0.0]]), contract=True)[:, 0]
    tensor([0.7500, 0.9375])
    """
    if not contract:
        return (xyzs + 1) / 2
    m = xyzs.abs().amax(-1, keepdim=True).clamp(min=1.0)
    return (xyzs * (2 - 1 / m) / m + 2) / 4
