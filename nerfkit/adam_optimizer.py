"""Adam by :func:`nerfkit.kernels.adam`: rows of a table may be left out, and a step can be captured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from nerfkit.kernels.adam import adam

__all__ = ["Adam"]


class Adam:
    """``torch.optim.Adam`` without weight decay, a launch a tensor; its state is saved in torch's form.

    Parameters
    ----------
    groups : iterable of dict
        ``params``, ``lr`` and, optionally, ``touched_only``: leave out rows whose gradient is zero throughout.
    betas : tuple of float
        Decay of the two means.
    eps : float
        Added to the root.

    Attributes
    ----------
    param_groups : list of dict
        The groups.
    state : dict
        Of each parameter that was changed: ``step``, ``exp_avg`` and ``exp_avg_sq``, which lie where it does.

    Notes
    -----
    No ``torch.optim.Optimizer``: making the first one imports torch's compiler, which takes two seconds of every run.

    After :meth:`hold_learning_rates` the learning rates lie where the parameters do, too: then a step reads nothing
    from the host, and one that was captured in a CUDA graph goes on as it should.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], betas: tuple[float, float], eps: float) -> None:
        settings = {"betas": betas, "eps": eps, "touched_only": False}
        self.param_groups = [{**settings, **group, "params": list(group["params"])} for group in groups]
        self.state: dict[Tensor, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for param in self.params():
            param.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change every parameter that has a gradient."""
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state.get(param)
                if state is None:
                    state = self.state[param] = _no_moments(param)
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

    def set_learning_rates(self, rates: Iterable[float]) -> None:
        """Change the learning rates, a number a group; held ones in their place."""
        for group, rate in zip(self.param_groups, rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        """As torch's: parameters are numbers in the order of the groups, learning rates numbers, held or not."""
        number = {param: index for index, param in enumerate(self.params())}
        groups = [
            {**group, "lr": float(group["lr"]), "params": [number[param] for param in group["params"]]}
            for group in self.param_groups
        ]
        return {"state": {number[param]: moments for param, moments in self.state.items()}, "param_groups": groups}

    def load_moments(self, state: dict[str, Any]) -> None:
        """Take over means and counts from a ``state_dict``, also torch's; settings stay as they are.

        Parameters
        ----------
        state : dict
            Of an optimiser of the same parameters, wherever they were.

        Notes
        -----
        The tensors of the state are others afterwards: a step that was recorded before does not see them.
        """
        saved, own = (
            [len(group["params"]) for group in groups] for groups in (state["param_groups"], self.param_groups)
        )
        # groups that came later, as the photos' exposure did, start anew in a run of before
        if saved != own[: len(saved)]:
            raise ValueError("the state is of an optimiser with other groups of parameters")
        self.state = {}
        for index, param in enumerate(self.params()):
            saved = state["state"].get(index)
            if saved is not None:
                # a copy: the steps to come must not change what was given
                self.state[param] = {name: saved[name].detach().clone().to(param.device) for name in _no_moments(param)}

    def params(self) -> list[Tensor]:
        """All parameters in the order of the groups."""
        return [param for group in self.param_groups for param in group["params"]]


def _no_moments(param: Tensor) -> dict[str, Tensor]:
    count = torch.zeros((), device=param.device)
    return {"step": count, "exp_avg": torch.zeros_like(param), "exp_avg_sq": torch.zeros_like(param)}
