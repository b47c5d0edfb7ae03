"""Multiresolution hash grid: the public function, its contract and the choice of implementation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nerfkit.kernels._dispatch import choose_impl

from ._reference import hashgrid_reference

__all__ = ["HashGridSpec", "hashgrid", "hashgrid_reference"]

# half-precision positions could not tell the cells of a fine level apart
TABLE_DTYPES = {
    torch.float32: (torch.float32, torch.float16, torch.bfloat16),
    torch.float64: (torch.float64,),
}


@dataclass(frozen=True)
class HashGridSpec:
    """Shape of a multiresolution hash grid (Instant-NGP, arXiv:2201.05989, section 3).

    Parameters
    ----------
    n_dims : {2, 3}
        Dimensions of the coordinates.
    n_features : int
        Features F stored at a vertex.
    resolutions : tuple of int
        Resolution N >= 2 of each level, coarse to fine.
    log2_table_size : int
        A level keeps at most ``2**log2_table_size`` entries, 1 to 30. One that needs no more is dense.

    Notes
    -----
    The convention is tiny-cuda-nn's: in a level, x in [0, 1] lies at ``p = x (N - 1) + 0.5``, so that the
    vertices of different levels do not coincide at the borders; the cell is ``floor(p)``, the interpolation
    weight ``p - floor(p)``. Corners run from 0 to N, so a dense level has ``(N + 1)**n_dims`` entries, the
    first axis fastest (tiny-cuda-nn keeps N**n_dims and wraps the last ones). A hashed level takes the
    exclusive or of ``corner * (1, 2654435761, 805459861)`` in 32 bits, modulo its size.

    Examples
    --------
    >>> spec = HashGridSpec.geometric(4, 16, 128, log2_table_size=14, n_features=2)
    >>> spec.resolutions, spec.is_dense
    ((16, 32, 64, 128), (True, False, False, False))
    >>> spec.n_entries
    54065
    """

    n_dims: int
    n_features: int
    resolutions: tuple[int, ...]
    log2_table_size: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "resolutions", tuple(int(n) for n in self.resolutions))
        if self.n_dims not in (2, 3):
            raise ValueError(f"n_dims must be 2 or 3; got {self.n_dims}")
        if self.n_features < 1:
            raise ValueError(f"n_features must be at least 1; got {self.n_features}")
        # 2**24: beyond it float32 cannot tell neighbouring cells apart
        if not self.resolutions or not all(2 <= n <= 2**24 for n in self.resolutions):
            raise ValueError(f"resolutions must be one or more integers from 2 to 2**24; got {self.resolutions}")
        if not 1 <= self.log2_table_size <= 30:
            raise ValueError(f"log2_table_size must be between 1 and 30; got {self.log2_table_size}")

    @classmethod
    def geometric(
        cls,
        n_levels: int,
        base_resolution: int,
        max_resolution: int,
        log2_table_size: int,
        n_features: int,
        n_dims: int = 3,
    ) -> HashGridSpec:
        """Levels that grow by a constant factor, ``N_l = floor(base b**l)`` (Instant-NGP eq. 2 and 3)."""
        if n_levels < 1 or not 2 <= base_resolution <= max_resolution:
            raise ValueError(
                "need n_levels >= 1 and 2 <= base_resolution <= max_resolution; "
                f"got {n_levels}, {base_resolution}, {max_resolution}"
            )
        growth = math.log(max_resolution / base_resolution) / max(n_levels - 1, 1)
        # 1e-6: exp(log(x)) may fall just below the integer that is meant
        levels = tuple(math.floor(base_resolution * math.exp(growth * l) + 1e-6) for l in range(n_levels))
        return cls(n_dims, n_features, levels, log2_table_size)

    @property
    def n_levels(self) -> int:
        """Number of levels L."""
        return len(self.resolutions)

    @cached_property
    def is_dense(self) -> tuple[bool, ...]:
        """Whether each level stores every vertex (no collisions)."""
        return tuple((n + 1) ** self.n_dims <= 2**self.log2_table_size for n in self.resolutions)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Entries of each level."""
        return tuple(min((n + 1) ** self.n_dims, 2**self.log2_table_size) for n in self.resolutions)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First entry of each level in the table."""
        return tuple(sum(self.sizes[:l]) for l in range(self.n_levels))

    @cached_property
    def n_entries(self) -> int:
        """Entries of all levels together: the table has shape (n_entries, n_features)."""
        return sum(self.sizes)


def hashgrid(
    x: Tensor, table: Tensor, spec: HashGridSpec, *, deterministic: bool | None = None, impl: str = "auto"
) -> Tensor:
    """Features of a multiresolution hash grid at ``x`` (Instant-NGP, arXiv:2201.05989, section 3).

    Parameters
    ----------
    x : Tensor, shape (n, d)
        Coordinates in [0, 1], d = ``spec.n_dims``; what lies outside is clamped to the border. float32 or float64;
        under autocast half precision is taken as float32, and that is all that autocast changes.
    table : Tensor, shape (n_entries, F)
        Features of all vertices, level after level. Dtype of ``x``, or float16 or bfloat16 with a float32 ``x``.
    spec : HashGridSpec
        Levels, sizes and the convention of positions and indices.
    deterministic : bool, optional
        Whether the gradient of ``table`` has the same bits each time on a GPU, where sums run in the order in
        which programs come; it then takes integers of 64 bits. None does what
        ``torch.use_deterministic_algorithms`` says at the time of the call. On a CPU it is deterministic always;
        the reference listens to torch alone.
    impl : {"auto", "triton", "cpu", "reference"}
        ``"auto"`` takes Triton for CUDA tensors and numba for CPU tensors.

    Returns
    -------
    features : Tensor, shape (n, L * F)
        d-linear interpolation in each level, coarse level first, in the dtype of ``table``.

    Notes
    -----
    Differentiable in ``table`` (a dense gradient) and in ``x`` (zero outside of the unit cube; computed only when
    ``x`` requires it); twice and more as well, where the reference takes over (``create_graph=True``). Sums run
    in the dtype of ``x``.

    Examples
    --------
    >>> import torch
    >>> spec = HashGridSpec(n_dims=2, n_features=1, resolutions=(4, 8), log2_table_size=8)
    >>> hashgrid(torch.rand(3, 2), torch.ones(spec.n_entries, 1), spec).shape
    torch.Size([3, 2])
    """
    if x.ndim != 2 or x.shape[1] != spec.n_dims:
        raise ValueError(f"x must have shape (n, {spec.n_dims}); got {tuple(x.shape)}")
    if tuple(table.shape) != (spec.n_entries, spec.n_features):
        raise ValueError(
            f"table must have the spec's shape ({spec.n_entries}, {spec.n_features}); got {tuple(table.shape)}"
        )
    if x.dtype in (torch.float16, torch.bfloat16) and torch.is_autocast_enabled(x.device.type):
        x = x.float()
    if table.dtype not in TABLE_DTYPES.get(x.dtype, ()):
        raise ValueError(
            "x and table must both be float32 or both float64, or table float16 or bfloat16 with a float32 x; "
            f"got {x.dtype} and {table.dtype}"
        )
    if x.device != table.device:
        raise ValueError(f"x and table must be on one device; got {x.device} and {table.device}")
    chosen = choose_impl("hashgrid", x, impl, ("triton", "cpu"))
    if chosen == "reference":
        return hashgrid_reference(x, table, spec)
    if deterministic is None:
        deterministic = torch.are_deterministic_algorithms_enabled()
    # imported here so that Triton and numba are loaded only where they run
    if torch.compiler.is_compiling():
        from ._graph import hashgrid_graph

        return hashgrid_graph(x, table, spec, deterministic, chosen)
    if chosen == "cpu":
        from ._cpu import hashgrid_cpu

        return hashgrid_cpu(x, table, spec)
    from ._triton import HashGridTriton

    return HashGridTriton.apply(x, table, spec, deterministic)  # pyright: ignore[reportReturnType]
