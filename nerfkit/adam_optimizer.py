"""Adam by :func:`nerfkit.kernels.adam`: rows of a table may be left out, and a step can be captured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from nerfkit.kernels.adam import adam

__all__ = ["KernelAdam", "load_moments", "make_adam", "set_learning_rates"]


class KernelAdam(torch.optim.Optimizer):
    """``torch.optim.Adam`` without weight decay, a launch a tensor; its state is that of torch's.

    Parameters
    ----------
    groups : iterable of dict
        ``params``, ``lr`` and, optionally, ``touched_only``: leave out rows whose gradient is zero throughout.
    betas : tuple of float
        Decay of the two means.
    eps : float
        Added to the root.

    Notes
    -----
    The numbers of steps lie where the parameters do. After :meth:`hold_learning_rates` the learning rates do, too: then
    a step reads nothing from the host, and one that was captured in a CUDA graph goes on as it should.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups, {"lr": 1e-3, "betas": betas, "eps": eps, "touched_only": False})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Change every parameter that has a gradient."""
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state[param]
                if not state:
                    state["step"] = torch.zeros((), device=param.device)
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(param), torch.zeros_like(param)
                state["step"] += 1
                adam(
                    param, param.grad, state["exp_avg"], state["exp_avg_sq"], step=state["step"], lr=group["lr"],
                    betas=group["betas"], eps=group["eps"], touched_only=group["touched_only"],
                )  # fmt: skip

    def hold_learning_rates(self) -> None:
        """Keep learning rates where the parameters are."""
        for group in self.param_groups:
            if not isinstance(group["lr"], Tensor):
                # filled there: a copy to a GPU would be a wait
                group["lr"] = torch.full((), group["lr"], device=group["params"][0].device)

    def state_dict(self) -> dict[str, Any]:
        """As torch's; learning rates are numbers, held or not."""
        state = super().state_dict()
        for group in state["param_groups"]:
            group["lr"] = float(group["lr"])
        return state


def make_adam(groups: list[dict[str, Any]], betas: tuple[float, float], eps: float) -> torch.optim.Optimizer:
    """Torch's fused Adam on a CPU, unless rows are to be left out; the kernel on a GPU."""
    is_kernel = any(group.get("touched_only") or group["params"][0].is_cuda for group in groups)
    if is_kernel:
        return KernelAdam(groups, betas, eps)
    return torch.optim.Adam(groups, betas=betas, eps=eps, fused=True)


def set_learning_rates(optimizer: torch.optim.Optimizer, rates: Iterable[float]) -> None:
    """Change the learning rates, a number a group; held ones in their place."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def load_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take over means and counts from the ``state_dict`` of either optimiser; settings stay as they are.

    Parameters
    ----------
    optimizer : Optimizer
        One that :func:`make_adam` made. Changed.
    state : dict
        Of an optimiser of the same parameters, wherever they were.

    Notes
    -----
    The tensors of the optimiser's state are others afterwards: a step that was recorded before does not see them.
    """
    groups = zip(optimizer.param_groups, state["param_groups"], strict=True)
    settings = [{**own, "params": saved["params"]} for own, saved in groups]
    optimizer.load_state_dict({"state": state["state"], "param_groups": settings})
    for param, moments in optimizer.state.items():
        # torch leaves the count on the CPU, unless its own Adam is fused; a kernel reads it where the parameters are
        moments["step"] = moments["step"].to(param.device)
