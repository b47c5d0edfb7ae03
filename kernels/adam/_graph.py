"""adam as a node of the graphs of torch.compile."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import adam

__all__ = ["adam_graph"]


@torch.library.custom_op(
    "nerfkit::adam",
    mutates_args=("param", "exp_avg", "exp_avg_sq"),
    schema="(Tensor(a!) param, Tensor grad, Tensor(b!) exp_avg, Tensor(c!) exp_avg_sq, int step, float lr, "
    "float[] betas, float eps, bool touched_only, str impl) -> ()",
)
def adam_graph(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    step: int,
    lr: float,
    betas: Sequence[float],
    eps: float,
    touched_only: bool,
    impl: str,
) -> None:
    """Same contract as :func:`nerfkit.kernels.adam.adam`."""
    adam(
        param, grad, exp_avg, exp_avg_sq, step=step, lr=lr, betas=(betas[0], betas[1]), eps=eps,
        touched_only=touched_only, impl=impl,
    )  # fmt: skip


@adam_graph.register_fake
def _fake(param, grad, exp_avg, exp_avg_sq, step, lr, betas, eps, touched_only, impl):
    return None
