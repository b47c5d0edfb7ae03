"""A multiresolution hash grid as an encoding: features stored at the corners of cells, coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nerfkit.kernels.hashgrid import HashGridSpec, hashgrid
from nerfkit.kernels.memory import large_empty

__all__ = ["HashGridEncoding"]


class HashGridEncoding(nn.Module):
    """Features of a multiresolution hash grid (instant-ngp, arXiv:2201.05989, section 3).

    Parameters
    ----------
    n_dims : {2, 3}
        Coordinates of a point.
    generator : torch.Generator
        Source of the table's first entries, on the CPU, so that every device starts from the same ones.
    n_levels, n_features, log2_table_size, base_resolution, max_resolution : int
        As :meth:`nerfkit.kernels.hashgrid.HashGridSpec.geometric` takes them.
    resolutions : sequence of int, optional
        Cells a side of each level, in the place of a geometric series.
    touched_only : bool
        Whether Adam leaves out entries that no point of a step came near.
    """

    def __init__(
        self, n_dims: int, generator: torch.Generator, *, n_levels: int = 8, n_features: int = 4,
        log2_table_size: int = 17, base_resolution: int = 16, max_resolution: int = 512, touched_only: bool = False,
        resolutions: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if resolutions is None:
            self.spec = HashGridSpec.geometric(
                n_levels, base_resolution, max_resolution, log2_table_size, n_features, n_dims
            )
        else:
            self.spec = HashGridSpec(n_dims, n_features, tuple(resolutions), log2_table_size)
        self.touched_only = touched_only
        self.n_dims, self.n_outputs = n_dims, self.spec.n_levels * n_features
        table = large_empty(self.spec.n_entries, n_features, dtype=torch.float32)
        self.table = nn.Parameter(table.uniform_(-1e-4, 1e-4, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        """See :class:`nerfkit.scenes.fields.encodings.Encoding`."""
        return hashgrid(x.to(self.table.dtype), self.table, self.spec)

    def fused(self) -> tuple[Tensor, HashGridSpec]:
        """See :class:`nerfkit.scenes.fields.encodings.FusableEncoding`."""
        return self.table, self.spec

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """The table."""
        return [{"params": [self.table], "lr": learning_rate, "touched_only": self.touched_only}]
