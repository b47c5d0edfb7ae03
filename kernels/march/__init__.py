"""Samples along rays through an occupancy grid: the public function, its contract and the bitfield."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nerfkit.kernels._dispatch import choose_impl

from ._reference import march_reference

__all__ = ["Samples", "march", "march_reference", "pack_bits", "unpack_bits"]


class Samples(NamedTuple):
    """Samples of all rays, ray after ray, near to far within a ray."""

    ray_indices: Tensor  # [n_samples] int64
    t_starts: Tensor  # [n_samples]
    t_ends: Tensor  # [n_samples]
    xyzs: Tensor  # [n_samples, 3] middles of the samples in the unit cube, [0, 1)
    packed_info: Tensor  # [n_rays, 2] int64: first sample and count
    t_next: Tensor  # [n_rays] far where the ray is done, else the near of the next call


def march(
    rays_o: Tensor,
    rays_d: Tensor,
    near: Tensor,
    far: Tensor,
    occupancy: Tensor,
    resolution: int,
    *,
    step: float,
    cone_angle: float = 0.0,
    contract: bool = False,
    jitter: Tensor | None = None,
    max_samples: int = 1024,
    impl: str = "auto",
) -> Samples:
    """Samples at regular intervals along rays, where an occupancy grid says that there may be something.

    The lattice of a ray is ``t_0 = near + jitter * dt(near)``, ``t_{k+1} = t_k + dt(t_k)`` with
    ``dt(t) = max(step, cone_angle * t)`` (Instant-NGP, arXiv:2201.05989, appendix E.1), in the dtype of the
    rays. The sample ``[t_k, t_{k+1}]`` exists while its middle is before ``far``, and is kept if the cell
    round its middle is occupied.

    Parameters
    ----------
    rays_o, rays_d : Tensor, shape (n_rays, 3)
        Origins and directions (unit length makes t a distance), float32 or float64, in normalised
        coordinates: without ``contract`` the scene is [-1, 1]^3 and nothing outside of it is sampled.
    near, far : Tensor, shape (n_rays,)
        Where to start and stop along each ray. ``near >= far`` gives no samples.
    occupancy : Tensor, shape (ceil(resolution**3 / 8),), uint8
        One bit a cell as :func:`pack_bits` writes it; cell ``(ix G + iy) G + iz`` of the unit cube.
    resolution : int
        Cells G along an edge of the unit cube.
    step : float
        Shortest sample, > 0.
    cone_angle : float
        Growth of the samples with t, >= 0; 0 keeps them all ``step`` long.
    contract : bool
        Map all of space into the cube: with ``m = max|p|``, p stays where ``m <= 1`` and else becomes
        ``p (2 - 1/m) / m`` (mip-NeRF 360, arXiv:2111.12077, eq. 10, in the maximum norm).
        ``xyzs = (p + 2) / 4`` then, ``(p + 1) / 2`` without.
    jitter : Tensor, shape (n_rays,), optional
        Shift of the lattice in units of ``dt(near)``, in [0, 1). None is 0.5; with 0 the first sample starts
        at ``near`` itself.
    max_samples : int
        At most so many samples are kept of a ray.
    impl : {"auto", "triton", "cpu", "reference"}
        ``"auto"`` takes Triton for CUDA tensors and numba for CPU tensors.

    Returns
    -------
    samples : Samples
        ``t_next`` equals ``far`` where a ray is done. Where ``max_samples`` stopped it, ``t_next < far`` is
        the lattice point after the last sample: the call with ``near=t_next`` and a ``jitter`` of zeros goes
        on along the same lattice, bit for bit.

    Notes
    -----
    Not differentiable. All implementations do the same operations in the same order, without fused ones, and
    none skips a sample: where the device rounds as IEEE 754 says, they are bit-equal. Where it does not, a sample
    whose middle lies within rounding of a cell's border may be kept by one and left out by another.

    Examples
    --------
    >>> import torch
    >>> full = pack_bits(torch.ones(8, 8, 8, dtype=torch.bool))
    >>> o, d = torch.tensor([[-2.0, 0.1, 0.1]]), torch.tensor([[1.0, 0.0, 0.0]])
    >>> samples = march(o, d, torch.tensor([1.0]), torch.tensor([3.0]), full, 8, step=0.5)
    >>> samples.t_starts, samples.xyzs[:, 0]
    (tensor([1.2500, 1.7500, 2.2500]), tensor([0.2500, 0.5000, 0.7500]))
    """
    _check(rays_o, rays_d, near, far, jitter)
    if occupancy.dtype != torch.uint8 or tuple(occupancy.shape) != (_n_bytes(resolution),):
        raise ValueError(
            f"occupancy must be uint8 of shape ({_n_bytes(resolution)},) for resolution {resolution}; "
            f"got {occupancy.dtype} {tuple(occupancy.shape)}"
        )
    if not step > 0 or not cone_angle >= 0 or max_samples < 1:
        raise ValueError(
            f"need step > 0, cone_angle >= 0 and max_samples >= 1; got {step}, {cone_angle}, {max_samples}"
        )
    if jitter is None:
        jitter = torch.full_like(near, 0.5)
    args = (rays_o, rays_d, near, far, occupancy, resolution, step, cone_angle, contract, jitter, max_samples)
    chosen = choose_impl("march", rays_o, impl, ("triton", "cpu"))
    # imported here so that Triton and numba are loaded only where they run
    if torch.compiler.is_compiling():
        from ._graph import march_graph

        return Samples(*march_graph(*args, chosen))
    if chosen == "triton":
        from ._triton import march_triton as run
    elif chosen == "cpu":
        from ._cpu import march_cpu as run
    else:
        run = march_reference
    return Samples(*run(*args))


def pack_bits(cells: Tensor) -> Tensor:
    """Bitfield uint8 [ceil(G^3 / 8)] of a bool grid [G, G, G]; cell i is bit ``i & 7`` of byte ``i >> 3``."""
    if cells.dtype != torch.bool or cells.ndim != 3 or len(set(cells.shape)) != 1:
        raise ValueError(f"cells must be bool of shape (G, G, G); got {cells.dtype} {tuple(cells.shape)}")
    bits = torch.nn.functional.pad(cells.reshape(-1), (0, -cells.numel() % 8))
    weights = 2 ** torch.arange(8, dtype=torch.uint8, device=cells.device)
    return (bits.view(-1, 8) * weights).sum(-1, dtype=torch.uint8)


def unpack_bits(occupancy: Tensor, resolution: int) -> Tensor:
    """Boolean grid [G, G, G] of a bitfield; the inverse of :func:`pack_bits`."""
    if occupancy.dtype != torch.uint8 or tuple(occupancy.shape) != (_n_bytes(resolution),):
        raise ValueError(
            f"occupancy must be uint8 of shape ({_n_bytes(resolution)},) for resolution {resolution}; "
            f"got {occupancy.dtype} {tuple(occupancy.shape)}"
        )
    bits = (occupancy[:, None] >> torch.arange(8, dtype=torch.uint8, device=occupancy.device)) & 1
    return bits.bool().view(-1)[: resolution**3].view(resolution, resolution, resolution)


def _n_bytes(resolution: int) -> int:
    return (resolution**3 + 7) // 8


def _check(rays_o: Tensor, rays_d: Tensor, near: Tensor, far: Tensor, jitter: Tensor | None) -> None:
    n = len(rays_o)
    wanted = {"rays_o": (n, 3), "rays_d": (n, 3), "near": (n,), "far": (n,), "jitter": (n,)}
    for (name, shape), tensor in zip(wanted.items(), (rays_o, rays_d, near, far, jitter), strict=True):
        if tensor is None:
            continue
        if tuple(tensor.shape) != shape or tensor.dtype != rays_o.dtype or tensor.device != rays_o.device:
            raise ValueError(
                f"{name} must have shape {shape}, the dtype and the device of rays_o "
                f"({rays_o.dtype}, {rays_o.device}); "
                f"got {tuple(tensor.shape)}, {tensor.dtype}, {tensor.device}"
            )
    if rays_o.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"rays must be float32 or float64; got {rays_o.dtype}")
