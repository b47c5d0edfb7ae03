"""The definition in plain torch."""

from __future__ import annotations

from math import pi, sqrt

import torch
from torch import Tensor


def harmonics_reference(dirs: Tensor, degree: int) -> Tensor:
    """Same contract as :func:`nerfkit.kernels.harmonics.harmonics`; autograd gives the gradient."""
    acc = torch.float64 if dirs.dtype == torch.float64 else torch.float32
    x, y, z = dirs.to(acc).unbind(-1)
    xx, yy, zz, xy, yz, xz = x * x, y * y, z * z, x * y, y * z, x * z
    bands = [[torch.full_like(x, sqrt(1 / (4 * pi)))]]
    if degree >= 1:
        c1 = sqrt(3 / (4 * pi))
        bands.append([-c1 * y, c1 * z, -c1 * x])
    if degree >= 2:
        bands.append(_band_2(xx, yy, zz, xy, yz, xz))
    if degree >= 3:
        bands.append(_band_3(x, y, z, xx, yy, zz, xy))
    if degree >= 4:
        bands.append(_band_4(xx, yy, zz, xy, yz, xz))
    return torch.stack([value for band in bands for value in band], dim=-1).to(dirs.dtype)


def _band_2(xx: Tensor, yy: Tensor, zz: Tensor, xy: Tensor, yz: Tensor, xz: Tensor) -> list[Tensor]:
    c0, c = sqrt(5 / (16 * pi)), sqrt(15 / (4 * pi))
    return [c * xy, -c * yz, c0 * (2 * zz - xx - yy), -c * xz, c / 2 * (xx - yy)]


def _band_3(x: Tensor, y: Tensor, z: Tensor, xx: Tensor, yy: Tensor, zz: Tensor, xy: Tensor) -> list[Tensor]:
    c0, c1, c2, c3 = (sqrt(k / pi) for k in (7 / 16, 21 / 32, 105 / 4, 35 / 32))
    across = 4 * zz - xx - yy
    return [
        -c3 * y * (3 * xx - yy),
        c2 * xy * z,
        -c1 * y * across,
        c0 * z * (2 * zz - 3 * (xx + yy)),
        -c1 * x * across,
        c2 / 2 * z * (xx - yy),
        -c3 * x * (xx - 3 * yy),
    ]


def _band_4(xx: Tensor, yy: Tensor, zz: Tensor, xy: Tensor, yz: Tensor, xz: Tensor) -> list[Tensor]:
    c0, c1, c2, c3, c4 = (sqrt(k / pi) for k in (9 / 256, 45 / 32, 45 / 16, 315 / 32, 315 / 16))
    rho = xx + yy
    # on the unit sphere 6 zz - rho is the textbooks' 7 zz - 1, and 4 zz - 3 rho their 7 zz - 3
    return [
        c4 * xy * (xx - yy),
        -c3 * yz * (3 * xx - yy),
        c2 * xy * (6 * zz - rho),
        -c1 * yz * (4 * zz - 3 * rho),
        c0 * (8 * zz * (zz - 3 * rho) + 3 * rho * rho),
        -c1 * xz * (4 * zz - 3 * rho),
        c2 / 2 * (xx - yy) * (6 * zz - rho),
        -c3 * xz * (xx - 3 * yy),
        c4 / 4 * (xx * (xx - 3 * yy) - yy * (3 * xx - yy)),
    ]
