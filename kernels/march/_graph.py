"""march as a node of the graphs of torch.compile, which then learn the number of samples when they run."""

from __future__ import annotations

import torch
from torch import Tensor

from . import march

__all__ = ["march_graph"]


@torch.library.custom_op(
    "nerfkit::march",
    mutates_args=(),
    schema="(Tensor rays_o, Tensor rays_d, Tensor near, Tensor far, Tensor occupancy, int resolution, float step, "
    "float cone_angle, bool contract, Tensor jitter, int max_samples, str impl) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def march_graph(
    rays_o: Tensor,
    rays_d: Tensor,
    near: Tensor,
    far: Tensor,
    occupancy: Tensor,
    resolution: int,
    step: float,
    cone_angle: float,
    contract: bool,
    jitter: Tensor,
    max_samples: int,
    impl: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Same contract as :func:`nerfkit.kernels.march.march`; the fields of ``Samples``."""
    return march(
        rays_o, rays_d, near, far, occupancy, resolution, step=step, cone_angle=cone_angle, contract=contract,
        jitter=jitter, max_samples=max_samples, impl=impl,
    )  # fmt: skip


@march_graph.register_fake
def _fake(rays_o, rays_d, near, far, occupancy, resolution, step, cone_angle, contract, jitter, max_samples, impl):
    n = torch.library.get_ctx().new_dynamic_size()
    indices, packed_info = (near.new_empty(*shape, dtype=torch.int64) for shape in ((n,), (near.shape[0], 2)))
    return indices, near.new_empty(n), near.new_empty(n), near.new_empty(n, 3), packed_info, torch.empty_like(near)
