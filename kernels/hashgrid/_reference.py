"""The definition in plain torch. The loops are right when they agree with this file."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from . import HashGridSpec

# Instant-NGP eq. 4; the first is 1 so that neighbours along x stay neighbours in memory
PRIMES = (1, 2654435761, 805459861)


def hashgrid_reference(x: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
    """Same contract as :func:`nerfkit.kernels.hashgrid.hashgrid`; autograd gives the gradients."""
    features = []
    for resolution, offset, size, dense in zip(spec.resolutions, spec.offsets, spec.sizes, spec.is_dense, strict=True):
        positions = x.clamp(0, 1) * (resolution - 1) + 0.5  # [n, d]
        # clamped again because floor(nan) is no index; a nan goes on through the fraction
        cells = positions.detach().floor().nan_to_num(0).long()  # [n, d]
        fractions = positions - cells
        level = torch.zeros(len(x), spec.n_features, dtype=x.dtype, device=x.device)
        for corner in product((0, 1), repeat=spec.n_dims):
            vertices = cells + torch.tensor(corner, device=x.device)
            index = dense_index(vertices, resolution) if dense else hash_index(vertices, size)
            weights = torch.ones_like(x[:, 0])
            for axis, upper in enumerate(corner):
                weights = weights * (fractions[:, axis] if upper else 1 - fractions[:, axis])
            level = level + weights[:, None] * table[offset + index].to(x.dtype)
        features.append(level)
    return torch.cat(features, dim=-1).to(table.dtype)


def dense_index(vertices: Tensor, resolution: int) -> Tensor:
    """Row of integer vertices [n, d] in a dense level, first axis fastest."""
    index = torch.zeros_like(vertices[:, 0])
    for axis in reversed(range(vertices.shape[1])):
        index = index * (resolution + 1) + vertices[:, axis]
    return index


def hash_index(vertices: Tensor, size: int) -> Tensor:
    """Row of integer vertices [n, d] in a hashed level of ``size`` entries, a power of two."""
    index = torch.zeros_like(vertices[:, 0])
    # int64 products keep the low 32 bits that uint32 arithmetic has, and size never needs more
    for axis in range(vertices.shape[1]):
        index = index ^ (vertices[:, axis] * PRIMES[axis])
    return index & (size - 1)
